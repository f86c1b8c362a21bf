"""The services' wall clock is set forward and back under load, as an operator or a time server does it."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from shared.errors import Refusal
from tests.chaos.clocks import Clock, trial_with_clock
from tests.chaos.trial import Trial, running, until_ready

HOUR = 3_600
RATE = 20.0
SECONDS = 8
# What may pass from the step until nothing waits any more.
SETTLED_SECONDS = 60


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[Trial, Clock]]:
    try:
        with trial_with_clock() as made:
            yield made
    except Refusal as refusal:
        pytest.skip(str(refusal))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(0, HOUR, id="forward by an hour"),
        pytest.param(HOUR, 0, id="back by an hour"),
        pytest.param(0, -5, id="back by five seconds"),
        # While it is so far ahead Kafka takes nothing; what was accepted goes when it is right again.
        pytest.param(26 * HOUR, 0, id="back by more than a day"),
    ],
)
async def test_a_step_of_the_clock_loses_doubles_and_holds_up_nothing(
    started: tuple[Trial, Clock], before: int, after: int
) -> None:
    """One unit is away while the clock is set: what is to be tried again must not wait for an hour to pass
    once more."""
    trial, clock = started
    clock.set(before)
    async with running(trial):
        for service in trial.stack.services.values():
            await until_ready(service)
        sending = asyncio.create_task(trial.send(round(RATE * SECONDS), RATE))
        await asyncio.sleep(SECONDS / 3)
        away = max(trial.units.ports, key=lambda unit: sum(one.unit == unit for one in trial.units.arrivals))
        await trial.units.close(away)
        await asyncio.sleep(SECONDS / 4)
        clock.set(after)
        stepped = time.monotonic()
        await asyncio.sleep(1.5)
        await trial.units.open(away)
        await sending
        book = await trial.settled(SETTLED_SECONDS)
        took = time.monotonic() - stepped
        log = {name: service.child.log_tail() for name, service in trial.stack.services.items()}
    assert book.balanced, (book.faults, log)
    assert took < SETTLED_SECONDS
    print(f"\nledger of a clock from {before:+d} to {after:+d} s, settled after {took:.1f} s: {book.line()}")
