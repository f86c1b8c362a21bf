"""A process that stands still while its twin takes over, and wakes as a zombie."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.chaos.trial import Trial, metrics_of, running, trial_stack, twin, until_ready

# Longer than a relay's session (15 s) and a consumer's (10 s) may stand still.
ZOMBIE_SECONDS = 22


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    with trial_stack() as made:
        yield made


@pytest.mark.parametrize("name", ["tips", "notify", "stats"])
async def test_a_paused_process_that_wakes_as_a_zombie_doubles_nothing(trial: Trial, name: str) -> None:
    """Its twin takes over relay and partitions meanwhile; what the zombie still holds changes nothing."""
    service = trial.stack.services[name]
    other = twin(service, trial.stack.folder)
    async with running(trial):
        await until_ready(service)
        other.child.start()
        try:
            await until_ready(other)
            url = other.url if name == "tips" else None
            sending = asyncio.create_task(trial.send(1_000, 40.0, url=url))
            await asyncio.sleep(2)
            service.child.pause()
            await asyncio.sleep(ZOMBIE_SECONDS)
            taken_over = await metrics_of(other)
            if name != "stats":
                assert "outbox_relay_active 1.0" in taken_over
            assert re.search(r"^consumer_applied_total\{.*\} [1-9]", taken_over, re.MULTILINE), taken_over
            service.child.resume()
            await sending
            book = await trial.settled()
        finally:
            service.child.resume()
            other.child.stop()
    assert book.balanced, book.faults
