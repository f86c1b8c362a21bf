"""Which reports a rule is left with: exact, by taking away what the rules before it take.

What a rule takes is a box: of each fact that it reads the values that fit, of each other fact every value.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from shared.municipality.hours import WEEKDAYS
from shared.municipality.rules import HOLIDAY, Rule

# Facts whose values are all known; any other may have a value that no rule names, or none.
UNIVERSES: Mapping[str, frozenset[str]] = {
    "kind": frozenset({"tip", "issue"}),
    "urgency": frozenset({"normal", "urgent"}),
    "day": frozenset({*WEEKDAYS, HOLIDAY}),
    "hour": frozenset(f"{hour:02d}" for hour in range(24)),
}


class Values(NamedTuple):
    """These values of a fact, or where `but` is true all but these."""

    named: frozenset[str]
    but: bool = False

    def both(self, other: "Values") -> "Values":
        """Those that are in both."""
        if self.but and other.but:
            return Values(self.named | other.named, True)
        if self.but:
            return Values(other.named - self.named)
        return Values(self.named - other.named if other.but else self.named & other.named)

    def without(self, other: "Values") -> "Values":
        """Those that are not in the other."""
        return self.both(Values(other.named, not other.but))

    @property
    def empty(self) -> bool:
        return not self.but and not self.named


_ANY = Values(frozenset(), True)
Box = Mapping[str, Values]


# By its id, a category's kind and urgency: a report has those of its category.
Sorts = Mapping[str, tuple[str, str]]


class _Category(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> Literal["tip", "issue"]: ...
    @property
    def urgent(self) -> bool: ...


def sorts_of(categories: Iterable[_Category]) -> Sorts:
    """Kind and urgency of each category."""
    return {one.id: (one.kind, "urgent" if one.urgent else "normal") for one in categories}


def box_of(rule: Rule, sorts: Sorts) -> Box:
    """What a rule takes when it is asked. With all categories in `sorts`, kind and urgency are told by
    them; without any, nothing is known of a category."""
    box = {fact: Values(values) for fact, values in rule.conditions().items()}
    if not sorts:
        return box
    kinds, urgencies = (box.pop(fact, Values(UNIVERSES[fact])).named for fact in ("kind", "urgency"))
    fitting = {one for one, (kind, urgency) in sorts.items() if kind in kinds and urgency in urgencies}
    category = box.get("category", _ANY)
    # A category that there is not is a mistake of its own.
    unknown = category.named - sorts.keys()
    return box | {"category": Values(frozenset(fitting) | unknown).both(category)}


def is_empty(box: Box) -> bool:
    """Whether nothing can be in it."""
    return any(values.empty for values in box.values())


def left_of(box: Box, taken: Iterable[Box]) -> list[Box]:
    """What is left of a box without the others, as boxes that do not touch; none where they cover it."""
    left = [box]
    for other in taken:
        left = [piece for one in left for piece in _without(one, other)]
    return left


def common(one: Box, other: Box) -> Box | None:
    """What two boxes have in common; None where that is nothing."""
    shared = {fact: _of(one, fact).both(_of(other, fact)) for fact in {*one, *other}}
    return None if is_empty(shared) else shared


def _without(box: Box, other: Box) -> Sequence[Box]:
    if common(box, other) is None:
        return [box]
    pieces = []
    inside = dict(box)
    for fact, values in other.items():
        outside = _of(inside, fact).without(values)
        if not outside.empty:
            pieces.append({**inside, fact: outside})
        inside[fact] = _of(inside, fact).both(values)
    return pieces


def _of(box: Box, fact: str) -> Values:
    return box.get(fact) or (Values(UNIVERSES[fact]) if fact in UNIVERSES else _ANY)
