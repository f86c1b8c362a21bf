"""A service that kills itself (SIGKILL) at a named point: `python -m tests.chaos.dying SERVICE POINT HITS`.

It is the real service; only the function at the point is wrapped, and dies on the HITS-th time.
"""

import functools
import os
import runpy
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from shared import fence, outbox
from shared.consumer import Consumer
from shared.relay import Relay

Wrapped = Callable[..., Awaitable[Any]]


class Fuse:
    """Dies on the given hit."""

    def __init__(self, hits: int) -> None:
        self.left = hits

    def burn(self) -> None:
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self, function: Wrapped, *, when: Callable[[Any], bool] = bool) -> Wrapped:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = await function(*args, **kwargs)
            if when(result):
                self.burn()
            return result

        return wrapper

    def before(self, function: Wrapped) -> Wrapped:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.burn()
            return await function(*args, **kwargs)

        return wrapper


def _always(_result: object) -> bool:
    return True


def _points() -> dict[str, tuple[Any, str, Callable[[Fuse, Wrapped], Wrapped]]]:
    """Each point: whose function, its name, and how it is wrapped."""
    from services.notify import delivery

    return {
        "after claim": (outbox, "claim", lambda fuse, function: fuse.after(function)),
        "after send": (Relay, "send", lambda fuse, function: fuse.after(function)),
        "before the mark": (outbox, "mark_sent", Fuse.before),
        "inside apply": (fence, "move", lambda fuse, function: fuse.after(function, when=_always)),
        "after apply, before the offset commit": (
            Consumer,
            "_commit",
            lambda fuse, function: fuse.after(function, when=_always),
        ),
        "between a delivery and its record": (delivery, "record", Fuse.before),
    }


def main() -> None:
    _, service, point, hits = sys.argv
    owner, function, wrap = _points()[point]
    setattr(owner, function, wrap(Fuse(int(hits)), getattr(owner, function)))
    sys.argv = [f"services.{service}"]
    runpy.run_module(f"services.{service}", run_name="__main__")


if __name__ == "__main__":
    main()
