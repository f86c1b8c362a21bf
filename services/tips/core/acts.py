"""What a resident can do with a report now, as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from services.tips.core.conversation import Message, Rating
from services.tips.core.lifecycle import DONE, OPEN
from services.tips.core.public import Publicly

Act = Literal["message", "answer", "rate", "reopen", "withdraw", "erase"]

# From which statuses each act is possible at all; `possible` knows the rest.
ACTS: Mapping[Act, frozenset[str]] = {
    "message": OPEN | DONE,
    "answer": OPEN | DONE,
    "rate": DONE,
    "reopen": DONE,
    "withdraw": OPEN,
    "erase": OPEN | DONE | {"withdrawn"},
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A report that is to be erased, why, and the last day (UTC) on which it waits. Where it is `held` until
    then, nobody reads it meanwhile and nothing is done with it."""

    reason: str
    until: date
    held: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a report stands besides its steps: the question that is open, how many of the unit's messages are
    unread, the rating, if there is one, until when a backup can be opened that has what was erased (UTC; None
    where none can), whether it waits to be erased, the day (UTC) on which its words' time ends (None where
    they are erased or held), and what everybody can read of it."""

    question: Message | None = None
    unread: int = 0
    rating: Rating | None = None
    backups_until: datetime | None = None
    waiting: Waiting | None = None
    kept_until: date | None = None
    public: Publicly | None = None

    @property
    def question_open(self) -> bool:
        """Whether a unit waits for an answer."""
        return self.question is not None


def reopen_until(done_at: datetime | None, reopen_days: int) -> datetime | None:
    """Until when it can be said that it is not solved, and a rating be changed; None where it is not done."""
    return done_at + timedelta(days=reopen_days) if done_at else None


def possible(status: str, standing: Standing, until: datetime | None, now: datetime) -> list[Act]:
    """What can be done now, in the order of the table; `until` is what `reopen_until` says."""
    if standing.waiting and standing.waiting.held:
        return []
    in_time = until is not None and now <= until
    also: Mapping[Act, bool] = {
        "answer": standing.question_open,
        "rate": standing.rating is None or in_time,
        "reopen": in_time,
    }
    return [act for act, statuses in ACTS.items() if status in statuses and also.get(act, True)]
