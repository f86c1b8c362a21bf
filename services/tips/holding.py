"""`hold`: somebody says that a report's words must stay, why, and until when."""

import uuid
from datetime import date, datetime, timedelta
from typing import Any, cast

from services.tips.core.chain import Entry, entry
from services.tips.core.keeping import HOLD_DAYS_AT_MOST
from services.tips.core.report import Report
from services.tips.erasing import Reason, erase
from services.tips.queries import disclosures, holds, reports
from shared.errors import Refusal
from shared.mending.journal import Say, note


async def show(connection: Any, say: Say) -> None:
    """Say of each hold whose it is, why, and until when; the one that ends first before the others."""
    found = await holds.all_holds(connection)
    for hold in found:
        say(
            f"{hold.report_id}: {hold.reason}, placed by {hold.placed_by} on {hold.placed_on}, until"
            f" {hold.until}{', then erased' if hold.erase_when_lifted else ''}"
        )
    say(f"{len(found)} holds")


async def place(
    connection: Any,
    report_id: uuid.UUID,
    reason: str,
    until: date,
    now: datetime,
    who: str | None,
    say: Say,
    *,
    erase_after: bool = False,
    source: str,
) -> None:
    """Hold a report until the end of a day (UTC), or until another day than before; `erase_after` where its
    resident has asked to erase it, which a restored backup does not know.

    Raises Refusal where there are no words, and where the day has passed or is too far ahead.
    """
    if not now.date() <= until <= now.date() + timedelta(days=HOLD_DAYS_AT_MOST):
        raise Refusal(
            f"--until is a day from today to {HOLD_DAYS_AT_MOST} days ahead; a hold is extended by placing it"
            " again"
        )
    async with connection.transaction():
        report = await _locked(connection, report_id)
        before = await holds.of(connection, report_id)
        say(f"{report_id} is held until {until}" + (f", not {before.until}" if before else ""))
        if who is not None:
            await holds.place(connection, report_id, reason, who, now.date(), until)
            await note(connection, who, "hold place", {"report": str(report_id), "until": str(until)})
            purpose = f"hold_{'extended' if before else 'placed'}:{reason}"
            entries = [entry(report, now, "alteration", f"operator:{who}", purpose)]
            if erase_after and not (before and before.erase_when_lifted):
                await erase(connection, report, "resident", now, source)
                entries.append(entry(report, now, "alteration", f"operator:{who}", "restricted:resident"))
            await disclosures.record(connection, entries)
    say(_done(who))


async def lift(
    connection: Any, report_id: uuid.UUID, now: datetime, who: str | None, say: Say, source: str
) -> None:
    """End a hold before its time. Raises Refusal where there is none."""
    async with connection.transaction():
        hold = await holds.of(connection, report_id)
        if hold is None:
            raise Refusal(f"{report_id} is not held; `hold list` names those that are")
        say(f"{report_id} is held no more" + (", and is erased" if hold.erase_when_lifted else ""))
        if who is not None:
            await note(connection, who, "hold lift", {"report": str(report_id)})
            await end(connection, report_id, now, f"operator:{who}", source)
    say(_done(who))


async def end_those_over(connection: Any, now: datetime, source: str) -> int:
    """End each hold whose last day has passed, in a transaction of its own; returns how many."""
    over = [hold for hold in await holds.all_holds(connection) if hold.until < now.date()]
    for hold in over:
        async with connection.transaction():
            await end(connection, hold.report_id, now, "retention", source, only_over=True)
    return len(over)


async def end(
    connection: Any, report_id: uuid.UUID, now: datetime, actor: str, source: str, *, only_over: bool = False
) -> None:
    """End a hold, if it is still there (and `only_over`: if its last day has still passed), and erase the
    words if they were to be; in the caller's transaction."""
    found = await reports.lock(connection, report_id)
    hold = await holds.of(connection, report_id)
    if found is None or hold is None or (only_over and hold.until >= now.date()):
        return
    report, sealed = found
    await holds.lift(connection, report_id)
    entries: list[Entry] = [entry(report, now, "alteration", actor, "hold_lifted")]
    if hold.erase_when_lifted and sealed:
        reason = cast("Reason", hold.erase_when_lifted)
        await erase(connection, report, reason, now, source)
        entries.append(entry(report, now, "erasure", actor, f"erase_when_lifted:{reason}"))
    await disclosures.record(connection, entries)


async def _locked(connection: Any, report_id: uuid.UUID) -> Report:
    found = await reports.lock(connection, report_id)
    if found is None or found[1] is None:
        raise Refusal(f"there are no words of a report {report_id} here; they may be erased")
    return found[0]


def _done(who: str | None) -> str:
    return "done" if who is not None else "dry run: nothing was changed; with --by NAME it is"
