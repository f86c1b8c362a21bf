"""What `tips` takes back from its own topic after its database was restored from a backup."""

import os
import uuid
from collections.abc import Sequence, Set
from datetime import datetime
from typing import Any

from services.tips import erasing
from services.tips.core import lifecycle
from services.tips.core.chain import Entry
from services.tips.core.lifecycle import OWN_STEPS, STEPS, seen, step_of
from services.tips.core.report import Report
from services.tips.queries import disclosures, emails, erasures, keeping, reports, steps
from services.tips.receipts import LOOKUP_BYTES
from services.tips.recovery_issues import take_back_issues
from shared.cloudevents import Envelope, derived_id
from shared.events import Kind, ReportAccepted, ReportErased, ReportEvent, time_of
from shared.mending.recover import History, Recovered


async def take_back(connection: Any, history: History, now: datetime) -> Recovered:
    """Restore what the topic says of reports; what was erased after the backup is erased again.

    The words, the receipt and the contact of a report that came after the backup are on no topic: it stays
    as a report without words, which unit and statistics go on knowing, and it is said that they are lost.
    Nobody is sent e-mail until they ask for it again: who ended it after the backup is on no topic either.
    What is public of issues is taken back by services/tips/recovery_issues.py.
    """
    versions: dict[uuid.UUID, int] = {}
    accepted: dict[uuid.UUID, Envelope[Any]] = {}
    erased: dict[uuid.UUID, Envelope[Any]] = {}
    for envelope in history.own:
        event = envelope.event
        if isinstance(event, ReportEvent):
            versions[event.report_id] = max(versions.get(event.report_id, 0), event.version)
        if isinstance(event, ReportAccepted):
            accepted[event.report_id] = envelope
        elif isinstance(event, ReportErased):
            erased[event.report_id] = envelope
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
    here = known.keys() | set(lost)
    await _take_steps(connection, here, [*history.own, *events], history.heard)
    again = [erased[report_id] for report_id in erased.keys() & known.keys()]
    await _erase_again(connection, again, now)
    lines = [f"{len(again)} reports were erased after the backup; they are erased again"]
    lines += [f"{len(told)} reports came after the backup: their words, receipts and contacts are lost"]
    lines += [f"  lost: {envelope.event.kind} {envelope.event.report_id}" for envelope in told]
    lines += await doubt(connection, now)
    public = await take_back_issues(connection, history, erased.keys() | set(lost), now)
    return Recovered([*lines, *public.lines], [*events, *public.events])


async def doubt(connection: Any, now: datetime) -> list[str]:
    """Take back what a backup says and nobody can know to be so still: who wants e-mail, and what is spam.
    The lines that say so."""
    forgotten = await emails.forget_all(connection)
    marked = await keeping.marked_as_spam(connection)
    kinds = await reports.lock_reports(connection, marked)
    for report_id in marked:
        await keeping.unmark_spam(connection, report_id)
    entries = [_logged(one, kinds[one], now, "alteration", "spam_before_restore") for one in marked]
    await disclosures.record(connection, entries)
    return [
        f"{forgotten} e-mail addresses are forgotten: who ended e-mail after the backup is known nowhere",
        f"{len(marked)} reports are taken for spam no more: who objected after the backup is known nowhere",
    ]


def _logged(report_id: uuid.UUID, kind: Kind, now: datetime, act: str, purpose: str) -> Entry:
    return Entry(report_id, kind, time_of(kind, now), act, "operator", "tips", purpose)


async def _take_steps(
    connection: Any,
    here: Set[uuid.UUID],
    own: Sequence[Envelope[Any]],
    heard: Sequence[Envelope[Any]],
) -> None:
    """Store the steps that our own events made. What was known when they happened is on no topic: it is taken
    to be the dispatches that had happened by then, a tip's by the end of the hour."""
    ours = [
        envelope for envelope in own if type(envelope.event) in OWN_STEPS and envelope.event.report_id in here
    ]
    had = await steps.steps_of(connection, {envelope.event.report_id for envelope in ours})
    for envelope in heard:
        if type(envelope.event) in STEPS and envelope.event.report_id in had:
            had[envelope.event.report_id].append(step_of(envelope, envelope.event.kind))
    taken = []
    for envelope in ours:
        of_report = had[envelope.event.report_id]
        before = seen(step for step in of_report if step.at <= envelope.time)
        taken.append(step_of(envelope, envelope.event.kind, before))
        of_report.append(taken[-1])
    await steps.insert_steps(connection, taken)
    # What was heard comes again by the consumer; until then its steps are not stored.
    stored = await steps.steps_of(connection, had)
    statuses = {report_id: lifecycle.status(of_report) for report_id, of_report in stored.items()}
    await steps.set_statuses(connection, statuses)


async def _erase_again(connection: Any, erased: Sequence[Envelope[ReportErased]], now: datetime) -> None:
    report_ids = [envelope.event.report_id for envelope in erased]
    destroyed = await erasing.destroy(connection, report_ids, now)
    done = [
        destroyed[report_id].erasure(report_id, envelope.time, envelope.event.reason)
        for envelope in erased
        for report_id in [envelope.event.report_id]
    ]
    await erasures.insert_erasures(connection, done)
    entries = [
        _logged(envelope.event.report_id, envelope.event.kind, now, "erasure", "erased_before_restore")
        for envelope in erased
    ]
    await disclosures.record(connection, entries)


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
