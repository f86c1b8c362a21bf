"""`python -m services.stats` as it is deployed: a process between a real Kafka and a real PostgreSQL."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.records import partition_of
from deploy.local.processes import free_port
from deploy.reconcile import Away, fetch
from services.stats.core.spec import spec_of
from services.stats.former import FOLDER
from shared import kafka, municipality, postgres
from shared.cloudevents import Envelope, to_record
from shared.events import Event
from tests.conftest import Infrastructure, MakeDatabase, Server
from tests.integration.service_process import OPERATOR_TOKEN, ROOT, ended, environment
from tests.integration.test_stats_apply import enveloped, many
from tests.spine import until

# A killed member of a group is waited for by the group before another may read on.
PATIENCE = 60.0


class Writer:
    """Writes to both topics as the relays of `tips` and `notify` do: numbered, in order."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = kafka.producer(bootstrap, "test")
        self._last: Counter[tuple[str, int]] = Counter()
        self._sent: list[tuple[Envelope[Any], int, int]] = []

    async def __aenter__(self) -> "Writer":
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(self, events: Sequence[Event]) -> None:
        numbered = []
        for envelope in enveloped(events):
            topic = envelope.event.topic
            partition = partition_of(envelope.event.key.encode(), topic.partitions)
            self._last[topic.name, partition] += 1
            numbered.append((envelope, partition, self._last[topic.name, partition]))
        self._sent += numbered
        await self._write(numbered)

    async def send_again(self) -> None:
        """Everything, with the same numbers, as after a relay's crash."""
        await self._write(self._sent)

    async def _write(self, numbered: Sequence[tuple[Envelope[Any], int, int]]) -> None:
        futures = []
        for envelope, partition, number in numbered:
            record = to_record(envelope)
            headers = [*record.headers, ("ce_sequence", str(number).encode())]
            futures.append(
                await self._producer.send(
                    record.topic, record.value, record.key, partition, record.timestamp, headers
                )
            )
        await asyncio.gather(*futures)


class Process:
    """The service, with its own environment, so that nothing of the test's is needed."""

    def __init__(self, bootstrap: str, dsn: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._own = {"internal_port": str(self.port), "signing_key": "k" * 32}
        self._bootstrap, self._dsn = bootstrap, dsn
        self.use(ROOT / "deploy/municipalities/ibuurt")

    def use(self, town: Path, **own: str) -> None:
        """From the next start on another folder, and other settings."""
        self._environment = environment(self._dsn, self._bootstrap, town, **self._own | own)

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return ended("stats", self._environment, *arguments)

    def start(self, log: Path) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "services.stats"],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output,
            )

    def get(self, path: str, token: str = OPERATOR_TOKEN) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def totals_when(self, accepted: int, acknowledged: int) -> dict[str, Any]:
        """The totals, as the operator's command reads them, once that many are there."""
        deadline = time.monotonic() + PATIENCE
        totals: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                totals = await asyncio.to_thread(fetch, "stats", self.url, OPERATOR_TOKEN)
            except Away:
                pass
            else:
                if (totals["accepted"], totals["acknowledged"]) >= (accepted, acknowledged):
                    return totals
            await asyncio.sleep(0.1)
        pytest.fail(f"after {PATIENCE} s the totals are {totals}")


async def test_every_report_is_counted_once_through_a_kill_and_repeats(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, tmp_path: Path
) -> None:
    """Dispatches before reports, SIGKILL at work, everything sent twice: each report counts once."""
    log = tmp_path / "stats.log"
    stats = Process(infrastructure.bootstrap, await database())
    refused = stats.command()
    assert refused.returncode == 1
    assert "run `docker compose up -d`, which migrates it first" in refused.stderr
    assert stats.command("migrate").returncode == 0
    assert "0 migrations applied" in stats.command("migrate").stdout

    told, sent = many(400, seed=9)
    process = stats.start(log)
    try:
        async with Writer(infrastructure.bootstrap) as writer:
            await writer.send(sent[:600])
            await writer.send(told[:250])
            await stats.totals_when(1, 1)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = stats.start(log)
            await writer.send_again()
            await writer.send([*told[250:], *sent[600:]])
            totals = await stats.totals_when(400, 400)
            await writer.send_again()
        assert totals == {
            "accepted": 400,
            "digest": totals["digest"],
            "routed": 400,
            "delivered": 400,
            "acknowledged": 400,
            "counted": 400,
        }
        assert stats.get("/totals", "another-token")[0] == 401
        assert stats.get("/ready")[0] == 200
        assert (await stats.totals_when(400, 400)) == totals
        _assert_no_metric_tells_a_count(stats.get("/metrics")[1])
        process.terminate()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
    assert not any(str(event.report_id) in log.read_text() for event in told)


def _assert_no_metric_tells_a_count(metrics: str) -> None:
    """Whoever saw a count of an open period grow could take the noise off its release."""
    assert "consumer_applied_total" in metrics
    labels = [line.partition("{")[2].partition("}")[0] for line in metrics.splitlines() if line[:1] != "#"]
    names = {pair.partition("=")[0] for label in labels for pair in label.split('",')}
    assert not names & {"area", "district", "category", "period", "kind", "unit", "report_id"}
    for value in ("oakwood", "graffiti", "2026-W", "2026-08"):
        assert value not in metrics


async def test_totals_are_refused_for_now_while_the_database_is_away(
    infrastructure: Infrastructure,
    local_postgres: Server,
    fresh_topics: None,
    database: MakeDatabase,
    tmp_path: Path,
) -> None:
    """With the time to ask again; it is no fault of the service's, and they come back with it."""
    stats = Process(infrastructure.bootstrap, await database())
    assert stats.command("migrate").returncode == 0
    process = stats.start(tmp_path / "stats.log")
    try:
        assert (await stats.totals_when(0, 0))["accepted"] == 0
        await asyncio.to_thread(local_postgres.kill)
        status, problem = await asyncio.to_thread(stats.get, "/totals")
        assert (status, json.loads(problem)["type"]) == (503, "urn:ibuurt:problem:not-now")
        await asyncio.to_thread(local_postgres.start)
        assert (await stats.totals_when(0, 0))["accepted"] == 0
    finally:
        process.kill()
        process.wait()


async def test_a_stats_that_was_promised_otherwise_does_not_start(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, tmp_path: Path
) -> None:
    """What its folder asks for has changed under one version: it ends with what to do. The past of the folder
    as it was is closed by a command, once."""
    dsn = await database()
    stats = Process(infrastructure.bootstrap, dsn)
    assert stats.command("migrate").returncode == 0
    process = stats.start(tmp_path / "stats.log")
    try:
        await stats.totals_when(0, 0)
        connection = await postgres.connect(dsn, "test")
        drawn = "SELECT EXISTS (SELECT FROM period WHERE table_id = 'incidents.month')"
        await until(lambda: connection.fetchval(drawn), PATIENCE)
        await connection.close()
        for how in (["--dry-run"], ["--by", "eva"]):
            closed = stats.command("close-history", "--subject", "reports", *how)
            assert closed.returncode == 0, closed.stderr
        closed = stats.command("close-history", "--subject", "reports", "--by", "eva")
        assert closed.returncode == 1
        assert "no past of reports waits to be closed" in closed.stderr
        process.terminate()
        assert process.wait(timeout=20) == 0
        town = shutil.copytree(ROOT / "deploy/municipalities/ibuurt", tmp_path / "town")
        file = town / "statistics.toml"
        file.write_text(file.read_text("utf-8").replace("took = 7", "took = 8"), "utf-8")
        stats.use(town)
        refused = await asyncio.to_thread(stats.command)
        assert refused.returncode == 1
        assert "ibuurt-1 has promised otherwise; put them back, or write the next version" in refused.stderr
        kept = spec_of(municipality.read(town)).model_dump_json()
        (town / FOLDER).mkdir()
        (town / FOLDER / "ibuurt-1.json").write_text(kept, "utf-8")
        file.write_text(file.read_text("utf-8").replace("version = 1", "version = 2"), "utf-8")
        refused = await asyncio.to_thread(stats.command)
        assert refused.returncode == 1
        assert "ibuurt-1.json is not the ibuurt-1 that this database has kept" in refused.stderr
        stats.use(ROOT / "deploy/municipalities/ibuurt", signing_key="short")
        refused = await asyncio.to_thread(stats.command)
        assert refused.returncode == 1
        assert "IBUURT_SIGNING_KEY" in refused.stderr
    finally:
        process.kill()
        process.wait()
