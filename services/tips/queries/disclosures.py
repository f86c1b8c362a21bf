"""The log of who did what with a report's words, when and why."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. `actor` is a code of who it was, never the resident; `at` is the hour, where the
    report is a tip."""

    report_id: uuid.UUID
    kind: str
    at: datetime
    act: str
    actor: str
    service: str
    purpose: str


async def record(connection: Any, entries: Sequence[Entry]) -> None:
    """Add to the log, in the caller's transaction, last before it ends."""
    await connection.execute(
        """INSERT INTO disclosure (report_id, at, act, reader, service, purpose)
           SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[],
                                $6::text[])""",
        [entry.report_id for entry in entries],
        [entry.at for entry in entries],
        [entry.act for entry in entries],
        [entry.actor for entry in entries],
        [entry.service for entry in entries],
        [entry.purpose for entry in entries],
    )
