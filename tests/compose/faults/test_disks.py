"""A disk is full under PostgreSQL, and under Kafka, with load: then there is space again."""

import asyncio
import time
from collections.abc import Callable

from tests.compose.faults.trial import Trial, answers

PATIENCE_SECONDS = 240.0
# On a busy machine Kafka alone takes minutes to start.
BACK_SECONDS = 420.0
# A record and a new file for the log of what is written: what there was beforehand is soon used up.
SWITCH = "SELECT pg_logical_emit_message(true, 'test', 'x'); SELECT pg_switch_wal()"


async def test_a_full_disk_under_postgresql_refuses_reports_and_loses_none(trial: Trial) -> None:
    """No space for rows, then none for the log, at which PostgreSQL itself ends and is tried again: reports
    get 503 or no answer, never half of a report; with space again all goes on without anybody."""
    before = len(trial.outcomes)
    async with trial.open_units():
        async with trial.load():
            try:
                await asyncio.sleep(3)
                began = time.monotonic()
                await asyncio.to_thread(trial.fill, "postgres")
                await _until(trial, lambda: answers(trial.sending)[503] > 0, "a report is refused with 503")
                await _until(trial, lambda: _panic(trial), "PostgreSQL cannot write its log")
                await asyncio.sleep(15)
            finally:
                await asyncio.to_thread(trial.make_space, "postgres")
            freed = time.monotonic()
            accepted = answers(trial.sending)[201]
            await _until(trial, lambda: answers(trial.sending)[201] > accepted, "reports are accepted again")
            back = time.monotonic()
        book = await trial.settled()
    seen = answers(trial.outcomes[before:])
    took = f"full for {freed - began:.0f} s, back after {back - freed:.0f} s"
    print(f"ledger of PostgreSQL's disk, {took}, answers {dict(seen)}; {book.line()}")
    assert set(seen) <= {0, 201, 422, 503}
    assert book.balanced, book.faults


async def test_a_full_disk_under_kafka_lets_reports_wait(trial: Trial) -> None:
    """Kafka ends and is tried again; every report is accepted at its first try and waits. With space again
    all goes on without anybody."""
    before = len(trial.outcomes)
    async with trial.open_units():
        async with trial.load():
            try:
                await asyncio.sleep(3)
                began = time.monotonic()
                await asyncio.to_thread(trial.fill, "kafka")
                await _until(trial, lambda: not trial.running("kafka"), "Kafka ends")
                await asyncio.sleep(15)
            finally:
                await asyncio.to_thread(trial.make_space, "kafka")
            freed = time.monotonic()
            await asyncio.to_thread(trial.deployment.healthy, ["kafka"], BACK_SECONDS)
            back = time.monotonic()
        book = await trial.settled()
    seen = answers(trial.outcomes[before:])
    took = f"full for {freed - began:.0f} s, back after {back - freed:.0f} s"
    print(f"ledger of Kafka's disk, {took}, answers {dict(seen)}; {book.line()}")
    assert set(seen) <= {201, 422}
    assert book.balanced, book.faults


async def _until(trial: Trial, holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end, f"not: {what}; answers {dict(answers(trial.sending))}"
        await asyncio.sleep(0.5)


def _panic(trial: Trial) -> bool:
    """Use up a file of the log; whether there was no space for the next."""
    psql = 'PGPASSWORD=$(cat /run/secrets/password) psql -q -h 127.0.0.1 -U postgres -c "$1"'
    trial.deployment.tried("exec", "-T", "postgres", "sh", "-c", psql, "psql", SWITCH)
    return "PANIC" in trial.deployment.run("logs", "--no-log-prefix", "--tail", "200", "postgres")
