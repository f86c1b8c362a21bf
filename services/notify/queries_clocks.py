"""The SQL of clocks and notices: the caller's connection first, never a commit."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.notify.core.steps import Dispatch
from services.notify.queries import DISPATCH, IS_OPEN, Listed, dispatch_from, listed_from

_RUNNING = f"{IS_OPEN} AND waits_since IS NULL"


async def lock_due(connection: Any, now: datetime, limit: int) -> list[Dispatch]:
    """Lock reports whose clocks have something to tell, the longest due first; nobody else's."""
    rows = await connection.fetch(
        f"""SELECT {DISPATCH} FROM dispatch WHERE clock_at <= $1
            ORDER BY clock_at LIMIT $2 FOR UPDATE SKIP LOCKED""",  # noqa: S608 - a constant
        now,
        limit,
    )
    return [dispatch_from(dict(row)) for row in rows]


async def lock_open(connection: Any, after: uuid.UUID | None, limit: int) -> list[Dispatch]:
    """Lock a page of the open reports, in the order of their ids."""
    rows = await connection.fetch(
        f"""SELECT {DISPATCH} FROM dispatch WHERE {_RUNNING} AND ($1::uuid IS NULL OR report_id > $1)
            ORDER BY report_id LIMIT $2 FOR UPDATE""",  # noqa: S608 - constants
        after,
        limit,
    )
    return [dispatch_from(dict(row)) for row in rows]


async def set_clocks(connection: Any, clocks: Sequence[tuple[uuid.UUID, datetime, datetime | None]]) -> None:
    """Write until when the clocks of reports have told all, and when they tell something next. The rows are
    locked before."""
    await connection.execute(
        """UPDATE dispatch d SET clocks_until = n.until, clock_at = n.clock_at
           FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS n (report_id, until, clock_at)
           WHERE d.report_id = n.report_id
             AND (d.clocks_until, d.clock_at) IS DISTINCT FROM (n.until, n.clock_at)""",
        *(list(column) for column in zip(*clocks, strict=True)),
    )


async def insert_notices(connection: Any, notices: Sequence[tuple[str, str]], due_at: datetime) -> None:
    """Put down that units have something to be told, each by a channel. Where a notice is open already it is
    to go again, with what is new, unless it has not been tried yet."""
    await connection.execute(
        """INSERT INTO delivery (id, unit, channel, step, due_at, next_attempt_at)
           SELECT gen_random_uuid(), unit, channel, 'notice', $3, $3
           FROM unnest($1::text[], $2::text[]) AS n (unit, channel)
           ON CONFLICT (unit, channel) WHERE step = 'notice' AND state = 'open'
           DO UPDATE SET again = delivery.tried""",
        [unit for unit, _ in notices],
        [channel for _, channel in notices],
        due_at,
    )


async def told_about(connection: Any, unit: str, levels: Sequence[int]) -> list[tuple[Listed, bool]]:
    """The open reports of which a unit was reminded or told that they are late; and those of other units of
    which it is told at one of these levels. Of each whether something that its resident wrote has not reached
    its unit and does not go any more: such a report is told of when it is solved, too."""
    rows = await connection.fetch(
        f"""WITH unheard AS (
                SELECT DISTINCT report_id, unit FROM delivery d
                WHERE state = 'dead' AND step ~ '^message([.]|$)' AND NOT EXISTS (
                    SELECT FROM delivery o
                    WHERE (o.report_id, o.unit, o.step) = (d.report_id, d.unit, d.step)
                      AND o.state IN ('open', 'done')))
            SELECT {DISPATCH}, areas, language, u.unheard FROM dispatch
            LEFT JOIN (SELECT report_id, unit, true AS unheard FROM unheard) u USING (report_id, unit)
            WHERE ({_RUNNING} OR u.unheard AND status NOT IN ('withdrawn', 'erased'))
              AND (unit = $1 AND (reminded OR level > 0)
                   OR unit <> $1 AND level >= (SELECT min(l) FROM unnest($2::integer[]) AS l))
            ORDER BY resolve_by, report_id""",  # noqa: S608 - constants
        unit,
        list(levels),
    )
    found = []
    for row in map(dict, rows):
        unheard = bool(row.pop("unheard"))
        found.append((listed_from(row), unheard))
    return found
