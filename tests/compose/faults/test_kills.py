"""Every container is killed at random, under load."""

import asyncio
import random
import time
from collections import Counter

from tests.chaos.subscribed import enter
from tests.compose.faults.trial import Trial, chance, number

KILLED = ("tips", "notify", "stats", "kafka", "postgres")
KILLS = "IBUURT_CHAOS_KILLS"
# The engine waits a minute at most, twice as long after each start that lasted less than ten seconds.
BACK_SECONDS = 150.0
# On a busy machine Kafka alone takes minutes to start.
READY_SECONDS = 420.0


async def test_containers_killed_at_random_under_load_leave_the_ledger_exact(trial: Trial) -> None:
    """Half of the kills are the engine's, after which somebody starts the container; half come from outside,
    as for want of memory, and the restart policy must. IBUURT_CHAOS_KILLS: how many, 12 unless told."""
    kills = number(KILLS, 12)
    chosen = chance()
    began = time.monotonic()
    async with trial.open_units(), trial.subscribed() as subscriber:
        async with trial.load():
            await asyncio.sleep(2)
            done = await _kill_all(trial, chosen, kills)
        book = await trial.settled()
        await enter(book, subscriber, trial.kafka)
    took = time.monotonic() - began
    print(f"ledger of {kills} kills in containers, {took:.0f} s: {book.line()}; {dict(done)}")
    assert done.total() == kills
    assert book.balanced, book.faults


async def _kill_all(trial: Trial, chosen: random.Random, kills: int) -> Counter[str]:
    """Each container as often as the others, in any order, whether the one before is ready again or not."""
    doomed = [KILLED[nth % len(KILLED)] for nth in range(kills)]
    chosen.shuffle(doomed)
    done: Counter[str] = Counter()
    for name in doomed:
        await asyncio.sleep(chosen.uniform(0.5, 4))
        await _until_running(trial, name)
        if chosen.random() < 0.5:
            await asyncio.to_thread(trial.kill, name)
            await asyncio.to_thread(trial.start, name)
            done[f"{name} by the engine"] += 1
        else:
            await asyncio.to_thread(trial.end, name)
            done[f"{name} from outside"] += 1
    for name in KILLED:
        await _until_running(trial, name)
    await asyncio.to_thread(trial.deployment.healthy, KILLED, READY_SECONDS)
    return done


async def _until_running(trial: Trial, name: str) -> None:
    end = time.monotonic() + BACK_SECONDS
    while not await asyncio.to_thread(trial.running, name):
        assert time.monotonic() < end, f"{name} was not started anew"
        await asyncio.sleep(0.2)
