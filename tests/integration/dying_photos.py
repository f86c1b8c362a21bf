"""A process that does one thing with photos and is killed at a named point of it:
`python -m tests.integration.dying_photos DSN KEYS STORE WORK POINT IDS…`."""

import asyncio
import functools
import os
import signal
import sys
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import obstore

from services.tips import erasing, sealing
from services.tips.keys import KeyFolder
from services.tips.photos import holding, moving, store
from services.tips.queries import photos, reports
from shared import outbox, postgres
from tests.photos import encoded, picture


class Place(NamedTuple):
    """A function, and whether the process dies before it or after it."""

    owner: Any
    function: str
    before: bool = False


# The places of each work, in their order. What is not in one transaction is committed by itself.
POINTS = {
    "upload": (Place(photos, "insert_upload", before=True), Place(photos, "insert_upload")),
    "attach": (Place(photos, "lock_uploads"), Place(photos, "take_uploads"), Place(holding, "attach")),
    "move": (
        Place(photos, "photos_to_move"),
        Place(photos, "name_object"),
        Place(obstore, "put"),
        Place(store.PhotoStore, "put"),
        Place(photos, "moved"),
    ),
    "erase": (Place(reports, "erase_words"), Place(photos, "drop_photos"), Place(outbox, "append")),
    "clear": (
        Place(photos, "drop_uploads"),
        Place(photos, "listed_to_delete"),
        Place(obstore, "delete"),
        Place(store.PhotoStore, "delete"),
        Place(photos, "forget_deleted"),
    ),
}


async def attach(connection: Any, keys: KeyFolder, report_id: uuid.UUID, ids: Any, now: datetime) -> None:
    """In a transaction, as a handler does it."""
    async with connection.transaction():
        found = await reports.lock(connection, report_id)
        assert found
        assert found[1]
        key = sealing.open_key(report_id, found[1], keys.get(found[1].key_name))
        await holding.attach(connection, keys, report_id, key, ids, now)


async def erase(connection: Any, report_id: uuid.UUID, now: datetime) -> None:
    """In a transaction, as a handler does it."""
    async with connection.transaction():
        found = await reports.lock(connection, report_id)
        assert found
        await erasing.erase(connection, found[0], "resident", now, "/ibuurt/tips")


async def _work(work: str, dsn: str, keys: KeyFolder, where: store.PhotoStore, rest: list[str]) -> None:
    now, ids = datetime.fromisoformat(rest[0]), [uuid.UUID(one) for one in rest[1:]]
    pool = await postgres.open_pool(dsn, "dying", size=2)
    async with pool.acquire() as connection:
        if work == "upload":
            await holding.stage(connection, keys, encoded(picture()), now)
        elif work == "attach":
            await attach(connection, keys, ids[0], ids[1:], now)
        elif work == "erase":
            await erase(connection, ids[0], now)
    if work == "move":
        await moving.move(pool, where, now)
    elif work == "clear":
        await moving.clear(pool, where, now)
    await pool.close()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap(place: Place) -> None:
    function: Callable[..., Any] = getattr(place.owner, place.function)

    @functools.wraps(function)
    async def later(*args: Any, **kwargs: Any) -> Any:
        if place.before:
            _die()
        await function(*args, **kwargs)
        _die()

    @functools.wraps(function)
    def at_once(*args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)
        _die()

    setattr(place.owner, place.function, later if asyncio.iscoroutinefunction(function) else at_once)


def main() -> None:
    _, dsn, keys, where, work, point, *rest = sys.argv
    _wrap(POINTS[work][int(point)])
    asyncio.run(_work(work, dsn, KeyFolder(Path(keys)), store.PhotoStore(where), rest))


if __name__ == "__main__":
    main()
