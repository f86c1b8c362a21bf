"""A reader that comes late to a topic that Kafka has compacted: the real cleaner, at work within seconds."""

import uuid
from typing import Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared import kafka
from shared.cloudevents import Envelope, to_record
from shared.events import ISSUES, Event, IssueChanged, IssueGone
from shared.fence import Fence
from shared.standing import look
from tests.conftest import Infrastructure
from tests.spine import (
    NOW,
    Database,
    headers,
    key_in,
    read_topic,
    reading,
    running,
    until,
    writing,
)

EAGER = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.0",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "100",
    "delete.retention.ms": "0",
}
A, B, C = key_in(3), key_in(3), key_in(3)


def said(issue_id: uuid.UUID, version: int) -> Envelope[Event]:
    """The issue at that version; gone at version 0."""
    event: Any = IssueGone(issue_id=issue_id)
    if version:
        event = IssueChanged(
            issue_id=issue_id,
            version=version,
            category="light",
            areas={},
            status="routed",
            page="http://a/b",
        )
    return Envelope.of(event, id=uuid.uuid4(), source="/test/tips", now=NOW)


async def keep(connection: Any, envelopes: Any) -> None:
    """The state of each issue, 0 where it is gone, by its version."""
    for given in envelopes:
        await connection.execute(
            "INSERT INTO effect (id, key, version) VALUES ($1, $2, $3)",
            given.id,
            given.event.key,
            getattr(given.event, "version", 0),
        )


async def test_what_compaction_took_is_no_gap(
    infrastructure: Infrastructure, fresh_topics: None, spine: Database
) -> None:
    """A fresh group, one that had read a little of it, and what comes afterwards: the last state of each
    issue is applied, no alarm rings, and nobody has to accept anything."""
    bootstrap = infrastructure.bootstrap
    async with kafka.admin(bootstrap) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, ISSUES.name, EAGER)])
    given = [said(A, 1), said(A, 2), said(B, 1), said(A, 3), said(B, 0), said(C, 1)]
    async with writing(bootstrap) as writer:
        last = said(C, 2)
        for number, one in enumerate([*given, last], start=1):
            record = to_record(one)
            # A segment each, by their times: the cleaner takes nothing of the one that is written to.
            at = record.timestamp + 1_000 * number
            await writer.producer.send_and_wait(
                record.topic, record.value, record.key, 3, at, headers(number, one)
            )

        async def left() -> list[int]:
            return [record.offset for record in (await read_topic(bootstrap, ISSUES.name))[3]]

        await until(lambda: _is_short(left), 60)
        offsets = await left()
        assert 3 in offsets
        assert not {0, 1, 2} & set(offsets)

        # One stood on number 2, which is not there any more; what it has dealt with it need not read again.
        stood = {(ISSUES.name, 3): Fence(2, given[1].id, 2)}
        assert await look(bootstrap, "notify", stood) == {(ISSUES.name, 3): 2}
        for group, fence in (("notify", stood[ISSUES.name, 3]), ("stats", None)):
            await spine.fetch("TRUNCATE effect")
            if fence:
                await spine.fetch(
                    "INSERT INTO fence (consumer_group, topic, partition, sequence, event_id, next_offset) "
                    "VALUES ($1, $2, 3, $3, $4, $5)",
                    group,
                    ISSUES.name,
                    fence.sequence,
                    fence.event_id,
                    fence.next_offset,
                )
            found = reading(bootstrap, spine, group, (ISSUES,), keep)
            async with running(found.consumer.run()):
                await until(lambda: _has(spine, last.id))
                effects = await spine.fetch("SELECT id, key, version FROM effect ORDER BY nth")
                assert [row["version"] for row in effects if row["key"] == str(A)] == [3]
                assert found.total("consumer_gap") == 0
                assert found.total("consumer_early_total") == 0


async def _is_short(left: Any) -> bool:
    return len(await left()) <= 4


async def _has(spine: Database, event_id: uuid.UUID) -> bool:
    return bool(await spine.fetch("SELECT FROM effect WHERE id = $1", event_id))
