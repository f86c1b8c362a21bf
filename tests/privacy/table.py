"""The table of attacks: what was tried, what protects, how that was taken away, and what came of it."""

from typing import NamedTuple


class Row(NamedTuple):
    """One attack; `result` and `without` are what it came to with the protection and without."""

    number: int
    attack: str
    protection: str
    removed: str
    result: str
    without: str


ROWS: list[Row] = []


def written() -> str:
    """All that was tried, in the order of its numbers."""
    heads = Row(0, "attack", "protection", "taken away by", "with it", "without")
    lines = [" | ".join(("no.", *heads[1:])), " | ".join(["---"] * len(heads))]
    lines += [" | ".join(map(str, row)) for row in sorted(ROWS)]
    return "\n".join(lines)
