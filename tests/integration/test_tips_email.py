"""E-mail about an issue, by a real SMTP server: asked for, confirmed, sent, ended; never for a tip."""

import asyncio
import email
import re
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from deploy.local.processes import free_port
from services.tips import app, consumer, recovery
from services.tips.emailing import ATTEMPTS_MOST, LEASE, Emailing
from services.tips.queries import emails
from shared import events
from shared.mail import MailServer
from shared.mending.recover import History
from tests.integration.followed import QUESTION, followed
from tests.integration.test_tips_consumer import envelope
from tests.integration.test_tips_privacy import everything, forms
from tests.integration.tips_server import (
    NOTIFY_TOKEN,
    PEPPERS,
    SECRET_WORDS,
    SENDER,
    Answer,
    Tips,
    issue,
    tip,
)

ADDRESS = "someone.special@resident.example"
OTHER = "other@resident.example"
NOTHING_WAITS = "SELECT WHERE NOT EXISTS (SELECT FROM email)"


@dataclass
class Mailbox:
    """A mail server; `says` is its answer to each recipient and to each e-mail."""

    port: int = field(default_factory=free_port)
    taken: list[Message] = field(default_factory=list)
    # The Message-IDs of all that was offered.
    names: list[str] = field(default_factory=list)
    says: tuple[str, str] = ("250 OK", "250 OK")
    seen: int = 0
    # While it is not set, an e-mail is not answered.
    open: threading.Event = field(default_factory=threading.Event)

    async def handle_RCPT(self, _server: Any, _session: Any, given: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.seen += 1
        if self.says[0].startswith("250"):
            given.rcpt_tos.append(address)
        return self.says[0]

    async def handle_DATA(self, _server: Any, _session: Any, given: Any) -> str:  # noqa: N802 - aiosmtpd's name
        while not self.open.is_set():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.01)
        message = email.message_from_bytes(given.content)
        self.names.append(message["Message-ID"])
        if self.says[1].startswith("250"):
            self.taken.append(message)
        return self.says[1]

    async def until(self, count: int) -> Message:
        """The last e-mail, once there are so many."""
        async with asyncio.timeout(30):
            while len(self.taken) < count:  # noqa: ASYNC110 - of another thread
                await asyncio.sleep(0.02)
        return self.taken[-1]

    async def until_asked(self, seen: int) -> None:
        """Once there are more recipients than were seen."""
        async with asyncio.timeout(20):
            while self.seen == seen:  # noqa: ASYNC110 - of another thread
                await asyncio.sleep(0.02)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    box.open.set()
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    yield box
    box.open.set()
    controller.stop()


@asynccontextmanager
async def emailing(tips: Tips, box: Mailbox) -> AsyncIterator[None]:
    """The worker runs."""
    worker = Emailing(
        tips.pool,
        tips.desk.keys,
        MailServer("127.0.0.1", box.port, "none"),
        SENDER,
        tips.desk.municipality.languages,
        PEPPERS.lookup,
        tips.desk.metrics,
        tips.clock,
    )
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        # Python 3.11 loses a cancellation that comes just as what wait_for waits for is done.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=5)
        if not task.cancelled():
            task.result()


async def ask(tips: Tips, receipt: str, method: str = "PUT", address: str = ADDRESS) -> Answer:
    body = {"address": address} if method == "PUT" else None
    return await tips.request(method, "/v1/reports/mine/email", body, {"Authorization": f"Receipt {receipt}"})


def link(message: Message, action: str) -> str:
    """The path of the link in an e-mail."""
    found = re.search(rf"https://\S+?(/v1/email/\S+/{action})", text(message))
    assert found, text(message)
    return found[1]


def text(message: Message) -> str:
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode("utf-8")


async def until(tips: Tips, statement: str, *arguments: Any) -> None:
    """Wait until there is such a row."""
    async with asyncio.timeout(20):
        while not await tips.rows(statement, *arguments):  # noqa: ASYNC110 - of the database
            await asyncio.sleep(0.05)


async def confirmed(tips: Tips, box: Mailbox) -> tuple[str, Any]:
    """An issue whose sender has confirmed; the receipt and the report's row."""
    receipt = (await tips.post(issue())).body["receipt"]
    assert (await ask(tips, receipt)).status == 202
    message = await box.until(len(box.taken) + 1)
    assert (await tips.request("POST", link(message, "confirm"), None, {})).status == 200
    await until(tips, NOTHING_WAITS)
    (row,) = await tips.rows("SELECT report_id, kind FROM report")
    return receipt, row


async def happens(tips: Tips, row: Any, *types: type[events.ReportEvent], begin: int = 1) -> None:
    happened = [envelope(row, one, number, tips.clock.now) for number, one in enumerate(types, start=begin)]
    async with tips.pool.acquire() as connection, connection.transaction():
        await consumer.apply(connection, happened)


async def test_news_comes_after_it_was_confirmed_and_says_no_word(tips: Tips, mailbox: Mailbox) -> None:
    """Nothing before; then one e-mail for each step that a resident cares about, in the report's language."""
    async with emailing(tips, mailbox):
        receipt = (await tips.post(issue())).body["receipt"]
        assert (await ask(tips, receipt, "GET")).body == {"email": "none"}
        assert (await ask(tips, receipt)).status == 202
        message = await mailbox.until(1)
        assert (message["To"], message["From"]) == (ADDRESS, SENDER.address)
        assert "wilt u e-mail" in str(message["Subject"])
        await until(tips, NOTHING_WAITS)
        (row,) = await tips.rows("SELECT report_id, kind FROM report")
        await happens(tips, row, events.ReportRouted)
        # Here and not by what is sent: it would come with the news below.
        assert await tips.rows("SELECT FROM email") == []
        assert (await ask(tips, receipt, "GET")).body == {"email": "unconfirmed"}
        page = await tips.request("GET", link(message, "confirm"), None, {})
        assert b"<button>" in page.content
        assert (await ask(tips, receipt, "GET")).body == {"email": "unconfirmed"}
        assert (await tips.request("POST", link(message, "confirm"), None, {})).status == 200
        assert (await ask(tips, receipt, "GET")).body == {"email": "confirmed"}
        await happens(tips, row, events.ReportDelivered, events.ReportAcknowledged, begin=2)
        await happens(tips, row, events.ReportDelivered, events.ReportAcknowledged, begin=2)
        message = await mailbox.until(2)
        assert "heeft uw melding gelezen" in text(message)
        await happens(tips, row, events.ReportResolved, begin=4)
        await mailbox.until(3)
    assert len(mailbox.taken) == 3
    everything_sent = " ".join(text(one) + str(one["Subject"]) for one in mailbox.taken)
    assert SECRET_WORDS not in everything_sent
    assert receipt not in everything_sent


async def test_one_click_ends_it_and_erases_the_address(tips: Tips, mailbox: Mailbox) -> None:
    """As RFC 8058 says: a POST without a form of ours; what waits is not sent."""
    async with emailing(tips, mailbox):
        _, row = await confirmed(tips, mailbox)
        await happens(tips, row, events.ReportAcknowledged)
        message = await mailbox.until(2)
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        path = message["List-Unsubscribe"].strip("<>").removeprefix(SENDER.public_url)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await tips.request("POST", path, b"List-Unsubscribe=One-Click", form)
        assert answer.status == 200
        await happens(tips, row, events.ReportResolved, begin=2)
        assert (await tips.request("POST", path, b"", form)).status == 404
        await asyncio.sleep(0.2)
    assert len(mailbox.taken) == 2
    assert await tips.rows("SELECT FROM email_updates") == []
    assert await tips.rows("SELECT FROM email") == []


async def test_never_for_a_tip(tips: Tips) -> None:
    """Refused, with the reason, and nothing is stored."""
    receipt = (await tips.post(tip())).body["receipt"]
    answer = await ask(tips, receipt)
    assert (answer.status, answer.code) == (409, "no-email-for-tips")
    assert await tips.rows("SELECT FROM email_updates") == []


async def test_the_address_is_nowhere_in_clear(tips: Tips, mailbox: Mailbox) -> None:
    """Sealed with the report's key, so that it goes with it; nor is a link's token."""
    async with emailing(tips, mailbox):
        await confirmed(tips, mailbox)
    token = link(mailbox.taken[0], "confirm").split("/")[-2]
    dump = await everything(tips)
    for secret in (ADDRESS, "someone.special", token):
        for form in forms(secret):
            assert [table for table, text in dump.items() if form in text] == []


async def test_an_erased_report_sends_nothing_more(tips: Tips, mailbox: Mailbox) -> None:
    """Even what waited at that moment: its address cannot be opened."""
    async with emailing(tips, mailbox):
        _, row = await confirmed(tips, mailbox)
    await happens(tips, row, events.ReportResolved)
    async with tips.pool.acquire() as connection:
        await connection.execute(
            "UPDATE report SET key_name = NULL, wrapped_key = NULL, sealed = NULL WHERE report_id = $1",
            row["report_id"],
        )
    async with emailing(tips, mailbox):
        async with asyncio.timeout(20):
            while await tips.rows("SELECT FROM email"):  # noqa: ASYNC110 - of the database
                await asyncio.sleep(0.05)
    assert len(mailbox.taken) == 1


async def test_a_mail_server_that_is_busy_or_away_gets_it_later(tips: Tips, mailbox: Mailbox) -> None:
    """With the Message-ID of the first try, which nobody can compute from what is known; nothing is lost."""
    mailbox.says = ("250 OK", "451 later")
    async with emailing(tips, mailbox):
        receipt = (await tips.post(issue())).body["receipt"]
        assert (await ask(tips, receipt)).status == 202
        async with asyncio.timeout(20):
            while not mailbox.names:  # noqa: ASYNC110 - of another thread
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        (row,) = await tips.rows("SELECT email_id FROM email")
        mailbox.says = ("250 OK", "250 OK")
        tips.clock.now += timedelta(minutes=5)
        message = await mailbox.until(1)
    assert re.fullmatch(r"<[0-9a-f]{32}@ibuurt\.example>", message["Message-ID"])
    assert len(mailbox.names) >= 2
    assert set(mailbox.names) == {message["Message-ID"]}
    assert row["email_id"].hex not in message["Message-ID"]


async def test_what_was_overtaken_or_changes_nothing_is_no_news(tips: Tips, mailbox: Mailbox) -> None:
    """Of what arrives together the last alone; what comes late, nothing; a mark of spam is told, once."""
    async with emailing(tips, mailbox):
        _, row = await confirmed(tips, mailbox)
        await happens(tips, row, events.ReportRouted, events.ReportAcknowledged, events.ReportResolved)
        assert "is klaar" in text(await mailbox.until(2))
        await happens(tips, row, events.ReportPlanned, begin=3)
        url = f"{tips.internal_url}/internal/v1/reports/{row['report_id']}/spam"
        token = {"Authorization": f"Bearer {NOTIFY_TOKEN}"}
        decision = {"by": "officer:k.jansen", "decision_id": str(uuid.uuid4())}
        for _ in range(2):
            assert (await tips.request("POST", url, decision, token)).status == 200
        assert "spam of misbruik" in text(await mailbox.until(3))
        await asyncio.sleep(0.2)
    assert len(mailbox.taken) == 3


async def test_a_restored_database_mails_nobody(tips: Tips, mailbox: Mailbox) -> None:
    """Who ended it after the backup is on no topic: every address is forgotten, with what waits for it."""
    async with emailing(tips, mailbox):
        receipt, row = await confirmed(tips, mailbox)
    await happens(tips, row, events.ReportResolved)
    assert await tips.rows("SELECT FROM email")
    async with tips.pool.acquire() as connection, connection.transaction():
        told = await recovery.take_back(connection, History([], [], deliver_again=False), tips.clock.now)
    assert any(line.startswith("1 e-mail addresses are forgotten") for line in told.lines)
    assert (await ask(tips, receipt, "GET")).body == {"email": "none"}
    assert await tips.rows("SELECT FROM email") == []


async def test_an_address_that_does_not_exist_is_erased(tips: Tips, mailbox: Mailbox) -> None:
    """A refusal for good that says so: nobody is tried again."""
    mailbox.says = ("550 5.1.1 no such user", "250 OK")
    async with emailing(tips, mailbox):
        receipt = (await tips.post(issue())).body["receipt"]
        assert (await ask(tips, receipt)).status == 202
        async with asyncio.timeout(20):
            while await tips.rows("SELECT FROM email_updates"):  # noqa: ASYNC110 - of the database
                await asyncio.sleep(0.05)
    assert (await ask(tips, receipt, "GET")).body == {"email": "none"}
    assert attempts(tips) == {"no_mailbox": 1}


def attempts(tips: Tips) -> dict[str, float]:
    """Attempts by what came of them."""
    (metric,) = (one for one in tips.registry.collect() if one.name == "emails")
    return {one.labels["outcome"]: one.value for one in metric.samples if one.name == "emails_total"}


@pytest.mark.parametrize(
    "says",
    [
        ("550 5.7.1 blocked by policy", "250 OK"),
        ("550 5.1.8 the sender's domain does not exist", "250 OK"),
        ("550 5.2.2 mailbox full", "250 OK"),
        ("554 no", "250 OK"),
        ("550 no access 5.1.1", "250 OK"),
        ("250 OK", "550 5.7.26 not signed"),
    ],
)
async def test_a_block_keeps_the_address_and_is_said(
    says: tuple[str, str], tips: Tips, mailbox: Mailbox
) -> None:
    """It is about us, or may be: tried again, counted, given up in the end, and the next news is sent."""
    async with emailing(tips, mailbox):
        receipt, row = await confirmed(tips, mailbox)
    mailbox.says = says
    await happens(tips, row, events.ReportAcknowledged)
    async with emailing(tips, mailbox):
        await until(tips, "SELECT FROM email WHERE attempts = 1 AND due < $1", tips.clock.now + LATEST)
    assert attempts(tips) == {"sent": 1, "blocked": 1}
    await tips.rows("UPDATE email SET attempts = $1", ATTEMPTS_MOST - 1)
    tips.clock.now += timedelta(hours=3)
    async with emailing(tips, mailbox):
        await until(tips, NOTHING_WAITS)
    assert attempts(tips) == {"sent": 1, "blocked": 1, "given_up": 1}
    assert (await ask(tips, receipt, "GET")).body == {"email": "confirmed"}
    mailbox.says = ("250 OK", "250 OK")
    await happens(tips, row, events.ReportResolved, begin=2)
    async with emailing(tips, mailbox):
        await mailbox.until(2)


# The longest pause after the first attempt; a lease is longer.
LATEST = timedelta(seconds=61)


async def test_who_ends_it_gets_nothing_that_another_was_waited_for(tips: Tips, mailbox: Mailbox) -> None:
    """Two e-mails are due, and the server takes long for the first: the second is not sent any more."""
    async with emailing(tips, mailbox):
        first, _ = await confirmed(tips, mailbox)
        second = (await tips.post(issue())).body["receipt"]
        assert (await ask(tips, second, address=OTHER)).status == 202
        link_of_second = link(await mailbox.until(2), "confirm")
        assert (await tips.request("POST", link_of_second, None, {})).status == 200
        await until(tips, NOTHING_WAITS)
    for one in await tips.rows("SELECT report_id, kind FROM report"):
        await happens(tips, one, events.ReportAcknowledged)
    mailbox.open.clear()
    seen = mailbox.seen
    async with emailing(tips, mailbox):
        await mailbox.until_asked(seen)
        await until(tips, "SELECT FROM email HAVING count(*) = 2")
        for receipt in (first, second):
            assert (await ask(tips, receipt, "DELETE")).status == 204
        mailbox.open.set()
        await mailbox.until(3)
        await asyncio.sleep(0.3)
    assert len(mailbox.taken) == 3


async def test_one_that_took_long_is_not_sent_by_two(tips: Tips, mailbox: Mailbox) -> None:
    """What another worker has leased meanwhile is that one's: whoever waited for the server leaves it."""
    async with emailing(tips, mailbox):
        _, row = await confirmed(tips, mailbox)
    await happens(tips, row, events.ReportAcknowledged, events.ReportResolved)
    mailbox.open.clear()
    seen = mailbox.seen
    async with emailing(tips, mailbox):
        await mailbox.until_asked(seen)
        tips.clock.now += LEASE * 2
        async with tips.pool.acquire() as connection:
            await emails.lease(connection, tips.clock.now, tips.clock.now + LEASE, 20)
        mailbox.open.set()
        await mailbox.until(2)
        await asyncio.sleep(0.3)
    assert len(mailbox.taken) == 2


async def test_a_message_of_the_unit_is_told_and_not_shown(tips: Tips, mailbox: Mailbox) -> None:
    """That there is one, or a question; once, however often it is sent; nothing to who has not confirmed."""
    async with emailing(tips, mailbox):
        await followed(tips)
        mine = await followed(tips)
        assert (await ask(tips, mine.receipt)).status == 202
        message = await mailbox.until(1)
        assert (await mine.ask(QUESTION)).status == 201
        assert (await tips.request("POST", link(message, "confirm"), None, {})).status == 200
        written = str(uuid.uuid4())
        for status in (201, 200):
            assert (await mine.ask("Kees will come by", asks=False, message_id=written)).status == status
        assert "heeft u een bericht gestuurd" in text(await mailbox.until(2))
        assert (await mine.ask("Kees will come by", asks=False, message_id=written)).status == 200
        assert (await mine.ask(QUESTION)).status == 201
        assert "heeft een vraag aan u" in text(await mailbox.until(3))
        await asyncio.sleep(0.3)
    assert len(mailbox.taken) == 3
    everything_sent = " ".join(text(one) + str(one["Subject"]) for one in mailbox.taken)
    assert "Kees" not in everything_sent
    assert QUESTION not in everything_sent


async def test_a_dispatch_that_comes_again_is_told_once(tips: Tips, mailbox: Mailbox) -> None:
    """Also after its e-mail was sent and forgotten; beside it, what is new is told."""
    async with emailing(tips, mailbox):
        _, row = await confirmed(tips, mailbox)
        await happens(tips, row, events.ReportAcknowledged)
        await mailbox.until(2)
        await until(tips, NOTHING_WAITS)
        await happens(tips, row, events.ReportAcknowledged, events.ReportResolved)
        await mailbox.until(3)
        await asyncio.sleep(0.3)
    assert "is klaar" in text(mailbox.taken[2])
    assert len(mailbox.taken) == 3


async def test_what_nobody_confirms_is_erased(tips: Tips, mailbox: Mailbox) -> None:
    """After two days, whoever's address it was."""
    async with emailing(tips, mailbox):
        receipt = (await tips.post(issue())).body["receipt"]
        assert (await ask(tips, receipt)).status == 202
        message = await mailbox.until(1)
    tips.clock.now += timedelta(hours=50)
    forgetting = asyncio.create_task(app.forget_submissions(tips.pool, tips.clock))
    async with asyncio.timeout(20):
        while await tips.rows("SELECT FROM email_updates"):  # noqa: ASYNC110 - of the database
            await asyncio.sleep(0.05)
    forgetting.cancel()
    assert (await tips.request("POST", link(message, "confirm"), None, {})).status == 404


async def test_news_waits_until_a_lost_key_is_restored(tips: Tips, mailbox: Mailbox, tmp_path: Path) -> None:
    """However often it is tried meanwhile: the folder comes back from its backup, and nothing is lost."""
    receipt = (await tips.post(issue())).body["receipt"]
    assert (await ask(tips, receipt)).status == 202
    (row,) = await tips.rows("SELECT key_name FROM report")
    key = tmp_path / row["key_name"]
    kept = key.rename(tmp_path / ".backup")
    await tips.rows("UPDATE email SET attempts = $1", ATTEMPTS_MOST)
    tried = "SELECT FROM email WHERE attempts > $1"
    async with emailing(tips, mailbox):
        async with asyncio.timeout(20):
            while not await tips.rows(tried, ATTEMPTS_MOST):  # noqa: ASYNC110 - of the database
                await asyncio.sleep(0.05)
        kept.rename(key)
        tips.clock.now += timedelta(hours=3)
        assert (await mailbox.until(1))["To"] == ADDRESS


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a@b\r\nBcc: c@d.example",
        "a b@c.example",
        "@c.example",
        # What a mail program reads otherwise, or not at all.
        ":;@c.example",
        ".<.@c.example",
        "():@c.example",
        "a,b@c.example",
        "a@c..example",
        "a@-.example",
    ],
)
async def test_what_is_no_address_is_refused(address: str, tips: Tips) -> None:
    """Nor can anything else be slipped into an e-mail's head."""
    receipt = (await tips.post(issue())).body["receipt"]
    answer = await ask(tips, receipt, address=address)
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "/address")


async def test_a_link_of_somebody_else_opens_nothing(tips: Tips, mailbox: Mailbox) -> None:
    """A wrong token, another subscription or another action."""
    async with emailing(tips, mailbox):
        await confirmed(tips, mailbox)
    right = link(mailbox.taken[0], "confirm")
    _, _, _, subscription, token, _ = right.split("/")
    for path in (
        f"/v1/email/{subscription}/{'0' * 32}/end",
        f"/v1/email/{uuid.uuid4()}/{token}/end",
        f"/v1/email/{subscription}/{token}/other",
        f"/v1/email/{subscription}/é/end",
        f"/v1/email/none/{token}/end",
    ):
        assert (await tips.request("POST", path, None, {})).status == 404
    assert len(await tips.rows("SELECT FROM email_updates WHERE confirmed")) == 1


async def test_the_openapi_document_has_the_links_too(tips: Tips) -> None:
    """Both ways to use them, and the pages that they answer."""
    document = (await tips.get("/v1/openapi.json")).body
    link_said = document["paths"]["/v1/email/{subscription_id}/{token}/{action}"]
    assert set(link_said) == {"get", "post"}
    for said in link_said.values():
        assert {"200", "404", "503"} <= set(said["responses"])
        for status in ("200", "404"):
            assert list(said["responses"][status]["content"]) == ["text/html"]


async def test_asking_again_replaces_the_address(tips: Tips, mailbox: Mailbox) -> None:
    """The new one is to be confirmed, and the old one's links are over."""
    async with emailing(tips, mailbox):
        receipt, row = await confirmed(tips, mailbox)
        old = link(mailbox.taken[0], "confirm")
        assert (await ask(tips, receipt, address=OTHER)).status == 202
        await mailbox.until(2)
        assert (await tips.request("POST", old, None, {})).status == 404
        await happens(tips, row, events.ReportResolved)
        assert (await ask(tips, receipt, "DELETE")).status == 204
    assert [one["To"] for one in mailbox.taken] == [ADDRESS, OTHER]
