"""E-mail to units, by real SMTP servers: what each answer means, and what is in the message."""

import base64
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtplib import SMTPException

from deploy.local.processes import free_port
from services.notify.core.deliveries import Retrying
from shared.cloudevents import Envelope
from shared.events import DeliveryFailed, ReportDelivered, ReportErased, ReportEscalated
from shared.mail import MailServer, hand_over
from shared.municipality import Channel, Desk, Email, Municipality, Unit
from tests.conftest import MakeDatabase
from tests.integration.mail_server import Mailbox, authority, hanging_up, mailbox
from tests.integration.notify_harness import Notify, kinds, running_notify, send
from tests.integration.tips_server import SECRET_ADDRESS, SECRET_WORDS, Tips, issue, tip
from tests.spine import until

EMAIL = Email(kind="email", address="team@unit.example")
# Of a unit each.
CATEGORIES = ("street_light", "wrong_parking", "noise", "youth_nuisance")
NOW = "UPDATE delivery SET next_attempt_at = now() - interval '1 second' WHERE state = 'open'"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


def reached_by(
    *channels: Channel, fallback: tuple[Channel, ...] = (), leaves: dict[str, str] | None = None
) -> Any:
    """Every unit of the town is reached so; what may leave is as said, or as usual."""

    def change(town: Municipality) -> Municipality:
        ways = {"fallback": fallback} | ({"channels": channels} if channels else {})
        units = {name: unit.model_copy(update=ways) for name, unit in town.units.items()}
        categories = dict(town.categories)
        if leaves:
            lamp = categories["street_light"]
            said = lamp.leaves.model_copy(update=leaves)
            categories["street_light"] = lamp.model_copy(update={"leaves": said})
        return town.model_copy(update={"units": units, "categories": categories})

    return change


def own_addresses(town: Municipality) -> Municipality:
    """Each unit has an address of its own."""

    def change(unit: Unit) -> Unit:
        address = Email(kind="email", address=f"{unit.id}@unit.example")
        return unit.model_copy(update={"channels": (address,)})

    return town.model_copy(update={"units": {name: change(unit) for name, unit in town.units.items()}})


@asynccontextmanager
async def mailing(
    database: MakeDatabase, tips: Tips, server: MailServer, change: Any = None
) -> AsyncIterator[Notify]:
    change = change or reached_by(EMAIL)
    async with running_notify(
        await database("notify"), tips.internal_url, change=change, mail=server
    ) as notify:
        yield notify


def forms(secret: str) -> list[str]:
    """A text as it may stand in an e-mail, or in any part of one that is written as base64."""
    raw = secret.encode()
    parts = [base64.b64encode(raw[start:])[4:-4].decode() for start in range(3)]
    return [secret, *(part for part in parts if len(part) > 5)]


async def test_an_issue_goes_as_codes_and_its_words_are_not_even_read(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """250 is delivered, by this channel; the link opens the answer page."""
    async with mailing(database, tips, box.server) as notify:
        (report_id,) = await send(tips, notify)
        notify.work()
        await notify.settled()
        (message,) = box.taken
        assert (box.addresses, message["To"]) == (["team@unit.example"], "team@unit.example")
        text = message.get_content()
        assert f"Nummer: {report_id}" in text
        link = next(line for line in text.splitlines() if line.startswith(notify.url))
        async with notify.session.get(link) as page:
            assert page.status == 200
        for form in forms(SECRET_WORDS):
            assert form not in box.offered[0].decode()
        assert await tips.rows("SELECT FROM disclosure WHERE act = 'disclosure'") == []
        (delivered,) = await notify.said(ReportDelivered)
        assert isinstance(delivered, ReportDelivered)
        assert delivered.channel == "email"
        (row,) = await notify.rows("SELECT id, state, words, destination FROM delivery")
        assert tuple(row)[1:] == ("done", False, "@smtp")
        assert message["Message-ID"] == f"<{row['id']}@town.example>"


async def test_words_go_where_the_folder_lets_them_and_are_logged(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """The reading is logged with this channel; when they are erased, the unit is told by e-mail."""
    change = reached_by(EMAIL, leaves={"email": "words"})
    async with mailing(database, tips, box.server, change) as notify:
        (report_id,) = await send(tips, notify)
        notify.work()
        await notify.settled()
        assert SECRET_WORDS in box.taken[0].get_content()
        (reading,) = await tips.rows("SELECT actor FROM disclosure WHERE act = 'disclosure'")
        assert reading["actor"] == "unit:public_space via email"
        (row,) = await notify.rows("SELECT words FROM delivery")
        assert row["words"]
        about: dict[str, Any] = {"report_id": report_id, "kind": "issue", "version": 2, "reason": "resident"}
        gone = Envelope.of(ReportErased(**about), id=uuid.uuid4(), source="/ibuurt/tips", now=notify.clock())
        await notify.apply(gone)
        await notify.settled()
        assert f"Nummer: {report_id}" in box.taken[1].get_content()
        assert "Wis ook" in box.taken[1].get_content()
        assert SECRET_WORDS not in box.taken[1].get_content()


@pytest.mark.parametrize("category", ["fraud", "weapons", "worry_about_someone"])
async def test_a_tip_has_nothing_of_itself_in_the_raw_message(
    database: MakeDatabase, tips: Tips, box: Mailbox, category: str
) -> None:
    """Neither its words nor its category, area, place or times, however they are written."""
    async with mailing(database, tips, box.server) as notify:
        asked = {"fraud": {"answers": {"what": "scam"}}}.get(category, {})
        await send(tips, notify, tip(category=category, **asked))
        await notify.rows(NOW)
        notify.work()
        await notify.settled()
        (raw,) = box.offered
        (message,) = box.taken
        assert message["Subject"] == "iBuurt: er staat iets voor u klaar"
        known = notify.municipality.categories[category]
        areas = notify.municipality.area_sets["district"].areas
        secrets = [SECRET_WORDS, SECRET_ADDRESS, category, *known.names.values(), *areas]
        secrets += [name for area in areas.values() for name in area.names.values()]
        shown = raw.decode() + message.get_content() + str(message["Subject"])
        # Of the link only the path is a secret of its own; a unit's name is the reader's own.
        shown = shown.replace(str(message["Message-ID"]), "")
        for secret in secrets:
            for form in forms(secret):
                assert form.lower() not in shown.lower(), secret
        assert await tips.rows("SELECT FROM disclosure WHERE act = 'disclosure'") == []


async def test_a_tip_stays_one_whatever_its_category_becomes(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """The next folder makes an issue of its category, of which words may leave by e-mail: those of the tips
    that are there do not, nor does the page behind their link, or a notice, say what they are about."""

    def change(town: Municipality) -> Municipality:
        town = reached_by(EMAIL)(town)
        fraud = town.categories["fraud"]
        said = fraud.leaves.model_copy(update={"email": "words"})
        fraud = fraud.model_copy(update={"kind": "issue", "leaves": said})
        return town.model_copy(update={"categories": {**town.categories, "fraud": fraud}})

    async with mailing(database, tips, box.server, change) as notify:
        assert notify.municipality.categories["fraud"].leaving("email") == "words"
        await send(tips, notify, tip(category="fraud", answers={"what": "scam"}))
        await notify.rows("UPDATE delivery SET due_at = now(), next_attempt_at = now()")
        await notify.rows("UPDATE dispatch SET level = 1, acknowledge_by = accepted_at - interval '1 hour'")
        await notify.rows(
            """INSERT INTO delivery (id, unit, channel, step, due_at, next_attempt_at)
               SELECT gen_random_uuid(), unit, 'email', 'notice', now(), now() FROM dispatch"""
        )
        notify.work()
        await notify.settled()
        texts = [one.get_content() for one in box.taken]
        (link,) = {line for text in texts for line in text.splitlines() if line.startswith(notify.url)}
        async with notify.session.get(link) as page:
            texts.append(await page.text())
        assert len(texts) == 3
        names = notify.municipality.categories["fraud"].names.values()
        for secret in (SECRET_WORDS, *names):
            assert not [text for text in texts if secret in text]
        assert await tips.rows("SELECT FROM disclosure WHERE act = 'disclosure'") == []


async def test_greylisting_is_waited_for_and_opens_no_circuit(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """Ten e-mails are put off for different reasons, at the address and after the text; then they are taken,
    each once, under the Message-IDs that were offered before."""
    box.recipients = ["451 4.7.1 greylisted"] * 4 + ["450 4.2.1 busy", "452 4.2.2 full", "250 OK"]
    box.contents = ["451 4.3.0 not now"]
    async with mailing(database, tips, box.server) as notify:
        await send(tips, notify, *[issue()] * 10)
        notify.work()
        await until(lambda: notify.metric("deliveries_total", result="open") >= 20)
        assert notify.metric("delivery_circuit_open", destination="smtp") == 0
        box.contents = ["250 OK"]
        await notify.settled()
        assert len(box.taken) == 10
        assert len(set(box.names)) == 10
        assert set(kinds(await notify.said())) == {"ReportRouted", "ReportDelivered"}
        rows = await notify.rows("SELECT DISTINCT last_failure FROM delivery")
        assert [row["last_failure"] for row in rows] == ["smtp_451"]


@pytest.mark.parametrize("said", ["550 5.1.1 no such user", "550 no", "552 5.2.2 mailbox full", "553 bad"])
async def test_a_mailbox_that_is_refused_is_a_dead_end_at_once(
    database: MakeDatabase, tips: Tips, box: Mailbox, said: str
) -> None:
    """One attempt; then a person."""
    box.recipients = [said]
    async with mailing(database, tips, box.server) as notify:
        await send(tips, notify)
        notify.work()
        await notify.settled()
        assert kinds(await notify.said()) == ["ReportRouted", "DeliveryFailed", "ReportEscalated"]
        (failed,) = await notify.said(DeliveryFailed)
        assert isinstance(failed, DeliveryFailed)
        assert (failed.channel, failed.reason, failed.attempts) == ("email", "mailbox_refused", 1)
        (escalated,) = await notify.said(ReportEscalated)
        assert isinstance(escalated, ReportEscalated)
        assert (escalated.reason, escalated.level, escalated.unit) == ("not_delivered", 2, "public_space")
        assert len(box.addresses) == 1
        # It is in the unit's list, as what waits for a person.
        _, listed = await notify.ask("GET", "/internal/v1/units/public_space/reports")
        (one,) = listed["reports"]
        assert (one["status"], one["level"]) == ("routed", 2)


@pytest.mark.parametrize(
    ("recipients", "contents"),
    [
        ("550 5.7.1 relaying denied", "250 OK"),
        ("250 OK", "554 5.7.0 policy"),
        ("554 5.4.4 no route", "250 OK"),
    ],
)
async def test_what_a_server_refuses_for_its_own_reasons_is_tried_again(
    database: MakeDatabase, tips: Tips, box: Mailbox, recipients: str, contents: str
) -> None:
    """It is held against the mail server, not the mailbox and not the unit; mended, everything goes. The
    addresses are different ones: of one alone what its refusal says is its own."""
    box.recipients, box.contents = [recipients], [contents]
    async with mailing(database, tips, box.server, own_addresses) as notify:
        await send(tips, notify, *[issue(category=one) for one in CATEGORIES] * 2)
        notify.work()
        await until(lambda: notify.metric("delivery_circuit_open", destination="smtp") == 1)
        assert notify.metric("delivery_circuit_open", destination="public_space") == 0
        assert await notify.said(DeliveryFailed) == []
        box.recipients, box.contents = ["250 OK"], ["250 OK"]
        await notify.settled()
        assert len(box.taken) == 8
        assert notify.metric("delivery_circuit_open", destination="smtp") == 0


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("handle_RCPT", "554 5.7.1 relay access denied"),
        ("handle_RCPT", "550 5.4.1 access denied"),
        ("handle_DATA", "552 5.2.2 mailbox full"),
        ("handle_DATA", "550 5.7.1 not wanted here"),
    ],
)
async def test_one_address_that_is_refused_holds_up_no_other(
    database: MakeDatabase, tips: Tips, box: Mailbox, monkeypatch: pytest.MonkeyPatch, at: str, said: str
) -> None:
    """Thirty e-mails to it are refused again and again, and are given up for none: the server takes those of
    other units at once. A count of the addresses tells this from a server that refuses everybody; a circuit
    for each would need a destination of its own for each in every claim."""
    taking = getattr(box, at)

    async def refuse(server: Any, session: Any, given: Any, *more: Any) -> str:
        if "public_space@" in f"{more} {given.rcpt_tos}":
            return said
        return str(await taking(server, session, given, *more))

    monkeypatch.setattr(box, at, refuse)
    async with mailing(database, tips, box.server, own_addresses) as notify:
        await send(tips, notify, *[issue()] * 30)
        notify.work(retrying=Retrying(0.5, 300, 20))
        await until(lambda: notify.metric("deliveries_total", result="open") >= 30)
        assert notify.metric("delivery_circuit_open", destination="smtp") == 0
        await send(tips, notify, *[issue(category=one) for one in CATEGORIES[1:]])
        await until(lambda: len(box.taken) == 3, 5)
        assert notify.metric("delivery_circuit_open", destination="smtp") == 0
        assert await notify.said(DeliveryFailed) == []


async def test_an_email_that_a_server_does_not_take_holds_up_no_other(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """What it holds is refused, again and again: the server works, for all other units."""
    box.contents = ["554 5.6.1 media not supported"]
    async with mailing(database, tips, box.server) as notify:
        await send(tips, notify, *[issue()] * 8)
        notify.work()
        await until(lambda: notify.metric("deliveries_total", result="open") >= 16)
        assert notify.metric("delivery_circuit_open", destination="smtp") == 0


@pytest.mark.parametrize("at", [b"EHLO", b"MAIL", b"RCPT", b"DATA", b"."])
async def test_a_connection_that_breaks_is_tried_again_under_the_same_message_id(
    database: MakeDatabase, tips: Tips, at: bytes
) -> None:
    """At each command, and in the middle of the e-mail."""
    left, port = [False, False, True], free_port()

    def allowed() -> bool:
        return left.pop(0) if len(left) > 1 else left[0]

    async with hanging_up(port, at, allowed) as taken:
        server = MailServer("127.0.0.1", port, "none")
        async with mailing(database, tips, server) as notify:
            await send(tips, notify)
            notify.work()
            await notify.settled()
            assert len(taken) == 1
            (row,) = await notify.rows("SELECT id, attempts, last_failure FROM delivery")
            assert tuple(row)[1:] == (3, "smtp_disconnected")
            assert f"<{row['id']}@town.example>".encode() in taken[0]


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "hangs up"])
@pytest.mark.parametrize(("at", "is_taken"), [(b"QUIT", True), (b"RCPT", False)])
async def test_what_the_server_has_taken_is_handed_over_however_the_connection_ends(
    at: bytes, is_taken: bool, hangs: bool
) -> None:
    """One that does not answer the end of the conversation has the e-mail: to send it again would double
    it."""
    port = free_port()
    async with hanging_up(port, at, lambda: False, hangs=hangs) as taken:
        server, message = MailServer("127.0.0.1", port, "none"), b"Subject: one\r\n\r\nOne\r\n"
        sending = hand_over(server, message, "town@town.example", "unit@town.example", 0.5)
        if is_taken:
            await sending
        else:
            with pytest.raises((TimeoutError, SMTPException)):
                await sending
        assert len(taken) == is_taken


async def test_a_server_that_is_not_there_holds_up_no_webhook(database: MakeDatabase, tips: Tips) -> None:
    """The webhooks of the same unit go at once; the e-mails wait, with one call at a time."""
    server = MailServer("127.0.0.1", free_port(), "none")

    def both(town: Municipality) -> Municipality:
        unit = town.units["public_space"]
        unit = unit.model_copy(update={"channels": (EMAIL, *unit.channels)})
        return town.model_copy(update={"units": {**town.units, unit.id: unit}})

    async with mailing(database, tips, server, both) as notify:
        await send(tips, notify, *[issue()] * 40)
        notify.work(retrying=Retrying(0.5, 0.5, 20))
        await notify.units.seen(40, seconds=5)
        await until(lambda: notify.metric("delivery_circuit_open", destination="smtp") == 1)
        (row,) = await notify.rows("SELECT max(last_failure) AS why, max(attempts) AS most FROM delivery")
        assert tuple(row) == ("smtp_refused", 1)
        assert notify.metric("delivery_circuit_open", destination="public_space") == 0


async def test_a_mail_server_that_hangs_gets_four_at_once_and_holds_up_nobody(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """Webhooks go meanwhile; when it answers, all e-mail arrives once."""
    box.open.clear()

    def both(town: Municipality) -> Municipality:
        unit = town.units["public_space"]
        unit = unit.model_copy(update={"channels": (EMAIL, *unit.channels)})
        return town.model_copy(update={"units": {**town.units, unit.id: unit}})

    async with mailing(database, tips, box.server, both) as notify:
        await send(tips, notify, *[issue()] * 12)
        notify.work()
        await notify.units.seen(12, seconds=4)
        assert len(box.addresses) == 4
        box.open.set()
        await notify.settled()
        assert len(box.taken) == len({one["Message-ID"] for one in box.taken}) == 12


async def test_where_encryption_is_set_nothing_goes_without_it(
    database: MakeDatabase, tips: Tips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to a server that has none, nor to one whose certificate nobody vouches for; then it goes."""
    context, ca = authority(tmp_path)
    with mailbox() as plain, mailbox(context) as safe:
        for box, known, reason in ((plain, None, "smtp_tls"), (safe, None, "smtp_tls"), (safe, ca, None)):
            if known:
                monkeypatch.setenv("SSL_CERT_FILE", str(known))
            server = MailServer("127.0.0.1", box.port, "starttls")
            async with mailing(database, tips, server) as notify:
                await send(tips, notify)
                notify.work(retrying=Retrying(0.02, 0.05, 2))
                await notify.settled()
                (row,) = await notify.rows("SELECT last_failure FROM delivery WHERE step = 'route'")
                assert row["last_failure"] == reason
            assert len(box.taken) == (1 if known else 0)
        assert safe.encrypted == [True]


async def test_a_server_that_wants_encryption_gets_nothing_without(
    database: MakeDatabase, tips: Tips, tmp_path: Path
) -> None:
    """A wrong setting of the operator: the mail server's fault, tried again."""
    context, _ = authority(tmp_path)
    with mailbox(context) as box:
        async with mailing(database, tips, box.server) as notify:
            await send(tips, notify)
            notify.work(retrying=Retrying(0.02, 0.05, 2))
            await notify.settled()
            (row,) = await notify.rows("SELECT last_failure FROM delivery WHERE step = 'route'")
            assert row["last_failure"] == "smtp_530"
        assert box.offered == []


async def test_after_a_death_between_the_server_and_the_record_the_repeat_can_be_recognised(
    database: MakeDatabase, tips: Tips, box: Mailbox
) -> None:
    """The server has it, the worker dies, the lease runs out: a second e-mail with the same Message-ID."""
    async with mailing(database, tips, box.server) as notify:
        await send(tips, notify)
        await notify.die_before_record()
        assert kinds(await notify.said()) == ["ReportRouted"]
        notify.work()
        await notify.settled()
        assert len(box.taken) == 2
        assert len(set(box.names)) == 1
        assert kinds(await notify.said()) == ["ReportRouted", "ReportDelivered"]


async def test_nothing_of_the_address_or_the_answer_is_logged(
    database: MakeDatabase, tips: Tips, box: Mailbox, capfd: pytest.CaptureFixture[str]
) -> None:
    """A mail server's answers repeat the address; the log and the rows have a code."""
    box.recipients = ["451 team@unit.example is greylisted", "550 team@unit.example is nobody"]
    async with mailing(
        database, tips, box.server, reached_by(EMAIL, fallback=(Desk(kind="desk"),))
    ) as notify:
        await send(tips, notify)
        notify.work()
        await notify.settled()
        await notify.stop()
        for table in ("dispatch", "delivery", "outbox", "report_step"):
            (row,) = await notify.rows(f"SELECT coalesce(string_agg(t::text, ' '), '') AS all FROM {table} t")
            assert "unit.example" not in row["all"]
    captured = capfd.readouterr()
    assert "unit.example" not in captured.out + captured.err
