"""A broker that is away or hangs: what is accepted meanwhile arrives afterwards."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from deploy.local.stack import answers
from tests.chaos.trial import Trial, running, trial_stack


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    with trial_stack() as made:
        yield made


async def test_reports_are_accepted_while_kafka_is_away_and_flow_when_it_is_back(trial: Trial) -> None:
    """A minute without Kafka: `tips` stays ready, every report gets its 201, and then all arrive."""
    kafka = trial.stack.infrastructure.kafka
    async with running(trial):
        kafka.kill()
        began = time.monotonic()
        sent = await trial.send(300, 10.0)
        assert all(outcome.accepted and outcome.tries == 1 for outcome in sent if not outcome.place_refused)
        while time.monotonic() - began < 60:
            assert answers(f"{trial.stack.services['tips'].internal_url}/ready")
            await asyncio.sleep(1)
        for service in trial.stack.services.values():
            assert answers(f"{service.internal_url}/live")
        await asyncio.to_thread(kafka.start)
        book = await trial.settled()
    assert book.balanced, book.faults


async def test_every_service_stops_within_20_seconds_of_sigterm_while_the_broker_hangs(trial: Trial) -> None:
    """The broker takes connections and says nothing; what was accepted meanwhile arrives afterwards."""
    kafka = trial.stack.infrastructure.kafka
    async with running(trial):
        await trial.settled()
    kafka.pause()
    took: dict[str, float] = {}
    try:
        await trial.send(20, 10.0)
        for name, service in trial.stack.services.items():
            began = time.monotonic()
            service.child.stop(timeout=30)
            took[name] = time.monotonic() - began
            assert service.child.wait() == 0, f"{name} had to be forced"
    finally:
        kafka.resume()
    print(took)
    assert max(took.values()) < 20, took
    async with running(trial):
        book = await trial.settled()
    assert book.balanced, book.faults
