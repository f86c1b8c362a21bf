"""The log of who did what with a report's words, when and why: one chain of tips, one of issues."""

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from services.tips.core.chain import Entry, Linked, Mark
from shared import postgres

__all__ = ["Entry", "record"]

COLUMNS = "report_id, chain, at, act, actor, service, purpose, recipient"
TYPES = ("uuid", "text", "timestamptz", *["text"] * 5)
# Of `columns`.
_ARRAYS = postgres.arrays(TYPES)
PREFETCH = 2_000


async def record(connection: Any, entries: Sequence[Entry]) -> None:
    """Add to the log, in the caller's transaction, as the last that it does: the heads of the chains are
    locked until it ends, so that whoever waited for another lock after this would hold up everybody."""
    if entries:
        await connection.execute(f"SELECT record_disclosures({_ARRAYS})", *columns(entries))


async def record_readings(connection: Any, entries: Sequence[Entry]) -> set[uuid.UUID]:
    """Add to the log that words are read, outside of any transaction; the reports whose words are still
    there to be read, and only what is done with those is logged."""
    if not entries:
        return set()
    return set(await connection.fetchval(f"SELECT record_readings({_ARRAYS})", *columns(entries)))


def columns(entries: Sequence[Entry]) -> Sequence[Sequence[Any]]:
    """An array for each of COLUMNS, as record_disclosures takes them."""
    return postgres.columns(map(_values, entries), TYPES)


async def lock_heads(connection: Any, chains: Sequence[str]) -> dict[str, Mark]:
    """The last mark of each of the chains, locked in one order so that nobody deadlocks."""
    rows = await connection.fetch(
        """SELECT chain, number, hash FROM disclosure_chain WHERE chain = ANY($1::text[])
           ORDER BY chain FOR NO KEY UPDATE""",
        chains,
    )
    return {row["chain"]: Mark(row["number"], row["hash"]) for row in rows}


async def ends(connection: Any, chain: str) -> tuple[Mark, Mark]:
    """Where a chain begins, since older entries have gone, and its head."""
    row = await connection.fetchrow("SELECT * FROM disclosure_chain WHERE chain = $1", chain)
    return Mark(row["cut_number"], row["cut_hash"]), Mark(row["number"], row["hash"])


async def walk(connection: Any, chain: str, after: int = -1) -> AsyncIterator[Linked]:
    """The entries of a chain beyond a number, in their order, inside the caller's transaction."""
    async for row in connection.cursor(
        f"SELECT {COLUMNS}, number, hash FROM disclosure WHERE chain = $1 AND number > $2 ORDER BY number",  # noqa: S608 - names of columns
        chain,
        after,
        prefetch=PREFETCH,
    ):
        yield _linked(row)


async def of_report(connection: Any, report_id: uuid.UUID) -> AsyncIterator[Linked]:
    """The entries of one report, in their order, inside the caller's transaction."""
    async for row in connection.cursor(
        f"SELECT {COLUMNS}, number, hash FROM disclosure WHERE report_id = $1 ORDER BY chain, number",  # noqa: S608 - names of columns
        report_id,
        prefetch=PREFETCH,
    ):
        yield _linked(row)


async def between(connection: Any, first: datetime, end: datetime) -> AsyncIterator[Linked]:
    """The entries from one moment to before another, by chain and number, inside the caller's transaction."""
    async for row in connection.cursor(
        f"""SELECT {COLUMNS}, number, hash FROM disclosure WHERE at >= $1 AND at < $2
            ORDER BY chain, number""",  # noqa: S608 - names of columns
        first,
        end,
        prefetch=PREFETCH,
    ):
        yield _linked(row)


async def last_before(connection: Any, chain: str, moment: datetime, at_most: int) -> Mark | None:
    """The last entry, of the first `at_most`, before which and with which all are older than a moment, and
    than the five years by the database's own clock that its trigger asks for."""
    row = await connection.fetchrow(
        """WITH first AS (SELECT number, hash, at FROM disclosure WHERE chain = $1 ORDER BY number LIMIT $3)
           SELECT number, hash FROM first
           WHERE number < coalesce((
               SELECT min(number) FROM first WHERE at >= least($2, now() - interval '1826 days')
           ), 9223372036854775807)
           ORDER BY number DESC LIMIT 1""",
        chain,
        moment,
        at_most,
    )
    return Mark(row["number"], row["hash"]) if row else None


async def cut(connection: Any, chain: str, last: Mark) -> None:
    """Take away the entries up to one, which the chain begins after from now on. Its head is locked."""
    await connection.execute("DELETE FROM disclosure WHERE chain = $1 AND number <= $2", chain, last.number)
    await connection.execute(
        "UPDATE disclosure_chain SET cut_number = $2, cut_hash = $3 WHERE chain = $1",
        chain,
        last.number,
        last.hash,
    )


def _values(entry: Entry) -> tuple[Any, ...]:
    """What goes into COLUMNS, whose types are TYPES."""
    return (
        entry.report_id,
        entry.kind,
        entry.at,
        entry.act,
        entry.actor,
        entry.service,
        entry.purpose,
        entry.recipient,
    )


def _linked(row: Any) -> Linked:
    *entry, number, hashed = row
    return Linked(Entry(*entry), Mark(number, hashed))
