"""Which reports are under which key, and what goes because its time has ended."""

import uuid
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from services.tips.sealing import Sealed

# Whoever moves or erases reports by their keys does it in turn with other replicas and commands.
TURN_LOCK = 0x1B_0004


async def take_turn(connection: Any) -> None:
    """Wait until nobody else works on reports by their keys, and keep others waiting until the transaction
    ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", TURN_LOCK)


async def counts(connection: Any) -> dict[str, int]:
    """How many reports are under each key that has any."""
    rows = await connection.fetch(
        "SELECT key_name, count(*) AS n FROM report WHERE key_name IS NOT NULL GROUP BY key_name"
    )
    return {row["key_name"]: row["n"] for row in rows}


async def count(connection: Any, name: str) -> int:
    """How many reports are under a key."""
    found: int = await connection.fetchval("SELECT count(*) FROM report WHERE key_name = $1", name)
    return found


async def held_under(connection: Any, name: str) -> int:
    """How many of the reports under a key are held."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM hold JOIN report USING (report_id) WHERE key_name = $1", name
    )
    return found


async def open_under(connection: Any, name: str, over: frozenset[str]) -> list[tuple[str, datetime]]:
    """The categories and times of acceptance (UTC) of those reports under a key that are not held and have
    none of the statuses `over`."""
    rows = await connection.fetch(
        """SELECT category, accepted_at FROM report r WHERE key_name = $1 AND status <> ALL($2::text[])
           AND NOT EXISTS (SELECT FROM hold WHERE report_id = r.report_id)""",
        name,
        sorted(over),
    )
    return [(row["category"], row["accepted_at"]) for row in rows]


async def stay_of(connection: Any, report_id: uuid.UUID) -> tuple[str | None, date | None]:
    """The name of the key that a report is under, None once it is erased; and the day on which it was taken
    for spam, if it was."""
    row = await connection.fetchrow("SELECT key_name, spam_on FROM report WHERE report_id = $1", report_id)
    return row["key_name"], row["spam_on"]


async def decide_spam(connection: Any, report_id: uuid.UUID, decision_id: uuid.UUID) -> bool:
    """Whether a decision that a report that is locked is spam is told for the first time."""
    new = await connection.fetchval(
        "INSERT INTO spam_decision VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
        report_id,
        decision_id,
    )
    return bool(new)


async def mark_spam(connection: Any, report_id: uuid.UUID, day: date) -> None:
    """Note the day on which a report that is locked was taken for spam."""
    await connection.execute("UPDATE report SET spam_on = $2 WHERE report_id = $1", report_id, day)


async def unmark_spam(connection: Any, report_id: uuid.UUID) -> None:
    """A report that is locked is no spam after all; nor is it mailed that it is."""
    await connection.execute("UPDATE report SET spam_on = NULL WHERE report_id = $1", report_id)
    await connection.execute(
        """DELETE FROM email USING email_updates u
           WHERE about = 'spam' AND u.subscription_id = email.subscription_id AND u.report_id = $1""",
        report_id,
    )


async def forget_decisions(connection: Any, report_ids: Iterable[uuid.UUID]) -> None:
    """Forget the decisions about reports that are erased."""
    await connection.execute("DELETE FROM spam_decision WHERE report_id = ANY($1::uuid[])", list(report_ids))


async def marked_as_spam(connection: Any) -> list[uuid.UUID]:
    """The reports that are taken for spam, in the order in which everybody locks reports."""
    rows = await connection.fetch("SELECT report_id FROM report WHERE spam_on IS NOT NULL ORDER BY report_id")
    return [row["report_id"] for row in rows]


async def spam_before(connection: Any, day: date) -> list[uuid.UUID]:
    """The reports that were taken for spam before a day, all but those that are held."""
    rows = await connection.fetch(
        """SELECT report_id FROM report
           WHERE spam_on < $1 AND NOT EXISTS (SELECT FROM hold WHERE hold.report_id = report.report_id)
           ORDER BY report_id""",
        day,
    )
    return [row["report_id"] for row in rows]


async def next_under(connection: Any, name: str, after: uuid.UUID, at_most: int) -> list[uuid.UUID]:
    """The first reports under a key after one, in the order in which everybody locks reports."""
    rows = await connection.fetch(
        """SELECT report_id FROM report WHERE key_name = $1 AND report_id > $2
           ORDER BY report_id LIMIT $3""",
        name,
        after,
        at_most,
    )
    return [row["report_id"] for row in rows]


async def rewrap(connection: Any, report_id: uuid.UUID, sealed: Sealed) -> None:
    """Put a report that is locked under another key."""
    await connection.execute(
        "UPDATE report SET key_name = $2, wrapped_key = $3 WHERE report_id = $1",
        report_id,
        sealed.key_name,
        sealed.wrapped_key,
    )


async def retire(connection: Any, name: str) -> None:
    """Let nothing more be put under a key, once this is committed."""
    await connection.execute("INSERT INTO retired_key (name) VALUES ($1) ON CONFLICT DO NOTHING", name)


async def newest_transaction(connection: Any) -> int:
    """A number above those of all transactions that have written anything so far."""
    found: int = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    return found


async def are_over(connection: Any, number: int) -> bool:
    """Whether every transaction below that number has ended."""
    found: bool = await connection.fetchval(
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $1", number
    )
    return found


async def drop_erased(connection: Any, before: date, at_most: int) -> int:
    """Forget reports that were erased before a day, with their steps; what they counted stays."""
    dropped: int = await connection.fetchval(
        """WITH old AS (
               SELECT report_id FROM report r
               WHERE sealed IS NULL AND coalesce(erased_on, accepted_at::date) < $1
               AND NOT EXISTS (SELECT FROM hold WHERE report_id = r.report_id)
               ORDER BY report_id LIMIT $2 FOR UPDATE),
           gone AS (DELETE FROM report USING old WHERE report.report_id = old.report_id),
           counted AS (
               SELECT count(*) AS accepted,
                   bit_xor(('x' || left(md5(report_id::text), 16))::bit(64)::bigint) AS digest,
                   count(*) FILTER (WHERE EXISTS (SELECT FROM report_step s
                       WHERE s.report_id = old.report_id AND step = 'routed')) AS routed,
                   count(*) FILTER (WHERE EXISTS (SELECT FROM report_step s
                       WHERE s.report_id = old.report_id AND step = 'delivered')) AS delivered,
                   count(*) FILTER (WHERE EXISTS (SELECT FROM report_step s
                       WHERE s.report_id = old.report_id AND step = 'acknowledged')) AS acknowledged
               FROM old),
           kept AS (
               UPDATE report_gone g SET accepted = g.accepted + c.accepted,
                   digest = g.digest # coalesce(c.digest, 0), routed = g.routed + c.routed,
                   delivered = g.delivered + c.delivered, acknowledged = g.acknowledged + c.acknowledged
               FROM counted c)
           SELECT accepted FROM counted""",
        before,
        at_most,
    )
    return dropped
