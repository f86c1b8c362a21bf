"""What a resident sees of a report: every step, who is responsible, by when, and why it went there; and what
can be done now."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from services.tips.core import texts
from services.tips.core.acts import Standing, Waiting, possible, reopen_until
from services.tips.core.lifecycle import OPEN, Step, done_at, in_order, responsible
from services.tips.core.report import Report
from services.tips.core.texts import Texts
from shared.municipality import Municipality

# The steps that put a report before a unit.
_MOVES = frozenset({"routed", "handed_over", "reopened"})
# Those by which the unit answers (as `notify` counts its time to answer).
_ANSWERS = frozenset({"answer_asked", "planned"})


def view(
    report: Report,
    steps: Iterable[Step],
    municipality: Municipality,
    standing: Standing,
    now: datetime | None = None,
) -> dict[str, Any]:
    """The report as JSON; names and reasons in the report's language, times in UTC. Without `now` it is that
    of a report that was just accepted."""
    ordered = in_order(steps)
    with_unit = responsible(ordered)
    due = _due(ordered)
    waiting = standing.waiting
    until = reopen_until(done_at(ordered), municipality.reopen_days)
    words = Words(municipality, report.language)
    accepted = {
        "status": "accepted",
        "text": words.of(texts.STEPS["accepted"]),
        "at": utc(report.accepted_at),
        "unit": None,
        "reason": None,
    }
    return {
        "kind": report.kind,
        "category": report.category,
        "language": report.language,
        "areas": dict(report.areas),
        "status": report.status,
        "text": words.status(report.status, ordered, standing),
        "accepted_at": utc(report.accepted_at),
        "unit": words.unit(with_unit.unit) if with_unit else None,
        "reason": words.why(ordered),
        "acknowledge_by": utc(due.acknowledge_by) if due else None,
        "answer_by": utc(due.answer_by) if due else None,
        "resolve_by": utc(due.resolve_by) if due else None,
        "explained": None if waiting and waiting.held else words.explained(report.status, ordered, due),
        "question_open": standing.question_open,
        "unread": standing.unread,
        "erasure_waits": {"reason": waiting.reason, "until": waiting.until.isoformat()} if waiting else None,
        "possible": possible(report.status, standing, until, now or report.accepted_at),
        "reopen_until": utc(until) if report.status in ("resolved", "refused") else None,
        "public": asdict(standing.public) if standing.public else None,
        "kept_until": standing.kept_until.isoformat() if standing.kept_until else None,
        "timeline": [accepted, *words.entries(ordered)],
    }


def givers(ordered: Iterable[Step]) -> Iterator[str | None]:
    """Of each step the unit that last passed the report on, by then; None where none has, or that one is not
    known."""
    has: str | None = None
    giver: str | None = None
    for step in ordered:
        if step.step == "handed_over":
            giver = has
        if step.step in ("routed", "handed_over"):
            has = step.unit
        yield giver


def _only_times(ordered: Sequence[Step]) -> Iterator[bool]:
    """Of each step whether it only tells anew by when the unit is to act that had the report already."""
    last: Step | None = None
    for step in ordered:
        yield step.step == "routed" and last is not None and (last.step, last.unit) == ("routed", step.unit)
        last = step if step.step in _MOVES else last


def ends_wait(ordered: Sequence[Step]) -> Iterator[bool]:
    """Of each step whether it only tells that a unit waits for no answer any more, which has not come: what
    the unit did instead is the next step."""
    waits = False
    for step, only_times in zip(ordered, _only_times(ordered), strict=True):
        if step.step in ("answer_asked", "answered"):
            waits = step.step == "answer_asked"
        yield only_times and waits


def _delivered_again(ordered: Sequence[Step]) -> Iterator[bool]:
    """Of each step whether it is a delivery to a unit that has the report already, by another channel."""
    has: str | None = None
    for step in ordered:
        delivered = step.step == "delivered"
        yield delivered and has == step.unit
        if delivered or step.step in _MOVES:
            has = step.unit if delivered else None


def _answered(ordered: Sequence[Step]) -> bool:
    """Whether the resident was told something since the report came to the unit that has it."""
    answered = False
    for step, only_times in zip(ordered, _only_times(ordered), strict=True):
        if step.step in _MOVES and not only_times:
            answered = False
        elif step.step in _ANSWERS:
            answered = True
    return answered


def utc(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, such as 2026-11-01T12:00:00Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def _due(ordered: Sequence[Step]) -> Step | None:
    """The step that set the times by which it must be done; none once it was reopened after that."""
    for step in reversed(ordered):
        if step.step == "reopened":
            return None
        if step.acknowledge_by:
            return step
    return None


class Words:
    """Codes as texts. A code that this municipality no longer has is shown without one."""

    def __init__(self, municipality: Municipality, language: str) -> None:
        self._municipality = municipality
        self._language = language

    def of(
        self, catalogue: Texts, unit: str | None = None, day: date | None = None, other: str | None = None
    ) -> str:
        """A text of our catalogue, filled in; in the first of the report's language, the municipality's and
        English that it has."""
        language = texts.chosen(catalogue, self._language, self._municipality.languages[0])
        when = f"{day.day} {texts.MONTHS[language][day.month - 1]} {day.year}" if day else ""
        said = catalogue[language].format(
            unit=self._name(unit, language), other=self._name(other, language), day=when
        )
        return said[0].upper() + said[1:]

    def _name(self, unit: str | None, language: str) -> str:
        named = self.unit(unit)
        return named["name"] if named else texts.NO_UNIT[language]

    def status(self, status: str, ordered: Sequence[Step], standing: Standing) -> str:
        """The present status in plain words."""
        if standing.waiting:
            return self.waiting(standing.waiting)
        with_unit = responsible(ordered)
        unit = with_unit.unit if with_unit else None
        if standing.question and status in OPEN:
            return self.of(texts.QUESTION, standing.question.unit)
        if status == "erased":
            why = self._erased(next((step.reason for step in ordered if step.step == "erased"), None))
            return f"{why} {self._left(standing.backups_until)}"
        moved = next((step.step for step in reversed(ordered) if step.step in _MOVES), None)
        if status == "routed" and moved == "reopened":
            return self.of(texts.STATUSES["reopened"], unit)
        planned = next((step.day for step in reversed(ordered) if step.day), None)
        return self.of(texts.STATUSES[status], unit, planned)

    def explained(
        self, status: str, ordered: Sequence[Step], due: Step | None
    ) -> dict[str, str | None] | None:
        """Who is responsible, by when, and why, and why the one before is not, as sentences; None once nobody
        is."""
        if status not in OPEN:
            return None
        with_unit, why = responsible(ordered), self.why(ordered)
        unit = with_unit.unit if with_unit else None
        return {
            "who": self.of(texts.WHO if unit else texts.NOBODY_YET, unit),
            "by_when": self._by_when(status, unit, due, answered=_answered(ordered)),
            "why": why["text"] if why else None,
            "before": self._before(ordered),
        }

    def why(self, ordered: Sequence[Step]) -> dict[str, str | None] | None:
        """Why the present unit has it; None where that is not known yet."""
        for step, giver in reversed(list(zip(ordered, givers(ordered), strict=True))):
            if step.step == "handed_over":
                return None  # its reason is that of the unit that gave it up
            if step.step == "routed":
                return self.reason(step.reason, giver)
        return None

    def _before(self, ordered: Sequence[Step]) -> str | None:
        """Who passed it on last, and that one's reason."""
        last: str | None = None
        refused: Step | None = None
        for step, giver in zip(ordered, givers(ordered), strict=True):
            if step.step == "refused":
                refused = step
            elif step.step == "handed_over":
                said = self.entry(refused if refused and refused.unit == giver else step, giver)
                why = said["reason"] and said["reason"]["text"]
                last, refused = " ".join(filter(None, (said["text"], why))), None
        return last

    def _by_when(self, status: str, unit: str | None, due: Step | None, *, answered: bool) -> str:
        if due is None or due.acknowledge_by is None or due.resolve_by is None:
            return self.of(texts.NO_DAY)
        said = []
        if status not in ("acknowledged", "planned"):
            said.append(self.of(texts.ACKNOWLEDGE_BY, unit, self._day(due.acknowledge_by)))
        if due.answer_by and not answered:
            said.append(self.of(texts.ANSWER_BY, unit, self._day(due.answer_by)))
        return " ".join([*said, self.of(texts.RESOLVE_BY, unit, self._day(due.resolve_by))])

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self._municipality.tz).date()

    def _erased(self, reason: str | None) -> str:
        return self.of(texts.ERASED.get(reason or "", texts.STATUSES["erased"]))

    def waiting(self, waiting: Waiting) -> str:
        """That it is to be erased, why, and why not yet."""
        if not waiting.held:
            return self.of(texts.SPAM, day=waiting.until)
        return self.of(texts.HELD.get(waiting.reason, texts.HELD["other"]), day=waiting.until)

    def _left(self, backups_until: datetime | None) -> str:
        """What there still is of what was erased."""
        if backups_until is None:
            return self.of(texts.NOWHERE)
        return self.of(texts.IN_BACKUPS, day=self._day(backups_until))

    def entries(self, ordered: Sequence[Step]) -> list[dict[str, Any]]:
        """The lines of the timeline; a unit that has the report by two channels has it once."""
        left_out = map(any, zip(_delivered_again(ordered), ends_wait(ordered), strict=True))
        told = zip(ordered, givers(ordered), _only_times(ordered), left_out, strict=True)
        return [self.entry(step, giver, only_times) for step, giver, only_times, out in told if not out]

    def entry(self, step: Step, giver: str | None, only_times: bool = False) -> dict[str, Any]:
        """A line of the timeline; `giver` is who last passed the report on, by then, `only_times` where
        nothing but the unit's time has changed."""
        planned = {"day": step.day.isoformat()} if step.day else {}
        if step.step == "erased":
            text = self._erased(step.reason)
        elif only_times and step.resolve_by:
            text = self.of(texts.NEW_TIME, step.unit, self._day(step.resolve_by))
        else:
            escalated = texts.ESCALATED.get(step.reason or "") if step.step == "escalated" else None
            said = escalated or texts.STEPS.get(step.step) or texts.STATUSES[step.step]
            text = self.of(said, step.unit, step.day, giver)
        return {
            "status": step.step,
            "text": text,
            "at": utc(step.at),
            "unit": self.unit(giver if step.step == "handed_over" else step.unit),
            "reason": self.reason(step.reason, giver),
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

    def reason(self, code: str | None, giver: str | None) -> dict[str, str | None] | None:
        if code is None:
            return None
        if known := self._municipality.said(code):
            return {"code": code, "text": self._municipality.text(known, self._language)}
        said = texts.REASONS.get(code)
        return {"code": code, "text": self.of(said, giver) if said else None}
