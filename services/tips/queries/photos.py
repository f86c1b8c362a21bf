"""Photos: uploads that no report has taken yet, photos of reports, and the objects that are to go."""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Of a photo's bytes; and the pause after each: other commits find little that is not on the disk yet.
PART_BYTES, PART_PAUSE_SECONDS = 65_536, 0.005
_SEALED = """(SELECT string_agg(sealed, ''::bytea ORDER BY number) FROM photo_part p
             WHERE p.photo_id = photo.photo_id)"""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload, locked. `key_name` is None once a report has taken it."""

    photo_id: uuid.UUID
    key_name: str | None
    wrapped_key: bytes
    drop_after: datetime | None


@dataclass(frozen=True, slots=True)
class Taken:
    """An upload that becomes a report's photo, its key wrapped by the report's, and in which hour."""

    photo_id: uuid.UUID
    report_id: uuid.UUID
    wrapped_key: bytes
    taken_in: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """A report's photo: its own key, wrapped by the report's, and where it is: one of the other two."""

    photo_id: uuid.UUID
    wrapped_key: bytes
    sealed: bytes | None
    object_name: uuid.UUID | None


async def count_uploads(connection: Any) -> int:
    """How many uploads no report has taken."""
    return int(await connection.fetchval("SELECT count(*) FROM photo WHERE report_id IS NULL"))


async def insert_upload(
    connection: Any,
    photo_id: uuid.UUID,
    key_name: str,
    wrapped_key: bytes,
    sealed: bytes,
    drop_after: datetime,
) -> None:
    """Store an upload, part by part; the transaction is the caller's."""
    await connection.execute(
        "INSERT INTO photo (photo_id, key_name, wrapped_key, drop_after) VALUES ($1, $2, $3, $4)",
        photo_id,
        key_name,
        wrapped_key,
        drop_after,
    )
    for number, start in enumerate(range(0, len(sealed), PART_BYTES)):
        part = sealed[start : start + PART_BYTES]
        await connection.execute(
            "INSERT INTO photo_part (photo_id, number, sealed) VALUES ($1, $2, $3)", photo_id, number, part
        )
        await asyncio.sleep(PART_PAUSE_SECONDS)


async def lock_uploads(connection: Any, photo_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Upload]:
    """The photos of these ids that there are, locked in one order so that nobody deadlocks."""
    rows = await connection.fetch(
        """SELECT photo_id, key_name, wrapped_key, drop_after FROM photo
           WHERE photo_id = ANY($1::uuid[]) ORDER BY photo_id FOR NO KEY UPDATE""",
        list(photo_ids),
    )
    return {row["photo_id"]: Upload(*row) for row in rows}


async def take_uploads(connection: Any, taken: Sequence[Taken]) -> None:
    """Make uploads that are locked the photos of reports."""
    if not taken:
        return
    await connection.execute(
        """UPDATE photo SET report_id = taken.report_id, wrapped_key = taken.wrapped_key,
                            taken_in = taken.taken_in, key_name = NULL, drop_after = NULL
           FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::timestamptz[])
               AS taken (photo_id, report_id, wrapped_key, taken_in)
           WHERE photo.photo_id = taken.photo_id""",
        *zip(*((one.photo_id, one.report_id, one.wrapped_key, one.taken_in) for one in taken), strict=True),
    )


async def photo_of(connection: Any, report_id: uuid.UUID, photo_id: uuid.UUID) -> Held | None:
    """A report's photo."""
    row = await connection.fetchrow(
        f"""SELECT photo_id, wrapped_key, {_SEALED} AS sealed, object_name FROM photo
            WHERE photo_id = $1 AND report_id = $2""",  # noqa: S608 - a constant
        photo_id,
        report_id,
    )
    return Held(*row) if row else None


async def photos_of(connection: Any, report_id: uuid.UUID) -> list[uuid.UUID]:
    """The photos of a report and of its conversation."""
    rows = await connection.fetch("SELECT photo_id FROM photo WHERE report_id = $1 ORDER BY 1", report_id)
    return [row["photo_id"] for row in rows]


async def drop_uploads(connection: Any, until: datetime) -> None:
    """Drop the uploads that no report has taken and that are kept until then at most; one that is being taken
    stays."""
    await connection.execute(
        """DELETE FROM photo WHERE photo_id IN (
               SELECT photo_id FROM photo WHERE report_id IS NULL AND drop_after <= $1
               FOR UPDATE SKIP LOCKED)""",
        until,
    )


async def drop_photos(
    connection: Any, report_ids: Iterable[uuid.UUID], forget_after: datetime
) -> dict[uuid.UUID, int]:
    """Drop the photos of reports, and list their objects for deletion; how many each report had."""
    rows = await connection.fetch(
        """WITH locked AS (
               SELECT photo_id FROM photo WHERE report_id = ANY($1::uuid[]) ORDER BY photo_id FOR UPDATE),
           dropped AS (
               DELETE FROM photo USING locked WHERE photo.photo_id = locked.photo_id
               RETURNING report_id, object_name),
           listed AS (
               INSERT INTO photo_to_delete (object_name, forget_after)
               SELECT object_name, $2 FROM dropped WHERE object_name IS NOT NULL
               ON CONFLICT DO NOTHING)
           SELECT report_id, count(*) AS photos FROM dropped GROUP BY report_id""",
        list(report_ids),
        forget_after,
    )
    return {row["report_id"]: row["photos"] for row in rows}


async def photos_to_move(connection: Any, before: datetime) -> list[uuid.UUID]:
    """The photos that reports took before that hour and that are not in the object store."""
    rows = await connection.fetch(
        """SELECT photo_id FROM photo
           WHERE here AND report_id IS NOT NULL AND taken_in < $1""",
        before,
    )
    return [row["photo_id"] for row in rows]


async def name_object(
    connection: Any, photo_id: uuid.UUID, new_name: uuid.UUID
) -> tuple[uuid.UUID, bytes] | None:
    """The name that a photo has or gets for the object store, and what is to be put there; None where it is
    dropped or moved by now."""
    row = await connection.fetchrow(
        f"""UPDATE photo SET object_name = coalesce(object_name, $2)
            WHERE photo_id = $1 AND report_id IS NOT NULL AND here
            RETURNING object_name, {_SEALED} AS sealed""",  # noqa: S608 - a constant
        photo_id,
        new_name,
    )
    return (row["object_name"], row["sealed"]) if row else None


async def moved(connection: Any, object_name: uuid.UUID) -> bool:
    """Note that an object is in the store; False where its photo was dropped meanwhile."""
    found = await connection.fetchval(
        """WITH moved AS (UPDATE photo SET here = false WHERE object_name = $1 RETURNING photo_id),
                gone AS (DELETE FROM photo_part USING moved WHERE photo_part.photo_id = moved.photo_id)
           SELECT true FROM moved""",
        object_name,
    )
    return bool(found)


async def list_to_delete(connection: Any, object_name: uuid.UUID, forget_after: datetime) -> None:
    """List an object for deletion; one that is listed stays longer."""
    await connection.execute(
        """INSERT INTO photo_to_delete (object_name, forget_after) VALUES ($1, $2)
           ON CONFLICT (object_name) DO UPDATE SET forget_after = excluded.forget_after""",
        object_name,
        forget_after,
    )


async def listed_to_delete(connection: Any) -> list[uuid.UUID]:
    """The objects that are to go."""
    return [row["object_name"] for row in await connection.fetch("SELECT object_name FROM photo_to_delete")]


async def forget_deleted(connection: Any, object_names: Sequence[uuid.UUID], now: datetime) -> None:
    """Take objects that were deleted just now from the list, where no put of them can be on its way."""
    await connection.execute(
        "DELETE FROM photo_to_delete WHERE object_name = ANY($1::uuid[]) AND forget_after <= $2",
        object_names,
        now,
    )
