"""What a resident sees of a report: every step, who is responsible, by when, and why it went there."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from services.tips.core.lifecycle import Step, in_order, responsible
from services.tips.core.report import Report
from shared.municipality import Municipality


def view(report: Report, steps: Iterable[Step], municipality: Municipality) -> dict[str, Any]:
    """The report as JSON; names and reasons in the report's language, times in UTC."""
    ordered = in_order(steps)
    now = responsible(ordered)
    due = next((step for step in reversed(ordered) if step.acknowledge_by), None)
    words = Words(municipality, report.language)
    accepted = {"status": "accepted", "at": utc(report.accepted_at), "unit": None, "reason": None}
    return {
        "kind": report.kind,
        "category": report.category,
        "language": report.language,
        "areas": dict(report.areas),
        "status": report.status,
        "accepted_at": utc(report.accepted_at),
        "unit": words.unit(now.unit) if now else None,
        "reason": words.reason(now.reason) if now else None,
        "acknowledge_by": utc(due.acknowledge_by) if due else None,
        "resolve_by": utc(due.resolve_by) if due else None,
        "timeline": [accepted, *(words.entry(step) for step in ordered)],
    }


def utc(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, such as 2026-11-01T12:00:00Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


class Words:
    """Codes as texts. A code that this municipality no longer has is shown without one."""

    def __init__(self, municipality: Municipality, language: str) -> None:
        self._municipality = municipality
        self._language = language

    def entry(self, step: Step) -> dict[str, Any]:
        planned = {"day": step.day.isoformat()} if step.day else {}
        return {
            "status": step.step,
            "at": utc(step.at),
            "unit": self.unit(step.unit),
            "reason": self.reason(step.reason),
            **planned,
        }

    def unit(self, unit_id: str | None) -> dict[str, str] | None:
        if unit_id is None:
            return None
        unit = self._municipality.units.get(unit_id)
        return {
            "id": unit_id,
            "name": self._municipality.text(unit.names, self._language) if unit else unit_id,
        }

    def reason(self, code: str | None) -> dict[str, str | None] | None:
        if code is None:
            return None
        texts = self._municipality.reasons.get(code)
        return {"code": code, "text": self._municipality.text(texts, self._language) if texts else None}
