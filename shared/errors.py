"""Errors named by their consequence: the class decides what happens next, in one place."""

from typing import NamedTuple


class Poison(Exception):  # noqa: N818 - named by consequence, as in docs: a poison record
    """A record that can never be read: it goes to the dead-letter topic. `reason` is a short code."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Superseded(Exception):  # noqa: N818 - an outcome, not a fault
    """Another consumer has moved the fence: roll back, drop the batch, seek to the stored offset."""


class Refusal(Exception):  # noqa: N818 - an answer to the operator, not a fault
    """The process must not go on. The message is one line that names what is wrong and its mend."""


def typed(service: str, command: str) -> str:
    """A command of a service as an operator types it in a deployment, for the mend that a refusal names."""
    return f"`docker compose run --rm --no-deps {service} {command}`"


class Mistake(NamedTuple):
    """One mistake in a municipality's folder: where, what is wrong, what to write instead."""

    file: str
    path: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: {self.problem}; {self.mend}"


class MunicipalityError(Refusal):
    """The municipality's folder cannot be used; `mistakes` holds every one that was found."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes
