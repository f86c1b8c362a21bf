"""The SQL of deliveries: the caller's connection first, never a commit."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from services.notify.core.deliveries import Delivery, NewDelivery, Settlement
from shared.events import Kind


async def insert_deliveries(connection: Any, rows: Sequence[NewDelivery]) -> None:
    """Store what has to go. What is there stays."""
    await connection.execute(
        """INSERT INTO delivery (id, report_id, unit, channel, step, due_at, next_attempt_at)
           SELECT id, report_id, unit, channel, step, due_at, due_at
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
                AS new (id, report_id, unit, channel, step, due_at)
           ON CONFLICT DO NOTHING""",
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def is_put_down(connection: Any, report_id: uuid.UUID, step: str) -> bool:
    """Whether something of this step of a report has to go to some unit, or had to."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM delivery WHERE report_id = $1 AND step = $2)", report_id, step
    )
    return found


class Wordy(NamedTuple):
    """The categories of which words leave by webhook, and by e-mail."""

    webhook: list[str]
    email: list[str]


class Reader(NamedTuple):
    """Who was sent words of a report by a channel, or may have been: `sent` where that is recorded. Until
    `leased_until` (UTC) a worker may still be about to."""

    report_id: uuid.UUID
    kind: Kind
    category: str
    unit: str
    channel: str
    sent: bool
    leased_until: datetime | None


async def readers_of(connection: Any, report_ids: Iterable[uuid.UUID]) -> list[Reader]:
    """Everything by which words of these reports were sent, or by which a report or message was under way:
    whoever refused it, did not answer in time, or was called by a worker that died, may have its words."""
    rows = await connection.fetch(
        """SELECT report_id, p.kind, p.category, d.unit, d.channel, bool_or(d.words) AS sent,
                  max(d.leased_until) AS leased_until
           FROM delivery d JOIN dispatch p USING (report_id)
           WHERE report_id = ANY($1) AND (d.words OR d.tried AND d.step ~ '^(route|message)([.]|$)')
           GROUP BY 1, 2, 3, 4, 5""",
        list(report_ids),
    )
    return [Reader(*row) for row in rows]


async def cancel_deliveries(connection: Any, report_ids: Iterable[uuid.UUID], why: str) -> None:
    """Cancel what has not gone yet of these reports. A lease stays: a worker that holds it may have fetched
    words, and sends them all the same. Of a tip it is the hour's end: no row tells when it was called."""
    await connection.execute(
        """UPDATE delivery d
           SET state = 'cancelled', last_failure = $2, due_at = NULL, next_attempt_at = NULL,
               leased_until = CASE p.kind
                   WHEN 'tip' THEN date_trunc('hour', d.leased_until, 'UTC') + interval '1 hour'
                   ELSE d.leased_until END
           FROM dispatch p
           WHERE p.report_id = d.report_id AND d.report_id = ANY($1) AND d.state = 'open'""",
        list(report_ids),
        why,
    )


async def claim_deliveries(
    connection: Any,
    rooms: Mapping[str, int],
    limit: int,
    held: Iterable[uuid.UUID],
    now: datetime,
    leased_until: datetime,
    wordy: Wordy,
    *,
    asks: bool | None = None,
) -> list[Delivery]:
    """Take what is due until the lease ends: so many for each destination, `limit` in all, the longest due
    first; nothing of what is held already. `asks` takes only what tips is asked for, or only the rest: words
    go with it, or its unit has erased its copy already, and tips could not be told."""
    rows = await connection.fetch(
        """WITH due AS (
               SELECT d.id, d.report_id FROM (
                   SELECT o.id, o.next_attempt_at
                   FROM unnest($1::text[], $2::integer[]) AS u (destination, room)
                   CROSS JOIN LATERAL (
                       SELECT id, next_attempt_at FROM delivery w
                       WHERE state = 'open' AND destination = u.destination AND next_attempt_at <= $4
                             AND (leased_until IS NULL OR leased_until <= $4) AND id <> ALL($6)
                             -- looked at only while tips is away; no EXISTS, which would read all reports
                             AND ($7::boolean IS NULL OR $7 = (
                                 step ^@ 'erased' AND coalesce(last_failure, '') ^@ 'tips_'
                                 OR (step ^@ 'route' OR step ^@ 'message')
                                    AND (SELECT category FROM dispatch WHERE report_id = w.report_id)
                                        = ANY(CASE u.destination WHEN '@desk' THEN '{}'
                                              WHEN '@smtp' THEN $9::text[] ELSE $8::text[] END)))
                       ORDER BY next_attempt_at LIMIT u.room) o
                   ORDER BY o.next_attempt_at) o
               -- locked here, where no more rows come than are taken; what has changed since is asked again
               JOIN delivery d ON d.id = o.id AND d.state = 'open' AND d.next_attempt_at <= $4
                                  AND (d.leased_until IS NULL OR d.leased_until <= $4)
               ORDER BY o.next_attempt_at LIMIT $3 FOR UPDATE OF d SKIP LOCKED)
           -- what a notice says is gathered when it goes: it has all that came until now
           UPDATE delivery d SET leased_until = $5, tried = true, again = false
           FROM due LEFT JOIN dispatch p USING (report_id) WHERE d.id = due.id
           -- a notice is of no report, and nothing tells when it went but that it was late
           RETURNING d.id, coalesce(d.report_id, d.id) AS report_id, d.unit, d.channel, d.destination, d.step,
                     d.attempts, d.revived, d.due_at, d.leased_until,
                     coalesce(p.kind, 'tip') AS kind, coalesce(p.category, '') AS category,
                     coalesce(p.areas, '{}') AS areas, coalesce(p.language, '') AS language,
                     coalesce(p.accepted_at, d.due_at) AS accepted_at,
                     coalesce(p.acknowledge_by, d.due_at) AS acknowledge_by,
                     coalesce(p.resolve_by, d.due_at) AS resolve_by""",
        list(rooms),
        list(rooms.values()),
        limit,
        now,
        leased_until,
        list(held),
        asks,
        wordy.webhook,
        wordy.email,
    )
    return [Delivery(**{**row, "areas": json.loads(row["areas"])}) for row in rows]


async def release(connection: Any, leases: Mapping[uuid.UUID, datetime]) -> None:
    """Let what was taken until then, and not called, be taken again at once."""
    await connection.execute(
        """UPDATE delivery d SET leased_until = NULL
           FROM unnest($1::uuid[], $2::timestamptz[]) AS r (id, lease)
           WHERE d.id = r.id AND d.state = 'open' AND d.leased_until = r.lease""",
        list(leases),
        list(leases.values()),
    )


async def settle_deliveries(connection: Any, settlements: Mapping[uuid.UUID, Settlement]) -> set[uuid.UUID]:
    """Write what deliveries became; returns those that were still open, and leased as the settlement says."""
    settled = list(settlements.values())
    rows = await connection.fetch(
        """UPDATE delivery d SET state = s.state, attempts = s.attempts, next_attempt_at = s.next_attempt_at,
                                 leased_until = NULL, words = d.words OR s.words,
                                 last_failure = coalesce(s.failure, d.last_failure),
                                 due_at = CASE WHEN s.state = 'open' THEN d.due_at END
           FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::timestamptz[],
                       $6::text[], $7::boolean[])
                AS s (id, state, attempts, next_attempt_at, lease, failure, words)
           WHERE d.id = s.id AND d.state = 'open' AND (s.lease IS NULL OR d.leased_until = s.lease)
           RETURNING d.id""",
        list(settlements),
        [one.state for one in settled],
        [one.attempts for one in settled],
        [one.next_attempt_at for one in settled],
        [one.lease for one in settled],
        [one.failure for one in settled],
        [one.words for one in settled],
    )
    return {row["id"] for row in rows}


async def renew_notices(connection: Any, ids: Sequence[uuid.UUID], due_at: datetime) -> None:
    """Of notices that are settled, and to which something was added while they were on their way, put the
    next one down."""
    await connection.execute(
        """INSERT INTO delivery (id, unit, channel, step, due_at, next_attempt_at)
           SELECT gen_random_uuid(), unit, channel, 'notice', $2, $2
           FROM delivery WHERE id = ANY($1) AND again AND state <> 'open'
           ON CONFLICT DO NOTHING""",
        list(ids),
        due_at,
    )


async def close_deliveries(connection: Any, failures: Mapping[uuid.UUID, str | None]) -> None:
    """Write what open deliveries of reports became, by their ids: given up for that failure, or done where
    that is None. What is done may have taken words along."""
    await connection.execute(
        """UPDATE delivery d
           SET state = CASE WHEN s.failure IS NULL THEN 'done' ELSE 'dead' END, words = s.failure IS NULL,
               last_failure = s.failure, due_at = NULL, next_attempt_at = NULL, leased_until = NULL
           FROM unnest($1::uuid[], $2::text[]) AS s (id, failure) WHERE d.id = s.id AND d.state = 'open'""",
        list(failures),
        list(failures.values()),
    )


async def reached(connection: Any, told: Iterable[tuple[uuid.UUID, str, str]]) -> set[tuple[uuid.UUID, str]]:
    """The reports and steps of which a delivery has reached the unit, or may still; `told` are report, unit
    and step."""
    rows = await connection.fetch(
        """SELECT DISTINCT d.report_id, d.step
           FROM unnest($1::uuid[], $2::text[], $3::text[]) AS t (report_id, unit, step)
           JOIN delivery d USING (report_id, unit, step) WHERE d.state IN ('open', 'done')""",
        *(list(column) for column in zip(*told, strict=True)),
    )
    return {(row["report_id"], row["step"]) for row in rows}


async def delivery_known(connection: Any, delivery_id: uuid.UUID) -> tuple[Any, str, str, str] | None:
    """The report, None for a notice, the unit, channel and step of a delivery; None where there is none."""
    row = await connection.fetchrow(
        "SELECT report_id, unit, channel, step FROM delivery WHERE id = $1", delivery_id
    )
    return tuple(row) if row else None


async def turn_down(connection: Any, delivery_id: uuid.UUID, reason: str) -> tuple[int, int] | None:
    """Take back that a delivery has arrived, or may; the attempts that it had and how often it was revived,
    None where it was over already. The report's row is locked before."""
    row = await connection.fetchrow(
        """UPDATE delivery SET state = 'dead', last_failure = $2, due_at = NULL, next_attempt_at = NULL,
                               leased_until = NULL
           WHERE id = $1 AND state IN ('open', 'done') RETURNING attempts, revived""",
        delivery_id,
        reason,
    )
    return tuple(row) if row else None


async def revive(
    connection: Any, destinations: Iterable[str], away: str, revived_most: int, now: datetime
) -> int:
    """Open what was given up at these destinations for failures that match `away`, unless it was revived so
    often, or its report has moved on or is done meanwhile. Returns how many there were."""
    revived = await connection.execute(
        """UPDATE delivery d
           SET state = 'open', attempts = 0, revived = d.revived + 1, next_attempt_at = $4,
               due_at = CASE p.kind WHEN 'tip' THEN date_trunc('hour', $4::timestamptz, 'UTC') ELSE $4 END
           FROM dispatch p
           WHERE p.report_id = d.report_id AND d.state = 'dead' AND d.destination = ANY($1)
             AND d.last_failure ~ $2 AND d.revived < $3
             AND (d.step ~ '^(withdrawn|erased)([.]|$)'
                  OR d.unit = p.unit AND p.status NOT IN ('withdrawn', 'erased')
                     AND (d.step ~ '^message([.]|$)'
                          OR p.status <> 'resolved'
                             AND d.step = 'route' || CASE p.turn WHEN 1 THEN '' ELSE '.' || p.turn END))""",
        list(destinations),
        away,
        revived_most,
        now,
    )
    return int(revived.rpartition(" ")[2])


async def taken_notices(connection: Any, away: str, revived_most: int) -> list[str]:
    """Where something was given up that no unit was reached with, and the notice is gone that is put down
    then: whoever took it is back."""
    rows = await connection.fetch(
        """SELECT DISTINCT d.destination FROM delivery d JOIN dispatch p USING (report_id, unit)
           WHERE d.state = 'dead' AND d.last_failure ~ $1 AND d.revived < $2
             AND d.channel !~ '^fallback[.]'
             AND (d.step ~ '^message([.]|$)' AND p.status NOT IN ('withdrawn', 'erased')
                  OR d.step ~ '^route([.]|$)' AND p.status = 'routed')
             AND NOT EXISTS (SELECT FROM delivery o
                             WHERE (o.report_id, o.unit, o.step) = (d.report_id, d.unit, d.step)
                               AND o.state IN ('open', 'done'))
             AND NOT EXISTS (SELECT FROM delivery n
                             WHERE n.unit = d.unit AND n.step = 'notice' AND n.state = 'open'
                               AND n.destination = d.destination)""",
        away,
        revived_most,
    )
    return [row["destination"] for row in rows]


async def open_deliveries(connection: Any) -> dict[str, int]:
    """How many deliveries of reports are open, by unit."""
    rows = await connection.fetch(
        """SELECT unit, count(*) FROM delivery WHERE state = 'open' AND report_id IS NOT NULL
           GROUP BY unit"""
    )
    return {row["unit"]: row["count"] for row in rows}


async def open_destinations(connection: Any) -> list[str]:
    """What something still has to go to, also units that left the municipality's folder."""
    rows = await connection.fetch("SELECT DISTINCT destination FROM delivery WHERE state = 'open'")
    return [row["destination"] for row in rows]


async def bring_forward(
    connection: Any, now: datetime, longest_again: timedelta, longest_first: timedelta, apart: timedelta
) -> int:
    """Let go at once what is put off, or leased, for longer than anything ever is: the clock has gone back
    since.

    A lease, and what was tried, wait for at most `longest_again`, a tip's first attempt for `longest_first`;
    that of an urgent tip, due since an hour began, does not wait, and that a tip has ended is told when the
    hour of a lease has, where words were on their way. The clocks of two workers lie at most `apart`,
    which is in the other two already. A tip's row tells the hour alone. Returns how many there were.
    """
    brought = await connection.execute(
        """UPDATE delivery d
           SET next_attempt_at = least(d.next_attempt_at, o.now), due_at = least(d.due_at, o.now),
               leased_until = NULL
           FROM (SELECT w.id, w.leased_until, w.next_attempt_at,
                        CASE p.kind WHEN 'tip' THEN date_trunc('hour', $1::timestamptz, 'UTC') ELSE $1 END
                            AS now
                 FROM delivery w LEFT JOIN dispatch p USING (report_id)
                 WHERE w.state = 'open'
                   AND (w.leased_until > $1 + $2::interval
                        OR w.next_attempt_at > $1 + CASE
                            WHEN p.kind IS DISTINCT FROM 'tip' OR w.next_attempt_at <> w.due_at THEN $2
                            WHEN w.step IN ('withdrawn', 'erased') THEN $2 + interval '1 hour'
                            WHEN w.due_at = date_trunc('hour', w.due_at, 'UTC') THEN $4::interval
                            ELSE $3::interval END)) o
           -- what somebody takes meanwhile is theirs
           WHERE d.id = o.id AND d.state = 'open' AND d.next_attempt_at = o.next_attempt_at
                 AND d.leased_until IS NOT DISTINCT FROM o.leased_until""",
        now,
        longest_again,
        longest_first,
        apart,
    )
    return int(brought.rpartition(" ")[2])


async def backlog(connection: Any, now: datetime, limit: int) -> tuple[int, datetime | None, list[uuid.UUID]]:
    """How many deliveries are open, since when the longest one of an issue is due, and at most `limit` of
    those of tips that are due: since when is not stored."""
    row = await connection.fetchrow(
        """SELECT count(*) AS open, min(d.due_at) FILTER (WHERE p.kind = 'issue') AS since,
                  ARRAY(SELECT t.id FROM delivery t JOIN dispatch USING (report_id)
                        WHERE t.state = 'open' AND kind = 'tip' AND t.due_at <= $1
                        ORDER BY t.due_at, t.id LIMIT $2) AS tips
           FROM delivery d JOIN dispatch p USING (report_id) WHERE d.state = 'open'""",
        now,
        limit,
    )
    return row["open"], row["since"], row["tips"]
