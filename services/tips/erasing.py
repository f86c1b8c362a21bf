"""Erasing a report: its words and all that was sealed under its key go, and so does what is public of it,
in the caller's transaction.

What stays is that there was a report: its category, areas and steps, its count in the statistics, the log of
who read what, and for a time the certificate of what was destroyed.
"""

import uuid
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from services.tips import publishing
from services.tips.acting import take_step
from services.tips.core.certificate import Erasure
from services.tips.core.chain import entry
from services.tips.core.report import Report
from services.tips.photos import holding
from services.tips.queries import (
    disclosures,
    emails,
    erasures,
    holds,
    issues,
    keeping,
    messages,
    ratings,
    reports,
    steps,
)
from services.tips.queries.holds import Hold
from shared.events import ReportErased

Reason = Literal["resident", "retention", "spam", "lost"]


async def erase(connection: Any, report: Report, reason: Reason, now: datetime, source: str) -> Report:
    """Erase a report that is locked (queries/reports.py, `lock`) and say so in an event; the report after
    it. The caller has looked whether it was erased before, and writes the line of the log, last.

    A report that is held stays, and is returned as it was: its words are locked away, what is public of it
    is gone, and it is erased when the hold ends (queries/holds.py). What comes out is erased where its status
    says so.
    """
    if await holds.of(connection, report.report_id):
        await holds.erase_when_lifted(connection, report.report_id, reason)
        await emails.forget_of(connection, [report.report_id])
        # As if no category were public: what nobody may read is not shown to everybody.
        cause = publishing.Cause(uuid.uuid4(), now, source)
        await publishing.announce(connection, {report.report_id: cause}, categories=())
        return report
    had = (await steps.steps_of(connection, [report.report_id]))[report.report_id]
    destroyed = await destroy(connection, [report.report_id], now)
    after, step = await take_step(connection, report, had, ReportErased, now, source, reason=reason)
    done = destroyed[report.report_id].erasure(report.report_id, step.at, reason)
    await erasures.insert_erasures(connection, [done])
    return after


async def erase_and_log(
    connection: Any, report: Report, reason: Reason, now: datetime, source: str, actor: str, service: str
) -> Hold | None:
    """Erase a report that is locked and not erased yet, and log it, last in the transaction. Where a hold
    keeps its words they are locked away instead, and the hold is returned; asking for that again does
    nothing."""
    hold = await holds.of(connection, report.report_id)
    if hold and hold.erase_when_lifted:
        return hold
    await erase(connection, report, reason, now, source)
    act, purpose = ("alteration", f"restricted:{reason}") if hold else ("erasure", reason)
    await disclosures.record(connection, [entry(report, now, act, actor, purpose, service)])
    return replace(hold, erase_when_lifted=reason) if hold else None


class Destroyed(NamedTuple):
    """What there was of a report: a number for each sort, and the key that its words were under."""

    counts: dict[str, int]
    key_name: str | None

    def erasure(self, report_id: uuid.UUID, at: datetime, reason: str) -> Erasure:
        """What the certificate says of it."""
        return Erasure(report_id, at, reason, self.counts, self.key_name)


async def destroy(
    connection: Any, report_ids: Collection[uuid.UUID], now: datetime
) -> dict[uuid.UUID, Destroyed]:
    """Destroy everything that was written about reports, and the keys that opened it. What else is sealed
    with a report's key is destroyed and counted here."""
    had_words = await reports.erase_words(connection, report_ids, now.date())
    written = await messages.delete_messages(connection, report_ids)
    dropped = await holding.drop_of(connection, report_ids, now)
    had_address = await emails.forget_of(connection, report_ids)
    had_text = await issues.erase_public_texts(connection, report_ids)
    rated = await ratings.delete_ratings(connection, report_ids)
    await keeping.forget_decisions(connection, report_ids)
    return {
        report_id: Destroyed(
            {
                "words": int(report_id in had_words),
                "messages": written.get(report_id, 0),
                "photos": dropped.get(report_id, 0),
                "ratings": int(report_id in rated),
                "email_addresses": int(report_id in had_address),
                "public_texts": int(report_id in had_text),
            },
            had_words.get(report_id),
        )
        for report_id in report_ids
    }
