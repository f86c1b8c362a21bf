"""All that happens before the search: an issue's whole life, refusals, processes that die; and a tip's whole
life while nothing else happens."""

import asyncio
import os
import signal
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil

from deploy.local.stack import ROOT, Stack
from services.tips.photos.moving import move
from services.tips.photos.store import PhotoStore
from shared import postgres
from tests.canary.marks import Person
from tests.canary.outside import Listening, Mailbox
from tests.canary.places import Piece, database_files
from tests.canary.refused import refuse_all
from tests.canary.sending import (
    Sent,
    Town,
    approve_words,
    confirm_email,
    converse,
    send_issue,
    send_tip,
)
from tests.photos import encoded, noise
from tests.telling_times import Window

HOUR = 3_600
PATIENCE = 60
# Before the first and after the last that a tip causes, so that nothing else is taken for its trace.
APART_SECONDS = 1.5
# A tip's whole life takes less; an hour that began in it, which is all that may be told, would be a trace.
LIFE_SECONDS = 60


@dataclass
class Lived:
    """Who there was, and when the tip's whole life was."""

    people: list[Person]
    tip: Window
    # The files of the databases as they were before the tip.
    earlier: list[Piece]


async def live(stack: Stack, town: Town, units: Listening, mailbox: Mailbox) -> Lived:
    reporter, approver = Person("issue"), Person("approved issue")
    refused, unlucky = Person("refused"), Person("died")
    await _an_issue(town, reporter, units, mailbox)
    approved = await approve_words(town, approver, _now(), units.report_id)
    await approved.until("acknowledged")
    early = await send_tip(town, unlucky, _now(), "weapons", {"address": unlucky.text("address")})
    await refuse_all(town, refused, _now(), early)
    await _held(stack, early, await units.report_id(_words(unlucky)))
    await _deaths(stack, town, unlucky)
    await quiet(stack)
    earlier = await database_files(stack)
    left = HOUR - time.time() % HOUR
    await asyncio.sleep(APART_SECONDS + (left if left < LIFE_SECONDS else 0))
    tipster, eraser = Person("tip"), Person("erased tip")
    begin = time.time()
    await _a_tip(town, tipster, units)
    await _an_erased_tip(stack, town, eraser, units)
    await quiet(stack)
    end = time.time()
    await asyncio.sleep(APART_SECONDS)
    await _move_photos(stack)
    return Lived([reporter, approver, refused, unlucky, tipster, eraser], Window(begin, end), earlier)


async def _an_issue(town: Town, person: Person, units: Listening, mailbox: Mailbox) -> None:
    sent = await send_issue(town, person, _now())
    await sent.until("acknowledged")
    report_id = await units.report_id(_words(person))
    await confirm_email(sent, mailbox)
    await converse(town, sent, report_id, "public_space")
    await units.press(report_id, "resolve", person.headers())
    await sent.until("resolved")
    await _rate_and_reopen(sent)
    issues = (await town.ask(person, "GET", "/v1/issues")).body["issues"]
    key = {"Idempotency-Key": person.key("key of a support")}
    supported = await town.ask(person, "POST", f"/v1/issues/{issues[0]['id']}/supporters", None, **key)
    assert supported.status == 200, supported.content
    another = await send_issue(town, person, _now())
    await another.until("acknowledged")
    assert (await another.mine("POST", "/withdrawal")).status == 200


async def _a_tip(town: Town, person: Person, units: Listening) -> None:
    place = {"point": person.point()}
    sent = await send_tip(town, person, _now(), "burglary_suspicion", place)
    await sent.until("acknowledged")
    report_id = await units.report_id(_words(person))
    await converse(town, sent, report_id, "neighbourhood_police_north")
    await units.press(report_id, "resolve", person.headers())
    await sent.until("resolved")
    await _rate_and_reopen(sent)


async def _an_erased_tip(stack: Stack, town: Town, person: Person, units: Listening) -> None:
    sent = await send_tip(
        town, person, _now(), "drug_dealing", {"address": person.text("address", hashed=True)}
    )
    await sent.until("acknowledged")
    report_id = await units.report_id(_words(person))
    decision = {"by": "officer:k.jansen", "decision_id": str(uuid.uuid4())}
    await town.inside("POST", f"/reports/{report_id}/spam", decision)
    await sent.write("that it is no spam", [])
    assert (await sent.mine("GET")).body["report"]["erasure_waits"] is None
    # Its unit would hear of the end of what is under way when the hour has ended.
    await quiet(stack)
    assert (await sent.mine("DELETE")).status == 200
    assert (await sent.mine("GET", "/certificate")).status == 200


async def _held(stack: Stack, sent: Sent, report_id: str) -> None:
    """A court holds it, its sender asks to erase it, it is lifted and goes; and a run of retention."""
    await sent.until("acknowledged")
    until = ["--until", f"{_now().date() + timedelta(days=30)}"]
    await _command(stack, "hold", "place", report_id, "--reason", "court_order", *until)
    assert (await sent.mine("DELETE")).status == 409
    assert (await sent.mine("GET", "/messages")).status == 410
    await _command(stack, "hold", "lift", report_id)
    assert (await sent.mine("GET", "/certificate")).status == 200
    await _command(stack, "retention", "run")


async def _command(stack: Stack, *arguments: str) -> None:
    """An operator's, as the service is deployed."""
    argv = [sys.executable, "-m", "services.tips", *arguments, "--by", "jansen"]
    env = stack.services["tips"].child.env
    process = await asyncio.create_subprocess_exec(
        *argv, env=env, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()


async def _rate_and_reopen(sent: Sent) -> None:
    assert (await sent.mine("PUT", "/rating", {"satisfied": False, "stars": 2})).status == 200
    text = {"text": f"Het is er nog: {sent.person.text('why it is not solved', hashed=True)}"}
    assert (await sent.mine("POST", "/reopening", text)).status == 200


async def _deaths(stack: Stack, town: Town, person: Person) -> None:
    """Two decoders and two services die with somebody's words in their memory."""
    large = encoded(noise(4_000, 3_000), comment=person.text("photo whose decoder dies").encode())
    for number in (signal.SIGKILL, signal.SIGABRT):
        status = 201
        while status == 201:
            upload = asyncio.create_task(town.ask(person, "POST", "/v1/photos", large))
            # Where it was faster, once more.
            with suppress(psutil.NoSuchProcess):
                (await _decoder(stack)).send_signal(number)
            status = (await upload).status
        assert status == 422
    for name, number in (("tips", signal.SIGKILL), ("tips", signal.SIGABRT), ("notify", signal.SIGABRT)):
        tip = await send_tip(town, person, _now(), "threats", {"address": person.text("address")})
        service = stack.services[name]
        os.kill(service.child.pid, number)
        await asyncio.to_thread(service.child.wait, PATIENCE)
        await asyncio.to_thread(service.start)
        await tip.until("acknowledged")


async def _decoder(stack: Stack) -> psutil.Process:
    async with asyncio.timeout(PATIENCE):
        while True:
            for process in psutil.Process(stack.services["tips"].child.pid).children():
                if "services.tips.photos.decoding" in process.cmdline():
                    # So long it takes to begin; then it has read what it is to decode.
                    while process.cpu_times().user < 0.2:  # noqa: ASYNC110 - of another process
                        await asyncio.sleep(0.01)
                    return process
            await asyncio.sleep(0.005)


async def quiet(stack: Stack) -> None:
    """Wait until nothing is on its way: events, deliveries, e-mails, counts."""
    async with asyncio.timeout(PATIENCE):
        while True:
            totals = await asyncio.to_thread(stack.totals)
            waiting = sum(one.get("waiting", 0) + one.get("open_deliveries", 0) for one in totals.values())
            accepted = totals["tips"]["accepted"]
            if not waiting and totals["stats"]["counted"] == accepted == totals["notify"]["routed"]:
                return
            await asyncio.sleep(0.2)


async def _move_photos(stack: Stack) -> None:
    """What `tips` does when the hour is over."""
    pool = await postgres.open_pool(stack.services["tips"].dsn, "canary")
    store = PhotoStore(str(stack.folder / "photos"))
    try:
        await move(pool, store, datetime.fromtimestamp(time.time() + HOUR, UTC))
    finally:
        await pool.close()


def _words(person: Person) -> str:
    """The mark in the words of a person's last report."""
    return next(
        one.text.decode()
        for one in reversed(person.needles)
        if one.found == (f"{person.who}: words", "plain")
    )


def _now() -> datetime:
    return datetime.now(UTC)
