"""What the relay promises, whatever fails while it sends."""

import asyncio
import sys
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import NotEnoughReplicasError

from deploy.local.processes import Child
from shared import kafka, outbox, postgres
from shared import relay as relay_module
from shared.cloudevents import Envelope, from_record
from shared.events import ISSUES, REPORTS, IssueGone, hour_of
from shared.outbox import Batch, Sent
from shared.relay import Relay
from tests.conftest import Infrastructure, Server
from tests.spine import (
    NOW,
    Chosen,
    Database,
    envelope,
    event,
    key_in,
    number_sequence,
    read_topic,
    reading,
    relaying,
    running,
    until,
    writing,
)

ROOT = Path(__file__).parents[2]


def _versions(key: uuid.UUID, count: int) -> list[Envelope[Any]]:
    return [envelope(key, version) for version in range(1, count + 1)]


async def _applied_once(bootstrap: str, spine: Database, expected: list[Envelope[Any]]) -> None:
    """A new group reads from the beginning and applies each event once; one partition's in order."""
    found = reading(bootstrap, spine)
    async with running(found.consumer.run()):
        ids = await spine.applied(len(expected))
        await asyncio.sleep(0.2)
        assert await spine.effects() == ids
    assert sorted(ids) == sorted(given.id for given in expected)
    if len({zlib.crc32(given.event.key.encode()) % 12 for given in expected}) == 1:
        assert ids == [given.id for given in expected]


async def test_every_event_is_in_its_partition_under_its_number(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve partitions by CRC-32 of the key, numbers from 1 without a hole, the events of each key in order,
    over several batches."""
    monkeypatch.setattr(outbox, "CLAIM_ROWS", 500)
    keys = [uuid.uuid4() for _ in range(60)]
    sent = [envelope(key, version) for version in range(1, 21) for key in keys]
    await spine.append(*sent)
    relay, registry = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.sent()
    assert await spine.value("SELECT count(*) FROM outbox_batch") == 3
    assert registry.get_sample_value("outbox_sent_total") == 1200
    topic = await read_topic(infrastructure.bootstrap, REPORTS.name)
    assert set(topic) == set(range(12))
    order: dict[bytes, list[int]] = {}
    for partition, records in topic.items():
        numbers = [int(dict(record.headers)["ce_sequence"]) for record in records]
        assert numbers == list(range(1, len(numbers) + 1))
        for record in records:
            assert zlib.crc32(record.key) % 12 == partition
            found = from_record(record.topic, record.key, record.value, record.headers)
            order.setdefault(record.key, []).append(found.event.model_dump()["version"])
    assert order == {str(key).encode(): list(range(1, 21)) for key in keys}


@pytest.mark.parametrize("kind", ["issue", "tip"])
async def test_a_record_is_its_event_and_nothing_else(
    infrastructure: Infrastructure, spine: Database, kind: str
) -> None:
    """The headers are the CloudEvents attributes and the number, no more; the record's time is the event's,
    which is a tip's hour, and not the time of sending."""
    key = uuid.uuid4()
    plain = event(key, 1).model_copy(update={"kind": kind})
    given = Envelope.of(plain, id=uuid.uuid4(), source="/test/tips", now=NOW)
    await spine.append(given)
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.sent()
    topic = await read_topic(infrastructure.bootstrap, REPORTS.name)
    (record,) = (record for records in topic.values() for record in records)
    time = hour_of(NOW) if kind == "tip" else NOW
    assert list(record.headers) == [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(given.id).encode()),
        ("ce_source", b"/test/tips"),
        ("ce_type", b"ibuurt.ReportSupplemented.v1"),
        ("ce_time", time.isoformat().replace("+00:00", "Z").encode()),
        ("ce_subject", str(key).encode()),
        ("content-type", b"application/json"),
        ("ce_sequence", b"1"),
    ]
    assert record.key == str(key).encode()
    assert record.timestamp == int(time.timestamp() * 1000)
    assert record.timestamp_type == 0
    assert from_record(record.topic, record.key, record.value, record.headers) == given


async def test_what_a_clock_that_was_a_day_ahead_has_dated_leaves_when_it_is_right_again(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Kafka refuses a record from more than an hour ahead: it goes under this hour, its event unchanged, and
    those behind it go too."""
    key, now = key_in(3), datetime.now(UTC)
    ahead = Envelope.of(event(key, 1), id=uuid.uuid4(), source="/test/tips", now=now + timedelta(days=1))
    behind = envelope(key, 2)
    await spine.append(ahead, behind)
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.sent()
    records = (await read_topic(infrastructure.bootstrap, REPORTS.name))[3]
    found = [from_record(record.topic, record.key, record.value, record.headers) for record in records]
    assert found == [ahead, behind]
    hours = {int(hour_of(moment).timestamp() * 1000) for moment in (now, datetime.now(UTC))}
    assert records[0].timestamp in hours
    assert records[1].timestamp == int(NOW.timestamp() * 1000)


async def test_an_issue_that_is_gone_leaves_as_a_tombstone(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """A record without a value, which compaction understands, under a number like any other."""
    await spine.append(
        Envelope.of(IssueGone(issue_id=uuid.uuid4()), id=uuid.uuid4(), source="/test/tips", now=NOW)
    )
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.sent()
    topic = await read_topic(infrastructure.bootstrap, ISSUES.name)
    (record,) = (record for records in topic.values() for record in records)
    assert record.value is None
    assert dict(record.headers)["ce_sequence"] == b"1"


@pytest.mark.parametrize("error", [TimeoutError("steered"), NotEnoughReplicasError()])
async def test_a_record_that_fails_is_sent_again_with_its_whole_batch(
    infrastructure: Infrastructure, spine: Database, error: Exception
) -> None:
    """One record of five fails while those behind it arrive: all five go again under the same numbers, and a
    reader applies each once, in order."""
    events = _versions(key_in(5), 5)
    await spine.append(*events)
    chosen = Chosen({(5, 3)}, error)
    relay, registry = relaying(infrastructure.bootstrap, spine.dsn, make_producer=chosen.producer)
    async with running(relay.run()):
        await spine.sent()
    assert await number_sequence(infrastructure.bootstrap, 5) == [1, 2, 4, 5, 1, 2, 3, 4, 5]
    assert registry.get_sample_value("outbox_failed_sends_total") == 1
    await _applied_once(infrastructure.bootstrap, spine, events)


async def test_a_failed_batch_is_whole_again_before_the_next_one(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next batch is on its way already when a send fails: the failed one goes again first, then that one,
    whose records came too early the first time."""
    monkeypatch.setattr(outbox, "CLAIM_ROWS", 50)
    events = _versions(key_in(5), 60)
    await spine.append(*events)
    relay, _ = relaying(
        infrastructure.bootstrap, spine.dsn, make_producer=Chosen({(5, 40), (5, 55)}).producer
    )
    async with running(relay.run()):
        await spine.sent()
    numbers = await number_sequence(infrastructure.bootstrap, 5)
    first, second = list(range(1, 51)), list(range(51, 61))
    without = [number for number in first if number != 40]
    assert numbers[:49] == without
    again = numbers.index(1, 1)
    assert numbers[again : again + 50] == first
    assert numbers[-10:] == second
    await _applied_once(infrastructure.bootstrap, spine, events)


async def test_a_batch_that_is_slow_to_be_handed_over_stays_before_the_next(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are claimed ahead: one that waits for room in the client is not overtaken by the one after."""
    monkeypatch.setattr(outbox, "CLAIM_ROWS", 10)
    slowness = iter([0.3, 0.2, 0.1])

    class SlowAtFirst(AIOKafkaProducer):  # type: ignore[misc] # aiokafka has no types
        async def send_batch(self, *arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(next(slowness, 0))
            return await super().send_batch(*arguments, **named)

    def slow(bootstrap: str, client_id: str) -> SlowAtFirst:
        return SlowAtFirst(bootstrap_servers=bootstrap, client_id=client_id, enable_idempotence=True)

    await spine.append(*_versions(key_in(4), 40))
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn, make_producer=slow)
    async with running(relay.run()):
        await spine.sent()
    assert await number_sequence(infrastructure.bootstrap, 4) == list(range(1, 41))


class Interrupted(Relay):
    """A relay that comes to a standstill at a point, as a process does that is about to be killed."""

    def __init__(self, point: str, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.point = point
        self.reached = asyncio.Event()

    async def _stand_still(self, point: str) -> None:
        if point == self.point:
            self.reached.set()
            await asyncio.Event().wait()

    async def claim(self, connection: Any, sent: Sent | None) -> Batch | None:
        batch = await super().claim(connection, sent)
        if batch:
            await self._stand_still("after the claim")
        return batch

    async def send(self, producer: AIOKafkaProducer, batch: Batch) -> Sent:
        sent = await super().send(producer, batch)
        await self._stand_still("after the send, before the mark")
        return sent


@pytest.mark.parametrize("point", ["after the claim", "after the send, before the mark"])
async def test_a_crash_changes_no_number(infrastructure: Infrastructure, spine: Database, point: str) -> None:
    """A relay that ends between claim and mark leaves its batch to the next one, which sends it under the
    numbers that were given; what came meanwhile follows."""
    events = _versions(key_in(7), 6)
    await spine.append(*events[:4])
    doomed, _ = relaying(infrastructure.bootstrap, spine.dsn)
    doomed = Interrupted(point, spine.dsn, infrastructure.bootstrap, "tips", doomed._metrics)
    async with running(doomed.run()):
        await asyncio.wait_for(doomed.reached.wait(), 10)
    await spine.append(*events[4:])
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.sent()
    once = [1, 2, 3, 4]
    before = [] if point == "after the claim" else once
    assert await number_sequence(infrastructure.bootstrap, 7) == [*before, *once, 5, 6]
    await _applied_once(infrastructure.bootstrap, spine, events)


async def test_one_of_two_relays_is_active_and_the_other_takes_over(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Two processes of a service never send at the same time; when the active one ends, the other goes on
    with the next number."""
    relays = [relaying(infrastructure.bootstrap, spine.dsn) for _ in range(2)]

    def active() -> list[int]:
        return [
            i for i, (_, registry) in enumerate(relays) if registry.get_sample_value("outbox_relay_active")
        ]

    events = _versions(key_in(2), 40)
    tasks = [asyncio.create_task(relay.run()) for relay, _ in relays]
    try:
        await until(lambda: all(relay.checked.is_set() for relay, _ in relays))
        (first,) = await until(active)
        for given in events[:20]:
            await spine.append(given)
        await spine.sent()
        assert active() == [first]
        assert relays[1 - first][1].get_sample_value("outbox_sent_total") == 0
        tasks[first].cancel()
        await asyncio.gather(tasks[first], return_exceptions=True)
        await until(lambda: active() == [1 - first])
        await spine.append(*events[20:])
        await spine.sent()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert await number_sequence(infrastructure.bootstrap, 2) == list(range(1, 41))


async def test_a_relay_whose_session_the_server_ends_comes_back(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """pg_terminate_backend in the middle of the work, several times: the relay reconnects and takes the lock
    again; no event is lost, and none has its effect twice."""
    events = _versions(key_in(4), 1500)
    relay, registry = relaying(infrastructure.bootstrap, spine.dsn)

    gone: list[int] = []

    async def ended() -> bool:
        # A session that is being ended stays in the list for a while: it is not the next one.
        rows = await spine.fetch(
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'tips-relay' AND datname = current_database() AND pid <> ALL($1)",
            gone,
        )
        gone.extend(row["pid"] for row in rows)
        return len(rows) == 1

    async with running(relay.run()):
        for part in range(3):
            await spine.append(*events[part * 500 : (part + 1) * 500])
            await until(ended)
        await spine.sent()
    assert registry.get_sample_value("outbox_relay_restarts_total") == 3
    await _applied_once(infrastructure.bootstrap, spine, events)


async def test_a_zombie_that_sends_its_batch_late_doubles_nothing(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """A relay that lost its session without knowing sends what it had claimed, when its successor has long
    sent the same and more: the late records are repeats to every reader, and the start check lets them be."""
    events = _versions(key_in(6), 8)
    await spine.append(*events[:4])
    connection = await postgres.connect(spine.dsn, "zombie")
    stale = await outbox.claim(connection)
    await connection.close()
    assert stale is not None
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.append(*events[4:])
        await spine.sent()
        async with writing(infrastructure.bootstrap) as writer:
            await relay.send(writer.producer, stale)
    assert await number_sequence(infrastructure.bootstrap, 6) == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]
    restarted, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(restarted.run()):
        await asyncio.wait_for(restarted.checked.wait(), 10)
    await _applied_once(infrastructure.bootstrap, spine, events)


FROZEN = """
import asyncio, sys
from shared import relay
from tests.spine import relaying
relay.IDLE_SESSION_SECONDS, relay.HEARTBEAT_SECONDS = 1, 0.2
asyncio.run(relaying(sys.argv[1], sys.argv[2])[0].run())
"""


async def test_a_frozen_relay_loses_its_place_and_doubles_nothing(
    infrastructure: Infrastructure, spine: Database, tmp_path: Path
) -> None:
    """A process that stands still (SIGSTOP) while it holds the lock loses it after the session's idle
    timeout; another takes over, and when the first one wakes up it waits for its turn."""
    events = _versions(key_in(8), 300)
    child = Child(
        "relay",
        [sys.executable, "-c", FROZEN, infrastructure.bootstrap, spine.dsn],
        log=tmp_path / "log",
        cwd=ROOT,
    )
    child.start()
    try:
        await spine.append(*events[:100])
        await spine.sent()
        await spine.append(*events[100:200])
        child.pause()
        relay, registry = relaying(infrastructure.bootstrap, spine.dsn)
        async with running(relay.run()):
            await until(lambda: registry.get_sample_value("outbox_relay_active"))
            await spine.sent()
            child.resume()
            await spine.append(*events[200:])
            await spine.sent()
            assert registry.get_sample_value("outbox_relay_active") == 1
            assert child.running, child.log_tail()
    finally:
        child.stop()
    await _applied_once(infrastructure.bootstrap, spine, events)


async def test_a_slow_send_does_not_cost_the_relay_its_lock(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits for Kafka the session is kept alive: only a process that stands still may lose it."""
    monkeypatch.setattr(relay_module, "IDLE_SESSION_SECONDS", 1)
    monkeypatch.setattr(relay_module, "HEARTBEAT_SECONDS", 0.2)

    class Slow(AIOKafkaProducer):  # type: ignore[misc] # aiokafka has no types
        async def send_batch(self, *arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(2.5)
            return await super().send_batch(*arguments, **named)

    def slow(bootstrap: str, client_id: str) -> Slow:
        return Slow(bootstrap_servers=bootstrap, client_id=client_id, enable_idempotence=True)

    await spine.append(envelope(key_in(1)))
    relay, registry = relaying(infrastructure.bootstrap, spine.dsn, make_producer=slow)
    async with running(relay.run()):
        await spine.sent()
    assert registry.get_sample_value("outbox_relay_restarts_total") == 0
    assert await number_sequence(infrastructure.bootstrap, 1) == [1]


async def test_what_is_appended_while_kafka_is_dead_arrives_when_it_is_back(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server
) -> None:
    """Kafka is killed under a running relay and consumer; both go on by themselves after its restart."""
    events = _versions(key_in(3), 60)
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    found = reading(infrastructure.bootstrap, spine)
    async with running(relay.run()), running(found.consumer.run()):
        await spine.append(*events[:20])
        await spine.applied(20)
        local_kafka.kill()
        await spine.append(*events[20:40])
        await asyncio.sleep(1)
        assert len(await spine.effects()) == 20
        await asyncio.to_thread(local_kafka.start)
        await spine.append(*events[40:])
        assert await spine.applied(60, 30) == [given.id for given in events]


async def test_a_relay_waits_for_a_kafka_that_is_away_at_its_start(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server
) -> None:
    """An unreachable broker is no disagreement: the relay neither ends nor says that it has checked."""
    await spine.append(envelope(key_in(1)))
    local_kafka.kill()
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()) as task:
        await asyncio.sleep(2)
        assert not task.done()
        assert not relay.checked.is_set()
        await asyncio.to_thread(local_kafka.start)
        await spine.sent(30)


async def test_a_kafka_that_hangs_is_waited_for_and_hinders_no_stop(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server
) -> None:
    """A broker that takes connections and answers nothing: the relay keeps its lock and can be stopped within
    a process' time to stop; once the broker answers, everything has arrived, with one effect each."""
    events = _versions(key_in(9), 60)
    relay, registry = relaying(infrastructure.bootstrap, spine.dsn)
    clock = asyncio.get_running_loop().time
    async with running(relay.run()):
        await spine.append(*events[:20])
        await spine.sent()
        local_kafka.pause()
        await spine.append(*events[20:40])
        await asyncio.sleep(2)
        local_kafka.resume()
        await spine.sent()
        local_kafka.pause()
        await spine.append(*events[40:])
        await asyncio.sleep(0.5)
        stopping = clock()
    assert clock() - stopping < 10
    assert registry.get_sample_value("outbox_relay_restarts_total") == 0
    local_kafka.resume()
    again, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(again.run()):
        await spine.sent()
    await _applied_once(infrastructure.bootstrap, spine, events)


async def test_the_relay_keeps_its_lock_however_long_kafka_is_away(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than its session may be idle: no other relay takes over, which would reach it no better, and
    what waited goes as soon as Kafka is back."""
    monkeypatch.setattr(relay_module, "IDLE_SESSION_SECONDS", 4)
    monkeypatch.setattr(relay_module, "HEARTBEAT_SECONDS", 1.0)
    monkeypatch.setattr(relay_module, "SEND_SECONDS", 2.0)
    # A producer is thrown away without a heartbeat: as much shorter than the session as it really is.
    monkeypatch.setattr(kafka, "STOP_SECONDS", 0.8)
    events = _versions(key_in(4), 20)
    relay, registry = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.append(*events[:5])
        await spine.sent()
        await asyncio.to_thread(local_kafka.stop)
        await spine.append(*events[5:])
        # It fails at its sending and then, again and again, at connecting.
        await asyncio.sleep(5)
        await until(lambda: (registry.get_sample_value("outbox_failed_sends_total") or 0) >= 4)
        await asyncio.to_thread(local_kafka.start)
        await spine.sent()
        assert registry.get_sample_value("outbox_relay_restarts_total") == 0
    await _applied_once(infrastructure.bootstrap, spine, events)


async def test_a_producer_without_a_leader_asks_seldom(
    infrastructure: Infrastructure, local_kafka: Server
) -> None:
    """Its sender asks who leads as soon as the last question has failed: at most ten times a second here, so
    that an outage leaves the processor to those who send reports."""
    producer = kafka.producer(infrastructure.bootstrap, "probe")
    await producer.start()
    try:
        await asyncio.to_thread(local_kafka.stop)
        clock = asyncio.get_running_loop().time
        asked, end = 0, clock() + 2
        while clock() < end:
            assert await producer.client.force_metadata_update() is False
            asked += 1
        assert 1 <= asked <= 21
    finally:
        await kafka.abandon(producer)


async def test_a_wake_sends_at_once_and_polling_finds_the_rest(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The median from commit to Kafka's answer is far below a poll that was made long; with the usual poll,
    what nobody announced leaves as well."""
    key = key_in(1)
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    clock = asyncio.get_running_loop().time
    async with running(relay.run()):
        await spine.append(envelope(key))
        await spine.sent()
        monkeypatch.setattr(relay_module, "POLL_SECONDS", 5.0)
        await asyncio.sleep(0.1)
        took = []
        for version in range(2, 12):
            began = clock()
            await spine.append(envelope(key, version))
            relay.wake()
            await spine.sent()
            took.append(clock() - began)
    print(f"commit to acknowledged, woken: median {sorted(took)[5] * 1000:.0f} ms, worst {max(took):.2f} s")
    assert sorted(took)[5] < 1.0


async def test_a_resting_relay_forgets_what_was_sent_long_ago(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches older than fourteen days go without anybody's doing."""
    monkeypatch.setattr(outbox, "KEEP_BATCHES", 0)
    await spine.append(envelope(uuid.uuid4()))
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.sent()
    await spine.pool.execute("UPDATE outbox_batch SET sent_on = current_date - 15")
    again, _ = relaying(infrastructure.bootstrap, spine.dsn)

    async def forgotten() -> bool:
        return not await spine.value("SELECT count(*) FROM outbox_batch")

    async with running(again.run()):
        await until(forgotten)


async def test_the_producer_is_idempotent_and_waits_for_all_replicas(infrastructure: Infrastructure) -> None:
    """Read off the live object: acks=all, idempotent, and requests end well before a process must."""
    producer = kafka.producer(infrastructure.bootstrap, "probe")
    await producer.start()
    try:
        assert producer._sender._acks == -1
        assert producer._txn_manager is not None
        assert producer._txn_manager.transactional_id is None
        assert producer._request_timeout_ms == 10_000
    finally:
        await kafka.abandon(producer)
