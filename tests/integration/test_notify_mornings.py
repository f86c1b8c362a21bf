"""The digest that a unit gets in the morning, by a real SMTP server."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from services.notify.horizon import forget
from services.notify.mornings import Mornings
from shared.mail import MailServer
from shared.municipality import Municipality
from tests.conftest import MakeDatabase
from tests.integration.mail_server import mailbox
from tests.integration.notify_harness import Notify, accepted, running_notify

UNIT = "public_space"
ADDRESS = "morning@unit.example"
# This team works from 7:30 on weekdays; the clock is one hour ahead of UTC.
MONDAY = datetime(2026, 11, 9, 6, 30, tzinfo=UTC)


def with_digest(town: Municipality) -> Municipality:
    """The team has an address for its digest, and so has one that never sleeps."""
    units = dict(town.units)
    for name in (UNIT, "neighbourhood_police_north"):
        units[name] = units[name].model_copy(update={"digest": ADDRESS})
    return town.model_copy(update={"units": units})


@asynccontextmanager
async def morning(
    database: MakeDatabase, mail: MailServer | None = None
) -> AsyncIterator[tuple[Notify, Mornings]]:
    nowhere = "http://127.0.0.1:9"
    async with running_notify(await database("notify"), nowhere, change=with_digest, mail=mail) as notify:
        calendars = notify.dispatches.responsibility.calendars
        yield (
            notify,
            Mornings(notify.pool, notify.municipality, calendars, notify.clock, lambda: None),
        )


async def test_each_day_of_work_has_one_digest_from_its_first_hour_on(database: MakeDatabase) -> None:
    """Not before the unit works and not before seven, not at the weekend, on holidays or in the afternoon,
    and however often and by how many it is looked for."""
    async with morning(database) as (notify, mornings):

        async def at(moment: datetime) -> list[str]:
            notify.clock.at = moment
            return sorted(await mornings.look() + await mornings.look())

        police = "neighbourhood_police_north"
        assert await at(MONDAY - timedelta(minutes=31)) == []
        assert await at(MONDAY - timedelta(minutes=30)) == [police]
        assert await at(MONDAY - timedelta(seconds=1)) == []
        assert await at(MONDAY) == [UNIT]
        assert await at(MONDAY + timedelta(hours=3)) == []
        assert await at(MONDAY + timedelta(days=1, hours=4, seconds=1)) == []
        assert await at(MONDAY + timedelta(days=5)) == [police]  # a Saturday
        assert await at(datetime(2026, 12, 25, 7, tzinfo=UTC)) == [police]
        assert await at(datetime(2027, 7, 5, 5, 30, tzinfo=UTC)) == [police, UNIT]  # summer time
        rows = await notify.rows("SELECT unit, day FROM morning")
        assert len(rows) == len({tuple(row) for row in rows}) == 6


async def test_what_is_open_comes_by_e_mail_with_a_link_to_print(database: MakeDatabase) -> None:
    """The numbers by area and the page; nothing of other units, of tips, and of what is not public. Where
    nothing is open none comes; what has gone leaves no row."""
    with mailbox() as box:
        async with morning(database, box.server) as (notify, mornings):
            notify.clock.at = MONDAY - timedelta(days=30)
            for category in ("street_light", "street_light", "youth_nuisance", "weapons", "wrong_parking"):
                await notify.apply(accepted(category, now=notify.clock()))
            notify.clock.at = MONDAY
            await notify.sweeper.sweep()
            await notify.rows(
                "UPDATE delivery SET state = 'cancelled', due_at = NULL, next_attempt_at = NULL"
                " WHERE state = 'open'"
            )
            assert len(await mornings.look()) == 2
            notify.clock.go_on_from(MONDAY)
            notify.work()
            await notify.settled()
            (message,) = box.taken
            assert message["To"] == ADDRESS
            assert message["Subject"] == "iBuurt: vandaag voor Team Openbare Ruimte"
            text = message.get_content()
            assert "Oakwood: 2 open, 2 te laat of bijna, 0 plekken" in text
            link = next(line for line in text.splitlines() if line.startswith(notify.url))
            async with notify.session.get(link) as page:
                shown = await page.text()
                assert (page.status, "Vandaag in uw wijk" in shown) == (200, True)
            only = next(line for line in text.splitlines() if line.endswith("?area=oakwood"))
            async with notify.session.get(only) as page:
                assert (page.status, "Oakwood" in await page.text()) == (200, True)
            for other in ("wapen", "jongeren", "parkeer"):
                assert other not in (text + shown).lower()
            states = await notify.rows("SELECT state FROM delivery WHERE step = 'digest' ORDER BY state")
            assert [row["state"] for row in states] == ["cancelled", "done"]
            await forget(notify.pool, MONDAY + timedelta(days=10))
            left = await notify.rows("SELECT FROM delivery WHERE report_id IS NULL")
            assert left == await notify.rows("SELECT FROM morning") == []
            assert uuid.UUID(message["Message-ID"].strip("<>").split("@")[0]).version == 5
