"""The network between every two parts is slow, narrow, silent or broken for a while, under load."""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from shared.errors import Refusal
from tests.chaos.network import FAULTS, PAIRS, Network, proxied_trial
from tests.chaos.trial import running, until_ready

LONG = bool(os.environ.get("IBUURT_CHAOS_LONG"))
# The short run: every pair once, every fault twice.
SHORT = [(pair, list(FAULTS)[number % len(FAULTS)]) for number, pair in enumerate(PAIRS)]
EVERY = [(pair, fault) for pair in PAIRS for fault in FAULTS]
RATE = 15.0


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    try:
        with proxied_trial() as made:
            yield made
    except Refusal as refusal:
        pytest.skip(str(refusal))


@pytest.mark.parametrize(("pair", "fault"), EVERY if LONG else SHORT)
async def test_a_fault_of_the_network_between_two_loses_and_doubles_nothing(
    network: Network, pair: str, fault: str
) -> None:
    """While it lasts and afterwards everything is counted and delivered once, in order."""
    trial, what = network.trial, FAULTS[fault]
    seconds = what.seconds[LONG]
    async with running(trial):
        for service in trial.stack.services.values():
            await until_ready(service)
        before = len(trial.outcomes)
        sending = asyncio.create_task(trial.send(round((seconds + 2) * RATE), RATE))
        await asyncio.sleep(1)
        network.suffer(pair, what)
        await asyncio.sleep(seconds)
        network.cure()
        cured = time.monotonic()
        await sending
        book = await trial.settled()
        took = time.monotonic() - cured
    assert len(trial.outcomes) > before
    assert book.balanced, book.faults
    print(f"\nledger of {pair}, {fault} for {seconds:.0f} s, settled after {took:.1f} s: {book.line()}")
