"""`keys`: what becomes of a key when its month begins, when somebody may know it, and when its time is over.

Each step is committed by itself and can be taken again: whoever was stopped in between runs the same again.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.tips import sealing
from services.tips.core import keeping as rules
from services.tips.core.chain import Entry, entry
from services.tips.core.report import Report
from services.tips.erasing import erase
from services.tips.keys import KeyFolder, KeyLost
from services.tips.queries import disclosures, holds, keeping, reports
from services.tips.sealing import Sealed, Unreadable
from shared.errors import Refusal
from shared.mending.journal import Say, note

BATCH = 100
WAIT_SECONDS = 60
Handle = Callable[[Any, Report, Sealed], Awaitable[Entry | None]]


async def show(connection: Any, keys: KeyFolder, say: Say) -> None:
    """Say of each key its state, when it was made (UTC, the hour), what is under it and when it ends."""
    counts = await keeping.counts(connection)
    for name in sorted(keys.names() | counts.keys()):
        end = rules.last_moment(name)
        made = keys.made_at(name)
        parts = [
            keys.state(name),
            *([f"made {made:%Y-%m-%d %H:00}"] if made else []),
            f"{counts.get(name, 0)} reports",
            f"ends {f'{end:%Y-%m-%d}' if end else 'with its hold'}",
        ]
        say(f"{name}: {', '.join(parts)}")


async def make(connection: Any, keys: KeyFolder, names: Iterable[str], who: str | None, say: Say) -> None:
    """Make the keys of a month, so that they can be backed up before it begins."""
    missing = [name for base in names if keys.state(name := keys.newest(base)) == "missing"]
    for name in missing:
        say(name)
    if who is not None:
        for name in missing:
            keys.make(name)
        if missing:
            await note(connection, who, "keys make", {"made": missing})
    say(_done(f"{len(missing)} keys are made", who))


async def rotate(connection: Any, keys: KeyFolder, name: str, who: str | None, say: Say) -> None:
    """Give the reports under a key one of the next generation, and destroy the one that they had."""
    _refuse_unknown(keys, name)
    say(f"{name}: {await keeping.count(connection, name)} reports get another key")
    if who is not None:
        target = keys.newest(name)
        if target == name:
            target = rules.generation(name, rules.generation_of(name) + 1)
        keys.make(target)

        async def handle(taken: Any, report: Report, sealed: Sealed) -> None:
            await move(taken, keys, report, sealed, target)

        await withdraw(connection, name)
        await empty(connection, name, handle)
        await destroy_empty(connection, keys, name, who, "keys rotate")
    say(_done(f"{name} is destroyed", who))


async def destroy(
    connection: Any,
    keys: KeyFolder,
    name: str,
    now: datetime,
    who: str | None,
    say: Say,
    *,
    even_so: bool,
    source: str,
) -> None:
    """Destroy a key that nothing is under; `even_so`, and the reports under it are erased.

    Raises Refusal where a report is under it, and always where one of them is held: nothing is erased then,
    but where the hold came meanwhile the others are, and the key stays.
    """
    count = await keeping.count(connection, name)
    if not count:
        _refuse_unknown(keys, name)
    if held := await keeping.held_under(connection, name):
        raise Refusal(f"{held} reports under {name} are held; `hold list` says why and until when")
    if count and not even_so:
        raise Refusal(f"{count} reports are under {name}; with --even-so they are erased with it")
    say(f"{name}: {count} reports are erased")
    if who is not None:
        if not rules.month_is_over(name, now) and keys.newest(name) == name:
            # For those who send meanwhile.
            keys.make(rules.generation(name, rules.generation_of(name) + 1))

        async def handle(taken: Any, report: Report, _sealed: Sealed) -> Entry | None:
            # Whoever places a hold locks the report first, as `empty` does: a hold that came after all were
            # looked at is seen here, and keeps its words as they are.
            if await holds.of(taken, report.report_id):
                return None
            await erase(taken, report, "retention", now, source)
            return entry(report, now, "erasure", f"operator:{who}", "key_destroyed")

        await withdraw(connection, name)
        await empty(connection, name, handle)
        await destroy_empty(connection, keys, name, who, "keys destroy")
    say(_done(f"{name} is destroyed", who))


async def withdraw(connection: Any, name: str) -> None:
    """Let nothing more be put under a key, and wait for everybody who is about to.

    Raises Refusal where somebody does not end within WAIT_SECONDS; nothing is lost, the key stays.
    """
    await keeping.retire(connection, name)
    number = await keeping.newest_transaction(connection)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await keeping.are_over(connection, number):  # noqa: ASYNC110 - PostgreSQL does not tell
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Refusal(
            f"a transaction has not ended for {WAIT_SECONDS} seconds; end it (OldTransaction), then run this"
            " again"
        ) from None


async def empty(connection: Any, name: str, handle: Handle) -> None:
    """Have `handle` take each report away from under a key, a batch per transaction. What it returns goes
    into the log of disclosures.

    Raises Refusal where a report stays under it: it is held, or cannot be opened. The others are taken away.
    """
    last, why = uuid.UUID(int=0), "they are held"
    while True:
        async with connection.transaction():
            await keeping.take_turn(connection)
            ids = await keeping.next_under(connection, name, last, BATCH)
            entries = []
            for last in ids:
                found = await reports.lock(connection, last)
                if found and found[1] and found[1].key_name == name:
                    try:
                        made = await handle(connection, found[0], found[1])
                    except (KeyLost, Unreadable) as error:
                        why = str(error)
                    else:
                        entries += [made] if made else []
            await disclosures.record(connection, entries)
            if not ids:
                break
    if left := await keeping.count(connection, name):
        raise Refusal(f"{left} reports stay under {name}: {why}")


async def move(connection: Any, keys: KeyFolder, report: Report, sealed: Sealed, name: str) -> None:
    """Put a report that is locked under another key, which is made if there is none.

    Raises KeyLost or KeyDestroyed where its present one is not there, Unreadable where it does not fit.
    """
    moved = sealing.rewrap(report.report_id, sealed, keys.get(sealed.key_name), name, keys.make(name))
    await keeping.rewrap(connection, report.report_id, moved)


async def destroy_empty(
    connection: Any,
    keys: KeyFolder,
    name: str,
    who: str,
    command: str,
    detail: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Destroy a key that is withdrawn and empty, and write it down."""
    if keys.state(name) != "destroyed":
        async with connection.transaction():
            # Written down first: who was stopped in between destroys it in the next run.
            await note(connection, who, command, {"destroyed": name, **detail})
    keys.destroy(name)


def _refuse_unknown(keys: KeyFolder, name: str) -> None:
    if name not in keys.names() or keys.state(name) != "there":
        raise Refusal(f"there is no key {name} here; `keys list` names those that there are")


def _done(what: str, who: str | None) -> str:
    return what if who is not None else "dry run: nothing was changed; with --by NAME it is"
