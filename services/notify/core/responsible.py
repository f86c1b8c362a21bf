"""Who is responsible for a report, why, and by when: at first, and after a unit says that it is not."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from services.notify.core.calendar import Calendar
from services.notify.core.clocks import Due, due
from services.notify.core.routing import Facts, facts_of, route, routes
from shared.events import NAMED_BY_UNIT, ReportAccepted
from shared.municipality import Municipality

# The rule of a unit that another one named.
HANDED_OVER = "handed_over"
# Why a person has to decide: every unit that could have it has refused, or it was moved to and fro.
REFUSED_BY_ALL, MOVED_TOO_OFTEN = "refused_by_all", "moved_too_often"


class Responsible(NamedTuple):
    """A unit that has a report, the rule and the reason why, and by when it is to act (UTC). `person` is why
    a person has to decide there, where no rule and no unit does."""

    unit: str
    rule: str
    reason: str
    acknowledge_by: datetime
    answer_by: datetime | None
    resolve_by: datetime
    person: str = ""


class Responsibility:
    """The municipality's rules and calendars. The last rule's unit is where a person decides what no rule
    does. What moves on has `times` already, by which it stays where its category has left the folder."""

    def __init__(self, municipality: Municipality) -> None:
        self._municipality = municipality
        self._routes = routes(municipality.rules)
        self.calendars = {unit.id: Calendar.of(municipality, unit) for unit in municipality.units.values()}
        self.last = self._routes[-1].unit

    def first(self, report: ReportAccepted, accepted_at: datetime) -> Responsible:
        """Who is responsible by the rules. Raises KeyError where the category is not in the folder."""
        chosen = route(self._routes, self._facts(report))
        return self._with(chosen.unit, chosen.rule, chosen.reason, report.category, accepted_at)

    def unit_of(self, category: str, areas: Mapping[str, str]) -> str | None:
        """The unit for an issue of which only this is known; None where the folder has no such category."""
        known = self._municipality.categories.get(category)
        if known is None:
            return None
        facts = {
            "category": (category,),
            "kind": (known.kind,),
            "urgency": ("urgent" if known.urgent else "normal",),
            **{f"area.{area_set}": (area,) for area_set, area in areas.items()},
        }
        return route(self._routes, facts).unit

    def again(self, unit: str, rule: str, reason: str, category: str, now: datetime) -> Responsible:
        """The same unit, whose time begins anew; the last rule's where it left the folder."""
        if unit not in self.calendars:
            last = self._routes[-1]
            unit, rule, reason = last.unit, last.rule, last.reason
        return self._with(unit, rule, reason, category, now)

    def after(
        self,
        report: ReportAccepted,
        refused: Collection[str],
        named: str | None,
        now: datetime,
        times: Due | None = None,
    ) -> Responsible:
        """Who is responsible after the last of the units that `refused`: the one that it `named`, else the
        next by the rules, none of them a second time; else the last rule's unit."""
        if named is not None and named not in refused:
            return self.handed(named, report.category, now, times)
        if named is None:
            facts = self._facts(report)
            for one in self._routes:
                if one.unit not in refused and not any(one.fails(facts)):
                    return self._with(one.unit, one.rule, one.reason, report.category, now, times)
        return self.person(REFUSED_BY_ALL, report.category, now, times)

    def person(self, why: str, category: str, now: datetime, times: Due | None = None) -> Responsible:
        """The last rule's unit, where a person decides, and why."""
        last = self._routes[-1]
        return self._with(last.unit, last.rule, last.reason, category, now, times)._replace(person=why)

    def handed(self, unit: str, category: str, now: datetime, times: Due | None = None) -> Responsible:
        """The unit that another one names. Why that one does not have it any more is said of it, not of this
        one."""
        return self._with(unit, HANDED_OVER, NAMED_BY_UNIT, category, now, times)

    def _facts(self, report: ReportAccepted) -> Facts:
        return facts_of(report, self._municipality)

    def _with(
        self, unit: str, rule: str, reason: str, category: str, start: datetime, times: Due | None = None
    ) -> Responsible:
        if times is not None and category not in self._municipality.categories:
            return Responsible(unit, rule, reason, *times)
        targets = self._municipality.categories[category].targets
        return Responsible(unit, rule, reason, *due(start, targets, self._calendar(unit)))

    def _calendar(self, unit: str) -> Calendar:
        return self.calendars[unit]
