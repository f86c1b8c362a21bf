"""`disclosures verify` and `disclosures export`: the log for whoever is to trust it without trusting us."""

import csv
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from services.tips.core import chain as chains
from services.tips.core.chain import Linked, Mark
from services.tips.core.view import utc
from services.tips.queries import disclosures
from shared.errors import Refusal
from shared.mending.journal import Say

SHOWN_EVERY = 100_000
COLUMNS = ("chain", "number", "at", "report_id", "act", "actor", "service", "purpose", "recipient", "hash")


async def verify(connection: Any, noted: Mapping[str, Sequence[Mark]], say: Say) -> None:
    """Walk both chains, and hold against them the marks that somebody noted before; says each head.

    Raises Refusal with the first broken link of each chain that has one.
    """
    faults = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for chain in chains.CHAINS:
            found = await _fault(connection, chain, noted.get(chain, ()), say)
            if found:
                faults.append(f"chain {chain}: {found}")
                continue
            _, head = await disclosures.ends(connection, chain)
            say(f"chain {chain} is whole; note down: --head {chain}:{head.number}:{head.hash.hex()}")
    if faults:
        raise Refusal(f"the log of disclosures is not what was written: {'; '.join(faults)}")


async def export(entries: AsyncIterator[Linked], out: TextIO) -> int:
    """Write entries as CSV with a line of headings; returns how many they were."""
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    count = 0
    async for one in entries:
        entry, mark = one.entry, one.mark
        writer.writerow(
            (
                entry.kind,
                mark.number,
                utc(entry.at),
                entry.report_id,
                entry.act,
                entry.actor,
                entry.service,
                entry.purpose,
                entry.recipient,
                mark.hash.hex(),
            )
        )
        count += 1
    return count


def entries_of(
    connection: Any, report_id: uuid.UUID | None, first: datetime, end: datetime
) -> AsyncIterator[Linked]:
    """Those of one report, or those of a time."""
    if report_id is not None:
        return disclosures.of_report(connection, report_id)
    return disclosures.between(connection, first, end)


async def _fault(connection: Any, chain: str, noted: Sequence[Mark], say: Say) -> str | None:
    cut, head = await disclosures.ends(connection, chain)
    wanted: dict[int, bytes | None] = {mark.number: None for mark in noted}
    last = cut
    async for stored in disclosures.walk(connection, chain):
        if stored.mark.number <= last.number or stored.mark.number > head.number:
            return f"number {stored.mark.number} is inserted"
        if wrong := chains.fault(last, stored):
            return f"number {last.number + 1} is {await _named(connection, chain, last, stored, wrong)}"
        last = stored.mark
        if last.number in wanted:
            wanted[last.number] = last.hash
        if last.number % SHOWN_EVERY == 0:
            say(f"  chain {chain}: {last.number} of {head.number}")
    if last != head:
        return f"number {last.number + 1} is missing: the chain says that it ends with {head.number}"
    for mark in noted:
        if mark.number < cut.number:
            say(f"chain {chain}: {mark.number} has gone by its time; it cannot be held against")
        if wrong := chains.held_against(mark, cut, head, wanted[mark.number]):
            return wrong
    return None


async def _named(connection: Any, chain: str, last: Mark, stored: Linked, wrong: str) -> str:
    """Look for the entry that stood there: then it is not altered but was moved."""
    if wrong == "altered":
        async for later in disclosures.walk(connection, chain, stored.mark.number):
            if better := chains.moved(last, stored, later):
                return better
    return wrong
