"""Who gets e-mail about an issue, and the e-mails that wait."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.tips.sealing import Sealed


@dataclass(frozen=True, slots=True)
class Due:
    """An e-mail to be sent, with what opens its address; `words` is None when the report is erased."""

    email_id: uuid.UUID
    subscription_id: uuid.UUID
    report_id: uuid.UUID
    about: str
    language: str
    address: bytes
    words: Sealed | None


async def set_address(
    connection: Any, subscription_id: uuid.UUID, report_id: uuid.UUID, sealed: bytes, drop_after: datetime
) -> None:
    """Remember a sealed address, not confirmed; one of before is forgotten with what waits for it."""
    await connection.execute("DELETE FROM email_updates WHERE report_id = $1", report_id)
    await connection.execute(
        """INSERT INTO email_updates (subscription_id, report_id, sealed, drop_after)
           VALUES ($1, $2, $3, $4)""",
        subscription_id,
        report_id,
        sealed,
        drop_after,
    )


async def confirm(connection: Any, subscription_id: uuid.UUID) -> bool:
    """Whether there is such a subscription; it is confirmed now."""
    done = await connection.fetchval(
        """UPDATE email_updates SET confirmed = true, drop_after = NULL WHERE subscription_id = $1
           RETURNING true""",
        subscription_id,
    )
    return bool(done)


async def subscribed(connection: Any, subscription_id: uuid.UUID, now: datetime) -> str | None:
    """The report's language, where there is such a subscription and it has not come to its end."""
    language: str | None = await connection.fetchval(
        """SELECT language FROM email_updates JOIN report USING (report_id)
           WHERE subscription_id = $1 AND (drop_after IS NULL OR drop_after > $2)""",
        subscription_id,
        now,
    )
    return language


async def state(connection: Any, report_id: uuid.UUID) -> bool | None:
    """Whether the report's address is confirmed; None where there is none."""
    confirmed: bool | None = await connection.fetchval(
        "SELECT confirmed FROM email_updates WHERE report_id = $1", report_id
    )
    return confirmed


async def address_of(connection: Any, report_id: uuid.UUID) -> tuple[uuid.UUID, bytes] | None:
    """The subscription of a report and its sealed address; None where there is none."""
    row = await connection.fetchrow(
        "SELECT subscription_id, sealed FROM email_updates WHERE report_id = $1", report_id
    )
    return (row["subscription_id"], row["sealed"]) if row else None


async def forget(connection: Any, subscription_id: uuid.UUID) -> None:
    """Erase an address, and what waits for it."""
    await connection.execute("DELETE FROM email_updates WHERE subscription_id = $1", subscription_id)


async def forget_of(connection: Any, report_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Erase the addresses of reports, and what waits for them; the reports that had one."""
    rows = await connection.fetch(
        "DELETE FROM email_updates WHERE report_id = ANY ($1::uuid[]) RETURNING report_id", list(report_ids)
    )
    return {row["report_id"] for row in rows}


async def forget_all(connection: Any) -> int:
    """Erase every address, and what waits for them; returns how many there were."""
    rows = await connection.fetch("DELETE FROM email_updates RETURNING true")
    return len(rows)


async def forget_unconfirmed(connection: Any, now: datetime) -> None:
    """Erase the addresses that nobody has confirmed in time."""
    await connection.execute("DELETE FROM email_updates WHERE drop_after <= $1", now)


async def add(connection: Any, email_id: uuid.UUID, subscription_id: uuid.UUID, about: str) -> None:
    """Let an e-mail be sent."""
    await connection.execute(
        "INSERT INTO email (email_id, subscription_id, about) VALUES ($1, $2, $3)",
        email_id,
        subscription_id,
        about,
    )


async def add_news(connection: Any, news: Mapping[uuid.UUID, tuple[uuid.UUID, str]]) -> None:
    """Let those who wait for news of these reports be told; `news` has for an e-mail's id the report and what
    it is about. One whose id waits already is not added again."""
    if not news:
        return
    await connection.execute(
        """INSERT INTO email (email_id, subscription_id, about)
           SELECT said.email_id, subscription_id, said.about
           FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS said (email_id, report_id, about)
                JOIN email_updates USING (report_id)
           WHERE confirmed FOR KEY SHARE OF email_updates
           ON CONFLICT (email_id) DO NOTHING""",
        list(news),
        [report_id for report_id, _ in news.values()],
        [about for _, about in news.values()],
    )


async def lease(connection: Any, now: datetime, until: datetime, most: int) -> Sequence[Due]:
    """Take e-mails that are due; whoever else looks does not see them before `until`."""
    rows = await connection.fetch(
        """WITH taken AS (
               SELECT email_id FROM email WHERE due <= $1 ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED),
           leased AS (
               UPDATE email SET due = $2 FROM taken
               WHERE email.email_id = taken.email_id RETURNING email.*)
           SELECT email_id, subscription_id, report_id, about, language, e.sealed AS address,
                  key_name, wrapped_key, r.sealed AS words
           FROM leased JOIN email_updates e USING (subscription_id) JOIN report r USING (report_id)""",
        now,
        until,
        most,
    )
    return [
        Due(
            row["email_id"],
            row["subscription_id"],
            row["report_id"],
            row["about"],
            row["language"],
            row["address"],
            Sealed(row["key_name"], row["wrapped_key"], row["words"]) if row["words"] else None,
        )
        for row in rows
    ]


async def keep(connection: Any, email_id: uuid.UUID, leased: datetime, until: datetime) -> int | None:
    """Prolong a lease for an attempt; which one it is, from 1 on. None where the lease has ended, and where
    nobody wants the e-mail any more."""
    attempt: int | None = await connection.fetchval(
        """UPDATE email SET due = $3, attempts = attempts + 1 WHERE email_id = $1 AND due = $2
           RETURNING attempts""",
        email_id,
        leased,
        until,
    )
    return attempt


async def put_off(connection: Any, email_id: uuid.UUID, due: datetime) -> None:
    """Try it again then."""
    await connection.execute("UPDATE email SET due = $2 WHERE email_id = $1", email_id, due)


async def drop(connection: Any, email_id: uuid.UUID) -> None:
    """It was sent, or is given up."""
    await connection.execute("DELETE FROM email WHERE email_id = $1", email_id)
