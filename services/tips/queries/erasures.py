"""What was erased, who had been sent words, and what those say of their copies."""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.tips.core.certificate import Confirmation, Erasure, Reading


async def insert_erasures(connection: Any, erasures: Sequence[Erasure]) -> None:
    """Store what certificates say; what is there stays."""
    await connection.execute(
        """INSERT INTO erasure (report_id, at, reason, destroyed, key_name)
           SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::jsonb[], $5::text[])
           ON CONFLICT (report_id) DO NOTHING""",
        [erasure.report_id for erasure in erasures],
        [erasure.at for erasure in erasures],
        [erasure.reason for erasure in erasures],
        [json.dumps(erasure.destroyed) for erasure in erasures],
        [erasure.key_name for erasure in erasures],
    )


async def erasure_of(connection: Any, report_id: uuid.UUID) -> Erasure | None:
    """What was destroyed of a report and when; None where nothing was."""
    row = await connection.fetchrow(
        "SELECT report_id, at, reason, destroyed, key_name FROM erasure WHERE report_id = $1", report_id
    )
    if row is None:
        return None
    return Erasure(row["report_id"], row["at"], row["reason"], json.loads(row["destroyed"]), row["key_name"])


async def readings_of(connection: Any, report_id: uuid.UUID) -> list[Reading]:
    """What the log says of a report, in order."""
    rows = await connection.fetch(
        "SELECT at, act, actor, service, purpose FROM disclosure WHERE report_id = $1 ORDER BY number",
        report_id,
    )
    return [Reading(*row) for row in rows]


async def confirmations_of(connection: Any, report_id: uuid.UUID) -> dict[str, Confirmation]:
    """What the destinations of a report say of their copies, by destination."""
    rows = await connection.fetch(
        "SELECT destination, state, at FROM erasure_confirmation WHERE report_id = $1", report_id
    )
    return {row["destination"]: Confirmation(row["state"], row["at"]) for row in rows}


async def confirm_erasure(
    connection: Any, report_id: uuid.UUID, destination: str, confirmation: Confirmation
) -> None:
    """Store what a destination says of its copy. What is confirmed stays confirmed, as of then."""
    await connection.execute(
        """INSERT INTO erasure_confirmation AS known (report_id, destination, state, at)
           VALUES ($1, $2, $3, $4)
           ON CONFLICT (report_id, destination) DO UPDATE SET state = excluded.state, at = excluded.at
           WHERE known.state = 'cannot'""",
        report_id,
        destination,
        confirmation.state,
        confirmation.at,
    )


async def forget_receipts(connection: Any, erased_before: datetime) -> None:
    """From now on no receipt leads to what was erased so long ago, and no certificate says anything of it."""
    await connection.execute(
        """WITH old AS (DELETE FROM erasure WHERE at < $1 RETURNING report_id)
           UPDATE report SET lookup_id = sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
           FROM old WHERE report.report_id = old.report_id""",
        erased_before,
    )
