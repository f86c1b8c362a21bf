"""The SQL of telling contacts that their subscription was disabled: the caller's connection first, never a
commit."""

from datetime import datetime, timedelta
from typing import Any

from services.notify.core.disabled import Disabled


async def take_notices(connection: Any, now: datetime, again: timedelta) -> list[Disabled]:
    """The subscriptions whose contacts are to be told now; nobody else has them until `again` has passed.
    What is twice as far ahead was put there by a clock that has gone back since."""
    rows = await connection.fetch(
        """UPDATE subscription SET notice_at = $1::timestamptz + $2::interval
           WHERE notice_at <= $1 OR notice_at > $1::timestamptz + 2 * $2::interval
           RETURNING id, name, contact, url, coalesce(failing_since, disabled_at) AS failing_since,
                     last_failure, disabled_at""",
        now,
        again,
    )
    return [Disabled(**row) for row in rows]


async def end_notice(connection: Any, told: Disabled) -> None:
    """The contact was told of that, or cannot be."""
    await connection.execute(
        "UPDATE subscription SET notice_at = NULL WHERE id = $1 AND disabled_at = $2",
        told.id,
        told.disabled_at,
    )
