"""Photos move to the object store, and what is to go is deleted.

The store's own times cannot be set. So a photo moves when the hour is over in which its report took it, all
of that hour together and in random order: no object tells more of a tip than its hour.

A name is committed before its object is put, so that no object is ever without a row: of a photo, or on the
list of those to delete.
"""

import asyncio
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.tips.photos.holding import DELETION_REPEATED
from services.tips.photos.store import PhotoStore, StoreAway
from services.tips.queries import photos
from shared import postgres
from shared.events import hour_of

# After the hour's end, when every transaction that began in it has ended: a late one would move alone.
MOVE_AFTER = timedelta(minutes=5)
LOOK_EVERY_SECONDS = 60.0
CLEAR_EVERY_SECONDS = 600.0
log = structlog.get_logger()


async def keep_moving(pool: Any, store: PhotoStore, clock: Callable[[], datetime]) -> None:
    """Move the photos of each hour once it is over, for as long as the process lives."""
    done: datetime | None = None
    while True:
        now = clock()
        # Nothing else may ask it for hours, and then somebody needs a photo.
        await _tried("photo store", store.probe())
        if (
            done != hour_of(now)
            and now >= hour_of(now) + MOVE_AFTER
            and await _tried("move photos", move(pool, store, now))
        ):
            done = hour_of(now)
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def keep_clearing(pool: Any, store: PhotoStore, clock: Callable[[], datetime]) -> None:
    """Drop and delete what is to go, for as long as the process lives."""
    while True:
        await _tried("clear photos", clear(pool, store, clock()))
        await asyncio.sleep(CLEAR_EVERY_SECONDS)


async def move(pool: Any, store: PhotoStore, now: datetime) -> None:
    """Move the photos of the hours that are over. One that another process moves too is put twice under one
    name. Raises StoreAway, and what the database raises; what is not moved is moved the next time."""
    async with pool.acquire() as connection:
        photo_ids = await photos.photos_to_move(connection, hour_of(now))
    random.SystemRandom().shuffle(photo_ids)
    for photo_id in photo_ids:
        async with pool.acquire() as connection:
            named = await photos.name_object(connection, photo_id, uuid.uuid4())
        if named is None:
            continue
        name, sealed = named
        await store.put(name, sealed)
        async with pool.acquire() as connection:
            if not await photos.moved(connection, name):
                await photos.list_to_delete(connection, name, hour_of(now) + DELETION_REPEATED)


async def clear(pool: Any, store: PhotoStore, now: datetime) -> None:
    """Drop the uploads that no report has taken in time, and delete the objects of photos that are gone.
    Raises StoreAway, and what the database raises; repeating it does nothing."""
    async with pool.acquire() as connection:
        await photos.drop_uploads(connection, now)
        names = await photos.listed_to_delete(connection)
    for name in names:
        await store.delete(name)
    async with pool.acquire() as connection:
        # By the time before they were deleted.
        await photos.forget_deleted(connection, names, now)


async def _tried(part: str, work: Any) -> bool:
    try:
        await work
    except StoreAway as error:
        log.warning("not_now", part=part, error=str(error), mend="look at IBUURT_PHOTO_STORE")
    except Exception as error:
        if not postgres.is_transient(error):
            raise
        log.warning("not_now", part=part, error=type(error).__name__)
    else:
        return True
    return False
