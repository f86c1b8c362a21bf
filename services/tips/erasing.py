"""Erasing a report: its words and all that was sealed under its key go, in the caller's transaction.

What stays is that there was a report: its category, areas and steps, its count in the statistics, and the log
of who read what.
"""

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from services.tips.core.report import Report
from services.tips.photos import holding
from services.tips.queries import reports
from shared import outbox
from shared.cloudevents import Envelope
from shared.events import ReportErased

Reason = Literal["resident", "retention", "spam", "lost"]


async def erase(connection: Any, report: Report, reason: Reason, now: datetime, source: str) -> Report:
    """Erase a report that is locked (queries/reports.py, `lock`) and say so in an event; the report after
    it. The caller has looked whether it was erased before."""
    after = replace(report, status="erased", version=report.version + 1)
    event = ReportErased(report_id=report.report_id, kind=report.kind, version=after.version, reason=reason)
    await reports.erase_words(connection, [report.report_id])
    await holding.drop_of(connection, [report.report_id], now)
    await reports.save(connection, after)
    await outbox.append(connection, [Envelope.of(event, id=uuid.uuid4(), source=source, now=now)])
    return after
