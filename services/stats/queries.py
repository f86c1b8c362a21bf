"""SQL of `stats`: one function per statement, connection first; none commits.

Rows are written in the order of their key, so that two consumers never wait for each other in a circle.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from services.stats.core import Cell, Lifecycle


async def merge_lifecycles(connection: Any, merged: Mapping[uuid.UUID, Lifecycle]) -> list[uuid.UUID]:
    """Merge what is newly known into the rows, as core.merge does; returns the reports that this statement
    was the first to tell that they were accepted. (`old` is PostgreSQL 18's.)"""
    rows = await connection.fetch(
        """WITH merged AS (
               INSERT INTO lifecycle AS l (
                   report_id, kind, hour, area, category, category_version, tips_version, notify_version,
                   routed, delivered, acknowledged, resolved_version, outcome, in_time, refused_version,
                   reopened, withdrawn, erased)
               SELECT report_id, kind, hour, area, category, category_version, tips_version,
                   notify_version, routed, delivered, acknowledged::took, resolved_version, outcome, in_time,
                   refused_version, reopened, withdrawn, erased
               FROM unnest(
                   $1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::bigint[],
                   $7::bigint[], $8::bigint[], $9::boolean[], $10::boolean[], $11::text[], $12::bigint[],
                   $13::text[], $14::boolean[], $15::bigint[], $16::boolean[], $17::boolean[], $18::boolean[]
               ) AS told (
                   report_id, kind, hour, area, category, category_version, tips_version, notify_version,
                   routed, delivered, acknowledged, resolved_version, outcome, in_time, refused_version,
                   reopened, withdrawn, erased)
               ON CONFLICT (report_id) DO UPDATE SET
                   kind = CASE WHEN excluded.kind = 'tip' THEN 'tip' ELSE l.kind END,
                   hour = coalesce(l.hour, excluded.hour),
                   area = CASE WHEN l.hour IS NULL THEN excluded.area ELSE l.area END,
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
                   reopened = l.reopened OR excluded.reopened,
                   withdrawn = l.withdrawn OR excluded.withdrawn,
                   erased = l.erased OR excluded.erased
               RETURNING new.report_id, old.hour IS NULL AND new.hour IS NOT NULL AS newly_accepted)
           SELECT report_id FROM merged WHERE newly_accepted""",
        # By number is by id: PostgreSQL and Python order UUIDs alike.
        *zip(*[_row(*told) for told in sorted(merged.items(), key=_number)], strict=True),
    )
    return [row["report_id"] for row in rows]


async def add_counts(connection: Any, counts: Mapping[Cell, int]) -> None:
    """Add to the open counts."""
    await connection.execute(
        """INSERT INTO open_count AS o (grain, period, area, category, count)
           SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
           ON CONFLICT (grain, period, area, category) DO UPDATE SET count = o.count + excluded.count""",
        *zip(*[(*cell, counts[cell]) for cell in sorted(counts)], strict=True),
    )


async def totals(connection: Any) -> dict[str, Any]:
    """What an operator holds against the other services' totals, of one moment."""
    row = await connection.fetchrow(
        """SELECT *
           FROM (SELECT count(*) FILTER (WHERE hour IS NOT NULL) AS accepted,
                     coalesce(lpad(to_hex(bit_xor(('x' || left(md5(report_id::text), 16))::bit(64)::bigint)
                         FILTER (WHERE hour IS NOT NULL)), 16, '0'), repeat('0', 16)) AS digest,
                     count(*) FILTER (WHERE routed) AS routed,
                     count(*) FILTER (WHERE delivered) AS delivered,
                     count(acknowledged) AS acknowledged
                 FROM lifecycle) AS l,
                (SELECT coalesce(sum(count) FILTER (WHERE grain = 'week_part'), 0)::bigint AS counted,
                     coalesce(sum(count) FILTER (WHERE grain = 'month'), 0)::bigint AS counted_month
                 FROM open_count) AS o"""
    )
    return dict(row)


def _number(told: tuple[uuid.UUID, Lifecycle]) -> int:
    return told[0].int


def _row(report_id: uuid.UUID, known: Lifecycle) -> tuple[Any, ...]:
    accepted, category, resolved = known.accepted, known.category, known.resolved
    outcome, in_time = resolved.value if resolved else (None, None)
    return (
        report_id,
        known.kind,
        accepted.hour if accepted else None,
        accepted.area if accepted else None,
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
    )
