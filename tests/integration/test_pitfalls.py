"""FastStream's and aiokafka's known pitfalls, and what meets each of them here.

| pitfall | met by |
|---|---|
| 1 acknowledged before it is handled; history skipped | MANUAL, `earliest`, a group: test_the_consumer |
| 2 a graceful stop loses what workers hold | no `max_workers`: test_the_consumer; test_consumer.py, a stop |
| 3 a graceful stop doubles what several consumers hold | one consumer: test_the_consumer; the fence |
| 4 one unreadable header loses its batch | own parser: test_a_header_of_any_bytes |
| 5 a tombstone or bad JSON loops, or is skipped | bytes to the handler: test_a_header_of_any_bytes |
| 6 `publish_batch` ignores keys | it is not called: test_nothing_publishes; test_relay.py |
| 7 a consumer that reads nothing while its ping is fine | progress, not pings: test_watchdog.py |
| 8 an idempotent producer that is dead for good | made anew after each failure: test_relay.py |
| 9 a dead broker blocks sends and stops for 40 s | 10 s: test_the_producers, test_the_consumer; the outbox |
| 10 `consumer_only` never answers a ping | nothing pings: test_watchdog.py |
| 11 topics made by themselves, with one partition | not allowed: test_the_consumer; test_watchdog.py |
| 12 `message_id` is not unique | ids are `ce_id`: test_consumer.py, the same number under another id |
| 13 `reply_to` publishes to a topic that a stranger chose | `no_reply`: test_a_reply_to_header |
| 14 structured CloudEvents are not decoded | binary mode: test_relay.py, a record is its event |
| 15 a line of log for each message | DEBUG, which is not written: test_no_line |
| 16 a thread hop for each injected parameter | `apply_types` is off, nothing is injected: test_the_consumer |
| 17 a slow handler leaves the group | bounded batches: test_the_consumer; test_consumer.py, a zombie |
| 18 no limit of tries, no dead letters | back-off, cap and dead letters: test_consumer_poison.py |
"""

import ast
import asyncio
import logging
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faststream import AckPolicy
from faststream.kafka.subscriber.usecase import BatchSubscriber

from shared import kafka
from shared.dead_letters import DeadLetters
from shared.errors import Poison
from shared.events import REPORTS, all_topics
from tests.conftest import Infrastructure
from tests.spine import (
    Database,
    envelope,
    headers,
    key_in,
    read_topic,
    reading,
    relaying,
    running,
    until,
    writing,
)

ROOT = Path(__file__).parents[2]
PUBLISHING = {"publish", "publish_batch", "publisher"}
CLIENTS = {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "KafkaBroker"}
DEAD = REPORTS.dead_letters("notify")


async def _counts(bootstrap: str) -> dict[str, int]:
    """How many records each of the contract's topics has had; only those that have had any."""
    consumer = kafka.reader(bootstrap, "test-ends")
    await consumer.start()
    try:
        ends = await kafka.ends(consumer, all_topics())
    finally:
        await consumer.stop()
    counts: dict[str, int] = {}
    for (topic, _), end in ends.items():
        counts[topic] = counts.get(topic, 0) + end
    return {topic: count for topic, count in counts.items() if count}


def _is_safe(producer: AIOKafkaProducer) -> None:
    """Nothing that it has acknowledged can be lost or doubled by itself, and it does not hang for long."""
    # Of an idempotent producer, aiokafka keeps numbers for the broker to tell repeats by.
    assert producer._txn_manager is not None
    assert producer._txn_manager.transactional_id is None
    # -1 on the wire: all in-sync replicas.
    assert producer._sender._acks == -1
    assert producer._request_timeout_ms == 10_000
    assert producer.client._request_timeout_ms == 10_000
    assert producer._message_accumulator._batch_size == 262_144


async def test_the_consumer_has_no_default_that_loses_blocks_or_leaks(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Read off the live consumer, subscriber and broker (pitfalls 1 to 3, 5, 9 to 11, 13, 16, 17)."""
    found = reading(infrastructure.bootstrap, spine)
    place = found.consumer._subscription
    async with running(found.consumer.run()):
        live = await until(lambda: place._consumer)
        await until(live.assignment)
        assert isinstance(live, AIOKafkaConsumer)
        assert live._enable_auto_commit is False
        assert live._auto_offset_reset == "earliest"
        assert live._group_id == "notify"
        assert live._request_timeout_ms == 10_000
        (subscriber,) = place._broker.subscribers
        # FastStream has other classes for `max_workers`.
        assert isinstance(subscriber, BatchSubscriber)
        assert subscriber.ack_policy is AckPolicy.MANUAL
        assert subscriber._no_reply is True
        assert subscriber.max_records == 2_000
        assert subscriber.batch_timeout_ms == 20
        (call,) = subscriber.calls
        assert call.handler._original_call == found.consumer.handle
        broker = place._broker.config.broker_config
        assert broker.allow_auto_create_topics is False
        # No producer beside the consumer, and nothing that pings: probes ask the watchdog.
        assert broker.consumer_only is True
        assert broker.fd_config.use_fastdepends is False
        assert broker.logger.log_level == logging.DEBUG


async def test_the_producers_are_idempotent_and_do_not_wait_for_long(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """The relay's and the dead letters', read off the live ones (pitfalls 8, 9)."""
    made: list[AIOKafkaProducer] = []

    def noted(bootstrap: str, client_id: str) -> AIOKafkaProducer:
        made.append(kafka.producer(bootstrap, client_id))
        return made[-1]

    await spine.append(envelope(key_in(1)))
    relay, _ = relaying(infrastructure.bootstrap, spine.dsn, make_producer=noted)
    async with running(relay.run()):
        await spine.sent()
        (producer,) = made
        _is_safe(producer)
    # What the relay uses where no test gives it another.
    assert relaying(infrastructure.bootstrap, spine.dsn)[0]._make_producer is kafka.producer
    letters = DeadLetters(infrastructure.bootstrap, "notify")
    (record,) = (
        one for found in (await read_topic(infrastructure.bootstrap, REPORTS.name)).values() for one in found
    )
    await letters.send([(record, Poison("bad_value"))])
    _is_safe(letters._producer)
    await letters.close()


def test_nothing_publishes_through_faststream_and_all_clients_are_made_in_one_place() -> None:
    """FastStream's `publish_batch`, aiokafka's `send_batch` and what leads there are called nowhere; whoever
    makes a client elsewhere would get the defaults (pitfalls 6, 9, 11)."""
    files = [path for folder in ("shared", "services") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 30
    calls = {
        (path.relative_to(ROOT).as_posix(), getattr(node.func, "attr", getattr(node.func, "id", "")))
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert {(path, name) for path, name in calls if name in PUBLISHING} == set()
    assert {(path, name) for path, name in calls if name in CLIENTS} == {
        ("shared/kafka.py", name) for name in CLIENTS
    }


async def test_a_reply_to_header_produces_nothing_anywhere(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Neither in the topic that the record names, nor in any other (pitfall 13)."""
    async with writing(infrastructure.bootstrap) as writer:
        for number, topic in enumerate(all_topics(), start=1):
            given = envelope(key_in(1), number)
            plain = [*headers(number, given), ("reply_to", topic.name.encode()), ("correlation_id", b"1")]
            await writer.record(1, given.event.key.encode(), given.event.model_dump_json().encode(), plain)
    before = await _counts(infrastructure.bootstrap)
    assert before == {REPORTS.name: len(all_topics())}
    async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
        await spine.applied(len(all_topics()))
        await asyncio.sleep(0.3)
    assert await _counts(infrastructure.bootstrap) == before


async def test_a_header_of_any_bytes_loses_no_other_record_of_its_batch(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """What is not read may hold any bytes; what is read and is not UTF-8, or null, makes that record alone a
    dead letter, as do a tombstone and bad JSON (pitfalls 4, 5)."""
    events = [envelope(key_in(1), version) for version in range(1, 9)]
    async with writing(infrastructure.bootstrap) as writer:
        for number, given in enumerate(events, start=1):
            key, value = given.event.key.encode(), given.event.model_dump_json().encode()
            plain = headers(number, given)
            named = dict(plain)
            if number == 2:
                plain = [*plain, ("stranger", b"\xff\xfe"), ("nothing", None), ("correlation_id", b"\xff")]
            elif number in {3, 4}:
                plain = list((named | {"ce_source" if number == 3 else "ce_type": b"\xff"}).items())
            elif number == 5:
                plain = list((named | {"ce_type": None, "content-type": None}).items())
            no_value = {6: None, 7: b'{"report_id": \xff'}
            await writer.record(1, key, no_value.get(number, value), plain)
    found = reading(infrastructure.bootstrap, spine)
    async with running(found.consumer.run()):
        applied = await spine.applied(3)
        await until(lambda: found.total("consumer_poison_total") == 5)
    assert applied == await spine.effects() == [events[number - 1].id for number in (1, 2, 8)]
    letters = [one for there in (await read_topic(infrastructure.bootstrap, DEAD)).values() for one in there]
    reasons = [dict(letter.headers)["dlt_reason"] for letter in letters]
    assert reasons == [b"bad_headers", b"bad_headers", b"unknown_type", b"tombstone", b"bad_value"]
    assert [int(dict(letter.headers)["dlt_offset"]) for letter in letters] == [2, 3, 4, 5, 6]


async def test_no_line_of_log_is_written_for_a_record(
    infrastructure: Infrastructure, spine: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A line each would double the cost, and beside its time tell a tip's minute (pitfall 15)."""
    caplog.set_level(logging.INFO)
    async with writing(infrastructure.bootstrap) as writer:
        ids = await writer.events(1, range(1, 4))
    async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
        assert await spine.applied(3) == ids
        caplog.clear()
        async with writing(infrastructure.bootstrap) as writer:
            await writer.events(1, range(4, 7))
        await spine.applied(6)
        await asyncio.sleep(0.2)
        assert [line.getMessage() for line in caplog.records if line.name.startswith("faststream")] == []
