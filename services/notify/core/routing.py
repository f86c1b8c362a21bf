"""Who is responsible: ordered rules, the first that holds decides."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shared.events import ReportAccepted
from shared.municipality import HOLIDAY, WEEKDAYS, Municipality, Rule

# What the rules may ask of a report, by the path of the condition, such as `area.district`; of several
# answers to one question any may fit.
Facts = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Route:
    """A rule ready to be asked; it holds when every condition has one of its values."""

    rule: str
    unit: str
    reason: str
    conditions: tuple[tuple[str, frozenset[str]], ...]

    def fails(self, facts: Facts) -> Iterator[str]:
        """The conditions that do not hold, as they are asked for; none where the rule does."""
        return (fact for fact, values in self.conditions if values.isdisjoint(facts.get(fact, ())))


def routes(rules: Iterable[Rule]) -> tuple[Route, ...]:
    """The municipality's rules, in their order."""
    return tuple(Route(rule.id, rule.unit, rule.reason, tuple(rule.conditions().items())) for rule in rules)


def facts_of(report: ReportAccepted, municipality: Municipality) -> Facts:
    """What a report says of itself, and when it was sent by the municipality's clock."""
    sent = report.hour.astimezone(municipality.tz)
    resting = municipality.holidays is not None and municipality.holidays.include(sent.date())
    return {
        "category": (report.category,),
        "kind": (report.kind,),
        "urgency": (report.urgency,),
        "source": (report.source,),
        "language": (report.language,),
        "day": (HOLIDAY if resting else WEEKDAYS[sent.weekday()],),
        "hour": (f"{sent.hour:02d}",),
        **{f"area.{area_set}": (area,) for area_set, area in report.areas.items()},
        **{
            f"answers.{question}": (answer,) if isinstance(answer, str) else answer
            for question, answer in report.answers.items()
        },
    }


def route(ordered: Sequence[Route], facts: Facts) -> Route:
    """The first rule that holds. Raises LookupError where none does: the folder's last rule always holds."""
    for candidate in ordered:
        if not any(candidate.fails(facts)):
            return candidate
    raise LookupError("no rule holds; end routing.toml with a rule without conditions")


class Asked(NamedTuple):
    """A rule that was asked, and those of its conditions that did not hold."""

    route: Route
    fails: list[str]


def explained(ordered: Sequence[Route], facts: Facts) -> list[Asked]:
    """The rules up to the first that holds, which is the last of them. Raises LookupError as `route`."""
    chosen = route(ordered, facts)
    return [Asked(one, list(one.fails(facts))) for one in ordered[: ordered.index(chosen) + 1]]
