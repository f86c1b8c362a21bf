"""Topic, database and ledger held against each other."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import aclosing
from fractions import Fraction
from typing import Any, NamedTuple

from services.stats import queries_releases, signing, specs
from services.stats.core.auditing import Left, Read, chain, spent, unfit
from services.stats.core.spec import Debit, Spec, overspent
from services.stats.reading import on_topic
from shared.cloudevents import from_record, to_value
from shared.cluster import Where
from shared.errors import Poison, Refusal
from shared.events import STATISTICS, StatisticsReleased

Say = Callable[[str], None]


class Known(NamedTuple):
    """What the database says: its releases by number, what it has spent, every spec, its own keys."""

    releases: dict[int, queries_releases.Kept]
    debits: dict[tuple[str, str], Debit]
    specs: list[Spec]
    keys: frozenset[str]


async def verify(connection: Any, where: Where, say: Say, known_left: int = 0) -> None:
    """Say of each thing that disagrees what it is and what to do. Raises Refusal where something does, other
    than `known_left` records that are no release: they stay on the topic for ever."""
    known = Known(
        await queries_releases.kept(connection),
        await queries_releases.spent(connection),
        await specs.every(connection),
        await queries_releases.keys(connection),
    )
    read, unread = await read_topic(where)
    releases, left = chain(read, known.keys)
    none_of_it = [*unread, *_left(left)]
    otherwise = [one async for one in _shown(connection, releases, known)]
    disagree = [*_held(releases, known), *otherwise, *_ledger(releases, known)]
    for fault in (*none_of_it, *disagree):
        say(fault)
    under_way = sum(number > len(releases) for number in known.releases)
    say(
        f"{len(releases)} releases on {STATISTICS.name}: digests, chain and signatures are read; "
        f"{under_way} more are on their way"
    )
    faults = len(disagree) + (len(none_of_it) if len(none_of_it) != known_left else 0)
    if faults:
        raise Refusal(
            f"{faults} things disagree, each named above; docs/operating.md, Releases, says what to do"
        )
    if known_left != len(none_of_it):
        raise Refusal(f"--left {known_left}, and there is no record on the topic that is no release")
    say("topic, database, ledger and budget agree")


async def read_topic(where: Where) -> tuple[list[Read], list[str]]:
    """Every release on the topic, and of each record that is no event what it is. Raises KafkaError."""
    read: list[Read] = []
    unread: list[str] = []
    async with aclosing(on_topic(where, "stats-verifying")) as records:
        async for record in records:
            try:
                event = from_record(record.topic, record.key, record.value, record.headers).event
            except Poison as poison:
                unread.append(f"the record at offset {record.offset} is no event: {poison.reason}")
                continue
            if isinstance(event, StatisticsReleased):
                read.append(Read(record.offset, event, signing.is_signed(event)))
    return read, unread


def _left(left: list[Left]) -> Iterator[str]:
    for one in left:
        yield f"the record at offset {one.offset} is not release {one.number}: {one.why}"


def _held(releases: list[StatisticsReleased], known: Known) -> Iterator[str]:
    for release in releases:
        kept = known.releases.get(release.number)
        if kept is None:
            yield f"release {release.number} is on the topic alone: restart stats, which takes it over"
        elif kept.digest != release.digest:
            yield f"release {release.number} is another in the database: it is of another time"
        if why := unfit(release, known.specs):
            yield f"release {release.number}: {why}"
    for number, kept in known.releases.items():
        if number > len(releases) and kept.shown:
            yield f"release {number} was shown and is not on the topic: `outbox resend`"


async def _shown(connection: Any, releases: list[StatisticsReleased], known: Known) -> AsyncIterator[str]:
    """What everybody is shown, each release by itself: together they are the memory of the topic again."""
    for release in releases:
        kept = known.releases.get(release.number)
        if kept is None or kept.digest != release.digest:
            continue
        content, _ = await queries_releases.content(connection, release.number)
        named = (kept.spec, kept.table, kept.period, kept.edition, kept.state)
        published = (release.spec, release.table, release.period, release.edition, release.state)
        if content != to_value(release) or named != published:
            yield f"release {release.number} is shown otherwise than it was published: restore the database"


def _ledger(releases: list[StatisticsReleased], known: Known) -> Iterator[str]:
    expected = spent(releases)
    for (table, period), debit in expected.items():
        booked = known.debits.get((table, period))
        if booked is None or booked.cost != debit.cost:
            says = booked.cost if booked else 0
            yield f"the ledger says {says} of {table} {period}, its release says {debit.cost}"
    under_way = {(one.table, one.period) for number, one in known.releases.items() if number > len(releases)}
    for table, period in known.debits.keys() - expected.keys() - under_way:
        yield f"the ledger has spent something on {table} {period}, and there is no such release"
    if too_much := overspent(known.debits.values()):
        subject, quarter, cost = too_much
        yield f"{cost} was spent on each of the {subject} of the quarter from {quarter}: more than 1"


def lines_of_ledger(debits: Collection[Debit]) -> Iterator[str]:
    """What was spent, by subject, with what is the most that one report or incident has spent."""
    by_table: dict[str, list[Debit]] = {}
    for debit in debits:
        by_table.setdefault(debit.table, []).append(debit)
    totals: dict[str, Fraction] = {}
    for table, listed in sorted(by_table.items()):
        most = max(debit.cost for debit in listed)
        subject = table.partition(".")[0]
        totals[subject] = totals.get(subject, Fraction(0)) + most
        first, last = min(one.begin for one in listed), max(one.begin for one in listed)
        yield f"{table}: {len(listed)} periods from {first} to {last}, {most} of each that counts there"
    for subject, total in sorted(totals.items()):
        yield f"{subject}: at most {total} (epsilon {float(total):.3f}) of each in its whole life, of 1"
