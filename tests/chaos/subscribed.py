"""A webhook subscriber beside a trial: what it was told of public issues, held against their topic."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.local.ledger import Ledger
from deploy.local.tap import read_all
from shared.cluster import Where
from shared.events import ISSUES, IssueChanged
from tests.chaos.trial import Trial
from tests.integration.service_process import ask
from tests.subscriber import Subscriber, listening, secret_in

# One report in four is of it.
CATEGORY = "bulky_item_pickup"
BUSY_SHARE = 0.05
# A lease of a worker that was killed lasts for 30 s.
PATIENCE_SECONDS = 90.0
# An issue's id and the version of its state.
State = tuple[str, int]


@asynccontextmanager
async def subscribed(trial: Trial) -> AsyncIterator[Subscriber]:
    """One that is busy for one call in twenty, subscribed by the operator's command."""
    subscriber = Subscriber(busy_share=BUSY_SHARE)
    env = trial.stack.services["notify"].child.env or {}
    subscriber.secret = secret_in(await ask("notify", env, *adding(subscriber)))
    async with listening(subscriber):
        yield subscriber


def adding(subscriber: Subscriber) -> tuple[str, ...]:
    """The operator's command by which it is told of issues of CATEGORY."""
    who = ("--name", "parks-gis", "--contact", "gis@parks.example", "--url", subscriber.url)
    return ("subscriptions", "add", *who, "--type", "IssueChanged", "--category", CATEGORY, "--by", "trial")


async def enter(book: Ledger, subscriber: Subscriber, kafka: Where) -> None:
    """Add to a ledger what became of every state on the topic, once all have come or none has for long."""
    said: set[State] = {
        (event.key, event.version)
        for event in [seen.envelope.event for seen in await read_all(kafka, (ISSUES,))]
        if isinstance(event, IssueChanged) and event.category == CATEGORY
    }
    clock = asyncio.get_running_loop().time
    came_before, end = 0, clock() + PATIENCE_SECONDS
    while said - set(_states(subscriber)) and clock() < end:
        if len(subscriber.calls) > came_before:
            came_before, end = len(subscriber.calls), clock() + PATIENCE_SECONDS
        await asyncio.sleep(0.2)
    states = _states(subscriber)
    told, ids = set(states), {call.webhook_id for call in subscriber.calls}
    came = defaultdict[str, list[int]](list)
    for issue, version in states:
        came[issue].append(version)
    late = sum(versions != sorted(versions) for versions in came.values())
    book.enter("states for a subscriber", len(said))
    book.enter("lost on the way to it", len(said - told), wanted=0)
    book.enter("doubled there", len(ids) - len(told), wanted=0)
    book.enter("out of order there", late, wanted=0)
    book.enter("strangers there", len(told - said) + subscriber.forged, wanted=0)
    book.enter("repeats there under the first webhook id", len(states) - len(ids))


def _states(subscriber: Subscriber) -> list[State]:
    return [(call.data["issue_id"], call.data["version"]) for call in subscriber.calls]
