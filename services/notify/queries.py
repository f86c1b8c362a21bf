"""Every SQL statement of notify: the caller's connection first, never a commit."""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple

from services.notify.core.deliveries import Delivery, NewDelivery, Settlement
from services.notify.core.steps import Dispatch
from shared import postgres
from shared.events import Kind, ReportAccepted, ReportEvent, ReportRouted


class Reused(Exception):  # noqa: N818 - an outcome
    """Something else was done under this id before."""


DISPATCH = """report_id, kind, category, unit, rule, reason, accepted_at, acknowledge_by, resolve_by, status,
               version, came_at, clocks_until, answer_by, turn, refused_by, level, reminded, day, seen_at,
               answered_at, waits_since, delivered_at, acknowledged_at, resolved_at"""


# When the clocks of a dispatch tell something next; None where they do not, KEPT as it is.
KEPT: Literal["kept"] = "kept"
NextClock = datetime | Literal["kept"] | None


async def insert_dispatches(
    connection: Any,
    rows: Sequence[tuple[ReportAccepted, Dispatch, ReportRouted]],
    next_clock: Callable[[Dispatch], datetime | None],
) -> set[uuid.UUID]:
    """Store where reports went; returns those that were not known yet."""
    new = await connection.fetch(
        """INSERT INTO dispatch (report_id, kind, category, areas, language, unit, rule, rules_version,
                                 reason, accepted_at, acknowledge_by, resolve_by, status, version,
                                 report_version, report, came_at, clocks_until, answer_by, clock_at)
           SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::text[], $6::text[],
                                $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[],
                                $12::timestamptz[], $13::text[], $14::integer[], $15::integer[],
                                $16::jsonb[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[],
                                $20::timestamptz[])
           ON CONFLICT (report_id) DO NOTHING RETURNING report_id""",
        [report.report_id for report, _, _ in rows],
        [report.kind for report, _, _ in rows],
        [report.category for report, _, _ in rows],
        [json.dumps(report.areas) for report, _, _ in rows],
        [report.language for report, _, _ in rows],
        [dispatch.unit for _, dispatch, _ in rows],
        [routed.rule for _, _, routed in rows],
        [routed.rules_version for _, _, routed in rows],
        [routed.reason for _, _, routed in rows],
        [dispatch.accepted_at for _, dispatch, _ in rows],
        [dispatch.acknowledge_by for _, dispatch, _ in rows],
        [dispatch.resolve_by for _, dispatch, _ in rows],
        [dispatch.status for _, dispatch, _ in rows],
        [dispatch.version for _, dispatch, _ in rows],
        [report.version for report, _, _ in rows],
        [report.model_dump_json() for report, _, _ in rows],
        [dispatch.came_at for _, dispatch, _ in rows],
        [dispatch.clocks_until for _, dispatch, _ in rows],
        [dispatch.answer_by for _, dispatch, _ in rows],
        [next_clock(dispatch) for _, dispatch, _ in rows],
    )
    return {row["report_id"] for row in new}


class Routed(NamedTuple):
    """Where a report went and why; `report` is its announcement as JSON, None where it was erased."""

    unit: str
    rule: str
    rules_version: str
    report: str | None


async def routed(connection: Any, report_id: uuid.UUID) -> Routed | None:
    """Where a report went; None where it is not known."""
    row = await connection.fetchrow(
        "SELECT unit, rule, rules_version, report FROM dispatch WHERE report_id = $1", report_id
    )
    return Routed(*row) if row else None


async def reports_between(connection: Any, first: datetime, end: datetime) -> AsyncIterator[str]:
    """The announcements, as JSON, of the reports that were accepted from `first` on and before `end`, in a
    transaction of its own."""
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(
            """SELECT report FROM dispatch WHERE accepted_at >= $1 AND accepted_at < $2 AND report IS NOT NULL
               ORDER BY accepted_at, report_id""",
            first,
            end,
        ):
            yield row["report"]


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


async def note_report_versions(connection: Any, versions: Mapping[uuid.UUID, int]) -> None:
    """Remember how far tips' own events about reports were read."""
    await connection.execute(
        """UPDATE dispatch d SET report_version = greatest(d.report_version, v.version)
           FROM unnest($1::uuid[], $2::integer[]) AS v (report_id, version)
           WHERE d.report_id = v.report_id""",
        list(versions),
        list(versions.values()),
    )


async def end_dispatches(connection: Any, report_ids: Iterable[uuid.UUID], status: str, today: date) -> None:
    """Set reports to `withdrawn` or `erased`; what is erased stays so, since `today` (UTC). The rows are
    locked before."""
    await connection.execute(
        """UPDATE dispatch SET status = $2, clock_at = NULL,
                              report = CASE WHEN $2 = 'erased' THEN NULL ELSE report END,
                              erased_on = CASE WHEN $2 = 'erased' THEN $3::date END
           WHERE report_id = ANY($1) AND status <> 'erased'""",
        list(report_ids),
        status,
        today,
    )


async def readers_of(
    connection: Any, report_ids: Iterable[uuid.UUID]
) -> list[tuple[uuid.UUID, Kind, str, str]]:
    """The report, its kind, the unit and the channel of everything by which words of these reports were
    sent."""
    rows = await connection.fetch(
        """SELECT DISTINCT report_id, p.kind, d.unit, d.channel
           FROM delivery d JOIN dispatch p USING (report_id)
           WHERE report_id = ANY($1) AND d.words""",
        list(report_ids),
    )
    return [tuple(row) for row in rows]


async def cancel_deliveries(connection: Any, report_ids: Iterable[uuid.UUID], why: str) -> None:
    """Cancel what has not gone yet of these reports."""
    await connection.execute(
        """UPDATE delivery SET state = 'cancelled', last_failure = $2, due_at = NULL, next_attempt_at = NULL
           WHERE report_id = ANY($1) AND state = 'open'""",
        list(report_ids),
        why,
    )


async def lock_dispatches(connection: Any, report_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Dispatch]:
    """Read and lock reports, always in the same order, so that nobody waits in a circle."""
    rows = await connection.fetch(
        f"SELECT {DISPATCH} FROM dispatch WHERE report_id = ANY($1) ORDER BY report_id FOR UPDATE",  # noqa: S608 - a constant
        list(report_ids),
    )
    return {row["report_id"]: dispatch_from(row) for row in rows}


async def dispatch_of(connection: Any, report_id: uuid.UUID) -> Dispatch | None:
    """Read one report's dispatch."""
    row = await connection.fetchrow(f"SELECT {DISPATCH} FROM dispatch WHERE report_id = $1", report_id)  # noqa: S608 - a constant
    return dispatch_from(row) if row else None


def dispatch_from(row: Mapping[str, Any]) -> Dispatch:
    """A row of DISPATCH."""
    return Dispatch(**{**row, "refused_by": tuple(row["refused_by"])})


async def update_dispatches(
    connection: Any, dispatches: Sequence[tuple[Dispatch, NextClock]], rules_version: str
) -> None:
    """Write where reports stand now, by the rules of that version where they moved on, and when their clocks
    tell something next. The rows are locked before."""
    rows = ((*_standing(one), clock is KEPT, None if clock is KEPT else clock) for one, clock in dispatches)
    await connection.execute(_UPDATE, *postgres.columns(rows, _STANDING_TYPES), rules_version)


def _standing(one: Dispatch) -> tuple[Any, ...]:
    return (
        *(one.report_id, one.unit, one.rule, one.reason, one.acknowledge_by, one.resolve_by, one.status),
        *(one.version, one.came_at, one.clocks_until, one.answer_by, one.turn, ",".join(one.refused_by)),
        *(one.level, one.reminded, one.day, one.seen_at, one.answered_at, one.waits_since),
        *(one.delivered_at, one.acknowledged_at, one.resolved_at),
    )


_STANDING_TYPES = (
    *("uuid", "text", "text", "text", "timestamptz", "timestamptz", "text"),
    *("integer", "timestamptz", "timestamptz", "timestamptz", "integer", "text"),
    *("integer", "boolean", "date", "timestamptz", "timestamptz", "timestamptz"),
    *("timestamptz", "timestamptz", "timestamptz", "boolean", "timestamptz"),
)
_UPDATE = f"""
    UPDATE dispatch d
    SET rules_version = CASE WHEN d.turn = n.turn THEN d.rules_version ELSE ${len(_STANDING_TYPES) + 1} END,
        unit = n.unit, rule = n.rule, reason = n.reason, acknowledge_by = n.acknowledge_by,
        resolve_by = n.resolve_by, status = n.status, version = n.version, came_at = n.came_at,
        clocks_until = n.clocks_until, answer_by = n.answer_by, turn = n.turn,
        -- an array of arrays would need all of them as long
        refused_by = string_to_array(n.refused_by, ','), level = n.level, reminded = n.reminded, day = n.day,
        seen_at = n.seen_at, answered_at = n.answered_at, waits_since = n.waits_since,
        delivered_at = n.delivered_at, acknowledged_at = n.acknowledged_at, resolved_at = n.resolved_at,
        clock_at = CASE WHEN n.kept THEN d.clock_at ELSE n.clock_at END
    FROM unnest({postgres.arrays(_STANDING_TYPES)})
         AS n (report_id, unit, rule, reason, acknowledge_by, resolve_by, status, version, came_at,
               clocks_until, answer_by, turn, refused_by, level, reminded, day, seen_at, answered_at,
               waits_since, delivered_at, acknowledged_at, resolved_at, kept, clock_at)
    WHERE d.report_id = n.report_id"""  # noqa: S608 - types of columns


async def insert_steps(connection: Any, said: Sequence[tuple[ReportEvent, datetime]]) -> None:
    """Keep what was said of reports, each with its time. What is there stays."""
    await connection.execute(
        """INSERT INTO report_step (report_id, version, step, unit, at, said)
           SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::timestamptz[],
                                $6::jsonb[])
           ON CONFLICT DO NOTHING""",
        [event.report_id for event, _ in said],
        [event.version for event, _ in said],
        [type(event).__name__ for event, _ in said],
        [event.unit for event, _ in said],  # type: ignore[attr-defined] # all of notify's have one
        [at for _, at in said],
        [event.model_dump_json() for event, _ in said],
    )


class StepRow(NamedTuple):
    """A step of a report as it is kept: the event's name and what it said."""

    step: str
    unit: str
    at: datetime
    said: Mapping[str, Any]


async def steps_of(connection: Any, report_id: uuid.UUID) -> list[StepRow]:
    """What was said of a report, in order."""
    rows = await connection.fetch(
        "SELECT step, unit, at, said FROM report_step WHERE report_id = $1 ORDER BY version", report_id
    )
    return [StepRow(row["step"], row["unit"], row["at"], json.loads(row["said"])) for row in rows]


class Listed(NamedTuple):
    """A report in a unit's list."""

    dispatch: Dispatch
    areas: Mapping[str, str]
    language: str


async def listed(
    connection: Any, unit: str, statuses: Sequence[str], after: uuid.UUID | None, limit: int
) -> list[Listed]:
    """A page of a unit's reports of these statuses, what is to be solved first before; `after` is the last
    one of the page before."""
    rows = await connection.fetch(
        f"""SELECT {DISPATCH}, areas, language FROM dispatch
            WHERE unit = $1 AND status = ANY($2)
              AND ($3::uuid IS NULL OR (resolve_by, report_id) > (
                  SELECT resolve_by, report_id FROM dispatch WHERE report_id = $3))
            ORDER BY resolve_by, report_id LIMIT $4""",  # noqa: S608 - a constant
        unit,
        list(statuses),
        after,
        limit,
    )
    return [listed_from(dict(row)) for row in rows]


def listed_from(row: dict[str, Any]) -> Listed:
    """A row of DISPATCH with its areas and language."""
    areas, language = json.loads(row.pop("areas")), row.pop("language")
    return Listed(dispatch_from(row), areas, language)


async def note_act(connection: Any, act_id: uuid.UUID, report_id: uuid.UUID, digest: bytes) -> bool:
    """Remember what is done under an id; False where the same was done under it before. The report's row is
    locked before. Raises Reused where it was something else."""
    new = await connection.fetchval(
        """INSERT INTO act (act_id, report_id, digest) VALUES ($1, $2, $3)
           ON CONFLICT (act_id) DO NOTHING RETURNING true""",
        act_id,
        report_id,
        digest,
    )
    if new:
        return True
    known = await connection.fetchrow("SELECT report_id, digest FROM act WHERE act_id = $1", act_id)
    if (known["report_id"], known["digest"]) != (report_id, digest):
        raise Reused
    return False


async def is_done(connection: Any, act_id: uuid.UUID) -> bool:
    """Whether something was done under an id."""
    done: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM act WHERE act_id = $1)", act_id)
    return done


async def claim_deliveries(
    connection: Any,
    rooms: Mapping[str, int],
    limit: int,
    held: Iterable[uuid.UUID],
    now: datetime,
    leased_until: datetime,
) -> list[Delivery]:
    """Take what is due until the lease ends: so many for each destination, `limit` in all, the longest due
    first; nothing of what is held already."""
    rows = await connection.fetch(
        """WITH due AS (
               SELECT d.id, d.report_id FROM unnest($1::text[], $2::integer[]) AS u (destination, room)
               CROSS JOIN LATERAL (
                   SELECT id, report_id, next_attempt_at FROM delivery
                   WHERE state = 'open' AND destination = u.destination AND next_attempt_at <= $4
                         AND id <> ALL($6)
                   ORDER BY next_attempt_at LIMIT u.room FOR UPDATE SKIP LOCKED) d
               ORDER BY d.next_attempt_at LIMIT $3)
           UPDATE delivery d SET next_attempt_at = $5
           FROM due LEFT JOIN dispatch p USING (report_id) WHERE d.id = due.id
           -- a notice is of no report, and nothing tells when it went but that it was late
           RETURNING d.id, coalesce(d.report_id, d.id) AS report_id, d.unit, d.channel, d.step, d.attempts,
                     d.due_at, d.next_attempt_at AS leased_until, coalesce(p.kind, 'tip') AS kind,
                     coalesce(p.category, '') AS category, coalesce(p.areas, '{}') AS areas,
                     coalesce(p.language, '') AS language, coalesce(p.accepted_at, d.due_at) AS accepted_at,
                     coalesce(p.acknowledge_by, d.due_at) AS acknowledge_by,
                     coalesce(p.resolve_by, d.due_at) AS resolve_by""",
        list(rooms),
        list(rooms.values()),
        limit,
        now,
        leased_until,
        list(held),
    )
    return [Delivery(**{**row, "areas": json.loads(row["areas"])}) for row in rows]


async def settle_deliveries(connection: Any, settlements: Mapping[uuid.UUID, Settlement]) -> set[uuid.UUID]:
    """Write what deliveries became; returns those that were still open, and leased as the settlement says."""
    settled = list(settlements.values())
    rows = await connection.fetch(
        """UPDATE delivery d SET state = s.state, attempts = s.attempts, next_attempt_at = s.next_attempt_at,
                                 words = d.words OR s.words,
                                 last_failure = coalesce(s.failure, d.last_failure),
                                 due_at = CASE WHEN s.state = 'open' THEN d.due_at END
           FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::timestamptz[],
                       $6::text[], $7::boolean[])
                AS s (id, state, attempts, next_attempt_at, lease, failure, words)
           WHERE d.id = s.id AND d.state = 'open' AND (s.lease IS NULL OR d.next_attempt_at = s.lease)
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


async def close_deliveries(connection: Any, states: Mapping[uuid.UUID, str]) -> None:
    """Write what open deliveries of reports became, `done` or `dead`, by their ids. What is done may have
    taken words along."""
    await connection.execute(
        """UPDATE delivery d
           SET state = s.state, words = s.state = 'done', due_at = NULL, next_attempt_at = NULL
           FROM unnest($1::uuid[], $2::text[]) AS s (id, state) WHERE d.id = s.id AND d.state = 'open'""",
        list(states),
        list(states.values()),
    )


async def reached(connection: Any, told: Iterable[tuple[uuid.UUID, str, str]]) -> set[uuid.UUID]:
    """The reports whose unit has been reached, or may still be, by a delivery of that step; `told` are
    report, unit and step."""
    rows = await connection.fetch(
        """SELECT DISTINCT d.report_id
           FROM unnest($1::uuid[], $2::text[], $3::text[]) AS t (report_id, unit, step)
           JOIN delivery d USING (report_id, unit, step) WHERE d.state IN ('open', 'done')""",
        *(list(column) for column in zip(*told, strict=True)),
    )
    return {row["report_id"] for row in rows}


async def delivery_known(connection: Any, delivery_id: uuid.UUID) -> tuple[Any, str, str, str] | None:
    """The report, None for a notice, the unit, channel and step of a delivery; None where there is none."""
    row = await connection.fetchrow(
        "SELECT report_id, unit, channel, step FROM delivery WHERE id = $1", delivery_id
    )
    return tuple(row) if row else None


async def turn_down(connection: Any, delivery_id: uuid.UUID, reason: str) -> int | None:
    """Take back that a delivery has arrived, or may; the attempts that it had, None where it was over
    already. The report's row is locked before."""
    attempts: int | None = await connection.fetchval(
        """UPDATE delivery SET state = 'dead', last_failure = $2, due_at = NULL, next_attempt_at = NULL
           WHERE id = $1 AND state IN ('open', 'done') RETURNING attempts""",
        delivery_id,
        reason,
    )
    return attempts


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
    connection: Any, now: datetime, longest_again: timedelta, longest_first: timedelta
) -> int:
    """Let go at once what is put off for longer than anything ever is: the clock has gone back since.

    What was tried or is leased waits for at most `longest_again`, a tip's first attempt for `longest_first`;
    that of an urgent tip, due since an hour began, does not wait. Returns how many there were.
    """
    brought = await connection.execute(
        """UPDATE delivery d SET next_attempt_at = $1::timestamptz, due_at = least(d.due_at, $1)
           FROM delivery o LEFT JOIN dispatch p USING (report_id)
           WHERE o.id = d.id AND d.state = 'open'
             AND d.next_attempt_at > $1::timestamptz + CASE
                 WHEN p.kind IS DISTINCT FROM 'tip' OR d.next_attempt_at <> d.due_at THEN $2::interval
                 WHEN d.due_at = date_trunc('hour', d.due_at, 'UTC') THEN interval '0'
                 ELSE $3::interval END""",
        now,
        longest_again,
        longest_first,
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


async def past_due(connection: Any, hour: datetime) -> int:
    """How many reports their unit should have acknowledged by that whole hour, and had not at that time.

    The same whenever it is asked within the hour: what was acknowledged since is counted still.
    """
    count: int = await connection.fetchval(
        """SELECT count(*) FROM dispatch
           WHERE acknowledge_by <= $1 AND status NOT IN ('withdrawn', 'erased')
             AND (seen_at IS NULL OR seen_at >= $1)""",
        hour,
    )
    return count


async def totals(connection: Any) -> dict[str, Any]:
    """What an operator holds against the other services' totals."""
    row = await connection.fetchrow(
        """WITH here AS (
               SELECT count(*) AS accepted, count(delivered_at) AS delivered,
                      count(acknowledged_at) AS acknowledged,
                      coalesce(bit_xor(('x' || left(md5(report_id::text), 16))::bit(64)), 0::bit(64))
                          AS digest
               FROM dispatch)
           SELECT g.accepted + h.accepted AS accepted,
                  lpad(to_hex((g.digest # h.digest)::bigint), 16, '0') AS digest,
                  g.accepted + h.accepted AS routed, g.delivered + h.delivered AS delivered,
                  g.acknowledged + h.acknowledged AS acknowledged,
                  (SELECT count(*) FROM delivery WHERE state = 'open' AND report_id IS NOT NULL)
                      AS open_deliveries,
                  (SELECT count(*) FROM outbox)
                      + (SELECT count(*) FROM outbox_batch WHERE sent_on IS NULL) AS waiting
           FROM here h, dispatch_gone g"""
    )
    return dict(row)
