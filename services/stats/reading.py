"""Releases as they stand on their topic: what is there was published, whatever this database says.

A database that was restored, or is empty, takes over what is there as it is, and never works it out anew.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from datetime import datetime
from fractions import Fraction
from typing import Any

import structlog
from aiokafka import ConsumerRecord

from services.stats import queries_releases, signing
from services.stats.core.auditing import unfit
from services.stats.core.periods import begin_of
from services.stats.core.release import fault
from services.stats.core.spec import Spec
from services.stats.former import FOLDER
from shared import kafka
from shared.cloudevents import from_record, to_value
from shared.cluster import Where
from shared.errors import Poison, Refusal, typed
from shared.events import STATISTICS, StatisticsReleased

log = structlog.get_logger()


async def take(
    connection: Any, release: StatisticsReleased, known: Collection[str], released_at: datetime, now: datetime
) -> str | None:
    """Note that a release was read, in the caller's transaction, and adopt one that is news.

    Returns why it is not one of ours or not the first of its period, as a code; then nothing is changed.
    """
    await queries_releases.hold_chain(connection)
    stored = await queries_releases.release_digest(connection, release.number)
    if stored == release.digest:
        await queries_releases.show(connection, release.number, now)
        return None
    after = await queries_releases.last_link(connection)
    signed = signing.is_signed(release)
    if stored is not None:
        return "second_release" if signed and release.signing_key in known else "forged_release"
    retired = await queries_releases.retired_keys(connection)
    if found := fault(release, after, known, retired, signed=signed):
        return found
    table, period = release.table or "", release.period
    if await queries_releases.is_released(connection, table, period, release.edition):
        return "second_release"
    content = to_value(release) or b""
    await queries_releases.insert_release(connection, release, content, released_at, now)
    if release.scale:
        cost = Fraction(1, release.scale)
        await queries_releases.debit(connection, table, period, begin_of(period), cost)
    return None


async def adopt(pool: Any, where: Where, known: Collection[str], specs: Sequence[Spec], now: datetime) -> int:
    """Read the topic to its end and adopt what this database does not have; returns how many that were.

    What is no release of ours is left, and said. Raises Refusal where a release of ours is another in this
    database than on the topic, where one is signed by a key that is not known, and where its spec is not
    known or promises otherwise; KafkaError.
    """
    before = await _count(pool)
    seen: set[int] = set()
    async with aclosing(on_topic(where, "stats-adopting")) as records:
        async for record in records:
            await _adopt(pool, record, known, specs, now, seen)
    return await _count(pool) - before


async def on_topic(where: Where, client_id: str) -> AsyncGenerator[ConsumerRecord, None]:
    """Every record of the topic of releases, up to where it ends when this begins. Raises KafkaError."""
    reader = kafka.reader(where, client_id)
    try:
        await reader.start()
        for place, end in (await kafka.ends(reader, [STATISTICS])).items():
            async for record in kafka.records(reader, place, 0, end):
                yield record
    finally:
        await kafka.stop_quietly(reader)


async def _adopt(
    pool: Any,
    record: ConsumerRecord,
    known: Collection[str],
    specs: Sequence[Spec],
    now: datetime,
    seen: set[int],
) -> None:
    try:
        envelope = from_record(record.topic, record.key, record.value, record.headers)
    except Poison as poison:
        log.error("release_left", reason=poison.reason, offset=record.offset)
        return
    release = envelope.event
    if not isinstance(release, StatisticsReleased):
        return
    async with pool.acquire() as connection, connection.transaction():
        found = await take(connection, release, known, envelope.time, now)
        await refuse_unknown(connection, release, found)
    if found == "second_release" and release.number not in seen:
        raise Refusal(
            f"release {release.number} ({release.table} {release.period}) is another in this database than "
            f"on {STATISTICS.name}, where it was published: the database is of another time; restore the "
            "backup that belongs to it, or an empty one, which takes over what was published, and restart"
        )
    if found:
        log.error("release_left", reason=found, offset=record.offset)
        return
    seen.add(release.number)
    _refuse_unfit(release, specs)


def _refuse_unfit(release: StatisticsReleased, specs: Sequence[Spec]) -> None:
    """Raise Refusal where the spec of a release is lost, or promises otherwise. An empty database takes the
    folder's at its word: that it has changed under its version only what was published tells."""
    if release.spec not in {spec.id for spec in specs}:
        raise Refusal(
            f"release {release.number} ({release.table} {release.period}) is one of {release.spec}, which "
            "neither the municipality's folder nor this database knows: what is left of its periods would "
            "never be released; print it from the folder as it was then, as version control has it, by "
            f"{typed('stats', 'spec --folder FOLDER')} into {FOLDER}/{release.spec}.json of the folder that "
            "is in use, and restart"
        )
    why = unfit(release, specs)
    if why is None:
        return
    raise Refusal(
        f"release {release.number} ({release.table} {release.period}) is published, and {why}: "
        "statistics.toml, an area or a category has changed since under one version, and this database has "
        "kept the change; put them back as they were, restore the backup that belongs to the topic, or an "
        "empty one, and restart"
    )


async def refuse_unknown(connection: Any, release: StatisticsReleased, found: str | None) -> None:
    """Raise Refusal where the next release, by what `take` found, is signed by a key of which nobody has said
    whose it is: to leave one of ours would be to release its period again."""
    if found != "unknown_signing_key" or await queries_releases.is_stranger(connection, release.signing_key):
        return
    raise Refusal(
        f"release {release.number} is signed by the key {release.signing_key}, which stats does not know: "
        "where it is an earlier one of yours, add it to IBUURT_FORMER_SIGNING_KEYS and do this again; where "
        "it was never yours, somebody else writes there: `stats disown-key KEY --by NAME`, and see "
        "docs/operating.md, Two writers"
    )


async def _count(pool: Any) -> int:
    async with pool.acquire() as connection:
        return int((await queries_releases.last_link(connection)).number)
