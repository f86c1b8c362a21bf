"""Erasing a report: its words and all that was sealed under its key go, and so does what is public of it,
in the caller's transaction.

What stays is that there was a report: its category, areas and steps, its count in the statistics, and the log
of who read what.
"""

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from services.tips import publishing
from services.tips.core.report import Report
from services.tips.queries import holds, reports
from shared import outbox
from shared.cloudevents import Envelope
from shared.events import ReportErased

Reason = Literal["resident", "retention", "spam", "lost"]


async def erase(connection: Any, report: Report, reason: Reason, now: datetime, source: str) -> Report:
    """Erase a report that is locked (queries/reports.py, `lock`) and say so in an event; the report after
    it. The caller has looked whether it was erased before, and logs the erasure.

    A report that is held stays, and is returned as it was: its words are locked away, and erased when the
    hold ends (queries/holds.py). What comes out is erased where its status says so.
    """
    if await holds.of(connection, report.report_id):
        await holds.erase_when_lifted(connection, report.report_id, reason)
        return report
    after = replace(report, status="erased", version=report.version + 1)
    event = ReportErased(report_id=report.report_id, kind=report.kind, version=after.version, reason=reason)
    await reports.erase_words(connection, [report.report_id], now.date())
    await reports.save(connection, after)
    await outbox.append(connection, [Envelope.of(event, id=uuid.uuid4(), source=source, now=now)])
    await publishing.publish(connection, {report.report_id: publishing.Cause(uuid.uuid4(), now, source)})
    return after
