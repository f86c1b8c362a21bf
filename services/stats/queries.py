"""SQL of what `stats` counts: one function per statement, connection first; none commits.

Rows are written in the order of their key, so that two consumers never wait for each other in a circle.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from services.stats.core.lifecycle import Lifecycle
from shared import postgres

# Held, by many, while something is counted, and by one who freezes a period, alone.
CLOSING_LOCK = 0x1B_0003


async def merge_lifecycles(
    connection: Any, merged: Mapping[uuid.UUID, Lifecycle], counted_in: Mapping[uuid.UUID, date]
) -> None:
    """Merge what is newly known into the rows, as core.lifecycle.merge does. `counted_in` says of the reports
    that were accepted where they count; of a row that counts already it changes nothing."""
    await connection.execute(
        """INSERT INTO lifecycle AS l (
               report_id, kind, hour, area, counted_category, counted_in, category, category_version,
               tips_version, notify_version, routed, delivered, acknowledged, resolved_version, outcome,
               in_time, refused_version, reopened, withdrawn, erased, routed_version, seen_on)
           SELECT report_id, kind, hour, area, counted_category, counted_in, category, category_version,
               tips_version, notify_version, routed, delivered, acknowledged::took, resolved_version, outcome,
               in_time, refused_version, reopened, withdrawn, erased, routed_version, current_date
           FROM unnest(
               $1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::date[], $7::text[],
               $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean[], $12::boolean[], $13::text[],
               $14::bigint[], $15::text[], $16::boolean[], $17::bigint[], $18::boolean[], $19::boolean[],
               $20::boolean[], $21::bigint[]
           ) AS told (
               report_id, kind, hour, area, counted_category, counted_in, category, category_version,
               tips_version, notify_version, routed, delivered, acknowledged, resolved_version, outcome,
               in_time, refused_version, reopened, withdrawn, erased, routed_version)
           ON CONFLICT (report_id) DO UPDATE SET
               kind = CASE WHEN excluded.kind = 'tip' THEN 'tip' ELSE l.kind END,
               hour = coalesce(l.hour, excluded.hour),
               area = CASE WHEN l.hour IS NULL THEN excluded.area ELSE l.area END,
               counted_category = coalesce(l.counted_category, excluded.counted_category),
               counted_in = coalesce(l.counted_in, excluded.counted_in),
               category = CASE WHEN excluded.category_version > coalesce(l.category_version, 0)
                   THEN excluded.category ELSE l.category END,
               category_version = greatest(l.category_version, excluded.category_version),
               tips_version = greatest(l.tips_version, excluded.tips_version),
               notify_version = greatest(l.notify_version, excluded.notify_version),
               routed = l.routed OR excluded.routed,
               delivered = l.delivered OR excluded.delivered,
               acknowledged = least(l.acknowledged, excluded.acknowledged),
               outcome = CASE WHEN excluded.resolved_version > coalesce(l.resolved_version, 0)
                   THEN excluded.outcome ELSE l.outcome END,
               in_time = CASE WHEN excluded.resolved_version > coalesce(l.resolved_version, 0)
                   THEN excluded.in_time ELSE l.in_time END,
               resolved_version = greatest(l.resolved_version, excluded.resolved_version),
               refused_version = greatest(l.refused_version, excluded.refused_version),
               routed_version = greatest(l.routed_version, excluded.routed_version),
               reopened = l.reopened OR excluded.reopened,
               withdrawn = l.withdrawn OR excluded.withdrawn,
               erased = l.erased OR excluded.erased,
               seen_on = greatest(l.seen_on, excluded.seen_on)""",
        # By number is by id: PostgreSQL and Python order UUIDs alike.
        *zip(
            *[_row(*told, counted_in.get(told[0])) for told in sorted(merged.items(), key=_number)],
            strict=True,
        ),
    )


async def hold_open(connection: Any) -> None:
    """Keep every period as it is, open or closed, until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", CLOSING_LOCK)


async def closed_parts(connection: Any, table: str, parts: Collection[date]) -> frozenset[date]:
    """Which of these week-parts of a table are frozen."""
    rows = await connection.fetch(
        """SELECT begins FROM period
           WHERE table_id = $1 AND begins = ANY($2::date[]) AND frozen_at IS NOT NULL""",
        table,
        sorted(parts),
    )
    return frozenset(row["begins"] for row in rows)


async def closed_since(connection: Any, table: str, first: date) -> frozenset[date]:
    """Every frozen week-part of a table that begins on that day or later."""
    rows = await connection.fetch(
        "SELECT begins FROM period WHERE table_id = $1 AND begins >= $2 AND frozen_at IS NOT NULL",
        table,
        first,
    )
    return frozenset(row["begins"] for row in rows)


async def insert_incidents(
    connection: Any, incidents: Sequence[tuple[uuid.UUID, str | None, str, date]]
) -> None:
    """Keep id, area, category and where it counts of each incident that is not there yet."""
    await connection.execute(
        """INSERT INTO incident (incident_id, area, category, counted_in)
           SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::date[])
           ON CONFLICT DO NOTHING""",
        *postgres.columns(sorted(incidents), ("uuid", "text", "text", "date")),
    )


async def uncounted_hours(connection: Any) -> list[datetime]:
    """The hours of reports that an earlier version of this program has kept."""
    rows = await connection.fetch(
        "SELECT DISTINCT hour FROM lifecycle WHERE hour IS NOT NULL AND counted_in IS NULL"
    )
    return [row["hour"] for row in rows]


async def count_in(connection: Any, hours: Mapping[datetime, date]) -> None:
    """Have those reports count in these week-parts, by their hours."""
    await connection.execute(
        """UPDATE lifecycle l SET counted_in = n.part
           FROM unnest($1::timestamptz[], $2::date[]) AS n (hour, part)
           WHERE l.hour = n.hour AND l.counted_in IS NULL""",
        list(hours),
        list(hours.values()),
    )


async def totals(connection: Any) -> dict[str, Any]:
    """What an operator holds against the other services' totals, of one moment."""
    row = await connection.fetchrow(
        """WITH here AS (
               SELECT count(hour) AS accepted, count(*) FILTER (WHERE routed) AS routed,
                   count(*) FILTER (WHERE delivered) AS delivered, count(acknowledged) AS acknowledged,
                   count(counted_in) AS counted,
                   coalesce(bit_xor(('x' || left(md5(report_id::text), 16))::bit(64))
                       FILTER (WHERE hour IS NOT NULL), 0::bit(64)) AS digest
               FROM lifecycle)
           SELECT h.accepted + g.accepted AS accepted,
               lpad(to_hex((h.digest # g.digest)::bigint), 16, '0') AS digest,
               h.routed + g.routed AS routed, h.delivered + g.delivered AS delivered,
               h.acknowledged + g.acknowledged AS acknowledged, h.counted + g.counted AS counted
           FROM here h, lifecycle_gone g"""
    )
    return dict(row)


def _number(told: tuple[uuid.UUID, Lifecycle]) -> int:
    return told[0].int


def _row(report_id: uuid.UUID, known: Lifecycle, counted_in: date | None) -> tuple[Any, ...]:
    accepted, category, resolved = known.accepted, known.category, known.resolved
    outcome, in_time = resolved.value if resolved else (None, None)
    return (
        report_id,
        known.kind,
        accepted.hour if accepted else None,
        accepted.area if accepted else None,
        accepted.category if accepted else None,
        counted_in,
        category.value if category else None,
        category.version if category else None,
        known.tips_version,
        known.notify_version,
        known.routed,
        known.delivered,
        known.acknowledged,
        resolved.version if resolved else None,
        outcome,
        in_time,
        known.refused_version,
        known.reopened,
        known.withdrawn,
        known.erased,
        known.routed_version,
    )
