"""From an open period to its release, step by step; each is done once, whichever process does it and whenever
it dies: draw the noise, freeze the counts, release, and a month's final edition when all of it is out.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import structlog
from aiokafka.errors import KafkaError
from asyncpg import LockNotAvailableError

from services.stats import noise, queries_releases, reading
from services.stats.core import adjusting, margins
from services.stats.core.periods import Period, named, period, periods
from services.stats.core.release import Link, noisy, unsigned
from services.stats.core.spec import Spec, Table, tally
from services.stats.history import has_lost
from services.stats.signing import Signer
from shared import kafka, outbox
from shared.cloudevents import Envelope, derived_id, to_value
from shared.cluster import Where
from shared.errors import Refusal
from shared.events import DISPATCHES, INCIDENTS, REPORTS, Place, StatisticsReleased
from shared.mending.journal import note
from shared.repeating import once

# What is frozen in one minute is released when the next begins, and is dated by that: how long it took to
# count, and what came just then, tells nobody anything.
CLOCK_SECONDS = 60
AGAIN_SECONDS = 1.0
# One cycle of backups at least, and time to mend what keeps it from being drawn.
DRAW_AHEAD = timedelta(days=14)
KEEP = timedelta(days=30)
# How many releases may be on their way to the topic: each may have some hundred kilobytes.
ON_THEIR_WAY = 20
GROUP = "stats"
COUNTED = (REPORTS, DISPATCHES, INCIDENTS)
# In the journal of mending: nobody has accepted it, and it counts like a gap that somebody has.
LOST = "records lost"

log = structlog.get_logger()


class Held(NamedTuple):
    """How far the topics reached, not before `at`: all that was in time for what had closed by then."""

    at: datetime
    ends: Mapping[Place, int]


class Closing:
    """Closes periods by the specs, oldest first. `run` ends by cancellation or by a Refusal."""

    def __init__(
        self,
        pool: Any,
        where: Where,
        specs: Sequence[Spec],
        signer: Signer,
        *,
        source: str,
        clock: Callable[[], datetime],
        appended: Callable[[], None] = lambda: None,
    ) -> None:
        """`source` is the writer that events name; `appended` is called when a release is on its way."""
        self._pool = pool
        self._where = where
        self._specs = {spec.id: spec for spec in specs}
        self._signer = signer
        self._source = source
        self._clock = clock
        self._appended = appended
        # From then on may be read on: before, nobody would see that something is missing.
        self.noted = asyncio.Event()
        # What a freeze waits for; None while nothing does.
        self._held: Held | None = None
        # The horizon has it drawn too: two at once would do all the work twice.
        self._drawing = asyncio.Lock()

    async def run(self, checked: asyncio.Event) -> None:
        """Adopt what is on the topic once the relay has found it in order, then close what falls due."""
        patiently = partial(once, "releases", away=(KafkaError, TimeoutError))
        await patiently(self.note_lost)
        self.noted.set()
        await checked.wait()
        await patiently(self.adopt)
        while True:
            again = await patiently(self.step)
            await asyncio.sleep(AGAIN_SECONDS if again else self._until_next())

    def _until_next(self) -> float:
        return CLOCK_SECONDS - self._clock().timestamp() % CLOCK_SECONDS

    def _begun(self) -> datetime:
        """The beginning of this minute."""
        return self._clock().replace(second=0, microsecond=0)

    async def adopt(self) -> None:
        """Take over what was published. Raises Refusal as reading.adopt, and where the key that is to sign is
        one that another has followed."""
        async with self._pool.acquire() as connection:
            known = await queries_releases.keys(connection)
        specs = [*self._specs.values()]
        adopted = await reading.adopt(self._pool, self._where, known, specs, self._clock())
        if adopted:
            log.info("adopted", releases=adopted)
        async with self._pool.acquire() as connection:
            await self._refuse_retired(connection)

    async def _refuse_retired(self, connection: Any) -> None:
        if self._signer.public in await queries_releases.retired_keys(connection):
            raise Refusal(
                f"the signing key {self._signer.public} is an earlier one, and nobody takes any more what it "
                "signs: put the newest secret signing_key back, or have another made by `operator rotate "
                "signing_key`, and restart"
            )

    async def note_lost(self) -> None:
        """Write down, before anything is read on, where a topic no longer has what was not read: what those
        events would have counted in is incomplete."""
        extents = await self._extents()
        async with self._pool.acquire() as connection, connection.transaction():
            applied = await queries_releases.offsets(connection, GROUP)
            for topic in COUNTED:
                lost = {
                    str(partition): extent.start
                    for (name, partition), extent in extents.items()
                    if name == topic.name and extent.start > applied.get((name, partition), 0)
                }
                detail = {"topic": topic.name, "before": lost}
                # Until more comes, each start finds the same.
                if lost and not await queries_releases.is_noted(connection, LOST, detail):
                    await note(connection, GROUP, LOST, detail)

    async def step(self) -> bool:
        """Do what is due now; returns whether something was left for the next step."""
        await self.draw()
        async with self._pool.acquire() as connection:
            await queries_releases.go_on(connection)
        waits = not await self.freeze()
        released = await self.release()
        released += await self.release_final()
        await self.destroy()
        async with self._pool.acquire() as connection:
            under_way = await queries_releases.unshown(connection)
        if released:
            self._appended()
        return waits or bool(released) or under_way > 0

    async def draw(self) -> None:
        """Draw the noise of every period that opens within DRAW_AHEAD, and of those of the past."""
        async with self._drawing:
            await self._draw_missing(self._clock())

    async def _draw_missing(self, now: datetime) -> None:
        async with self._pool.acquire() as connection:
            known = await queries_releases.known_periods(connection)
            stored = {row["id"]: row["stored_at"] for row in await queries_releases.specs(connection)}
        self._refuse_later(stored.keys())
        for spec in self._specs.values():
            until = (now + DRAW_AHEAD).astimezone(spec.tz).date() + timedelta(days=1)
            for table in spec.tables:
                rows = [
                    (
                        table.id,
                        one.name,
                        spec.id,
                        one.begin,
                        one.end,
                        one.closes(spec.tz, table.closes_after),
                        _began_unknown(spec, table, one, stored[spec.id]),
                    )
                    for one in periods(table.grain, table.since, min(until, self._replaced(spec, table)))
                    if (table.id, one.name) not in known
                ]
                await self._draw(table, rows)

    def _refuse_later(self, stored: Set[str]) -> None:
        unknown = stored - self._specs.keys()
        if unknown:
            raise Refusal(
                f"another replica of stats has started with {', '.join(sorted(unknown))}, and this one would "
                "draw noise for its periods; restart this one with the same folder"
            )

    async def _draw(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        cells = len(table.cells())
        drawn = []
        for row in rows:
            drawn.append((*row, await asyncio.to_thread(noise.draw, table.scale, cells)))
        if drawn:
            async with self._pool.acquire() as connection, connection.transaction():
                # Asked again where no other can begin with a later one meanwhile.
                await queries_releases.hold_chain(connection)
                self._refuse_later({row["id"] for row in await queries_releases.specs(connection)})
                await queries_releases.insert_periods(connection, drawn)
            # Nothing else says so by itself: no release is late that waits for a person.
            if waits := sum(waits for *_, waits, _noise in drawn):
                log.warning("waits_for_close_history", table=table.id, periods=waits)

    def _replaced(self, spec: Spec, table: Table) -> date:
        """The day from which a later spec has this table; none."""
        later = takewhile(lambda other: other.id != spec.id, reversed(self._specs.values()))
        begins = [one.since for other in later for one in other.tables if one.id == table.id]
        return min(begins, default=date.max)

    async def freeze(self) -> bool:
        """Freeze what has closed, once everything was applied that had been written by then; returns whether
        nothing waits for that. What closes while that is waited for is waited for anew. Periods of one end
        are frozen together: a month and its last week-part have the same late reports."""
        while await self._due(now := self._clock()):
            held = self._held = self._held or await self._hold(now)
            while await self._due(held.at):
                if not await self._freeze_next(held):
                    return False
            self._held = None
        return True

    async def _due(self, at: datetime) -> bool:
        async with self._pool.acquire() as connection:
            return bool(await queries_releases.due(connection, at))

    async def _hold(self, at: datetime) -> Held:
        """What the topics hold now; `at` was before that."""
        # Of a partition that holds nothing nothing will come.
        extents = await self._extents()
        return Held(at, {place: extent.stop for place, extent in extents.items() if extent})

    async def _freeze_next(self, held: Held) -> bool:
        now = self._clock()
        async with self._pool.acquire() as connection, connection.transaction():
            await queries_releases.hold_closed(connection)
            applied = await queries_releases.offsets(connection, GROUP)
            if any(applied.get(place, 0) < end for place, end in held.ends.items()):
                return False
            due = await queries_releases.due(connection, held.at)
            for one in [one for one in due if one["ends"] == due[0]["ends"]]:
                await self._freeze(connection, one, applied, now)
        return True

    async def _freeze(
        self, connection: Any, one: Mapping[str, Any], applied: Mapping[Place, int], now: datetime
    ) -> None:
        spec = self._specs[one["spec"]]
        table = spec.table(one["table_id"])
        count = (
            queries_releases.report_groups if table.subject == "reports" else queries_releases.incident_groups
        )
        counts = tally(table, await count(connection, one["begins"], one["ends"]))
        until = await queries_releases.known_until(connection, table.subject)
        incomplete = (until is not None and one["ends"] - date.resolution > until) or (
            await has_lost(connection, spec, table, one["begins"])
        )
        await queries_releases.freeze(
            connection, table.id, one["name"], counts, applied, now, incomplete=incomplete
        )

    async def _extents(self) -> Mapping[Place, range]:
        """The offsets that the topics hold of what is counted."""
        reader = kafka.reader(self._where, "stats-extents")
        try:
            await reader.start()
            ends = await kafka.ends(reader, COUNTED)
            starts = await kafka.starts(reader, ends)
            return {place: range(starts[place], end) for place, end in ends.items()}
        finally:
            await kafka.stop_quietly(reader)

    async def release(self) -> int:
        """Release what was frozen before this minute, in order, each in one transaction; returns how many
        that were."""
        released = 0
        while await self._may_release():
            async with self._pool.acquire() as connection, connection.transaction():
                await queries_releases.hold_chain(connection)
                one = await queries_releases.next_frozen(connection, self._begun())
                if one is None:
                    break
                await self._release(connection, one)
            released += 1
        return released

    async def _release(self, connection: Any, one: Mapping[str, Any]) -> None:
        spec = self._specs[one["spec"]]
        table = spec.table(one["table_id"])
        after = await queries_releases.last_link(connection)
        if one["incomplete"]:
            await self._publish(connection, unsigned(spec, table, one["name"], after, (), withheld=True))
            return
        bound = {table.id: margins.of_one(table.scale)}
        cells = noisy(table, one["counts"], one["noise"])
        await queries_releases.debit(connection, table.id, one["name"], one["begins"], table.cost)
        await self._publish(connection, unsigned(spec, table, one["name"], after, cells, margins=bound))

    async def release_final(self) -> int:
        """Release the final edition of months of which everything is out; returns how many that were."""
        async with self._pool.acquire() as connection:
            waiting = await queries_releases.months_without_final(connection)
        released = 0
        for one in waiting:
            if one["spec"] not in self._specs or not await self._may_release():
                continue
            async with self._pool.acquire() as connection, connection.transaction():
                await queries_releases.hold_chain(connection)
                if await queries_releases.is_released(connection, one["table_id"], one["period"], "final"):
                    continue
                after = await queries_releases.last_link(connection)
                final = await self._final(connection, self._specs[one["spec"]], one, after)
                if final:
                    await self._publish(connection, final)
                    released += 1
        return released

    async def _final(
        self, connection: Any, spec: Spec, one: Mapping[str, Any], after: Link
    ) -> StatisticsReleased | None:
        """The final edition of a month; None while one of its week-parts is not out."""
        month = spec.table(one["table_id"])
        week_part = spec.table(f"{month.subject}.week_part")
        whole = named("month", one["period"])
        weeks = [part.name for part in periods("week_part", whole.begin, whole.end)]
        parts = await _released(connection, week_part, weeks)
        if len(parts) < len(weeks):
            return None
        first = (await _released(connection, month, [whole.name]))[whole.name]
        if any(release.state == "withheld" for release in (first, *parts.values())):
            return unsigned(spec, month, whole.name, after, (), edition="final", withheld=True)
        final = adjusting.adjust(
            month,
            week_part,
            {cell.cell: cell.value for cell in first.cells},
            {(week, *cell.cell): cell.value for week in weeks for cell in parts[week].cells},
        )
        return unsigned(
            spec,
            month,
            whole.name,
            after,
            adjusting.cells_of(final),
            edition="final",
            margins=adjusting.margins(month, week_part, len(weeks)),
        )

    async def destroy(self) -> None:
        """Destroy noise and frozen counts of what was released KEEP ago. They leave the table's file later,
        where a backup, or whatever else has a transaction open, may still read them."""
        now = self._clock()
        before = now - KEEP
        async with self._pool.acquire() as connection:
            if not (await queries_releases.late(connection, now, before)).destroyed:
                return
            await queries_releases.empty(connection, before)
            try:
                gone = await queries_releases.rewrite(connection)
            except LockNotAvailableError:
                gone = False
        if not gone:
            log.warning("not_destroyed_yet", reason="a transaction that is open may still read them")

    async def _may_release(self) -> bool:
        async with self._pool.acquire() as connection:
            return await queries_releases.unshown(connection) < ON_THEIR_WAY

    async def _publish(self, connection: Any, release: StatisticsReleased) -> None:
        """Add to the chain, which the caller holds. Raises Refusal where a replica signs by a later key
        meanwhile: what followed that by this key would break the chain for ever."""
        await self._refuse_retired(connection)
        now = self._begun()
        signed = self._signer.sign(release)
        event_id = derived_id(signed.release_id, StatisticsReleased)
        envelope = Envelope.of(signed, id=event_id, source=self._source, now=now)
        await queries_releases.insert_release(connection, signed, to_value(signed) or b"", now)
        await outbox.append(connection, [envelope])


def _began_unknown(spec: Spec, table: Table, one: Period, stored: datetime) -> bool:
    """Whether the first week-part of a period had closed before its spec was stored. What comes of then
    counts in a week-part that waits; a month or quarter that closed meanwhile would never count it."""
    after = spec.table(f"{table.subject}.week_part").closes_after
    return period("week_part", one.begin).closes(spec.tz, after) <= stored


async def _released(connection: Any, table: Table, names: Sequence[str]) -> dict[str, StatisticsReleased]:
    found = await queries_releases.contents(connection, table.id, names)
    return {
        name: StatisticsReleased.model_validate_json(content, extra="ignore")
        for name, content in found.items()
    }
