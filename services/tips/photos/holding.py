"""A photo's life in the database: uploaded, taken by a report, dropped with it. Each in the caller's
transaction."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.tips import sealing
from services.tips.core import keeping
from services.tips.keys import KeyDestroyed, KeyFolder, KeyLost
from services.tips.photos import MAX_PHOTOS
from services.tips.photos.store import PhotoStore
from services.tips.queries import photos
from services.tips.queries.photos import Held, Taken, Upload
from shared.events import hour_of
from shared.web import Problem

# From the beginning of the hour in which it came: 24 to 25 hours, and 1 to 2 where very many wait.
UPLOAD_KEPT = timedelta(hours=25)
UPLOAD_KEPT_LEAST = timedelta(hours=2)
# No put of an object lasts from its photo's end into the second hour after (photos/store.py).
DELETION_REPEATED = timedelta(hours=2)
log = structlog.get_logger()


class PhotoMissing(Exception):  # noqa: N818 - an outcome
    """The database has the photo and the object store has not."""


async def stage(connection: Any, keys: KeyFolder, jpeg: bytes, now: datetime) -> uuid.UUID:
    """Store an upload, sealed; the id that it can be taken by for a day."""
    photo_id = uuid.uuid4()
    name = keys.newest(sealing.key_name(now, *keeping.UPLOADS))
    wrapped_key, sealed = sealing.seal_photo(photo_id, name, keys.make(name), jpeg)
    await photos.insert_upload(connection, photo_id, name, wrapped_key, sealed, hour_of(now) + UPLOAD_KEPT)
    return photo_id


async def drop_early(connection: Any, now: datetime) -> None:
    """Drop the uploads that no report has taken of before the last hour, to make room."""
    await photos.drop_uploads(connection, hour_of(now) + UPLOAD_KEPT - UPLOAD_KEPT_LEAST)


async def attach(
    connection: Any,
    keys: KeyFolder,
    report_id: uuid.UUID,
    report_key: bytes,
    photo_ids: Sequence[uuid.UUID],
    now: datetime,
) -> None:
    """Make uploads the photos of a report that is stored. Raises Problem as `take`."""
    uploads = await lock(connection, photo_ids)
    taken = take(keys, uploads, report_id, report_key, photo_ids, now)
    await photos.take_uploads(connection, taken)


async def lock(connection: Any, photo_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Upload]:
    """The photos of these ids that there are, kept from everybody else. Whoever needs those of several
    reports locks them all at once: there is one order for all, so that nobody deadlocks."""
    return await photos.lock_uploads(connection, photo_ids) if photo_ids else {}


def take(
    keys: KeyFolder,
    uploads: dict[uuid.UUID, Upload],
    report_id: uuid.UUID,
    report_key: bytes,
    photo_ids: Sequence[uuid.UUID],
    now: datetime,
) -> list[Taken]:
    """Uploads, out of those that are locked, that become a report's photos for good: their keys are wrapped
    by the report's own from then on. `uploads` has them as taken afterwards.

    Raises Problem 422 where one cannot be taken, 503 where the uploads' key is lost; `/photos/N` in its
    errors is the place among `photo_ids`.
    """
    if len(photo_ids) > MAX_PHOTOS:
        raise _refused(
            "too-many-photos", "Too many photos", f"Send at most {MAX_PHOTOS} photos.", [MAX_PHOTOS]
        )
    if twice := [place for place, one in enumerate(photo_ids) if one in photo_ids[:place]]:
        raise _refused("photo-twice", "A photo stands twice", "Name each photo once.", twice)
    unknown = [place for place, one in enumerate(photo_ids) if one not in uploads or _late(uploads[one], now)]
    if unknown:
        raise _unknown(unknown)
    if used := [place for place, one in enumerate(photo_ids) if uploads[one].key_name is None]:
        raise _refused(
            "photo-taken",
            "A photo belongs to something that was sent before",
            "Upload the photo again, and send the new id.",
            used,
        )
    taken = []
    for place, photo_id in enumerate(photo_ids):
        wrapped_key = _wrapped(keys, uploads[photo_id], place, report_id, report_key)
        taken.append(Taken(photo_id, report_id, wrapped_key, hour_of(now)))
    uploads.update({one: replace(uploads[one], key_name=None, drop_after=None) for one in photo_ids})
    return taken


async def jpeg_of(store: PhotoStore, report_id: uuid.UUID, report_key: bytes, held: Held) -> bytes:
    """The JPEG of a report's photo (`queries.photos.photo_of`); outside a transaction, since the store may
    take its time. Raises PhotoMissing, StoreAway or Unreadable."""
    sealed = held.sealed
    if sealed is None and held.object_name is not None:
        sealed = await store.get(held.object_name)
    if sealed is None:
        raise PhotoMissing
    return sealing.unseal_photo(report_id, report_key, held.photo_id, held.wrapped_key, sealed)


async def drop_of(connection: Any, report_ids: Iterable[uuid.UUID], now: datetime) -> dict[uuid.UUID, int]:
    """Drop the photos of reports; how many each had. Their objects, which nothing opens any more, are deleted
    soon after."""
    return await photos.drop_photos(connection, report_ids, hour_of(now) + DELETION_REPEATED)


def _late(upload: Upload, now: datetime) -> bool:
    return upload.drop_after is not None and upload.drop_after <= now


def _wrapped(keys: KeyFolder, upload: Upload, place: int, report_id: uuid.UUID, report_key: bytes) -> bytes:
    name = str(upload.key_name)
    try:
        month_key = keys.get(name)
        return sealing.take_photo_key(
            upload.photo_id, name, month_key, upload.wrapped_key, report_id, report_key
        )
    except KeyDestroyed:
        raise _unknown([place]) from None
    except sealing.Unreadable:
        log.error("photo_unreadable", key=name, mend="restore table photo, or this key, from its backup")
        raise _unknown([place]) from None
    except KeyLost:
        log.error("key_lost", key=name, mend="restore the key folder from its backup")
        raise Problem(
            503,
            "key-lost",
            "Photos cannot be taken now",
            "Send it later, or without photos; the operator is told.",
            headers={"Retry-After": "600"},
        ) from None


def _unknown(places: Sequence[int]) -> Problem:
    return _refused(
        "photo-unknown",
        "A photo is not known",
        "It was never uploaded here, or too long ago: it waits for a day, or for an hour where very many do."
        " Upload it again, and send the new id.",
        places,
    )


def _refused(code: str, title: str, detail: str, places: Sequence[int]) -> Problem:
    return Problem(422, code, title, detail, errors=[(f"/photos/{place}", title) for place in places])
