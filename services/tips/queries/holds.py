"""Legal holds: whose words must stay although their time ends or their resident wants them gone."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True, slots=True)
class Hold:
    """`until` is its last day. With `erase_when_lifted` the words are locked away: nobody reads them, and
    they are erased, for the reason that it gives, when the hold ends."""

    report_id: uuid.UUID
    reason: str
    placed_by: str
    placed_on: date
    until: date
    erase_when_lifted: str | None


_HOLD = "report_id, reason, placed_by, placed_on, until, erase_when_lifted"


async def of(connection: Any, report_id: uuid.UUID) -> Hold | None:
    """The hold on a report."""
    row = await connection.fetchrow(f"SELECT {_HOLD} FROM hold WHERE report_id = $1", report_id)  # noqa: S608 - names of columns
    return Hold(*row) if row else None


async def all_holds(connection: Any) -> list[Hold]:
    """Every hold, the one that ends first before the others."""
    rows = await connection.fetch(f"SELECT {_HOLD} FROM hold ORDER BY until, report_id")  # noqa: S608 - names of columns
    return [Hold(*row) for row in rows]


async def locked_away(connection: Any, report_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these reports have words that are kept and that nobody reads."""
    rows = await connection.fetch(
        """SELECT report_id FROM hold
           WHERE report_id = ANY($1::uuid[]) AND erase_when_lifted IS NOT NULL""",
        list(report_ids),
    )
    return {row["report_id"] for row in rows}


async def place(
    connection: Any, report_id: uuid.UUID, reason: str, who: str, today: date, until: date
) -> None:
    """Place a hold on a report that is locked, or give the one that is there another reason and end."""
    await connection.execute(
        """INSERT INTO hold (report_id, reason, placed_by, placed_on, until) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (report_id) DO UPDATE SET reason = excluded.reason, placed_by = excluded.placed_by,
               placed_on = excluded.placed_on, until = excluded.until""",
        report_id,
        reason,
        who,
        today,
        until,
    )


async def erase_when_lifted(connection: Any, report_id: uuid.UUID, why: str) -> None:
    """Lock the words of a held report away until they can be erased; the first reason stays."""
    await connection.execute(
        "UPDATE hold SET erase_when_lifted = coalesce(erase_when_lifted, $2) WHERE report_id = $1",
        report_id,
        why,
    )


async def lift(connection: Any, report_id: uuid.UUID) -> None:
    """End a hold on a report that is locked."""
    await connection.execute("DELETE FROM hold WHERE report_id = $1", report_id)
