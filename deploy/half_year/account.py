"""What the half year comes to, summed up and written for people. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from deploy.half_year import departments, times
from deploy.half_year.cases import Case, Export
from deploy.half_year.departments import UNEXPLAINED, Departments
from deploy.half_year.playing import Played
from deploy.half_year.times import Times
from shared.municipality import Municipality


class Due(NamedTuple):
    """How one due time compares: the category, the kind, and whether ours is later."""

    category: str
    kind: str
    later: bool


@dataclass
class Account:
    """Figures over all requests. `on_time` counts pairs, ours and the city's, where the city says either
    and had a target; `on_time_kinds` every disagreement, those with requests without a target too."""

    rows: int
    routed: int
    agreed: int = 0
    resolved: int = 0
    turns: Counter[int] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    moves: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    due: Counter[Due] = field(default_factory=Counter)
    on_time: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    on_time_kinds: Counter[tuple[str, bool]] = field(default_factory=Counter)

    @property
    def agreement(self) -> float:
        """The share whose department is the city's."""
        return self.agreed / self.rows

    @property
    def due_agreement(self) -> float:
        """The share of the due times that are the city's, in working time."""
        same = sum(count for due, count in self.due.items() if due.kind in times.AGREES)
        return same / max(1, self.due.total())

    @property
    def on_time_agreement(self) -> float:
        """The share of which both say the same, on time or not."""
        return (self.on_time[True, True] + self.on_time[False, False]) / max(1, self.on_time.total())

    @property
    def unexplained(self) -> int:
        """Differences without an explanation, of all three sorts."""
        due = sum(count for one, count in self.due.items() if one.kind == UNEXPLAINED)
        on_time = sum(count for (kind, _), count in self.on_time_kinds.items() if kind == UNEXPLAINED)
        return self.moved[UNEXPLAINED] + due + on_time

    @property
    def right(self) -> bool:
        """Whether every request was routed and every difference is explained."""
        return self.rows == self.routed and not self.unexplained


def account(cases: Sequence[Case], played: Sequence[Played], town: Municipality, export: Export) -> Account:
    """Sum up what became of the requests."""
    until = max(case.closed or case.opened for case in cases)
    why_there, why_then = Departments(town, export, cases), Times(town, export, until)
    book = Account(len(cases), len(played))
    for one in played:
        book.turns[one.turn] += 1
        book.resolved += one.in_time is not None
        if one.first_unit == one.case.unit:
            book.agreed += 1
        else:
            kind = why_there.kind(one)
            book.moved[kind] += 1
            book.moves[kind, one.first_unit, one.case.unit] += 1
        _enter_times(book, one, why_then)
    return book


def _enter_times(book: Account, one: Played, why_then: Times) -> None:
    target, theirs = one.case.target, one.case.on_time
    if target is not None:
        book.due[Due(one.case.category, why_then.due_kind(one, target), one.resolve_by > target)] += 1
    ours = why_then.on_time(one)
    if target is not None and theirs is not None:
        book.on_time[ours, theirs] += 1
    if ours != theirs:
        book.on_time_kinds[why_then.on_time_kind(one), ours] += 1


def written(book: Account, town: Municipality) -> Iterator[str]:
    """The account, line by line."""
    yield f"{'requests read':<32}{book.rows:>8}"
    yield f"{'routed':<32}{book.routed:>8}"
    yield f"{'resolved, as the city closed':<32}{book.resolved:>8}"
    yield f"{'handed over once':<32}{book.turns[2]:>8}"
    yield ""
    yield _share("the department that the city chose", book.agreed, book.rows)
    for kind, text in departments.KINDS.items():
        if book.moved[kind] or kind == UNEXPLAINED:
            yield from _kind(kind, book.moved[kind], text)
            yield from _moves(book.moves, kind)
    yield ""
    yield from _due(book, town)
    yield ""
    yield from _on_time(book)


def _moves(moves: Mapping[tuple[str, str, str], int], kind: str) -> Iterator[str]:
    between = sorted(
        ((count, ours, theirs) for (one, ours, theirs), count in moves.items() if one == kind), reverse=True
    )
    for count, ours, theirs in between[:5]:
        yield f"{'':10}{count:>6}  {ours} -> {theirs}"
    if rest := sum(count for count, _, _ in between[5:]):
        yield f"{'':10}{rest:>6}  others"


def _due(book: Account, town: Municipality) -> Iterator[str]:
    total = book.due.total()
    kinds: Counter[str] = Counter()
    later: Counter[str] = Counter()
    by_category: dict[str, Counter[str]] = {category: Counter() for category in town.categories}
    for one, count in book.due.items():
        kinds[one.kind] += count
        later[one.kind] += count * one.later
        where = one.kind if one.kind in times.AGREES else "later" if one.later else "earlier"
        by_category[one.category][where] += count
    yield _share("due when the city promised", kinds[times.SAME] + kinds[times.SAME_WORK], total)
    for kind, text in times.DUE_KINDS.items():
        if kinds[kind] or kind == UNEXPLAINED:
            yield from _kind(kind, kinds[kind], text)
            if kind not in times.AGREES and kinds[kind]:
                yield f"{'':10}{later[kind]:>6}  ours later"
                yield f"{'':10}{kinds[kind] - later[kind]:>6}  ours earlier"
    columns = (times.SAME, times.SAME_WORK, "earlier", "later")
    yield f"  {'by category':<24}{'hours':>8}" + "".join(f"{name:>11}" for name in columns)
    for category, counts in by_category.items():
        if counts.total():
            hours = town.categories[category].targets.resolve_hours
            yield f"  {category:<24}{hours:>8g}" + "".join(f"{counts[name]:>11}" for name in columns)


def _on_time(book: Account) -> Iterator[str]:
    total = book.on_time.total()
    agreed = book.on_time[True, True] + book.on_time[False, False]
    yield _share("on time or not, as the city says", agreed, total)
    yield f"{'':18}{'city on time':>14}{'city overdue':>14}"
    for ours, name in ((True, "ours on time"), (False, "ours overdue")):
        yield f"  {name:<16}{book.on_time[ours, True]:>14}{book.on_time[ours, False]:>14}"
    ours_share = sum(count for (ours, _), count in book.on_time.items() if ours)
    city_share = sum(count for (_, city), count in book.on_time.items() if city)
    yield "  " + _share("on time by our clock", ours_share, total)
    yield "  " + _share("on time by the city's column", city_share, total)
    for kind, text in {**times.ON_TIME_KINDS, **times.DUE_KINDS}.items():
        counts = [book.on_time_kinds[kind, True], book.on_time_kinds[kind, False]]
        if sum(counts) or kind == UNEXPLAINED:
            yield from _kind(kind, sum(counts), text)
            if sum(counts):
                yield f"{'':10}{counts[0]:>6}  ours on time"
                yield f"{'':10}{counts[1]:>6}  ours overdue"


def _share(what: str, part: int, total: int) -> str:
    return f"{what:<36}{part:>8} of {total} ({100 * part / max(1, total):.2f} %)"


def _kind(kind: str, count: int, text: str) -> Iterator[str]:
    yield f"{count:>8}  {kind}: {text}"
