"""What `tips` takes back from its own topic after its database was restored from a backup."""

import os
import uuid
from datetime import datetime
from typing import Any

from services.tips.core.report import Report
from services.tips.photos import holding
from services.tips.queries import reports
from services.tips.receipts import LOOKUP_BYTES
from shared.cloudevents import Envelope, derived_id
from shared.events import ReportAccepted, ReportErased, ReportEvent
from shared.mending.recover import History, Recovered


async def take_back(connection: Any, history: History, now: datetime) -> Recovered:
    """Restore what the topic says of reports; what was erased after the backup is erased again.

    The words, the receipt and the contact of a report that came after the backup are on no topic: it stays
    as a report without words, which unit and statistics go on knowing, and it is said that they are lost.
    """
    versions: dict[uuid.UUID, int] = {}
    accepted: dict[uuid.UUID, Envelope[Any]] = {}
    erased: set[uuid.UUID] = set()
    for envelope in history.own:
        event = envelope.event
        if isinstance(event, ReportEvent):
            versions[event.report_id] = max(versions.get(event.report_id, 0), event.version)
        if isinstance(event, ReportAccepted):
            accepted[event.report_id] = envelope
        elif isinstance(event, ReportErased):
            erased.add(event.report_id)
    known = await reports.lock_reports(connection, versions)
    lost = [report_id for report_id in accepted if report_id not in known]
    for report_id in lost:
        await reports.insert_lost_report(
            connection, _without_words(accepted[report_id]), os.urandom(LOOKUP_BYTES)
        )
    told = [accepted[report_id] for report_id in lost if report_id not in erased]
    events = [_lost(envelope, versions[envelope.event.report_id] + 1, now) for envelope in told]
    versions |= {event.event.report_id: event.event.version for event in events}
    await reports.set_versions(connection, versions)
    await reports.erase_words(connection, erased & known.keys())
    await holding.drop_of(connection, erased & known.keys(), now)
    lines = [f"{len(erased & known.keys())} reports were erased after the backup; they are erased again"]
    lines += [f"{len(told)} reports came after the backup: their words, receipts and contacts are lost"]
    lines += [f"  lost: {envelope.event.kind} {envelope.event.report_id}" for envelope in told]
    return Recovered(lines, events)


def _without_words(envelope: Envelope[ReportAccepted]) -> Report:
    event = envelope.event
    return Report(
        report_id=event.report_id,
        kind=event.kind,
        category=event.category,
        areas=event.areas,
        language=event.language,
        accepted_at=envelope.time,
        status="accepted",
        version=event.version,
    )


def _lost(accepted: Envelope[ReportAccepted], version: int, now: datetime) -> Envelope[ReportErased]:
    event = ReportErased(
        report_id=accepted.event.report_id, kind=accepted.event.kind, version=version, reason="lost"
    )
    return Envelope.of(event, id=derived_id(accepted.id, ReportErased), source=accepted.source, now=now)
