"""Looking for public issues. What is found is what was last said on their topic, with text and supporters.

Each statement is planned for what it is asked (`plan_anew`): a plan for any box is a bad one for most.
"""

import json
import uuid
from typing import Any

from services.tips.core.asked import After, Asked
from services.tips.core.grid import Place
from services.tips.core.public import OPEN
from services.tips.core.public_view import Shown
from services.tips.queries.issues import COLUMNS, issue_of

_SHOWN = f"{COLUMNS}, public_text, text_by, supporters"


async def plan_anew(connection: Any) -> None:
    """Have each statement of this transaction planned for its own values."""
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")


async def listed(connection: Any, asked: Asked, after: After | None, limit: int) -> list[Shown]:
    """At most `limit` issues for which every filter holds, the newest first, from `after` on."""
    conditions, values = _conditions(asked)
    if after:
        values += after
        conditions.append(f"(accepted_at, issue_id) < (${len(values) - 1}, ${len(values)})")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await connection.fetch(
        f"SELECT {_SHOWN} FROM issue {where} ORDER BY accepted_at DESC, issue_id DESC LIMIT {int(limit)}",  # noqa: S608 - conditions are made here
        *values,
    )
    return [_shown(row) for row in rows]


def _conditions(asked: Asked) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []

    def hold(condition: str, *given: Any) -> None:
        values.extend(given)
        last = len(values)
        numbers = {f"p{n}": f"${last - len(given) + n}" for n in range(1, len(given) + 1)}
        conditions.append(condition.format(**numbers))

    if asked.box:
        west, south, east, north = asked.box
        hold("latitude BETWEEN {p1} AND {p2} AND longitude BETWEEN {p3} AND {p4}", south, north, west, east)
    if asked.area:
        hold("areas @> {p1}::jsonb", json.dumps(dict([asked.area])))
    if asked.categories:
        hold("category = ANY({p1}::text[])", list(asked.categories))
    if asked.statuses:
        hold("status = ANY({p1}::text[])", list(asked.statuses))
    if asked.since:
        hold("changed_at >= {p1}", asked.since)
    for word in asked.words:
        # Letters and digits only, so that this is always a sound query.
        beginning = f"'{word.text}':*"
        if word.categories:
            hold(
                "(search @@ to_tsquery('simple', {p1}) OR category = ANY({p2}::text[]))",
                beginning,
                list(word.categories),
            )
        else:
            hold("search @@ to_tsquery('simple', {p1})", beginning)
    return conditions, values


async def shown(connection: Any, issue_id: uuid.UUID) -> Shown | None:
    """One public issue."""
    row = await connection.fetchrow(f"SELECT {_SHOWN} FROM issue WHERE issue_id = $1", issue_id)  # noqa: S608 - names of columns
    return _shown(row) if row else None


async def is_gone(connection: Any, issue_id: uuid.UUID) -> bool:
    """Whether there was such an issue, which is public no more."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM issue_gone WHERE issue_id = $1)", issue_id
    )
    return found


async def open_within(
    connection: Any, category: str, south_west: Place, north_east: Place, limit: int
) -> list[Shown]:
    """Open issues of a category between two corners, the newest first, at most so many."""
    rows = await connection.fetch(
        f"""SELECT {_SHOWN} FROM issue
            WHERE category = $1 AND status = ANY($2::text[])
              AND latitude BETWEEN $3 AND $4 AND longitude BETWEEN $5 AND $6
            ORDER BY accepted_at DESC, issue_id DESC LIMIT $7""",  # noqa: S608 - names of columns
        category,
        list(OPEN),
        south_west.latitude,
        north_east.latitude,
        south_west.longitude,
        north_east.longitude,
        limit,
    )
    return [_shown(row) for row in rows]


def _shown(row: Any) -> Shown:
    return Shown(issue_of(row), row["public_text"], row["text_by"], row["supporters"])
