"""What a unit had of a report when it moved on, for when it comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

# After so many moves, refusals and hand-overs together, a person decides who has it.
MOVES_MOST = 6


@dataclass(frozen=True, slots=True)
class Turn:
    """A unit's turn as it stood when the report moved on: by when the unit was to act, what its clocks had
    told, and what it had done by then. Each is what the field of the dispatch has (steps.py)."""

    unit: str
    acknowledge_by: datetime
    answer_by: datetime | None
    resolve_by: datetime
    clocks_until: datetime
    level: int
    reminded: bool
    seen_at: datetime | None
    answered_at: datetime | None


def last_turn(past: Sequence[Turn], unit: str) -> Turn | None:
    """The turn that a unit had last; None where it never had one."""
    return next((turn for turn in reversed(past) if turn.unit == unit), None)
