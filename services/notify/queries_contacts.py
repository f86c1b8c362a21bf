"""The SQL of telling contacts what is wrong with their subscription: the caller's connection first, never a
commit."""

from datetime import datetime, timedelta
from typing import Any

from services.notify.core.contact_letters import Trouble


async def take_notices(connection: Any, now: datetime, again: timedelta) -> list[Trouble]:
    """The subscriptions whose contacts are to be told now; nobody else has them until `again` has passed.
    What is twice as far ahead was put there by a clock that has gone back since."""
    rows = await connection.fetch(
        """UPDATE subscription s SET notice_at = $1::timestamptz + $2::interval
           WHERE notice_at <= $1 OR notice_at > $1::timestamptz + 2 * $2::interval
           RETURNING id, name, contact, url, coalesce(failing_since, disabled_at) AS failing_since,
                     last_failure, disabled_at, set_aside_since,
                     (SELECT count(*) FROM subscription_delivery d
                      WHERE d.subscription_id = s.id AND set_aside_at IS NOT NULL) AS set_aside,
                     (SELECT last_failure FROM subscription_delivery d
                      WHERE d.subscription_id = s.id AND set_aside_at IS NOT NULL
                      ORDER BY position LIMIT 1) AS refusal""",
        now,
        again,
    )
    return [Trouble(**row) for row in rows]


async def end_notice(connection: Any, told: Trouble) -> None:
    """The contact was told of that, or cannot be."""
    await connection.execute(
        """UPDATE subscription SET notice_at = NULL
           WHERE id = $1 AND (disabled_at, set_aside_since) IS NOT DISTINCT FROM ($2, $3)""",
        told.id,
        told.disabled_at,
        told.set_aside_since,
    )
