"""A model of everything that can go wrong between two databases, driven by hypothesis.

Real: the outbox's claims, numbers, stored batches and marks, the fence's judgement and its compare-and-set,
and PostgreSQL under both. Modelled: the log, a list per partition, so that a send can fail at a chosen
record; and who dies when. Kafka itself, with processes that are killed, is in test_kills.py.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared import fence, outbox, postgres
from shared.errors import Superseded
from shared.events import REPORTS, Place
from shared.examine import examine
from shared.fence import Fence
from shared.outbox import Batch, Numbered, Sent
from tests.spine import envelope, key_in

GROUP = "machine"
PARTITIONS = (0, 1)
PLACES: list[Place] = [(REPORTS.name, partition) for partition in PARTITIONS]
KEYS = [key_in(partition) for partition in PARTITIONS for _ in range(2)]
EMPTY = "TRUNCATE outbox, outbox_batch, outbox_partition, fence, effect RESTART IDENTITY"


@dataclass
class Reader:
    """A consumer's memory: its fences, and where it reads on."""

    fences: dict[Place, Fence] = field(default_factory=dict)
    positions: dict[Place, int] = field(default_factory=dict)


class SpineMachine(RuleBasedStateMachine):
    """Set `dsn` to a database with the shared tables and `effect` (tests/spine.py) before it runs."""

    dsn = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.connection: Any = self._run(postgres.connect(self.dsn, "machine"))
        self._run(self.connection.execute(EMPTY))
        self.log: dict[Place, list[ConsumerRecord]] = {place: [] for place in PLACES}
        self.appended: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
        self.queue: list[Batch] = []
        self.sent: Sent | None = None
        self.zombies: list[list[Numbered]] = []
        self.readers = [Reader(), Reader()]
        self.broken = False

    def _run(self, work: Any) -> Any:
        return self.runner.run(work)

    # What residents do.

    @rule(key=st.sampled_from(KEYS), count=st.integers(1, 3))
    def append(self, key: uuid.UUID, count: int) -> None:
        self._run(self._append(key, count))

    async def _append(self, key: uuid.UUID, count: int) -> None:
        async with self.connection.transaction():
            for _ in range(count):
                made = envelope(key, len(self.appended[key]) + 1)
                await outbox.append(self.connection, [made])
                self.appended[key].append(made.id)

    # What the relay does, and how it dies. Its queue is what it sends next, in order.

    @initialize()
    def relay_starts(self) -> None:
        self.queue = self._run(outbox.unsent_batches(self.connection))
        self.sent = None

    @precondition(lambda self: len(self.queue) < 2)
    @rule()
    def relay_claims(self) -> None:
        """The next batch is claimed while the one before is on its way."""
        claimed = self._run(outbox.claim(self.connection, self.sent))
        self.sent = None
        self.queue += [claimed] if claimed else []

    @precondition(lambda self: self.queue and not self.sent)
    @rule()
    def relay_sends(self) -> None:
        batch = self.queue.pop(0)
        self.sent = Sent(batch, self._write(batch.records))
        if self.queue:
            self.relay_marks()

    @precondition(lambda self: self.queue and not self.sent)
    @rule(data=st.data())
    def relay_fails_in_the_middle(self, data: st.DataObject) -> None:
        """Some records arrive, others do not; the relay reads its unsent batches again."""
        records = self.queue[0].records
        arrived = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
        self._write([record for record, came in zip(records, arrived, strict=True) if came])
        self.relay_starts()

    @precondition(lambda self: self.sent)
    @rule()
    def relay_marks(self) -> None:
        self._run(self._mark())

    async def _mark(self) -> None:
        async with self.connection.transaction():
            if self.sent:
                await outbox.mark_sent(self.connection, self.sent)
        self.sent = None

    @rule()
    def relay_crashes(self) -> None:
        """After a claim, or after a send and before the mark: what it knew is gone."""
        self.relay_starts()

    @precondition(lambda self: self.queue)
    @rule()
    def relay_stands_still(self) -> None:
        """Another takes over; what this one had in hand it will still send, some day."""
        self.zombies.append(list(self.queue[0].records))
        self.relay_starts()

    @precondition(lambda self: self.zombies)
    @rule(count=st.integers(1, 4))
    def zombie_relay_sends(self, count: int) -> None:
        held = self.zombies[0]
        self._write(held[:count])
        del held[:count]
        if not held:
            self.zombies.pop(0)

    def _write(self, records: Sequence[Numbered]) -> dict[Place, int]:
        offsets = {}
        for record in records:
            place = (record.topic, record.partition)
            offset = len(self.log[place])
            headers = tuple(record.headers())
            self.log[place].append(
                ConsumerRecord(*place, offset, 0, 0, record.key, record.value, None, 0, 0, headers)
            )
            offsets[place] = offset
        return offsets

    # What two consumers of one group do: each believes that every partition is its own.

    @rule(who=st.integers(0, 1), place=st.sampled_from(PLACES), count=st.integers(1, 5))
    def consumer_applies(self, who: int, place: Place, count: int) -> None:
        self._run(self._consume(self.readers[who], place, count, dies=False))

    @rule(who=st.integers(0, 1), place=st.sampled_from(PLACES), count=st.integers(1, 5))
    def consumer_dies_before_its_commit(self, who: int, place: Place, count: int) -> None:
        self._run(self._consume(self.readers[who], place, count, dies=True))
        self.readers[who] = Reader()

    @initialize()
    def consumers_start(self) -> None:
        """Both at the same time, so that each soon knows less than the other."""
        for reader in self.readers:
            for place in PLACES:
                self._run(self._load(reader, place))

    @rule(who=st.integers(0, 1))
    def consumer_restarts(self, who: int) -> None:
        self.readers[who] = Reader()

    async def _consume(self, reader: Reader, place: Place, count: int, *, dies: bool) -> int:
        """Read up to `count` records and deal with them; returns how many were read."""
        if place not in reader.fences:
            await self._load(reader, place)
        start = reader.positions[place]
        records = self.log[place][start : start + count]
        reader.positions[place] += len(records)
        if not records:
            return 0
        plan = examine(records, reader.fences)
        assert not plan.poison, plan.poison
        try:
            await self._commit(plan, dies=dies)
        except Superseded:
            await self._load(reader, place)
        except _Dead:
            return len(records)
        else:
            reader.fences |= plan.after
        return len(records)

    async def _commit(self, plan: Any, *, dies: bool) -> None:
        async with self.connection.transaction():
            await fence.move(self.connection, GROUP, plan.before, plan.after)
            for _, found in plan.news:
                await self.connection.execute(
                    "INSERT INTO effect (id, key, version) VALUES ($1, $2, $3)",
                    found.id,
                    found.event.key,
                    found.event.version,
                )
            if dies:
                raise _Dead

    async def _load(self, reader: Reader, place: Place) -> None:
        loaded = await fence.load(self.connection, GROUP, [place])
        reader.fences |= loaded
        reader.positions[place] = loaded[place].next_offset

    # What must hold.

    @invariant()
    def nothing_is_doubled_and_each_report_is_in_order(self) -> None:
        for key, ids in self._effects().items():
            if ids != self.appended[uuid.UUID(key)][: len(ids)]:
                self.broken = True
                twice = len(set(ids)) < len(ids)
                raise AssertionError("doubled" if twice else "passed over or out of order")

    def _effects(self) -> dict[str, list[uuid.UUID]]:
        rows = self._run(self.connection.fetch("SELECT id, key FROM effect ORDER BY nth"))
        found: dict[str, list[uuid.UUID]] = defaultdict(list)
        for row in rows:
            found[row["key"]].append(row["id"])
        return found

    def teardown(self) -> None:
        """When all is quiet everything has arrived: one healthy relay, one healthy consumer."""
        try:
            if not self.broken:
                self._run(self._settle())
                self.nothing_is_doubled_and_each_report_is_in_order()
                effects = self._effects()
                assert all(effects[str(key)] == ids for key, ids in self.appended.items()), "lost"
        finally:
            self._run(self.connection.close())
            self.runner.close()

    async def _settle(self) -> None:
        for held in self.zombies:
            self._write(held)
        for batch in await outbox.unsent_batches(self.connection):
            self.sent = Sent(batch, self._write(batch.records))
            await self._mark()
        while claimed := await outbox.claim(self.connection, self.sent):
            self.sent = Sent(claimed, self._write(claimed.records))
        healthy = Reader()
        for place in PLACES:
            while await self._consume(healthy, place, 100, dies=False):
                pass


class _Dead(Exception):  # noqa: N818 - what happened to the process
    pass
