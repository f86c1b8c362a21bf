"""Who is responsible: ordered rules, the first that holds decides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.events import ReportAccepted
from shared.municipality import Rule


@dataclass(frozen=True, slots=True)
class Route:
    """A rule ready to be asked; it holds when every condition has one of its values."""

    rule: str
    unit: str
    reason: str
    conditions: tuple[tuple[str, frozenset[str]], ...]


def routes(rules: Iterable[Rule]) -> tuple[Route, ...]:
    """The municipality's rules, in their order."""
    return tuple(
        Route(rule.id, rule.unit, rule.reason, tuple(rule.when.conditions().items() if rule.when else ()))
        for rule in rules
    )


def route(ordered: Sequence[Route], report: ReportAccepted) -> Route:
    """The first rule that holds. Raises LookupError where none does: the folder's last rule always holds."""
    facts: dict[str, tuple[str, ...]] = {
        "category": (report.category,),
        "kind": (report.kind,),
        "urgency": (report.urgency,),
        "source": (report.source,),
        "language": (report.language,),
    }
    facts |= {f"area.{area_set}": (area,) for area_set, area in report.areas.items()}
    # Of several answers to one question any may fit.
    facts |= {
        f"answers.{question}": (answer,) if isinstance(answer, str) else answer
        for question, answer in report.answers.items()
    }
    for candidate in ordered:
        if all(not values.isdisjoint(facts.get(fact, ())) for fact, values in candidate.conditions):
            return candidate
    raise LookupError("no rule holds; end routing.toml with a rule without conditions")
