"""A `stats` with bugs that an asker switches on by a header: `python -m tests.privacy.planted`."""

import contextvars
import runpy
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response

from services.stats import app, noise
from services.stats.core import figures
from services.stats.core.figures import Figure
from services.stats.http.desk import Desk
from services.stats.http.public import public_app

BUG = "X-Planted-Bug"
# The noise is drawn for each answer; an answer is dated by what has been counted.
FRESH, LIVE = "fresh", "live"
_bug = contextvars.ContextVar("bug", default="")


def plant() -> None:
    genuine = figures.figures

    def noisy_again(release: Mapping[str, Any], wanted: Mapping[str, Collection[str]]) -> Iterator[Figure]:
        for one in genuine(release, wanted):
            if _bug.get() == FRESH:
                yield one._replace(value=one.value + noise.draw(2, 1)[0])
            else:
                yield one

    def planted(desk: Desk) -> FastAPI:
        made = public_app(desk)

        @made.middleware("http")
        async def dated(request: Request, call_next: Any) -> Response:
            _bug.set(request.headers.get(BUG, ""))
            answer: Response = await call_next(request)
            if _bug.get() == LIVE:
                counts = await desk.pool.fetch(
                    "SELECT area, count(*) FROM lifecycle GROUP BY area ORDER BY 1"
                )
                answer.headers["Last-Modified"] = f"{sum(row['count'] for row in counts)}"
            return answer

        return made

    figures.figures = noisy_again
    setattr(app, "public_app", planted)  # noqa: B010 - mypy says that it is not the app's own


if __name__ == "__main__":
    plant()
    sys.argv = ["services.stats"]
    runpy.run_module("services.stats", run_name="__main__")
