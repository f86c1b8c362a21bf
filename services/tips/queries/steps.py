"""What happened to reports: the steps, and the status that follows."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.tips.core.lifecycle import Step

_STEP = "report_id, cause, step, at, version, unit, reason, acknowledge_by, resolve_by, answer_by, day, seen"


async def insert_steps(connection: Any, steps: Sequence[Step]) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """Store steps; one that is there already stays as it is. Report and cause of those that are new."""
    columns = [[getattr(step, name) for step in steps] for name in _STEP.split(", ")]
    rows = await connection.fetch(
        f"""INSERT INTO report_step ({_STEP})
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::integer[],
                                 $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[],
                                 $10::timestamptz[], $11::date[], $12::integer[])
            ON CONFLICT (report_id, cause) DO NOTHING RETURNING report_id, cause""",  # noqa: S608 - names of columns
        *columns,
    )
    return {(row["report_id"], row["cause"]) for row in rows}


async def steps_of(connection: Any, report_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[Step]]:
    """All steps of the reports, in no order; a report without any has an empty list."""
    steps: dict[uuid.UUID, list[Step]] = {report_id: [] for report_id in report_ids}
    rows = await connection.fetch(
        f"SELECT {_STEP} FROM report_step WHERE report_id = ANY($1::uuid[])",  # noqa: S608 - names of columns
        list(steps),
    )
    for row in rows:
        steps[row["report_id"]].append(Step(*row))
    return steps


async def set_statuses(connection: Any, statuses: Mapping[uuid.UUID, str]) -> None:
    """Set the status of each report; rows that have it already are left alone."""
    await connection.execute(
        """UPDATE report SET status = news.status
           FROM unnest($1::uuid[], $2::text[]) AS news (report_id, status)
           WHERE report.report_id = news.report_id AND report.status <> news.status""",
        list(statuses),
        list(statuses.values()),
    )
