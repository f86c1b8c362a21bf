"""Looking for public issues. What is found is what was last said on their topic, with text and supporters.

Each statement is planned for what it is asked (`plan_anew`): a plan for any box is a bad one for most.
"""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from services.tips.core.asked import After, Asked, Word
from services.tips.core.grid import Place
from services.tips.core.public import OPEN
from services.tips.core.public_view import Shown
from services.tips.queries.issues import COLUMNS, issue_of

# To sort so many takes a few ms.
FEW = 5_000
_SHOWN = f"{COLUMNS}, public_text, text_by, supporters"


async def plan_anew(connection: Any) -> None:
    """Have each statement of this transaction planned for its own values."""
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")


async def are_few(connection: Any, words: Sequence[Word]) -> bool:
    """Whether few enough issues have these words in their texts to be looked through first. Nobody can tell
    without looking: for beginnings of words PostgreSQL takes two in a hundred to match, whatever they are."""
    query = _query(words)
    if not query:
        return False
    found: int = await connection.fetchval(
        f"""SELECT count(*) FROM (SELECT FROM issue WHERE search @@ to_tsquery('simple', $1)
                                  LIMIT {FEW + 1}) AS found""",  # noqa: S608 - a number
        query,
    )
    return found <= FEW


async def listed(
    connection: Any, asked: Asked, after: After | None, limit: int, *, texts_first: bool
) -> list[Shown]:
    """At most `limit` issues for which every filter holds, the newest first, from `after` on. With
    `texts_first` those with the words are found before anything else is looked at (`are_few`)."""
    conditions, values = _conditions(asked)
    if after:
        values += after
        conditions.append(f"(accepted_at, issue_id) < (${len(values) - 1}, ${len(values)})")
    source = "issue"
    if texts_first:
        values.append(_query(asked.words))
        # OFFSET 0 keeps the planner from walking through all issues instead, newest first.
        matching = f"search @@ to_tsquery('simple', ${len(values)})"
        source = f"(SELECT * FROM issue WHERE {matching} OFFSET 0) AS issue"  # noqa: S608 - a number
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await connection.fetch(
        f"SELECT {_SHOWN} FROM {source} {where} ORDER BY accepted_at DESC, issue_id DESC LIMIT {int(limit)}",  # noqa: S608 - conditions are made here
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
        beginning = _beginning(word)
        if word.categories:
            hold(
                "(search @@ to_tsquery('simple', {p1}) OR category = ANY({p2}::text[]))",
                beginning,
                list(word.categories),
            )
        else:
            hold("search @@ to_tsquery('simple', {p1})", beginning)
    return conditions, values


def _query(words: Sequence[Word]) -> str:
    """The full text query for the words that can be in texts alone; empty where there are none."""
    return " & ".join(_beginning(word) for word in words if not word.categories)


def _beginning(word: Word) -> str:
    # Letters and digits only, so that this is always a sound query.
    return f"'{word.text}':*"


async def shown(connection: Any, issue_id: uuid.UUID) -> Shown | None:
    """One public issue."""
    row = await connection.fetchrow(f"SELECT {_SHOWN} FROM issue WHERE issue_id = $1", issue_id)  # noqa: S608 - names of columns
    return _shown(row) if row else None


async def shown_of(connection: Any, report_id: uuid.UUID) -> Shown | None:
    """The public issue of a report; None where nothing of it is public."""
    row = await connection.fetchrow(f"SELECT {_SHOWN} FROM issue WHERE report_id = $1", report_id)  # noqa: S608 - names of columns
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
