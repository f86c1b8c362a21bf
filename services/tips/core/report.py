"""A report as it is accepted."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.events import Kind, ReportAccepted, hour_of, time_of
from shared.municipality import Category

# A lost answer is asked for again within a day; whole hours, so that the row tells no tip's minute.
SUBMISSION_KEPT = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of a report without its words. `accepted_at` is UTC; a tip's is a whole hour."""

    report_id: uuid.UUID
    kind: Kind
    category: str
    areas: Mapping[str, str]
    language: str
    accepted_at: datetime
    status: str
    version: int


def accept(
    report_id: uuid.UUID,
    category: Category,
    areas: Mapping[str, str],
    language: str,
    municipality_version: str,
    now: datetime,
    answers: Mapping[str, str | tuple[str, ...]] | None = None,
) -> tuple[Report, ReportAccepted]:
    """A new report and its event. `areas` maps area sets to areas, as far as they are known; `answers` are
    those that a rule reads."""
    report = Report(
        report_id=report_id,
        kind=category.kind,
        category=category.id,
        areas=dict(areas),
        language=language,
        accepted_at=time_of(category.kind, now),
        status="accepted",
        version=1,
    )
    event = ReportAccepted(
        report_id=report_id,
        kind=category.kind,
        version=1,
        category=category.id,
        areas=dict(areas),
        hour=hour_of(now),
        regime=category.regime,
        urgency="urgent" if category.urgent else "normal",
        source="api",
        language=language,
        municipality_version=municipality_version,
        answers=dict(answers or {}),
    )
    return report, event


def drop_after(now: datetime) -> datetime:
    """Until when a submission that comes `now` is known again: 24 to 25 hours, a whole hour."""
    return hour_of(now) + SUBMISSION_KEPT
