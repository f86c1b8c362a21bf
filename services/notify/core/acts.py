"""What can be done with a report at a unit, as a table: from which statuses, what follows, and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Status = Literal["routed", "delivered", "acknowledged", "planned", "resolved", "withdrawn", "erased"]
Action = Literal["deliver", "acknowledge", "ask", "plan", "resolve", "refuse", "hand_over", "reopen"]
Step = Literal[
    "delivered",
    "acknowledged",
    "answer_asked",
    "planned",
    "resolved",
    "refused",
    "handed_over",
    "routed",
]
# The way of what is done on the page behind a signed link.
LINK = "link"
# The way of what follows from a changed folder.
FOLDER = "folder"
# A day of work that lies further ahead is taken for a typing error.
LATEST_DAY = timedelta(days=2 * 366)
# What a unit does; a channel delivers, and a resident says that it is not solved.
UNITS_ACTIONS: tuple[Action, ...] = ("acknowledge", "ask", "plan", "resolve", "refuse", "hand_over")


@dataclass(frozen=True, slots=True)
class Act:
    """What is done; `via` is the channel or the way by which it came. `reason` is a code of the folder's
    refusals, `to_unit` whom a unit names that does not want it, `outcome` a code of the folder's outcomes,
    `day` the day of the work. `writes` is whether words go to the resident with it."""

    action: Action
    via: str
    reason: str = ""
    to_unit: str | None = None
    outcome: str = ""
    day: date | None = None
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """An action, the statuses from which it is possible, the status that follows, the steps that happen on
    the way, each with its event, and why."""

    action: Action
    before: frozenset[Status]
    after: Status
    steps: tuple[Step, ...]
    why: str


_NEW: frozenset[Status] = frozenset({"routed", "delivered"})
_SEEN: frozenset[Status] = frozenset({"acknowledged"})
_PLANNED: frozenset[Status] = frozenset({"planned"})
_DONE: frozenset[Status] = frozenset({"resolved"})
_OPEN = _NEW | _SEEN | _PLANNED
# A unit may answer before the delivery is recorded; the delivery then takes nothing back.
TRANSITIONS = (
    Transition("deliver", _NEW, "delivered", ("delivered",), "the unit's system has it"),
    Transition("deliver", _SEEN, "acknowledged", ("delivered",), "another channel has it too"),
    Transition("deliver", _PLANNED, "planned", ("delivered",), "another channel has it too"),
    Transition("deliver", _DONE, "resolved", ("delivered",), "another channel has it too"),
    Transition("acknowledge", _NEW, "acknowledged", ("acknowledged",), "somebody has seen it"),
    Transition("ask", _NEW, "acknowledged", ("acknowledged", "answer_asked"), "who asks has seen it"),
    Transition("ask", _SEEN, "acknowledged", ("answer_asked",), "the clock stands until the answer"),
    Transition("ask", _PLANNED, "planned", ("answer_asked",), "the clock stands until the answer"),
    Transition("plan", _NEW, "planned", ("acknowledged", "planned"), "who plans has seen it"),
    Transition("plan", _SEEN | _PLANNED, "planned", ("planned",), "a day is set, or another one"),
    Transition("resolve", _NEW, "resolved", ("acknowledged", "resolved"), "who solves it has seen it"),
    Transition("resolve", _SEEN | _PLANNED, "resolved", ("resolved",), "the unit is done"),
    Transition(
        "refuse", _OPEN, "routed", ("refused", "handed_over", "routed"), "another unit is responsible"
    ),
    Transition("hand_over", _OPEN, "routed", ("handed_over", "routed"), "the unit gives it to another one"),
    Transition("reopen", _DONE, "routed", ("routed",), "it is not solved: the unit has it again"),
)
_OF: Mapping[tuple[Status, Action], Transition] = {
    (before, one.action): one for one in TRANSITIONS for before in one.before
}
# Done before, or as good as: to say it again is no mistake, and changes nothing.
_AGAIN: frozenset[tuple[Status, Action]] = frozenset(
    {
        ("acknowledged", "acknowledge"),
        ("planned", "acknowledge"),
        ("resolved", "acknowledge"),
        ("resolved", "resolve"),
    }
)


class Impossible(Exception):  # noqa: N818 - an outcome
    """The action cannot be done with a report of this status; `possible` are those that can."""

    def __init__(self, status: Status, possible: Iterable[Action]) -> None:
        super().__init__(status)
        self.status = status
        self.possible = tuple(possible)


def transition(status: Status, action: Action) -> Transition | None:
    """What the action leads to, None where it changes nothing because it was done before. Raises
    Impossible."""
    if found := _OF.get((status, action)):
        return found
    if (status, action) in _AGAIN:
        return None
    raise Impossible(status, possible(status))


def is_day_of_work(day: date, today: date) -> bool:
    """Whether work can be planned for a day, today or later."""
    return today <= day <= today + LATEST_DAY


def possible(status: Status) -> tuple[Action, ...]:
    """What a unit can do with a report of this status."""
    return tuple(action for action in UNITS_ACTIONS if (status, action) in _OF)
