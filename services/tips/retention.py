"""What ends by itself: the words when their month's time is over, holds, erased reports, the log's oldest.

Each step is committed by itself and can be taken again, by any replica: whoever dies leaves nothing half done
that the next run does not finish. The key goes last, when nothing is under it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from services.tips import holding, month_keys
from services.tips.core import keeping as rules
from services.tips.core.chain import CHAINS, Entry, entry
from services.tips.core.report import Report
from services.tips.erasing import erase, erase_and_log
from services.tips.keys import KeyFolder
from services.tips.queries import disclosures, holds, keeping, reports
from services.tips.sealing import Sealed
from shared.errors import Refusal
from shared.mending.journal import Say, note
from shared.municipality import Municipality

ROWS = 1_000
LOST_MEND = (
    "restore them from the newest keys.tar (docs/operating.md, Restore); what is lost for good is given up by"
    " `keys destroy NAME --even-so`"
)
WORKER = "retention"


async def plan(connection: Any, keys: KeyFolder, municipality: Municipality, now: datetime, say: Say) -> None:
    """Say what a run would do, and how many reports end soon."""
    today = now.date()
    for hold in await holds.all_holds(connection):
        if hold.until < today:
            say(f"the hold on {hold.report_id} ends" + (", it is erased" if hold.erase_when_lifted else ""))
    if spam := await keeping.spam_before(connection, today - rules.SPAM_KEPT):
        say(f"{len(spam)} reports that were taken for spam are erased")
    for name in await _ended(connection, keys, now):
        count = await keeping.count(connection, name)
        held = await keeping.held_under(connection, name)
        still = sum(
            rules.extended(name, municipality.categories.get(category), accepted_at, now) is not None
            for category, accepted_at in await keeping.open_under(connection, name, rules.OVER)
        )
        say(f"{name}: {count - held - still} erased, {held} held, {still} open and extended; then destroyed")
    counts = await keeping.counts(connection)
    say(f"{rules.ending(counts, now)} reports end within {rules.REVIEW_DAYS} days, these included")


async def run(
    connection: Any,
    keys: KeyFolder,
    municipality: Municipality,
    now: datetime,
    who: str,
    say: Say,
    wake: Callable[[], None] = lambda: None,
) -> None:
    """End what has come to its end, in batches that are a transaction each; `wake` is called after those that
    say it in events. Raises Refusal, after all the rest, where a key is lost, something cannot be opened, or
    somebody's transaction does not end."""
    source = f"/{municipality.slug}/tips"
    if ended := await holding.end_those_over(connection, now, source):
        say(f"{ended} holds ended")
        wake()
    if spam := await _erase_spam(connection, now, source):
        say(f"{spam} reports that were taken for spam are erased")
        wake()
    keys.tidy()
    stuck = []
    for name in await _ended(connection, keys, now):
        try:
            await _end(connection, keys, municipality, name, now, who, say)
        except Refusal as refusal:
            stuck.append(str(refusal))
        wake()
    await _forget_reports(connection, now, who, say)
    await _cut_log(connection, now, who, say)
    if lost := await lost_keys(connection, keys):
        # Made anew under their names they would be written over by those of the backup, with what came since.
        stuck.append(f"keys {', '.join(lost)} are missing; {LOST_MEND}")
    else:
        for month in (now, rules.next_month(now)):
            for base in rules.month_names(municipality.categories.values(), month):
                keys.make(keys.newest(base))
    if stuck:
        raise Refusal(f"not all came to its end: {'; '.join(stuck)}")


async def lost_keys(connection: Any, keys: KeyFolder) -> list[str]:
    """The keys that reports are under and that are neither there nor destroyed."""
    used = await keeping.counts(connection)
    return sorted(name for name in used if keys.state(name) == "missing")


async def _erase_spam(connection: Any, now: datetime, source: str) -> int:
    """Erase what was taken for spam so long ago that nobody can take it back, in a transaction of its own
    each; returns how many. What is held stays, for whoever it is held, and can be taken back until the hold
    ends."""
    before = now.date() - rules.SPAM_KEPT
    count = 0
    for report_id in await keeping.spam_before(connection, before):
        async with connection.transaction():
            found = await reports.lock(connection, report_id)
            # Another replica may have erased it, a unit taken it back, or somebody held it, before the lock.
            if found and report_id in await keeping.spam_before(connection, before):
                await keeping.unmark_spam(connection, report_id)
                await erase_and_log(connection, found[0], "spam", now, source, WORKER, "tips")
                count += 1
    return count


async def _ended(connection: Any, keys: KeyFolder, now: datetime) -> list[str]:
    """The keys whose time is over and that are there, or have reports under them."""
    there = {name for name in keys.names() if keys.state(name) == "there"}
    # Read after the keys: a hold's key is made while its hold is there.
    held = {hold.report_id for hold in await holds.all_holds(connection)}
    used = (await keeping.counts(connection)).keys()
    return [name for name in sorted(there | used) if rules.has_ended(name, now, held)]


async def _end(
    connection: Any,
    keys: KeyFolder,
    municipality: Municipality,
    name: str,
    now: datetime,
    who: str,
    say: Say,
) -> None:
    said = {"erased": 0, "held": 0, "extended": 0}

    async def handle(taken: Any, report: Report, sealed: Sealed) -> Entry | None:
        readable = keys.state(name) != "destroyed"
        if readable and await holds.of(taken, report.report_id):
            await month_keys.move(
                taken, keys, report, sealed, keys.newest(rules.hold_key_name(report.report_id))
            )
            said["held"] += 1
            return entry(report, now, "alteration", WORKER, "retention_held")
        category = municipality.categories.get(report.category)
        present = rules.extended(name, category, report.accepted_at, now)
        if readable and report.status not in rules.OVER and present:
            await month_keys.move(taken, keys, report, sealed, keys.newest(present))
            said["extended"] += 1
            return entry(report, now, "alteration", WORKER, "retention_extended")
        if not readable:
            await holds.lift(taken, report.report_id)
        await erase(taken, report, "retention", now, f"/{municipality.slug}/tips")
        said["erased"] += 1
        return entry(report, now, "erasure", WORKER, "retention")

    await month_keys.withdraw(connection, name)
    await month_keys.empty(connection, name, handle)
    await month_keys.destroy_empty(connection, keys, name, who, "retention run", said)
    say(f"{name}: {', '.join(f'{count} {what}' for what, count in said.items())}; destroyed")


async def _forget_reports(connection: Any, now: datetime, who: str, say: Say) -> None:
    before = now.date() - timedelta(days=rules.ERASED_KEPT_DAYS)
    dropped = ROWS
    while dropped == ROWS:
        async with connection.transaction():
            await keeping.take_turn(connection)
            dropped = await keeping.drop_erased(connection, before, ROWS)
            if dropped:
                await note(connection, who, "retention run", {"forgotten": dropped})
                say(f"{dropped} reports that were erased before {before} are forgotten")


async def _cut_log(connection: Any, now: datetime, who: str, say: Say) -> None:
    before = now - timedelta(days=rules.LOG_KEPT_DAYS)
    for chain in CHAINS:
        more = True
        while more:
            async with connection.transaction():
                # First: another replica may be cutting too.
                await disclosures.lock_heads(connection, [chain])
                last = await disclosures.last_before(connection, chain, before, ROWS)
                more = last is not None
                if last is None:
                    break
                await note(connection, who, "retention run", {"log": chain, "up_to": last.number})
                await disclosures.cut(connection, chain, last)
                say(f"the log of {chain}s begins after number {last.number}")
