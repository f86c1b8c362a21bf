"""A service with a fuse: `python -m tests.chaos.dying SERVICE FILE`.

It is the real service; only the functions at the named points are wrapped. Where FILE holds a fuse (light),
the process signals itself when that point is reached for so many times: SIGKILL to die there, SIGSTOP to
stand still there while something else dies.
"""

import functools
import json
import os
import runpy
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiokafka import AIOKafkaProducer

from shared import fence, outbox
from shared.consumer import Consumer
from shared.relay import Relay

Wrapped = Callable[..., Awaitable[Any]]
SENDING = ("after claim", "inside a send", "after send", "before the append")
APPLYING = ("inside apply", "before apply's commit", "after apply's commit")
# Of the call of a webhook subscription; the second is of each call that notify makes.
SUBSCRIBER = (
    "after a subscription's lease",
    "inside a call",
    "between a subscriber's answer and its record",
    "before the commit of a subscriber's answer",
    "after the commit of a subscriber's answer",
)
# Every point of each service.
POINTS: dict[str, tuple[str, ...]] = {
    "tips": (*SENDING, *APPLYING, "before the answer", "between the words and their log"),
    "notify": (
        *SENDING,
        *APPLYING,
        "after a lease",
        "between the words and the unit",
        "between a delivery and its record",
        "before the record's commit",
        *SUBSCRIBER,
    ),
    "stats": APPLYING,
}


def light(file: Path, point: str, hits: int, number: signal.Signals) -> None:
    """Set the fuse of the service that has this file: `number` comes when the point is reached `hits` times.
    The file is gone just before. SIGCONT does no harm: it only tells that the point is reached."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps([point, hits, int(number)]))
    part.rename(file)


class Fuse:
    """Counts the hits of the point that the file names."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._hits = 0

    def reached(self, point: str) -> None:
        try:
            wanted, hits, number = json.loads(self._file.read_text())
        except FileNotFoundError:
            self._hits = 0
            return
        self._hits += wanted == point
        if wanted == point and self._hits >= hits:
            self._file.unlink()
            os.kill(os.getpid(), number)


class Place(NamedTuple):
    """Where a point is: whose function, its name, and whether the point is before or after it; after it only
    where it returned something, unless `always`."""

    owner: Any
    function: str
    before: bool = False
    always: bool = False


def _places(service: str) -> dict[str, Place]:
    places = {
        "after claim": Place(outbox, "claim"),
        "inside a send": Place(AIOKafkaProducer, "send_batch"),
        "after send": Place(Relay, "send"),
        "before the append": Place(outbox, "append", before=True),
        "inside apply": Place(fence, "move", always=True),
        "before apply's commit": Place(Consumer, "_set_aside", always=True),
        "after apply's commit": Place(Consumer, "_commit", always=True),
    }
    if service == "tips":
        from services.tips.queries import disclosures, submissions
        from services.tips.storing import Storing

        places["before the append"] = Place(submissions, "store", before=True)
        places["before the answer"] = Place(Storing, "_commit", always=True)
        places["between the words and their log"] = Place(disclosures, "record_readings", before=True)
    if service == "notify":
        from services.notify import delivery
        from services.notify import queries_deliveries as deliveries
        from services.notify import queries_subscriptions as subscriptions
        from services.notify.subscription_worker import SubscriptionWorker
        from services.notify.tips import Tips

        places["after a lease"] = Place(deliveries, "claim_deliveries")
        places["between the words and the unit"] = Place(Tips, "words")
        places["between a delivery and its record"] = Place(delivery, "record", before=True)
        places["before the record's commit"] = Place(delivery, "record", always=True)
        lease, call, answer, record, committed = SUBSCRIBER
        places[lease] = Place(subscriptions, "claim")
        # The request is written, and its answer waited for.
        places[call] = Place(aiohttp.ClientResponse, "start", before=True)
        places[answer] = Place(SubscriptionWorker, "_write", before=True)
        places[record] = Place(SubscriptionWorker, "_write", always=True)
        places[committed] = Place(SubscriptionWorker, "_record", always=True)
    return {point: places[point] for point in POINTS[service]}


def _wrap(fuse: Fuse, point: str, place: Place) -> None:
    function: Wrapped = getattr(place.owner, place.function)

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if place.before:
            fuse.reached(point)
        result = await function(*args, **kwargs)
        if not place.before and (place.always or result):
            fuse.reached(point)
        return result

    setattr(place.owner, place.function, wrapper)


def wrap(service: str, file: Path) -> None:
    """Give this process a fuse: what it imports of the service has the points."""
    fuse = Fuse(file)
    for point, place in _places(service).items():
        _wrap(fuse, point, place)


def main() -> None:
    _, service, file = sys.argv
    wrap(service, Path(file))
    sys.argv = [f"services.{service}"]
    runpy.run_module(f"services.{service}", run_name="__main__")


if __name__ == "__main__":
    main()
