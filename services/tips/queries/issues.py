"""Public issues, as they were last said on their topic."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.tips.core.grid import Place
from services.tips.core.public import Issue, TextBy

COLUMNS = (
    "issue_id, report_id, category, areas, latitude, longitude,"
    " status, version, page, accepted_at, changed_at"
)
TYPES = (
    *("uuid", "uuid", "text", "jsonb", "float8", "float8"),
    *("text", "integer", "text", "timestamptz", "timestamptz"),
)


async def with_reports(connection: Any, report_ids: Iterable[uuid.UUID]) -> list[tuple[Issue, str, str]]:
    """The issues of these reports, each with the status and category that its report has now, locked."""
    rows = await connection.fetch(
        f"""SELECT {", ".join(f"i.{name}" for name in COLUMNS.split(", "))},
                   r.status AS now_status, r.category AS now_category
            FROM issue i JOIN report r USING (report_id) WHERE report_id = ANY($1::uuid[])
            ORDER BY report_id FOR NO KEY UPDATE OF i""",  # noqa: S608 - names of columns
        list(report_ids),
    )
    return [(issue_of(row), row["now_status"], row["now_category"]) for row in rows]


async def save(connection: Any, changed: Sequence[Issue]) -> None:
    """Store what was said of issues. Their places and times of acceptance stay as they are."""
    if not changed:
        return
    await connection.execute(
        """UPDATE issue SET category = said.category, status = said.status, version = said.version,
                            page = said.page, changed_at = said.changed_at
           FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::timestamptz[])
               AS said (issue_id, category, status, version, page, changed_at)
           WHERE issue.issue_id = said.issue_id""",
        *zip(
            *(
                (one.issue_id, one.category, one.status, one.version, one.page, one.changed_at)
                for one in changed
            ),
            strict=True,
        ),
    )


async def drop(connection: Any, issue_ids: Sequence[uuid.UUID]) -> None:
    """Forget issues that are public no more, all but their ids; also those that were not here."""
    if not issue_ids:
        return
    await connection.execute(
        """WITH dropped AS (DELETE FROM issue WHERE issue_id = ANY($1::uuid[]))
           INSERT INTO issue_gone SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING""",
        issue_ids,
    )


async def known(connection: Any, issue_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Issue]:
    """Those of these issues that are public."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM issue WHERE issue_id = ANY($1::uuid[])",  # noqa: S608 - names of columns
        list(issue_ids),
    )
    return {row["issue_id"]: issue_of(row) for row in rows}


async def astray(connection: Any, categories: Sequence[str], public_url: str, limit: int) -> list[uuid.UUID]:
    """Reports, at most so many, whose issue has a category that is not public or a page elsewhere."""
    rows = await connection.fetch(
        """SELECT report_id FROM issue
           WHERE category <> ALL($1::text[]) OR page <> $2 || '/issues/' || issue_id
           ORDER BY report_id LIMIT $3""",
        categories,
        public_url.rstrip("/"),
        limit,
    )
    return [row["report_id"] for row in rows]


async def lock_next(
    connection: Any, after: uuid.UUID | None, categories: Sequence[str], limit: int
) -> list[Issue]:
    """Up to `limit` issues of these categories whose reports come after one, locked, by report as everybody
    locks them."""
    rows = await connection.fetch(
        f"""SELECT {COLUMNS} FROM issue
            WHERE ($1::uuid IS NULL OR report_id > $1) AND category = ANY($2::text[])
            ORDER BY report_id LIMIT $3 FOR NO KEY UPDATE""",  # noqa: S608 - names of columns
        after,
        categories,
        limit,
    )
    return [issue_of(row) for row in rows]


async def unfit_texts(connection: Any, fits: Mapping[str, str], limit: int) -> list[uuid.UUID]:
    """Reports, at most so many, whose issue has a text although the report was taken back or its category
    has none by whom that is; `fits` has for a category who its texts are by."""
    rows = await connection.fetch(
        """SELECT report_id FROM issue
               LEFT JOIN unnest($1::text[], $2::text[]) AS fits (category, text_by) USING (category, text_by)
               JOIN report USING (report_id)
           WHERE public_text IS NOT NULL AND (fits.text_by IS NULL OR report.status = 'withdrawn')
           ORDER BY report_id LIMIT $3""",
        list(fits),
        list(fits.values()),
        limit,
    )
    return [row["report_id"] for row in rows]


async def public_text(connection: Any, report_id: uuid.UUID) -> tuple[str | None, TextBy | None] | None:
    """The public text of a report's issue and who it is by; None where nothing is public."""
    row = await connection.fetchrow(
        "SELECT public_text, text_by FROM issue WHERE report_id = $1 FOR NO KEY UPDATE", report_id
    )
    return (row["public_text"], row["text_by"]) if row else None


async def erase_public_texts(connection: Any, report_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Erase the public texts of reports' issues; the reports that had one."""
    rows = await connection.fetch(
        """UPDATE issue SET public_text = NULL, text_by = NULL
           WHERE report_id = ANY ($1::uuid[]) AND public_text IS NOT NULL RETURNING report_id""",
        list(report_ids),
    )
    return {row["report_id"] for row in rows}


async def set_public_text(
    connection: Any, report_id: uuid.UUID, text: str | None, by: TextBy | None, at: datetime
) -> None:
    """Give a report's issue a public text, or take it away."""
    await connection.execute(
        """UPDATE issue SET public_text = $2, text_by = $3, changed_at = greatest(changed_at, $4)
           WHERE report_id = $1""",
        report_id,
        text,
        by,
        at,
    )


async def insert_support(connection: Any, key_mac: bytes, drop_after: datetime) -> bool:
    """Remember that somebody said "this is mine too"; False when it is remembered already."""
    return (
        await connection.fetchval(
            """INSERT INTO support VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true""",
            key_mac,
            drop_after,
        )
        or False
    )


async def count_support(connection: Any, issue_id: uuid.UUID) -> int | None:
    """One more says that it is theirs too: how many do now; None where the issue is not public any more."""
    count: int | None = await connection.fetchval(
        "UPDATE issue SET supporters = supporters + 1 WHERE issue_id = $1 RETURNING supporters", issue_id
    )
    return count


async def drop_support(connection: Any, now: datetime) -> None:
    """Forget who said "this is mine too" when its time has passed; the counts stay."""
    await connection.execute("DELETE FROM support WHERE drop_after <= $1", now)


def values(issue: Issue) -> tuple[Any, ...]:
    """What goes into COLUMNS, whose types are TYPES."""
    place = issue.place or (None, None)
    return (
        issue.issue_id,
        issue.report_id,
        issue.category,
        json.dumps(dict(issue.areas)),
        *place,
        issue.status,
        issue.version,
        issue.page,
        issue.accepted_at,
        issue.changed_at,
    )


def issue_of(row: Any) -> Issue:
    """The issue in a row of COLUMNS."""
    return Issue(
        row["issue_id"],
        row["report_id"],
        row["category"],
        json.loads(row["areas"]),
        None if row["latitude"] is None else Place(row["latitude"], row["longitude"]),
        row["status"],
        row["version"],
        row["page"],
        row["accepted_at"],
        row["changed_at"],
    )
