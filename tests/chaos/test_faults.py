"""Faults that are no kill: zombies, a broker that is away or hangs, databases restored from a backup."""

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from deploy.local.stack import ROOT, ServiceProcess, answers
from deploy.local.tap import read_all
from shared.events import ReportErased
from tests.chaos.trial import Trial, ordinary, running, trial_stack, twin, until_ready

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
            taken_over = await _metrics(other)
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


async def test_a_consumers_database_restored_from_a_backup_reads_on_and_counts_once(trial: Trial) -> None:
    """`stats` counts again exactly what the backup did not know."""
    stats, postgres = trial.stack.services["stats"], trial.stack.infrastructure.postgres
    backup = trial.stack.folder / "stats.dump"
    async with running(trial):
        await trial.send(100, 50.0)
        await asyncio.to_thread(postgres.dump, "stats", backup)
        await trial.send(200, 50.0)
        await trial.settled()
    stats.child.stop()
    await _restore(trial, "stats", backup)
    async with running(trial):
        await until_ready(stats)
        book = await trial.settled()
    assert book.balanced, book.faults


async def test_a_notify_restored_from_a_backup_takes_back_what_it_said_and_delivers_nothing_twice(
    trial: Trial,
) -> None:
    """Where reports went, what arrived and who acknowledged is on its own topic."""
    notify, postgres = trial.stack.services["notify"], trial.stack.infrastructure.postgres
    backup = trial.stack.folder / "notify.dump"
    async with running(trial):
        await trial.send(50, 50.0)
        await trial.settled()
        await asyncio.to_thread(postgres.dump, "notify", backup)
        await trial.send(100, 50.0)
        await trial.settled()
    arrived = len(trial.units.arrivals)
    notify.child.stop()
    await _restore(trial, "notify", backup)
    said = await _recover(notify, "--by", "an operator")
    assert "100 reports were routed after the backup; they are where they were" in said
    async with running(trial):
        await until_ready(notify)
        book = await trial.settled()
    assert book.balanced, book.faults
    assert len(trial.units.arrivals) == arrived


async def test_a_producers_database_restored_from_a_backup_refuses_until_it_has_recovered(
    trial: Trial,
) -> None:
    """The topics hold what the backup does not: no number is given twice, intake goes on, the mend is named.
    Then the numbers go on from the topic, what was accepted meanwhile arrives, and each report whose words
    are gone is said to be lost, once."""
    tips, postgres = trial.stack.services["tips"], trial.stack.infrastructure.postgres
    backup = trial.stack.folder / "tips.dump"
    async with running(trial):
        await asyncio.to_thread(postgres.dump, "tips", backup)
        await trial.send(100, 50.0)
        await trial.settled()
    tips.child.stop()
    await _restore(trial, "tips", backup)
    tips.child.start()
    await until_ready(tips)
    end = time.monotonic() + 20
    while "outbox_relay_refused 1.0" not in (metrics := await _metrics(tips)):
        assert time.monotonic() < end, metrics
        await asyncio.sleep(0.2)
    assert "outbox recover" in tips.child.log_tail()
    sent = await trial.send(5, 50.0)
    assert all(outcome.accepted for outcome in sent)
    assert "outbox_sent_total 0.0" in await _metrics(tips)
    assert tips.ready()

    assert "tips runs on this database; stop every tips" in await _recover(tips, "--dry-run", refused=True)
    tips.child.stop()
    for how in (["--dry-run"], ["--by", "an operator"]):
        said = await _recover(tips, *how)
        assert "100 reports came after the backup: their words, receipts and contacts are lost" in said
    async with running(trial):
        await until_ready(tips)
        book = await trial.settled()
        records = await read_all(trial.stack.infrastructure.bootstrap)
    assert book.balanced, book.faults
    lost = [seen.envelope.event for seen in records if isinstance(seen.envelope.event, ReportErased)]
    assert len({event.key for event in lost}) == len(lost) == 100
    assert {event.reason for event in lost} == {"lost"}


async def _recover(service: ServiceProcess, *how: str, refused: bool = False) -> str:
    """What `outbox recover` says; it ends with 0, or 1 where it must refuse."""
    ended = await asyncio.to_thread(
        subprocess.run,
        [*ordinary(service.name), "outbox", "recover", *how],
        cwd=ROOT,
        env=service.child.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == refused, ended.stdout + ended.stderr
    return str(ended.stdout + ended.stderr)


async def _restore(trial: Trial, database: str, backup: Path) -> None:
    postgres = trial.stack.infrastructure.postgres
    await postgres.drop_database(database)
    await postgres.create_database(database)
    await asyncio.to_thread(postgres.restore, backup, database)


async def _metrics(service: ServiceProcess) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{service.internal_url}/metrics") as response,
    ):
        return await response.text()
