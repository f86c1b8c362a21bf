"""Attacks 6 and 7 of the fifteen: a `stats` that is empty, or of an earlier night, reads everything again."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.stats.app import taking_back
from shared.errors import Refusal
from shared.events import REPORTS, Event, IncidentRecorded, ReportAccepted, StatisticsReleased
from shared.mending.recover import recover
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.stats_harness import Stats, incident, on_topic, report, stats_of
from tests.integration.test_stats_service import Writer
from tests.privacy.sizes import EVERY_NIGHT
from tests.privacy.stepping import run_until_done
from tests.privacy.table import ROWS, Row
from tests.spine import renew_topics, until, writing
from tests.stats_town import AREAS, CATEGORIES

FIRST_NIGHT = datetime(2026, 10, 1, 23, tzinfo=UTC)
# The last one releases October with its final edition.
NIGHTS = 34
EACH = 1 if EVERY_NIGHT else 11


@dataclass
class Month:
    """What was told and published in a month, and the backups of its nights, by their databases' names."""

    told: list[ReportAccepted | IncidentRecorded]
    published: list[bytes]
    backups: list[tuple[datetime, str]]


async def lived(infrastructure: Infrastructure, database: MakeDatabase) -> Month:
    """Each day has its reports, and one that comes eight days late; a restart and a backup at night."""
    await renew_topics(infrastructure.bootstrap)
    chance, dsn = random.Random(7), await database()
    month = Month([], [], [])
    for number in range(0, NIGHTS, EACH):
        night = FIRST_NIGHT + timedelta(days=number)
        async with stats_of(infrastructure.bootstrap, dsn, now=night) as stats:
            new: list[ReportAccepted | IncidentRecorded] = []
            new += [_reported(chance, night - timedelta(days=day)) for day in range(EACH) for _ in range(2)]
            new += [_reported(chance, night - timedelta(days=8 + day)) for day in range(EACH) if number > 8]
            new.append(incident(night - timedelta(hours=12)))
            await stats.count(new)
            month.told += new
            await run_until_done(stats)
            month.published = await stats.chain()
        month.backups.append((night, _name(await database(template=_name(dsn)))))
    return month


def _name(dsn: str) -> str:
    return dsn.rpartition("/")[2]


def _reported(chance: random.Random, night: datetime) -> ReportAccepted:
    return report(night - timedelta(hours=12), chance.choice(AREAS), chance.choice(CATEGORIES))


async def start(stats: Stats) -> bool:
    """Start as a service does; whether it refused to, and was told to `outbox recover`."""
    try:
        await run_until_done(stats)
    except Refusal as refusal:
        if "which this database has not sent" not in str(refusal):
            raise
        await recover(
            stats.dsn,
            stats.bootstrap,
            "stats",
            taking_back([stats.signer.public]),
            deliver_again=False,
            first_counts=False,
            who="eva",
            say=lambda _line: None,
        )
        return True
    return False


async def without_adoption(stats: Stats) -> None:
    """What a database does that looks at itself alone."""
    async with stats.pool.acquire() as connection:
        while await stats.closing.freeze() and await stats.closing.release():
            await connection.execute("UPDATE release SET shown_at = now()")
    await stats.closing.release_final()


def others(released: Sequence[bytes], published: Sequence[bytes]) -> int:
    """How many of these say something else of a period that was published."""
    figures = {_named(one): one.cells for one in map(StatisticsReleased.model_validate_json, published)}
    return sum(
        one.cells != figures.get(_named(one), one.cells)
        for one in map(StatisticsReleased.model_validate_json, released)
    )


def _named(one: StatisticsReleased) -> tuple[Any, ...]:
    return one.table, one.period, one.edition


async def test_7_the_backup_of_any_night_refuses_or_releases_the_same_bytes(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """Restored at the end of the month, everything read again: where more was out than it knew it refuses,
    and then takes over what was published. One that looks at itself alone releases second figures."""
    month = await lived(infrastructure, database)
    now, refused, seconds, periods = FIRST_NIGHT + timedelta(days=NIGHTS), 0, 0, 0
    for night, backup in month.backups[:-1]:
        copy = await database(template=backup)
        async with stats_of(infrastructure.bootstrap, copy, now=night) as planted:
            planted.now = now
            await planted.count(month.told)
            await without_adoption(planted)
            found = others(await planted.chain(), month.published)
            seconds, periods = seconds + (found > 0), periods + found
        restored_dsn = await database(template=backup)
        async with stats_of(infrastructure.bootstrap, restored_dsn, now=night) as restored:
            refused += await start(restored)
            assert (await restored.chain())[: len(month.published)] == month.published
            restored.now = now
            await restored.count(month.told)
            assert not await start(restored)
            assert await restored.chain() == month.published
    assert [one.digest for one in await on_topic(infrastructure.bootstrap)] == [
        StatisticsReleased.model_validate_json(one).digest for one in month.published
    ]
    nights = len(month.backups) - 1
    ROWS.append(
        Row(
            7,
            f"the backups of {nights} nights of a month, restored, all read again",
            "the topic is adopted before anything is done",
            "no look at the topic",
            f"{refused} refuse until recovered; {len(month.published)} releases byte for byte in all",
            f"second figures after {seconds} nights, {periods} in all",
        )
    )
    assert seconds > nights // 2


async def test_6_an_empty_database_that_reads_from_the_first_record_on_shows_the_same_bytes(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """In any order, twice, and from the topics themselves with tombstones among them."""
    month = await lived(infrastructure, database)
    now = FIRST_NIGHT + timedelta(days=NIGHTS)

    def shuffled(told: Sequence[Event]) -> list[Event]:
        return random.Random(6).sample(list(told), len(told))

    ways: dict[str, Callable[[Sequence[Event]], list[Event]]] = {
        "in order": list,
        "shuffled": shuffled,
        "twice": lambda told: [*told, *shuffled(told)],
    }
    for told in ways.values():
        async with stats_of(infrastructure.bootstrap, await database("stats"), now=FIRST_NIGHT) as empty:
            empty.now = now
            assert await start(empty)
            await empty.count(told(month.told))
            assert not await start(empty)
            assert await empty.chain() == month.published

    async with (
        Writer(infrastructure.bootstrap) as writer,
        writing(infrastructure.bootstrap) as by_hand,
        stats_of(infrastructure.bootstrap, await database("stats"), now=FIRST_NIGHT) as empty,
    ):
        await writer.send(month.told)
        await writer.send_again()
        for partition in range(REPORTS.partitions):
            await by_hand.record(partition, b"?", None, [])
        empty.now = now
        assert await start(empty)
        async with empty.serving():
            told_of = len({one.report_id for one in month.told if isinstance(one, ReportAccepted)})
            await until(lambda: empty.value("SELECT count(hour) = $1 FROM lifecycle", told_of), 60)
        assert not await start(empty)
        assert await empty.chain() == month.published

    await renew_topics(infrastructure.bootstrap)
    async with stats_of(infrastructure.bootstrap, await database("stats"), now=FIRST_NIGHT) as planted:
        planted.now = now
        await planted.closing.draw()
        await planted.count(month.told)
        await without_adoption(planted)
        seconds = others(await planted.chain(), month.published)
    ROWS.append(
        Row(
            6,
            f"an empty database reads all again: {', '.join(ways)}, from topics with tombstones",
            "the topic is adopted before anything is done",
            "no look at the topic",
            f"{len(month.published)} releases byte for byte in each",
            f"{seconds} second figures",
        )
    )
    assert seconds > len(month.published) // 2
