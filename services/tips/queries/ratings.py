"""What residents think of how it went."""

import uuid
from collections.abc import Iterable
from typing import Any

from services.tips.core.conversation import Rating


async def rating_of(connection: Any, report_id: uuid.UUID) -> Rating | None:
    """The rating of a report, if there is one."""
    row = await connection.fetchrow("SELECT satisfied, stars FROM rating WHERE report_id = $1", report_id)
    return Rating(*row) if row else None


async def set_rating(connection: Any, report_id: uuid.UUID, rating: Rating) -> None:
    """Store the rating of a report that is locked, in place of an earlier one."""
    await connection.execute(
        """INSERT INTO rating (report_id, satisfied, stars) VALUES ($1, $2, $3)
           ON CONFLICT (report_id) DO UPDATE SET satisfied = excluded.satisfied, stars = excluded.stars""",
        report_id,
        rating.satisfied,
        rating.stars,
    )


async def delete_ratings(connection: Any, report_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Destroy the ratings of reports; those that had one."""
    rows = await connection.fetch(
        "DELETE FROM rating WHERE report_id = ANY($1::uuid[]) RETURNING report_id", list(report_ids)
    )
    return {row["report_id"] for row in rows}
