"""Every kind of bad record has its answer, and costs nothing but itself."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord

from shared import dead_letters, kafka
from shared.cloudevents import Envelope
from shared.dead_letters import POISON_MAX_RUN
from shared.errors import Refusal
from shared.events import DISPATCHES, MAX_VALUE_BYTES, REPORTS, Event, Topic
from tests.conftest import Infrastructure
from tests.spine import (
    NOW,
    Database,
    Writer,
    apply,
    delete_topics,
    envelope,
    headers,
    key_in,
    read_topic,
    reading,
    running,
    set_aside,
    until,
    writing,
)

ABSENT = object()
STRANGE = b"\xff\x00"
OURS = {
    "dlt_reason",
    "dlt_exception",
    "dlt_topic",
    "dlt_partition",
    "dlt_offset",
    "dlt_timestamp",
    "dlt_group",
}


@dataclass(frozen=True)
class Bad:
    """How a record differs from a good one, and the reason and exception of its dead letter; no reason where
    it is applied nevertheless. `headers` and `fields` change single ones."""

    reason: str = ""
    exception: str = "Poison"
    headers: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] | None = None
    value: Any = ABSENT
    key: Any = ABSENT

    @property
    def numbered(self) -> bool:
        return self.reason != "unnumbered"


BAD = {
    "no headers": Bad(
        "unnumbered",
        "ValueError",
        dict.fromkeys(
            (
                "ce_specversion",
                "ce_id",
                "ce_source",
                "ce_type",
                "ce_time",
                "ce_subject",
                "content-type",
                "ce_sequence",
            ),
            ABSENT,
        ),
    ),
    "no id": Bad("unnumbered", "ValueError", {"ce_id": ABSENT}),
    "a null id": Bad("unnumbered", "ValueError", {"ce_id": None}),
    "an id not UTF-8": Bad("unnumbered", "UnicodeDecodeError", {"ce_id": STRANGE}),
    "no number": Bad("unnumbered", headers={"ce_sequence": ABSENT}),
    "a null number": Bad("unnumbered", headers={"ce_sequence": None}),
    "a number not UTF-8": Bad("unnumbered", "UnicodeDecodeError", {"ce_sequence": STRANGE}),
    "number zero": Bad("unnumbered", "Poison", {"ce_sequence": b"0"}),
    "no type": Bad("bad_headers", "KeyError", {"ce_type": ABSENT}),
    "no time": Bad("bad_headers", "KeyError", {"ce_time": ABSENT}),
    "a null time": Bad("bad_headers", "ValueError", {"ce_time": None}),
    "a source not UTF-8": Bad("bad_headers", "UnicodeDecodeError", {"ce_source": STRANGE}),
    "another CloudEvents": Bad("bad_headers", headers={"ce_specversion": b"0.3"}),
    "a strange header": Bad(headers={"theirs": STRANGE}),
    "a strange null header": Bad(headers={"theirs": None}),
    "a dead letter put back": Bad(
        "tombstone", headers={"dlt_reason": b"old", "dlt_offset": b"7"}, value=None
    ),
    "a null type": Bad("unknown_type", headers={"ce_type": None}),
    "an unknown type": Bad("unknown_type", headers={"ce_type": b"ibuurt.ReportSung.v1"}),
    "a newer version": Bad("unknown_version", headers={"ce_type": b"ibuurt.ReportDelivered.v2"}),
    "a public issue": Bad("wrong_topic", headers={"ce_type": b"ibuurt.IssueChanged.v1"}),
    "a tombstone": Bad("tombstone", value=None),
    "a public issue's tombstone": Bad("wrong_topic", headers={"ce_type": b"ibuurt.IssueGone.v1"}, value=None),
    "half of JSON": Bad("bad_value", value=b'{"report_id": "'),
    "an empty value": Bad("bad_value", value=b""),
    "a list": Bad("bad_value", value=b"[]"),
    "a version of another type": Bad("bad_value", fields={"version": "1"}),
    "a kind unheard of": Bad("bad_value", fields={"kind": "song"}),
    "a newer field": Bad(fields={"newer": "x"}),
    "too many bytes": Bad("bad_value", fields={"newer": "x" * MAX_VALUE_BYTES}),
    "another key": Bad("wrong_key", key=str(uuid.uuid4()).encode()),
    "a key not UTF-8": Bad("wrong_key", key=STRANGE),
    "no key": Bad("wrong_key", key=None),
    "another subject": Bad("wrong_key", headers={"ce_subject": STRANGE[1:]}),
}
PLACES = 9  # Partitions that the table is spread over; the others are for what is wrong with a number.
REPEATS, CONFLICTS, JUMPS = 9, 10, 11


@dataclass
class Sent:
    """What was written to a topic, and what is to become of it."""

    writer: Writer
    topic: Topic
    applied: dict[int, list[uuid.UUID]]
    dead: dict[tuple[int, int], tuple[str, Bad]]
    fences: dict[int, tuple[int, int]]

    async def good(self, partition: int, number: int, given: Envelope[Event] | None = None) -> uuid.UUID:
        """A good record, which is applied."""
        given = given or envelope(key_in(partition), number, self.topic)
        offset = await self.writer.event(partition, number, given)
        self.applied.setdefault(partition, []).append(given.id)
        self.fences[partition] = number, offset + 1
        return given.id

    async def bad(self, partition: int, number: int, name: str) -> None:
        """A record of the table, changed as it says."""
        bad, given = BAD[name], envelope(key_in(partition), number, self.topic)
        value = json.dumps(given.event.model_dump(mode="json") | dict(bad.fields or {})).encode()
        changed = {**dict(headers(number, given)), **(bad.headers or {})}
        offset = await self.writer.record(
            partition,
            given.event.key.encode() if bad.key is ABSENT else bad.key,
            value if bad.value is ABSENT else bad.value,
            [(header, content) for header, content in changed.items() if content is not ABSENT],
            self.topic,
        )
        if bad.reason:
            self.dead[partition, offset] = name, bad
        else:
            self.applied[partition].append(given.id)

    async def table(self) -> None:
        """All of the table, each row between two good records."""
        last = dict.fromkeys(range(PLACES), 1)
        for partition in last:
            await self.good(partition, 1)
        for nth, name in enumerate(BAD):
            partition = nth % PLACES
            await self.bad(partition, last[partition] + 1, name)
            last[partition] += 1 + BAD[name].numbered
            await self.good(partition, last[partition])


@pytest.mark.parametrize(("topic", "group"), [(REPORTS, "notify"), (DISPATCHES, "tips")])
async def test_every_bad_record_has_its_answer(
    infrastructure: Infrastructure, spine: Database, topic: Topic, group: str
) -> None:
    """The table above, and repeats, a number used twice and one that comes too early: each has its reason or
    is skipped or waited for; what lies around it is applied once, and the fence ends behind it. The dead
    letter is the record as it came, with where it came from and why."""
    found = reading(infrastructure.bootstrap, spine, group, (topic,))
    async with writing(infrastructure.bootstrap) as writer:
        sent = Sent(writer, topic, {}, {}, {})
        await sent.table()
        known = [envelope(key_in(REPEATS), number, topic) for number in (1, 2)]
        for number in (1, 2):
            await sent.good(REPEATS, number, known[number - 1])
        for number in (1, 2, 2):
            await writer.event(REPEATS, number, known[number - 1])
        await sent.good(REPEATS, 3)
        await sent.good(CONFLICTS, 1)
        twice = await writer.event(CONFLICTS, 1, envelope(key_in(CONFLICTS), 1, topic))
        sent.dead[CONFLICTS, twice] = "a number used twice", Bad("number_used_twice")
        await sent.good(CONFLICTS, 2)
        await sent.good(JUMPS, 1)
        early = envelope(key_in(JUMPS), 3, topic)
        await writer.event(JUMPS, 3, early)
        async with running(found.consumer.run()):
            await spine.applied(sum(map(len, sent.applied.values())))
            await _fences_are(spine, group, topic, sent.fences)
            await sent.good(JUMPS, 2)
            await sent.good(JUMPS, 3, early)
            effects = await spine.applied(sum(map(len, sent.applied.values())))
            await _fences_are(spine, group, topic, sent.fences)
    assert sorted(effects) == sorted(one for ids in sent.applied.values() for one in ids)
    for ids in sent.applied.values():
        assert [one for one in effects if one in ids] == ids
    assert found.count("consumer_repeats_total", topic=topic.name) == 3
    assert found.count("consumer_early_total", topic=topic.name) == 1
    assert found.count("consumer_conflicts_total", topic=topic.name) == 1
    assert found.total("consumer_poison_total") == len(sent.dead)
    assert found.total("consumer_not_now_total") == 0
    await _are_set_aside(infrastructure.bootstrap, topic, group, sent)


async def _fences_are(
    database: Database, group: str, topic: Topic, expected: Mapping[int, tuple[int, int]]
) -> None:
    """Wait until the numbers and next offsets are these, and no other partition has any."""

    async def stored() -> dict[int, tuple[int, int]]:
        rows = await database.fetch(
            "SELECT * FROM fence WHERE consumer_group = $1 AND topic = $2 AND next_offset > 0",
            group,
            topic.name,
        )
        return {row["partition"]: (row["sequence"], row["next_offset"]) for row in rows}

    async def so() -> bool:
        return await stored() == expected

    with contextlib.suppress(AssertionError):
        await until(so)
    assert await stored() == expected


async def _are_set_aside(bootstrap: str, topic: Topic, group: str, sent: Sent) -> None:
    """Each bad record is a dead letter once, unchanged, and nothing else is."""
    records = {
        (record.partition, record.offset): record
        for records in (await read_topic(bootstrap, topic.name)).values()
        for record in records
    }
    letters = [
        letter
        for letters in (await read_topic(bootstrap, topic.dead_letters(group))).values()
        for letter in letters
    ]
    answers = {}
    for letter in letters:
        why = dict(letter.headers)
        place = int(why["dlt_partition"]), int(why["dlt_offset"])
        answers[sent.dead[place][0]] = why["dlt_reason"].decode(), why["dlt_exception"].decode()
        _is_unchanged(letter, records[place], group)
    assert answers == {name: (bad.reason, bad.exception) for name, bad in sent.dead.values()}
    assert len(letters) == len(sent.dead)


def _is_unchanged(letter: ConsumerRecord, record: ConsumerRecord, group: str) -> None:
    """Key, value, partition and headers are the record's; behind those stand ours. Its own time is an hour,
    since a finer one would be a tip's."""
    assert (letter.key, letter.value) == (record.key, record.value)
    assert letter.partition == record.partition
    count = len(record.headers)
    assert list(letter.headers[:count]) == list(record.headers)
    ours = dict(letter.headers[count:])
    assert ours.keys() == OURS
    assert len(letter.headers) == count + len(OURS)
    assert ours["dlt_topic"].decode() == record.topic
    assert ours["dlt_group"].decode() == group
    assert int(ours["dlt_partition"]) == record.partition
    assert int(ours["dlt_offset"]) == record.offset
    assert int(ours["dlt_timestamp"]) == record.timestamp == int(NOW.timestamp() * 1000)
    assert letter.timestamp % 3_600_000 == 0
    assert abs(time.time() * 1000 - letter.timestamp) < 2 * 3_600_000


async def test_one_event_that_cannot_be_applied_is_set_aside_unchanged(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Beside an unreadable record, in one batch of two partitions: both are dead letters, in their own words,
    and every other event is applied once."""
    bad = envelope(key_in(5), 3)

    async def one_fails(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        await apply(connection, envelopes)
        if bad.id in {given.id for given in envelopes}:
            raise ZeroDivisionError("words that somebody wrote")

    async with writing(infrastructure.bootstrap) as writer:
        sent = Sent(writer, REPORTS, {}, {}, {})
        for partition in (5, 6):
            await sent.good(partition, 1)
            await sent.good(partition, 2)
        place = 5, await writer.event(5, 3, bad)
        sent.dead[place] = "not applied", Bad("not_applicable", "ZeroDivisionError")
        await sent.bad(6, 3, "half of JSON")
        await sent.good(5, 4)
        await sent.good(6, 4)
    found = reading(infrastructure.bootstrap, spine, using=one_fails)
    async with running(found.consumer.run()):
        effects = await spine.applied(6)
        await _fences_are(spine, "notify", REPORTS, sent.fences)
    assert sorted(effects) == sorted(sent.applied[5] + sent.applied[6])
    await _are_set_aside(infrastructure.bootstrap, REPORTS, "notify", sent)
    assert b"words" not in b"".join(
        content for letter in await set_aside(infrastructure.bootstrap) for _, content in letter.headers
    )


async def test_too_much_poison_in_a_row_passes_nothing_over(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than is believable: a refusal with its mend, the good record in front is not applied either,
    no dead letter, no fence moved. Whoever believes them reads on from there, and nothing is missing."""
    last = POISON_MAX_RUN + 2
    async with writing(infrastructure.bootstrap) as writer:
        ids = await writer.events(5, [1])
        await writer.unreadable(5, range(2, last + 1))
    found = reading(infrastructure.bootstrap, spine)
    with pytest.raises(Refusal, match=rf"last {POISON_MAX_RUN + 1} in a row.*deploy a mended one"):
        await asyncio.wait_for(found.consumer.run(), 15)
    assert found.count("consumer_stopped") == 1
    assert (await spine.fence(5))["next_offset"] == 0
    assert await spine.effects() == []
    assert await set_aside(infrastructure.bootstrap) == []
    monkeypatch.setattr(dead_letters, "POISON_MAX_RUN", last)
    async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
        await _fences_are(spine, "notify", REPORTS, {5: (last, last)})
    assert await spine.effects() == ids
    assert len(await set_aside(infrastructure.bootstrap)) == last - 1


async def test_without_its_topic_a_dead_letter_is_waited_for(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not now: the batch is neither applied nor passed over, however often it is tried; when the topic is
    made, all goes on by itself and each is there once."""
    monkeypatch.setattr(kafka, "REQUEST_TIMEOUT_MS", 1_000)
    await delete_topics(infrastructure.bootstrap, [REPORTS.dead_letters("notify")])
    found = reading(infrastructure.bootstrap, spine)
    async with writing(infrastructure.bootstrap) as writer:
        sent = Sent(writer, REPORTS, {}, {}, {})
        await sent.good(5, 1)
        await sent.bad(5, 2, "no type")
        await sent.good(5, 3)
        async with running(found.consumer.run()):
            await until(lambda: found.count("consumer_not_now_total") >= 2)
            assert await spine.effects() == []
            assert (await spine.fence(5))["next_offset"] == 0
            await kafka.create_topics(infrastructure.bootstrap)
            assert await spine.applied(2) == sent.applied[5]
            await _fences_are(spine, "notify", REPORTS, {5: (3, 3)})
    await _are_set_aside(infrastructure.bootstrap, REPORTS, "notify", sent)


async def test_a_line_of_log_tells_no_tip_from_another(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Its time is exact, so it must not say which record it was; the dead letter does, whose time is not."""
    async with writing(infrastructure.bootstrap) as writer:
        await writer.record(5, b"key", b"?", [])
    with structlog.testing.capture_logs() as lines:
        found = reading(infrastructure.bootstrap, spine)
        async with running(found.consumer.run()):
            await until(lambda: found.total("consumer_poison_total"))
    (line,) = [line for line in lines if line["event"] == "poison"]
    assert line == {
        "event": "poison",
        "log_level": "error",
        "group": "notify",
        "topic": REPORTS.name,
        "reason": "unnumbered",
    }


async def _passed(bootstrap: str, database: Database) -> ConsumerRecord:
    """Have what stands in partition 5, which cannot be read, and a good event behind it consumed; the dead
    letter of the first."""
    async with writing(bootstrap) as writer:
        ids = await writer.events(5, [1])
    async with running(reading(bootstrap, database).consumer.run()):
        assert await database.applied(1) == ids
    (letter,) = await set_aside(bootstrap)
    return letter


@pytest.mark.parametrize("size", [900_000, 1_048_380])
async def test_the_largest_record_that_kafka_takes_can_be_set_aside(
    infrastructure: Infrastructure, spine: Database, size: int
) -> None:
    """A dead letter is larger than its record by its headers; that must not hold up the partition."""
    async with kafka.producer(infrastructure.bootstrap, "large") as producer:
        await producer.send_and_wait(REPORTS.name, b"x" * size, b"key", 5, headers=[("x", b"y" * 100)])
    letter = await _passed(infrastructure.bootstrap, spine)
    assert len(letter.value) == size


async def test_a_record_with_neither_key_nor_value_is_set_aside(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Kafka takes such a record; the client that writes dead letters does not, but for an empty value."""
    async with AIOKafkaProducer(bootstrap_servers=infrastructure.bootstrap) as producer:
        batch = producer.create_batch()
        batch.append(timestamp=None, key=None, value=None)
        await (await producer.send_batch(batch, REPORTS.name, partition=5))
    letter = await _passed(infrastructure.bootstrap, spine)
    assert (letter.value, letter.key, dict(letter.headers)["dlt_reason"]) == (b"", None, b"unnumbered")


async def test_a_record_too_large_for_a_dead_letter_is_named_by_one(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Compressed, a topic takes more than a dead letter may hold: where it stands and why is kept, and the
    partition goes on."""
    size = 3 * 2**20
    async with AIOKafkaProducer(
        bootstrap_servers=infrastructure.bootstrap, compression_type="gzip", max_request_size=2 * size
    ) as producer:
        written = await producer.send_and_wait(REPORTS.name, b"x" * size, b"key", 5, headers=[("x", b"y")])
    letter = await _passed(infrastructure.bootstrap, spine)
    named = dict(letter.headers)
    assert (letter.value, letter.key) == (b"", None)
    assert named["dlt_offset"] == str(written.offset).encode()
    assert int(named["dlt_omitted_bytes"]) > size


async def test_the_groups_of_a_topic_have_dead_letters_of_their_own(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """What one group cannot read says nothing about another; each keeps its own, under its own name."""
    async with writing(infrastructure.bootstrap) as writer:
        await writer.record(5, b"key", b"?", [])
    for group in ("notify", "stats"):
        found = reading(infrastructure.bootstrap, spine, group)
        async with running(found.consumer.run()):
            await found.reaches("consumer_poison_total", 1)
        letters = (await read_topic(infrastructure.bootstrap, REPORTS.dead_letters(group)))[5]
        assert [dict(letter.headers)["dlt_group"] for letter in letters] == [group.encode()]


async def test_one_batch_holds_records_of_two_topics(infrastructure: Infrastructure, spine: Database) -> None:
    """`stats` reads reports and dispatches in one batch: each dead letter goes to its own topic's."""
    ids: Sequence[uuid.UUID] = []
    async with writing(infrastructure.bootstrap) as writer:
        for topic in (REPORTS, DISPATCHES):
            await writer.record(5, b"key", b"?", [], topic)
            given = envelope(key_in(5), 1, topic)
            await writer.event(5, 1, given)
            ids = [*ids, given.id]
    found = reading(infrastructure.bootstrap, spine, "stats", [REPORTS, DISPATCHES])
    async with running(found.consumer.run()):
        assert sorted(await spine.applied(2)) == sorted(ids)
    for topic in (REPORTS, DISPATCHES):
        (letter,) = (await read_topic(infrastructure.bootstrap, topic.dead_letters("stats")))[5]
        assert dict(letter.headers)["dlt_topic"] == topic.name.encode()
