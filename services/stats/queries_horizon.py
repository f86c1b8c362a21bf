"""The SQL of the horizon: the caller's connection first, never a commit."""

from datetime import date
from typing import Any

# No period that is drawn and not released yet counts what counts in that week-part. One that is not drawn has
# no row and is not seen here: the caller has them drawn before.
_RELEASED = """NOT EXISTS (
    SELECT FROM period p
    WHERE starts_with(p.table_id, '{subject}.') AND p.begins <= {row}.counted_in AND {row}.counted_in < p.ends
      AND NOT EXISTS (SELECT FROM release r WHERE r.table_id = p.table_id AND r.period = p.name))"""
_FORGET_REPORTS = f"""
    WITH gone AS (
        DELETE FROM lifecycle WHERE report_id IN (
            SELECT report_id FROM lifecycle l
            WHERE seen_on < $1
              AND (counted_in IS NULL OR {_RELEASED.format(subject="reports", row="l")})
            ORDER BY report_id LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING report_id, hour, routed, delivered, acknowledged, counted_in),
    counted AS (
        SELECT count(*) AS gone, count(hour) AS accepted, count(*) FILTER (WHERE routed) AS routed,
               count(*) FILTER (WHERE delivered) AS delivered, count(acknowledged) AS acknowledged,
               count(counted_in) AS counted,
               coalesce(bit_xor(('x' || left(md5(report_id::text), 16))::bit(64))
                        FILTER (WHERE hour IS NOT NULL), 0::bit(64)) AS digest
        FROM gone)
    UPDATE lifecycle_gone g
    SET accepted = g.accepted + c.accepted, routed = g.routed + c.routed,
        delivered = g.delivered + c.delivered, acknowledged = g.acknowledged + c.acknowledged,
        counted = g.counted + c.counted, digest = g.digest # c.digest
    FROM counted c RETURNING c.gone"""  # noqa: S608 - constants
_FORGET_INCIDENTS = f"""
    UPDATE incident SET area = NULL, category = NULL WHERE incident_id IN (
        SELECT incident_id FROM incident i
        WHERE category IS NOT NULL AND counted_in < $1 AND {_RELEASED.format(subject="incidents", row="i")}
        ORDER BY incident_id LIMIT $2 FOR UPDATE SKIP LOCKED)"""  # noqa: S608 - constants


async def forget_reports(connection: Any, before: date, limit: int) -> int:
    """Delete the rows of reports of which nothing was applied since a day, and which count in nothing that is
    still to be released, at most `limit`; their share of the totals stays. How many there were."""
    gone: int = await connection.fetchval(_FORGET_REPORTS, before, limit)
    return gone


async def forget_incidents(connection: Any, before: date, limit: int) -> int:
    """Empty the rows of incidents that count before a day, and in nothing that is still to be released, at
    most `limit`; their ids stay. How many there were."""
    done: str = await connection.execute(_FORGET_INCIDENTS, before, limit)
    return int(done.split()[-1])
