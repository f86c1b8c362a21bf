"""Databases restored from a backup: of a consumer, of one that is both, of a producer."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.stack import ROOT, ServiceProcess
from deploy.local.tap import read_all
from shared.events import ReportErased
from tests.chaos.trial import Trial, metrics_of, ordinary, running, trial_stack, until_ready


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    with trial_stack() as made:
        yield made


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
    while "outbox_relay_refused 1.0" not in (metrics := await metrics_of(tips)):
        assert time.monotonic() < end, metrics
        await asyncio.sleep(0.2)
    assert "outbox recover" in tips.child.log_tail()
    sent = await trial.send(5, 50.0)
    assert all(outcome.accepted for outcome in sent)
    assert "outbox_sent_total 0.0" in await metrics_of(tips)
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
