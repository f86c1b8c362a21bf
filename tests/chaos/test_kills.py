"""kill -9 at named points and at random, of each service, Kafka and PostgreSQL, under load."""

import asyncio
import itertools
import os
import time
from collections.abc import Iterator

import pytest

from tests.chaos.kills import Killer, draw
from tests.chaos.subscribed import enter, subscribed
from tests.chaos.trial import Trial, running, trial_stack

KILLS = int(os.environ.get("IBUURT_CHAOS_KILLS", "30"))
SEED = int(os.environ.get("IBUURT_CHAOS_SEED", "7"))
# After so many everything must settle, and the ledger is looked at.
ROUND = 30
PATIENCE_SECONDS = 180
# Reports a second; a long run's load is small, so that its topics can be read whole after each round.
RATE = 40.0 if KILLS <= ROUND else 10.0


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    with trial_stack() as made:
        yield made


async def test_kills_under_load_leave_the_ledger_exact(trial: Trial) -> None:
    """Two in five at named points, each of which is reached; the others at random: lost 0, doubled 0, out of
    order 0, three services agree, and a webhook subscriber has what its topic holds. The kills follow from
    the seed."""
    began = time.monotonic()
    kills, killer = draw(KILLS, SEED), Killer(trial)
    print(f"\n{KILLS} kills, seed {SEED}", flush=True)
    async with running(trial), subscribed(trial) as subscriber:
        killer.give_fuses()
        visiting = asyncio.create_task(killer.visit_points())
        while not visiting.done():
            await trial.send(round(RATE), RATE)
        await visiting
        while some := list(itertools.islice(kills, ROUND)):
            suffering = asyncio.create_task(killer.carry_out(some))
            while not suffering.done():
                await trial.send(round(5 * RATE), RATE)
            await suffering
            book = await trial.settled(PATIENCE_SECONDS)
            await enter(book, subscriber, trial.stack.infrastructure.bootstrap)
            said = f"{killer.done.total()} kills in {time.monotonic() - began:.0f} s: {book.figures}"
            assert book.balanced, f"seed {SEED}, {said}: {book.faults}"
            print(said, flush=True)
    assert killer.done.total() == KILLS
    took = time.monotonic() - began
    print(f"ledger of {KILLS} kills, seed {SEED}, {took:.0f} s: {book.line()}; {killer.line()}")
