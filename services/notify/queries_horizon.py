"""The SQL of the horizon: the caller's connection first, never a commit."""

from datetime import date
from typing import Any


async def forget(connection: Any, before: date, limit: int) -> int:
    """Delete all that is keyed by reports which were erased before a day, at most `limit` of them; their
    share of the totals stays. How many there were."""
    ids = await connection.fetchval(
        """SELECT array_agg(report_id) FROM (
               SELECT report_id FROM dispatch WHERE erased_on < $1
               ORDER BY report_id LIMIT $2 FOR UPDATE SKIP LOCKED) AS gone""",
        before,
        limit,
    )
    if not ids:
        return 0
    for table in ("delivery", "act", "report_step"):
        await connection.execute(f"DELETE FROM {table} WHERE report_id = ANY($1)", ids)  # noqa: S608 - names
    await connection.execute(
        """WITH gone AS (DELETE FROM dispatch WHERE report_id = ANY($1)
                         RETURNING report_id, delivered_at, acknowledged_at),
                counted AS (
                    SELECT count(*) AS accepted, count(delivered_at) AS delivered,
                           count(acknowledged_at) AS acknowledged,
                           bit_xor(('x' || left(md5(report_id::text), 16))::bit(64)) AS digest
                    FROM gone)
           UPDATE dispatch_gone g
           SET accepted = g.accepted + c.accepted, delivered = g.delivered + c.delivered,
               acknowledged = g.acknowledged + c.acknowledged, digest = g.digest # c.digest
           FROM counted c""",
        ids,
    )
    return len(ids)


async def forget_unseen(connection: Any, before: date) -> None:
    """Forget reports that ended, or to which something was added, before a day, and whose acceptance never
    came."""
    for table in ("ended_unseen", "added_unseen"):
        await connection.execute(f"DELETE FROM {table} WHERE on_day < $1", before)  # noqa: S608 - names


async def forget_notices(connection: Any, before: date) -> None:
    """Delete notices and digests that have gone or never will, and the mornings before a day."""
    await connection.execute("DELETE FROM delivery WHERE report_id IS NULL AND state <> 'open'")
    await connection.execute("DELETE FROM morning WHERE day < $1", before)
