"""Every SQL statement of notify: the caller's connection first, never a commit."""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter
from pydantic_core import to_json

from services.notify.core.steps import Dispatch
from services.notify.core.turns import Turn
from shared.events import ReportAccepted, ReportEvent, ReportRouted


class Reused(Exception):  # noqa: N818 - an outcome
    """Something else was done under this id before."""


DISPATCH = """report_id, kind, category, unit, rule, reason, accepted_at, acknowledge_by, resolve_by, status,
               version, came_at, clocks_until, answer_by, turn, refused_by, level, reminded, day, seen_at,
               answered_at, waits_since, delivered_at, acknowledged_at, resolved_at, past"""
# Of a dispatch that a unit has not done with.
IS_OPEN = "status IN ('routed', 'delivered', 'acknowledged', 'planned')"
_PAST = TypeAdapter(tuple[Turn, ...])

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


async def note_report_versions(connection: Any, versions: Mapping[uuid.UUID, int]) -> None:
    """Remember how far tips' own events about reports were read."""
    await connection.execute(
        """UPDATE dispatch d SET report_version = greatest(d.report_version, v.version)
           FROM unnest($1::uuid[], $2::integer[]) AS v (report_id, version)
           WHERE d.report_id = v.report_id""",
        list(versions),
        list(versions.values()),
    )


async def report_version(connection: Any, report_id: uuid.UUID) -> int:
    """How far tips' own events about a report were read."""
    version: int = await connection.fetchval(
        "SELECT report_version FROM dispatch WHERE report_id = $1", report_id
    )
    return version


async def end_dispatches(
    connection: Any, report_ids: Iterable[uuid.UUID], status: str, today: date
) -> list[uuid.UUID]:
    """Set reports to `withdrawn` or `erased`; what is erased stays so, since `today` (UTC). Those that were
    not yet. The rows are locked before."""
    rows = await connection.fetch(
        """UPDATE dispatch SET status = $2, clock_at = NULL,
                              report = CASE WHEN $2 = 'erased' THEN NULL ELSE report END,
                              erased_on = CASE WHEN $2 = 'erased' THEN $3::date END
           WHERE report_id = ANY($1) AND status NOT IN ('erased', $2) RETURNING report_id""",
        list(report_ids),
        status,
        today,
    )
    return [row["report_id"] for row in rows]


async def lock_of_others(connection: Any, units: Sequence[str], limit: int) -> list[Dispatch]:
    """Read and lock open reports, also those that wait for their resident, that are with none of these
    units."""
    rows = await connection.fetch(
        f"""SELECT {DISPATCH} FROM dispatch WHERE {IS_OPEN} AND unit <> ALL($1)
            ORDER BY report_id LIMIT $2 FOR UPDATE""",  # noqa: S608 - constants
        list(units),
        limit,
    )
    return [dispatch_from(row) for row in rows]


async def note_ended_unseen(
    connection: Any, report_ids: Iterable[uuid.UUID], status: str, today: date
) -> None:
    """Remember that reports ended, `withdrawn` or `erased`, whose acceptance was not applied yet. What is
    erased stays so."""
    await connection.execute(
        """INSERT INTO ended_unseen (report_id, status, on_day)
           SELECT DISTINCT report_id, $2, $3::date FROM unnest($1::uuid[]) AS r (report_id)
           ORDER BY report_id
           ON CONFLICT (report_id) DO UPDATE SET status = excluded.status, on_day = excluded.on_day
           WHERE ended_unseen.status <> 'erased'""",
        list(report_ids),
        status,
        today,
    )


async def take_ended_unseen(connection: Any, report_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Of which of these reports it is remembered how they ended; it is no more, afterwards."""
    rows = await connection.fetch(
        "DELETE FROM ended_unseen WHERE report_id = ANY($1) RETURNING report_id, status", list(report_ids)
    )
    return {row["report_id"]: row["status"] for row in rows}


async def note_added_unseen(connection: Any, added: Iterable[tuple[uuid.UUID, int]], today: date) -> None:
    """Remember what residents added, as report and version, to reports whose acceptance was not applied
    yet."""
    await connection.execute(
        """INSERT INTO added_unseen (report_id, version, on_day)
           SELECT *, $1::date FROM unnest($2::uuid[], $3::integer[]) ORDER BY 1, 2
           ON CONFLICT DO NOTHING""",
        today,
        *(list(column) for column in zip(*added, strict=True)),
    )


async def take_added_unseen(connection: Any, report_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, int]]:
    """What is remembered of what was added to these reports; it is no more, afterwards."""
    rows = await connection.fetch(
        "DELETE FROM added_unseen WHERE report_id = ANY($1) RETURNING report_id, version", list(report_ids)
    )
    return [tuple(row) for row in rows]


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
    past = _PAST.validate_json(row["past"])
    return Dispatch(**{**row, "refused_by": tuple(row["refused_by"]), "past": past})


async def update_dispatches(
    connection: Any, dispatches: Sequence[tuple[Dispatch, NextClock]], rules_version: str
) -> None:
    """Write where reports stand now, by the rules of that version where they moved on, and when their clocks
    tell something next. The rows are locked before."""
    rows = [(one._asdict(), clock == KEPT, None if clock == KEPT else clock) for one, clock in dispatches]
    await connection.execute(_UPDATE, to_json(rows).decode(), rules_version)


# One value for all rows: an array for each of so many columns costs several times what the statement does.
_UPDATE = """
    UPDATE dispatch d
    SET rules_version = CASE WHEN d.turn = n.turn THEN d.rules_version ELSE $2 END,
        unit = n.unit, rule = n.rule, reason = n.reason, acknowledge_by = n.acknowledge_by,
        resolve_by = n.resolve_by, status = n.status, version = n.version, came_at = n.came_at,
        clocks_until = n.clocks_until, answer_by = n.answer_by, turn = n.turn, refused_by = n.refused_by,
        level = n.level, reminded = n.reminded, day = n.day, seen_at = n.seen_at, answered_at = n.answered_at,
        waits_since = n.waits_since, delivered_at = n.delivered_at, acknowledged_at = n.acknowledged_at,
        resolved_at = n.resolved_at, past = n.past,
        clock_at = CASE WHEN (r.row ->> 1)::boolean THEN d.clock_at ELSE (r.row ->> 2)::timestamptz END
    FROM jsonb_array_elements($1::jsonb) AS r (row),
         jsonb_to_record(r.row -> 0) AS n (
             report_id uuid, unit text, rule text, reason text, acknowledge_by timestamptz,
             resolve_by timestamptz, status text, version integer, came_at timestamptz,
             clocks_until timestamptz, answer_by timestamptz, turn integer, refused_by text[], level integer,
             reminded boolean, day date, seen_at timestamptz, answered_at timestamptz,
             waits_since timestamptz, delivered_at timestamptz, acknowledged_at timestamptz,
             resolved_at timestamptz, past jsonb)
    WHERE d.report_id = n.report_id"""


async def insert_steps(
    connection: Any, said: Sequence[tuple[ReportEvent, datetime]], actor: str | None = None
) -> None:
    """Keep what was said of reports, each with its time, and who did it, where somebody did. What is there
    stays."""
    await connection.execute(
        """INSERT INTO report_step (report_id, version, step, unit, at, said, actor)
           SELECT *, $7 FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::timestamptz[],
                                    $6::jsonb[])
           ON CONFLICT DO NOTHING""",
        [event.report_id for event, _ in said],
        [event.version for event, _ in said],
        [type(event).__name__ for event, _ in said],
        [event.unit for event, _ in said],  # type: ignore[attr-defined] # all of notify's have one
        [at for _, at in said],
        [event.model_dump_json() for event, _ in said],
        actor,
    )


class StepRow(NamedTuple):
    """A step of a report as it is kept: the event's name, what it said, and who did it, where somebody
    did."""

    step: str
    unit: str
    at: datetime
    said: Mapping[str, Any]
    actor: str | None


async def steps_of(connection: Any, report_id: uuid.UUID) -> list[StepRow]:
    """What was said of a report, in order."""
    rows = await connection.fetch(
        "SELECT step, unit, at, said, actor FROM report_step WHERE report_id = $1 ORDER BY version", report_id
    )
    return [StepRow(**{**row, "said": json.loads(row["said"])}) for row in rows]


class Listed(NamedTuple):
    """A report in a unit's list."""

    dispatch: Dispatch
    areas: Mapping[str, str]
    language: str


async def listed(
    connection: Any,
    unit: str,
    levels: Sequence[int],
    statuses: Sequence[str],
    after: tuple[datetime, uuid.UUID] | None,
    limit: int,
) -> list[Listed]:
    """A page of the reports of these statuses that a unit has, or of which it is told at one of these levels,
    what is to be solved first before; `after` is by when (UTC) the last one of the page before was to be
    solved, and its id: as it was, since it may be another's, solved or gone by now."""
    rows = await connection.fetch(
        f"""WITH here AS NOT MATERIALIZED (
                SELECT {DISPATCH}, areas, language FROM dispatch WHERE unit = $1 AND status = ANY($2)
                UNION ALL
                SELECT {DISPATCH}, areas, language FROM dispatch
                WHERE unit <> $1 AND status = ANY($2) AND level > 0 AND level >= $5)
            SELECT * FROM here
            WHERE $3::timestamptz IS NULL OR (resolve_by, report_id) > ($3, $4::uuid)
            ORDER BY resolve_by, report_id LIMIT $6""",  # noqa: S608 - a constant
        unit,
        list(statuses),
        *(after or (None, None)),
        min(levels, default=None),
        limit,
    )
    return [listed_from(dict(row)) for row in rows]


def listed_from(row: dict[str, Any]) -> Listed:
    """A row of DISPATCH with its areas and language."""
    areas, language = json.loads(row.pop("areas")), row.pop("language")
    return Listed(dispatch_from(row), areas, language)


async def note_act(
    connection: Any, act_id: uuid.UUID, report_id: uuid.UUID, digest: bytes, link_of: str | None
) -> bool:
    """Remember what is done under an id, by a link of which unit; False where the same was done under it
    before. The report's row is locked before. Raises Reused where it was something else."""
    new = await connection.fetchval(
        """INSERT INTO act (act_id, report_id, digest, link_of) VALUES ($1, $2, $3, $4)
           ON CONFLICT (act_id) DO NOTHING RETURNING true""",
        act_id,
        report_id,
        digest,
        link_of,
    )
    return bool(new) or not await is_done(connection, act_id, report_id, digest)


async def note_said(connection: Any, said: Mapping[uuid.UUID, uuid.UUID]) -> set[uuid.UUID]:
    """Remember events that may be derived once more, the report of each by its id; those that were not
    remembered before. The reports are here."""
    rows = await connection.fetch(
        """INSERT INTO act (act_id, report_id, digest) SELECT *, ''::bytea FROM unnest($1::uuid[], $2::uuid[])
           ON CONFLICT DO NOTHING RETURNING act_id""",
        list(said),
        list(said.values()),
    )
    return {row["act_id"] for row in rows}


async def acts_by_link(connection: Any, report_id: uuid.UUID, unit: str) -> int:
    """How often a unit's links to a report were used."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM act WHERE report_id = $1 AND link_of = $2", report_id, unit
    )
    return count


async def is_done(connection: Any, act_id: uuid.UUID, report_id: uuid.UUID, digest: bytes) -> bool:
    """Whether this was done under an id. Raises Reused where it was something else."""
    known = await connection.fetchrow("SELECT report_id, digest FROM act WHERE act_id = $1", act_id)
    if known and tuple(known) != (report_id, digest):
        raise Reused
    return known is not None


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
