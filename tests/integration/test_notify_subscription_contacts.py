"""The contact of a subscription that was disabled is told by e-mail, by a real SMTP server."""

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from email.message import EmailMessage

import pytest
import pytest_asyncio
from aiohttp import web

from services.notify import queries_contacts
from services.notify import queries_subscriptions as queries
from services.notify.core import contact_letters, letters
from services.notify.core.letters import Writer
from services.notify.emails import Emails
from services.notify.telling_contacts import AGAIN, LONGEST, Contacts
from tests.conftest import MakeDatabase
from tests.integration.mail_server import Mailbox, mailbox
from tests.integration.notify_harness import SENDER, plain
from tests.integration.subscription_harness import Subscriptions, changed, running_subscriptions
from tests.integration.tips_server import ibuurt
from tests.spine import until

CONTACT = "gis@parks.example"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


@pytest_asyncio.fixture
async def subs(database: MakeDatabase) -> AsyncIterator[Subscriptions]:
    async with running_subscriptions(await database("notify")) as made:
        yield made


def contacts(subs: Subscriptions, box: Mailbox) -> Contacts:
    writer = Writer(ibuurt(), SENDER)
    return Contacts(subs.pool, Emails(box.server, writer, subs.clock), writer, subs.clock)


async def fail(subs: Subscriptions, name: str = "parks") -> None:
    """A subscription that is disabled, by a worker that waits no days."""
    if name not in subs.ids:
        await subs.subscribe(name)
    subs.answers[name] = plain(503)
    await subs.apply(changed(uuid.uuid4()))
    subs.work(disable_after=timedelta(seconds=0.2))
    async with asyncio.timeout(10):
        while not (await subs.listed(name)).disabled_at:  # noqa: ASYNC110 - it is asked of the database
            await asyncio.sleep(0.02)
    await subs.stop()


async def enable(subs: Subscriptions, name: str = "parks") -> None:
    async with subs.pool.acquire() as connection:
        await queries.enable(connection, subs.ids[name], subs.clock())


def text_of(message: EmailMessage) -> str:
    return str(message.get_content())


async def test_the_contact_is_told_once_what_happened_and_what_to_do(
    subs: Subscriptions, box: Mailbox, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the town's language and zone, of the address its host alone, whoever looks and however often; when
    it was enabled and fails again, once more. The log names no address."""
    await subs.subscribe("well")
    await fail(subs)
    lookers = [contacts(subs, box) for _ in range(3)]
    await asyncio.gather(*(one.look() for one in lookers))
    subs.clock.ahead = timedelta(days=1)
    await lookers[0].look()
    (message,) = box.taken
    assert (message["To"], box.addresses) == (CONTACT, [CONTACT])
    assert message["Subject"] == "iBuurt: wij sturen niets meer naar uw systeem (parks)"
    text, listed = text_of(message), await subs.listed("parks")
    assert listed.disabled_at
    at = listed.disabled_at.astimezone(ibuurt().tz)
    for said in ("127.0.0.1", "http_503", f"{at:%H:%M}", "weer aan te zetten", "U mist niets"):
        assert said in text
    assert "/hooks/" not in text
    written = "".join(capfd.readouterr())
    assert "subscription_contact_told" in written
    assert CONTACT not in written

    subs.clock.ahead = timedelta(days=2)
    await enable(subs)
    await fail(subs)
    await lookers[0].look()
    assert len(set(box.names)) == len(box.taken) == 2


async def test_who_is_disabled_by_command_or_enabled_meanwhile_is_told_nothing(
    subs: Subscriptions, box: Mailbox
) -> None:
    """A person knows of the first, and the second is no longer true."""
    await subs.subscribe("stopped")
    async with subs.pool.acquire() as connection:
        await queries.disable(connection, subs.ids["stopped"], subs.clock())
    await fail(subs)
    await enable(subs)
    await contacts(subs, box).look()
    assert box.offered == []


async def test_who_is_disabled_anew_while_it_is_told_of_before_is_told_of_that_too(
    subs: Subscriptions, box: Mailbox
) -> None:
    """The end of the first telling does not end the second."""
    await fail(subs)
    async with subs.pool.acquire() as connection:
        (before,) = await queries_contacts.take_notices(connection, subs.clock(), AGAIN)
        await queries.enable(connection, before.id, subs.clock())
    await fail(subs)
    async with subs.pool.acquire() as connection:
        await queries_contacts.end_notice(connection, before)
    await contacts(subs, box).look()
    assert len(box.taken) == 1


async def test_the_contact_is_told_once_of_what_its_system_refuses(subs: Subscriptions, box: Mailbox) -> None:
    """And that it takes others; when it was sent again and is refused again, once more."""
    await subs.subscribe("parks")

    async def choosing(request: web.Request) -> web.StreamResponse:
        return web.Response(status=410 if "graffiti" in await request.text() else 200)

    subs.answers["parks"] = choosing
    for told in (1, 2):
        await subs.apply(*(changed(uuid.uuid4(), category="graffiti") for _ in range(2)))
        subs.work(aside_refusals=2, aside_after=timedelta())
        async with asyncio.timeout(10):
            while (await subs.listed("parks")).set_aside < 2 * told:
                await subs.apply(changed(uuid.uuid4()))
                await asyncio.sleep(0.02)
        await subs.stop()

        async def is_told(times: int) -> bool:
            await contacts(subs, box).look()
            return len(box.taken) >= times

        await until(functools.partial(is_told, told))
        await contacts(subs, box).look()
        assert len(set(box.names)) == len(box.taken) == told
        await enable(subs)
    message = box.taken[0]
    assert message["Subject"] == "iBuurt: uw systeem weigert berichten (parks)"
    assert "http_410" in text_of(message)
    assert "neemt andere wel aan" in text_of(message)


async def test_what_fails_before_its_contact_was_told_takes_no_notice_back(
    subs: Subscriptions, box: Mailbox
) -> None:
    """An event is set aside; the next one is refused as well, before anybody has looked whom to tell."""
    await subs.subscribe("parks")

    async def choosing(request: web.Request) -> web.StreamResponse:
        return web.Response(status=410 if "graffiti" in await request.text() else 200)

    subs.answers["parks"] = choosing
    await subs.apply(changed(uuid.uuid4(), category="graffiti"))
    subs.work(aside_refusals=1, aside_after=timedelta())
    async with asyncio.timeout(10):
        while not (await subs.listed("parks")).set_aside:
            await subs.apply(changed(uuid.uuid4()))
            await asyncio.sleep(0.02)
    await subs.stop()
    await subs.apply(changed(uuid.uuid4(), category="graffiti"))
    subs.work()

    async def has_failed() -> bool:
        return any(row["attempts"] > 1 and not row["set_aside_at"] for row in await subs.waiting())

    await until(has_failed)
    await subs.stop()
    await contacts(subs, box).look()
    assert len(box.taken) == 1


async def test_what_the_mail_server_puts_off_is_tried_again_under_one_name(
    subs: Subscriptions, box: Mailbox, capfd: pytest.CaptureFixture[str]
) -> None:
    """A quarter of an hour later, and not before; also after a clock that was ahead. What it refuses for good
    is not tried again, and after three days nothing is: an operator is told to use another way."""
    await fail(subs)
    box.contents[:] = ["451 later", "250 OK"]
    telling = contacts(subs, box)
    for ahead, offered in ((timedelta(), 1), (AGAIN - timedelta(minutes=1), 1), (AGAIN, 2), (AGAIN * 2, 2)):
        subs.clock.ahead = ahead
        await telling.look()
        assert len(box.offered) == offered
    assert len(set(box.names)) == len(box.taken) == 1
    assert "subscription_contact_not_told" not in "".join(capfd.readouterr())

    subs.clock.ahead = timedelta(hours=10)
    await fail(subs, "ahead")
    box.contents[:] = ["451 later", "250 OK"]
    await telling.look()
    subs.clock.ahead = timedelta(hours=1)
    await telling.look()
    assert len(box.taken) == 2

    subs.clock.ahead = timedelta(hours=20)
    await fail(subs, "unknown")
    box.recipients[:] = ["550 5.1.1 nobody"]
    tried = len(box.addresses)
    for _ in range(2):
        await telling.look()
        subs.clock.ahead += AGAIN * 2
    assert len(box.addresses) == tried + 1
    await fail(subs, "late")
    box.recipients[:] = ["451 later"]
    for _ in range(2):
        await telling.look()
        subs.clock.ahead += LONGEST + AGAIN
    box.recipients[:] = ["250 OK"]
    await telling.look()
    assert len(box.taken) == 2
    assert "".join(capfd.readouterr()).count("subscription_contact_not_told") == 2


async def test_an_address_that_no_e_mail_can_have_holds_up_no_other(
    subs: Subscriptions, box: Mailbox
) -> None:
    """As an older version may have stored it."""
    for name in ("odd", "parks"):
        await fail(subs, name)
    await subs.rows("UPDATE subscription SET contact = E'odd\\n@parks.example' WHERE name = 'odd'")
    await contacts(subs, box).look()
    assert [message["To"] for message in box.taken] == [CONTACT]


def test_it_is_written_in_every_language_of_letters() -> None:
    """With every text."""
    assert set(contact_letters.TEXTS) == set(letters.TEXTS)
    assert len({tuple(texts) for texts in contact_letters.TEXTS.values()}) == 1
