"""How the local stack says what it is doing."""

import sys
from collections.abc import Callable

Progress = Callable[[str], None]


def to_stderr(line: str) -> None:
    """One line on standard error."""
    print(line, file=sys.stderr, flush=True)
