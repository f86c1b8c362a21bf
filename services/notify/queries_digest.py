"""The SQL of digests and of what is public: the caller's connection first, never a commit."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from services.notify.core.deliveries import DIGEST
from services.notify.core.steps import Dispatch
from services.notify.queries import DISPATCH, IS_OPEN, dispatch_from
from shared.events import IssueChanged

OPEN = ("accepted", "routed", "acknowledged", "planned")


class Public(NamedTuple):
    """A public issue as it is kept."""

    category: str
    areas: Mapping[str, str]
    latitude: float | None
    longitude: float | None
    page: str


async def keep_issues(connection: Any, issues: Sequence[IssueChanged]) -> None:
    """Keep what is public of issues; what is older than what is there changes nothing."""
    newest = {one.issue_id: one for one in sorted(issues, key=lambda one: one.version)}
    await connection.execute(
        """INSERT INTO placed_issue (issue_id, version, category, areas, latitude, longitude, status, page)
           SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::jsonb[], $5::float8[],
                                $6::float8[], $7::text[], $8::text[])
           ON CONFLICT (issue_id) DO UPDATE
           SET version = excluded.version, category = excluded.category, areas = excluded.areas,
               latitude = excluded.latitude, longitude = excluded.longitude, status = excluded.status,
               page = excluded.page
           WHERE placed_issue.version < excluded.version""",
        list(newest),
        [one.version for one in newest.values()],
        [one.category for one in newest.values()],
        [json.dumps(one.areas) for one in newest.values()],
        [one.latitude for one in newest.values()],
        [one.longitude for one in newest.values()],
        [one.status for one in newest.values()],
        [one.page for one in newest.values()],
    )


async def forget_issues(connection: Any, issue_ids: Sequence[uuid.UUID]) -> None:
    """Forget issues that are public no more."""
    await connection.execute("DELETE FROM placed_issue WHERE issue_id = ANY($1)", list(issue_ids))


async def open_issues(connection: Any) -> list[Public]:
    """The open public issues that have a place at which there is another one."""
    rows = await connection.fetch(
        """SELECT category, areas, latitude, longitude, page FROM (
               SELECT *, count(*) OVER (PARTITION BY latitude, longitude) AS there
               FROM placed_issue WHERE status = ANY($1) AND latitude IS NOT NULL) AS placed
           WHERE there > 1 ORDER BY issue_id""",
        list(OPEN),
    )
    return [Public(**{**row, "areas": json.loads(row["areas"])}) for row in rows]


async def open_reports(
    connection: Any, unit: str, categories: Sequence[str]
) -> list[tuple[Mapping[str, str], Dispatch]]:
    """The open reports of a unit in these categories, with their areas."""
    rows = await connection.fetch(
        f"""SELECT {DISPATCH}, areas FROM dispatch
            WHERE unit = $1 AND kind = 'issue' AND category = ANY($2) AND {IS_OPEN}
            ORDER BY report_id""",  # noqa: S608 - constants
        unit,
        list(categories),
    )
    found = [dict(row) for row in rows]
    return [(json.loads(row.pop("areas")), dispatch_from(row)) for row in found]


async def begin_mornings(connection: Any, units: Sequence[str], day: date) -> list[str]:
    """Note that these units' digests of a day go; those of them that did not before."""
    rows = await connection.fetch(
        """INSERT INTO morning (unit, day) SELECT unit, $2 FROM unnest($1::text[]) AS u (unit)
           ON CONFLICT DO NOTHING RETURNING unit""",
        list(units),
        day,
    )
    return [row["unit"] for row in rows]


async def insert_digests(connection: Any, digests: Sequence[tuple[uuid.UUID, str]], due_at: datetime) -> None:
    """Put digests down: the id and the unit of each. What is there stays."""
    await connection.execute(
        """INSERT INTO delivery (id, unit, channel, step, due_at, next_attempt_at)
           SELECT id, unit, $3, 'digest', $4, $4 FROM unnest($1::uuid[], $2::text[]) AS d (id, unit)
           ON CONFLICT DO NOTHING""",
        [one for one, _ in digests],
        [unit for _, unit in digests],
        DIGEST,
        due_at,
    )
