"""kill -9 at named points and at random, of each service, Kafka and PostgreSQL, under load."""

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from deploy.local.kafka import Kafka
from deploy.local.postgres import Postgres
from deploy.local.stack import ServiceProcess
from tests.chaos.trial import Trial, doomed, running, trial_stack, until_ready

NAMED = [
    ("tips", "after claim", 3),
    ("tips", "after send", 3),
    ("tips", "before the mark", 3),
    ("notify", "after claim", 3),
    ("notify", "after send", 3),
    ("notify", "before the mark", 3),
    ("notify", "inside apply", 2),
    ("notify", "after apply, before the offset commit", 2),
    ("notify", "between a delivery and its record", 5),
    ("stats", "inside apply", 3),
    ("stats", "after apply, before the offset commit", 3),
    ("tips", "after apply, before the offset commit", 3),
]
AT_RANDOM = ["tips", "notify", "stats"] * 4 + ["kafka", "postgres"] * 3
RATE = 40.0


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    with trial_stack() as made:
        yield made


async def test_thirty_kills_under_load_leave_the_ledger_exact(trial: Trial) -> None:
    """12 kills at named points and 18 at random: lost 0, doubled 0, out of order 0, three services agree."""
    async with running(trial):
        kills = asyncio.create_task(_kill_all(trial))
        while not kills.done():
            await trial.send(200, RATE)
        assert await kills == len(NAMED) + len(AT_RANDOM) == 30
        book = await trial.settled()
    print(book.figures)
    assert book.balanced, book.faults


async def _kill_all(trial: Trial) -> int:
    for name, point, hits in NAMED:
        await _die_at(trial.stack.services[name], point, hits)
    chance = random.Random(7)
    chance.shuffle(AT_RANDOM)
    infrastructure = trial.stack.infrastructure
    servers: dict[str, Kafka | Postgres] = {
        "kafka": infrastructure.kafka,
        "postgres": infrastructure.postgres,
    }
    for name in AT_RANDOM:
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        if server := servers.get(name):
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        else:
            trial.stack.services[name].child.kill()
    return len(NAMED) + len(AT_RANDOM)


async def _die_at(service: ServiceProcess, point: str, hits: int) -> None:
    """Restart the service as one that dies at the point, and wait until it has."""
    await until_ready(service)
    service.child.argv = doomed(service.name, point, hits)
    doomed_since = service.child.pid
    service.child.kill()
    end = time.monotonic() + 30
    # First the keeper starts the doomed one, then, after its death, the ordinary one.
    pids = {doomed_since}
    while len(pids) < 3:
        assert time.monotonic() < end, f"{service.name} did not die {point!r}: {service.child.log_tail()}"
        if service.child.running:
            pids.add(service.child.pid)
        await asyncio.sleep(0.05)
