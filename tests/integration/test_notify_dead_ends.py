"""A channel that is given up: the unit's other ways, then a person; and the desk, where nothing leaves."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.processes import free_port
from services.notify import bouncing, recovery
from services.notify.core import deliveries
from services.notify.core.deliveries import MAIL, Retrying
from shared.cloudevents import Envelope
from shared.events import DeliveryFailed, Event, ReportDelivered, ReportEscalated, ReportWithdrawn
from shared.mail import MailServer
from shared.mending.recover import History
from shared.municipality import Desk, Email
from tests.conftest import MakeDatabase
from tests.integration.followed import followed
from tests.integration.mail_server import Mailbox, mailbox
from tests.integration.notify_harness import (
    IBUURT,
    ROOT,
    Notify,
    accepted,
    announced,
    envelope_of,
    kinds,
    plain,
    send,
)
from tests.integration.test_notify_email import EMAIL, mailing, reached_by
from tests.integration.tips_server import SECRET_WORDS, Tips, issue, tip
from tests.spine import until
from tests.unit.test_notify_bounces import notification

DESK = Desk(kind="desk")
OTHER = Email(kind="email", address="other@unit.example")
QUICK = Retrying(0.02, 0.05, 3)


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


async def states(notify: Notify) -> dict[str, tuple[str, str | None]]:
    """Each channel's state and last failure."""
    rows = await notify.rows(
        "SELECT channel, state, last_failure FROM delivery WHERE step <> 'notice' ORDER BY channel"
    )
    return {row["channel"]: (row["state"], row["last_failure"]) for row in rows}


async def test_when_the_webhook_is_given_up_the_unit_gets_an_email(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """Once, of the same step, though the unit's system keeps failing; nobody need be told."""
    async with mailing(database, tips, box.server, reached_by(fallback=(EMAIL,))) as notify:
        notify.units.answers["public_space"] = plain(503)
        await send(tips, notify, *[issue()] * 12)
        notify.work(retrying=QUICK)
        await notify.settled(20)
        assert len(box.taken) == 12
        assert set(kinds(await notify.said())) == {"ReportRouted", "DeliveryFailed", "ReportDelivered"}
        delivered = await notify.said(ReportDelivered)
        assert {one.channel for one in delivered if isinstance(one, ReportDelivered)} == {"fallback.email"}
        rows = await notify.rows("SELECT DISTINCT channel, state, step FROM delivery ORDER BY channel")
        assert [tuple(row) for row in rows] == [
            ("fallback.email", "done", "route"),
            ("webhook", "dead", "route"),
        ]


async def test_what_a_resident_wrote_goes_by_the_fallback_too(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """Then nobody need be told."""
    async with mailing(database, tips, box.server, reached_by(fallback=(EMAIL,))) as notify:
        mine = await followed(tips)
        await notify.apply(*await announced(tips))
        notify.work(retrying=QUICK)
        await notify.settled()
        notify.units.answers["public_space"] = plain(503)
        assert (await mine.write("The pole leans over the path now")).status == 201
        await notify.apply(*await announced(tips))
        await notify.settled()
        assert len(box.taken) == 1
        assert (await states(notify))["fallback.email"] == ("done", None)
        assert not await notify.said(ReportEscalated)


async def test_all_fallbacks_go_and_only_when_all_are_dead_a_person_is_told(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """First two of which one arrives; then two of which none does: ReportEscalated, once."""
    change = reached_by(fallback=(EMAIL, OTHER))
    for says, told in ((["550 5.1.1 no", "250 OK"], False), (["550 5.1.1 no"], True)):
        box.recipients = list(says)
        async with mailing(database, tips, box.server, change) as notify:
            notify.units.answers["public_space"] = plain(500)
            await send(tips, notify)
            notify.work(retrying=QUICK)
            await notify.settled()
            found = await states(notify)
            assert found["webhook"] == ("dead", "http_500")
            dead = [name for name in found if found[name][0] == "dead"]
            assert len(dead) == (3 if told else 2)
            escalated = await notify.said(ReportEscalated)
            assert [one.reason for one in escalated if isinstance(one, ReportEscalated)] == (
                ["not_delivered"] if told else []
            )
            (row,) = await notify.rows("SELECT status, level FROM dispatch")
            assert tuple(row) == (("routed", 2) if told else ("delivered", 0))


async def test_who_was_reached_by_another_channel_need_not_be_told(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """The e-mail arrives, the webhook does not: given up, and no person is asked."""

    def both(town: Any) -> Any:
        unit = town.units["public_space"]
        unit = unit.model_copy(update={"channels": (EMAIL, *unit.channels)})
        return town.model_copy(update={"units": {**town.units, unit.id: unit}})

    async with mailing(database, tips, box.server, both) as notify:
        notify.units.answers["public_space"] = plain(500)
        await send(tips, notify)
        notify.work(retrying=QUICK)
        await notify.settled()
        assert await notify.said(DeliveryFailed)
        assert not await notify.said(ReportEscalated)


async def test_the_desk_has_it_at_once_and_nothing_leaves(database: MakeDatabase, tips: Tips) -> None:
    """No call, no reading of words; the unit's list has it, and does something with it."""
    server = MailServer("127.0.0.1", free_port(), "none")
    async with mailing(database, tips, server, reached_by(DESK)) as notify:
        (report_id,) = await send(tips, notify)
        notify.work()
        await notify.settled(3)
        (delivered,) = await notify.said(ReportDelivered)
        assert isinstance(delivered, ReportDelivered)
        assert delivered.channel == "desk"
        assert notify.units.arrivals == []
        assert await tips.rows("SELECT FROM disclosure WHERE act = 'disclosure'") == []
        _, listed = await notify.ask("GET", "/internal/v1/units/public_space/reports")
        assert [one["report_id"] for one in listed["reports"]] == [str(report_id)]
        status, answer = await notify.act(report_id, "acknowledge", "public_space")
        assert (status, answer["report"]["status"]) == (200, "acknowledged")


async def test_a_tips_fallback_tells_no_minute(database: MakeDatabase, tips: Tips, box: Mailbox) -> None:
    """While it is open its row is due since the hour."""
    box.recipients = ["451 later"]
    async with mailing(database, tips, box.server, reached_by(fallback=(EMAIL,))) as notify:
        for unit in notify.municipality.units:
            notify.units.answers[unit] = plain(500)
        await send(tips, notify, tip(category="weapons"))
        notify.work(retrying=QUICK)
        await until(lambda: box.addresses)
        rows = await notify.rows(
            "SELECT due_at FROM delivery WHERE channel = 'fallback.email' AND state = 'open'"
        )
        assert all(row["due_at"].minute == row["due_at"].second == 0 for row in rows)
        await notify.settled()


async def test_what_is_withdrawn_meanwhile_asks_nobody(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """Neither the fallback nor a person: there is nothing left to do."""
    async with mailing(database, tips, box.server, reached_by(fallback=(EMAIL,))) as notify:
        release = asyncio.Event()

        async def slow(_request: Any) -> Any:
            await release.wait()
            return await plain(500)(_request)

        notify.units.answers["public_space"] = slow
        (report_id,) = await send(tips, notify)
        notify.work(retrying=Retrying(0.02, 0.05, 1), lease_seconds=2)
        await notify.units.seen(1)
        gone = ReportWithdrawn(report_id=report_id, kind="issue", version=2)
        await notify.apply(Envelope.of(gone, id=uuid.uuid4(), source="/ibuurt/tips", now=notify.clock()))
        release.set()
        await notify.settled()
        await until(lambda: notify.metric("deliveries_total", result="late") == 1)
        assert set(await states(notify)) == {"webhook"}
        assert kinds(await notify.said()) == ["ReportRouted"]


async def test_what_a_webhook_may_have_is_as_the_folder_says(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """Codes without a word, and a notice without a code; of both, nothing was read."""
    for level, has in (("codes", {"category", "areas", "resolve_by"}), ("notice", set())):
        async with mailing(database, tips, box.server, reached_by(leaves={"webhook": level})) as notify:
            await send(tips, notify)
            notify.work()
            await notify.settled()
            (call,) = notify.units.arrivals
            assert call.body["type"] == ("ibuurt.report" if has else "ibuurt.report.notice")
            assert has < call.data.keys() or not has
            assert {"report_id", "unit", "answer_url"} <= call.data.keys()
            assert call.data.keys() & {"description", "location", "contact", "answers", "happened"} == set()
            assert has or call.data.keys() == {"report_id", "unit", "answer_url"}
            assert SECRET_WORDS not in str(call.body)
    assert await tips.rows("SELECT FROM disclosure WHERE act = 'disclosure'") == []


async def test_a_unit_whose_system_is_down_still_gets_its_fallback_at_once(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """The circuit of its system is open, with reports waiting for it; the e-mails do not wait behind it."""
    async with mailing(database, tips, box.server, reached_by(fallback=(EMAIL,))) as notify:
        notify.units.answers["public_space"] = plain(503)
        await send(tips, notify, *[issue()] * 8)
        notify.work(retrying=Retrying(30, 30, 1))
        await until(lambda: notify.metric("delivery_circuit_open", destination="public_space") == 1)
        await until(lambda: len(box.taken) >= 5, 5)


async def test_where_tips_is_away_what_needs_no_words_does_not_say_that_it_is_back(
    database: MakeDatabase, tips: Tips
) -> None:
    """A desk delivery asks tips for nothing, and so knows nothing of it."""
    server = MailServer("127.0.0.1", free_port(), "none")

    def two(town: Any) -> Any:
        parking = town.units["parking"].model_copy(update={"channels": (DESK,)})
        return town.model_copy(update={"units": {**town.units, "parking": parking}})

    async with mailing(database, tips, server, two) as notify:
        notify.tips._url = f"http://127.0.0.1:{free_port()}"
        await send(tips, notify, *[issue()] * 6)
        notify.work(retrying=Retrying(0.5, 0.5, 20))
        await until(lambda: notify.metric("delivery_circuit_open", destination="tips") == 1)
        await notify.rows("UPDATE delivery SET next_attempt_at = now() + interval '20 seconds'")
        await send(tips, notify, issue(category="wrong_parking"))
        await until(lambda: notify.metric("deliveries_total", result="done") == 1)
        assert notify.metric("delivery_circuit_open", destination="tips") == 1


async def test_each_channel_goes_to_its_destination(database: MakeDatabase, tips: Tips, box: Mailbox) -> None:
    """The unit's own system, or what all units share; of every name that a channel can have."""
    goes_to = dict.fromkeys(("webhook", "webhook.2", "fallback.webhook", "emails", "desktop.1"), "parking")
    goes_to |= dict.fromkeys(("email", "email.12", "fallback.email"), MAIL)
    goes_to |= dict.fromkeys(("desk", "fallback.desk.2"), deliveries.DESK)
    async with mailing(database, tips, box.server) as notify:
        await notify.apply(accepted())
        await notify.rows(
            """INSERT INTO delivery (id, report_id, unit, channel, step, state)
               SELECT gen_random_uuid(), report_id, 'parking', name, 'x', 'done'
               FROM dispatch, unnest($1::text[]) AS name""",
            list(goes_to),
        )
        rows = await notify.rows("SELECT channel, destination FROM delivery WHERE unit = 'parking'")
        assert {row["channel"]: row["destination"] for row in rows} == goes_to


async def bounced(notify: Notify, delivery_id: uuid.UUID) -> bool | None:
    async with notify.pool.acquire() as connection, connection.transaction():
        return await bouncing.bounce(connection, delivery_id, notify.municipality, notify.clock())


async def test_an_email_that_comes_back_is_given_up_and_the_fallback_is_used(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """Taken by the mail server, delivered, and then not: said once, however often it comes back."""
    async with mailing(database, tips, box.server, reached_by(EMAIL, fallback=(OTHER,))) as notify:
        await send(tips, notify)
        notify.work()
        await notify.settled()
        (row,) = await notify.rows("SELECT id FROM delivery")
        assert [await bounced(notify, row["id"]) for _ in range(2)] == [True, False]
        await notify.settled()
        assert [one["To"] for one in box.taken] == ["team@unit.example", "other@unit.example"]
        assert await states(notify) == {"email": ("dead", "bounced"), "fallback.email": ("done", None)}
        (failed,) = await notify.said(DeliveryFailed)
        assert isinstance(failed, DeliveryFailed)
        assert (failed.reason, failed.attempts) == ("bounced", 1)
        # The second way comes back too: now a person must look.
        (other,) = await notify.rows("SELECT id FROM delivery WHERE channel = 'fallback.email'")
        assert await bounced(notify, other["id"])
        assert kinds(await notify.said()) == [
            *("ReportRouted", "ReportDelivered", "DeliveryFailed", "ReportDelivered", "DeliveryFailed"),
            "ReportEscalated",
        ]


async def test_what_was_withdrawn_goes_to_nobody_when_its_email_comes_back(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """Neither the fallback nor a person: there is nothing left to do."""
    async with mailing(database, tips, box.server, reached_by(EMAIL, fallback=(OTHER,))) as notify:
        (report_id,) = await send(tips, notify)
        notify.work()
        await notify.settled()
        gone = ReportWithdrawn(report_id=report_id, kind="issue", version=2)
        await notify.apply(Envelope.of(gone, id=uuid.uuid4(), source="/ibuurt/tips", now=notify.clock()))
        (row,) = await notify.rows("SELECT id FROM delivery")
        assert await bounced(notify, row["id"])
        assert await states(notify) == {"email": ("dead", "bounced")}
        assert not await notify.said(ReportEscalated)


async def test_what_somebody_has_seen_is_told_to_nobody_when_its_email_comes_back(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """The unit has it, whichever way."""
    async with mailing(database, tips, box.server) as notify:
        (report_id,) = await send(tips, notify)
        notify.work()
        await notify.settled()
        assert (await notify.act(report_id, "acknowledge", "public_space"))[0] == 200
        (row,) = await notify.rows("SELECT id FROM delivery")
        assert await bounced(notify, row["id"])
        assert not await notify.said(ReportEscalated)
        assert await bounced(notify, uuid.uuid4()) is None


async def test_the_command_takes_a_bounce_from_standard_input(
    database: MakeDatabase, tips: Tips, box: Mailbox, tmp_path: Path
) -> None:
    """As a mail server pipes it: given up; again; about nobody; no notification; the database away."""
    dsn = await database()
    sound = {
        "IBUURT_DATABASE_URL": dsn,
        "IBUURT_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "IBUURT_MUNICIPALITY": str(IBUURT),
        "IBUURT_HTTP_PORT": "8000",
        "IBUURT_INTERNAL_PORT": "8001",
        "IBUURT_OPERATOR_TOKEN": "o" * 32,
        "IBUURT_TIPS_URL": "http://127.0.0.1:1",
        "IBUURT_TIPS_TOKEN": "t" * 32,
        "IBUURT_LINK_SECRET": "l" * 32,
        "IBUURT_SUBSCRIPTION_SECRET": "s" * 32,
        "IBUURT_WEBHOOK_SECRETS": str(tmp_path),
        "IBUURT_PUBLIC_URL": "http://127.0.0.1:1",
    }

    async def run(content: bytes, **more: str) -> tuple[int, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IBUURT_")}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.notify", "bounce"],
            input=content,
            capture_output=True,
            cwd=ROOT,
            env=kept | sound | more,
            timeout=60,
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    async def same(_service: str) -> str:
        return dsn

    async with mailing(same, tips, box.server) as notify:
        await send(tips, notify)
        notify.work()
        await notify.settled()
        (row,) = await notify.rows("SELECT id FROM delivery")
        ours = notification(message_id=box.names[0])
        code, said = await run(ours, IBUURT_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
        assert (code, "away" in said) == (os.EX_TEMPFAIL, True)
        for content, expected, words in (
            (notification("delayed", message_id=box.names[0]), 0, "nothing is changed"),
            (ours, 0, f"{row['id']}: given up"),
            (ours, 0, "over already"),
            (notification(), 1, "there is no delivery"),
            (b"Subject: hello\r\n\r\nhello", 1, "this is no delivery status notification"),
        ):
            code, said = await run(content)
            assert (code, words in said) == (expected, True), said
        assert await states(notify) == {"email": ("dead", "bounced")}
        assert kinds(await notify.said())[-2:] == ["DeliveryFailed", "ReportEscalated"]


async def test_a_restored_database_knows_which_way_a_report_went(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """From the topics: the webhook was given up and the e-mail arrived, so that nothing goes again, and who
    was sent words is told when they are erased."""
    change = reached_by(fallback=(EMAIL,), leaves={"email": "words"})
    async with mailing(database, tips, box.server, change) as notify:
        notify.units.answers["public_space"] = plain(500)
        assert (await tips.post(issue())).status == 201
        heard = await announced(tips)
        await notify.apply(*heard)
        notify.work(retrying=QUICK)
        await notify.settled()
        before = await states(notify)
        rows = await notify.rows("SELECT * FROM outbox ORDER BY position")
        own: list[Envelope[Event]] = [envelope_of(row) for row in rows]
    async with mailing(database, tips, box.server, change) as restored:
        history = History(own=own, heard=heard, deliver_again=False)
        async with restored.pool.acquire() as connection, connection.transaction():
            await recovery.take_back(connection, history, restored.municipality, restored.clock())
        after = await states(restored)
        assert {name: state for name, (state, _) in after.items()} == {
            name: state for name, (state, _) in before.items()
        }
        (row,) = await restored.rows("SELECT words FROM delivery WHERE channel = 'fallback.email'")
        assert row["words"]
