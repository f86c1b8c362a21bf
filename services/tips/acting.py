"""A step of our own: what a resident or the end of the words' time does to a report, in one transaction."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.tips import publishing
from services.tips.core import lifecycle
from services.tips.core.lifecycle import Step
from services.tips.core.report import Report
from services.tips.queries import reports, steps
from shared import outbox
from shared.cloudevents import Envelope
from shared.events import ReportEvent


async def take_step(
    connection: Any,
    report: Report,
    had: Iterable[Step],
    event_type: type[ReportEvent],
    now: datetime,
    source: str,
    **fields: Any,
) -> tuple[Report, Step]:
    """Say what happened to a report that is locked (queries/reports.py) and has had these steps; the report
    after it, and the step. `fields` are those of the event besides report, kind and version."""
    version = report.version + 1
    event = event_type(report_id=report.report_id, kind=report.kind, version=version, **fields)
    envelope = Envelope.of(event, id=uuid.uuid4(), source=source, now=now)
    had = list(had)
    step = lifecycle.step_of(envelope, report.kind, lifecycle.seen(had))
    after = replace(report, version=version, status=lifecycle.status([*had, step]))
    await steps.insert_steps(connection, [step])
    await reports.save(connection, after)
    await outbox.append(connection, [envelope])
    cause = publishing.Cause(uuid.uuid4(), now, source)
    await publishing.announce(connection, {report.report_id: cause})
    return after, step
