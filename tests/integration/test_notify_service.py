"""The whole process: `python -m services.notify` with a real Kafka, a real PostgreSQL and the real tips."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web

from bench.records import partition_of
from deploy.local.processes import free_port
from deploy.local.town import local_copy, webhook_secrets
from shared import kafka, postgres
from shared.cloudevents import Envelope, from_record, to_record
from shared.events import DISPATCHES, REPORTS, Event
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration import service_process
from tests.integration.notify_harness import IBUURT, MIGRATIONS, ROOT, announced, kinds
from tests.integration.service_process import OPERATOR_TOKEN, running_process
from tests.integration.tips_server import NOTIFY_TOKEN, SECRET_WORDS, ibuurt, issue, running_tips, tip


def environment(dsn: str, bootstrap: str, tips_url: str, municipality: Path, secrets: Path) -> dict[str, str]:
    port = str(free_port())
    return service_process.environment(
        dsn,
        bootstrap,
        municipality,
        http_port=port,
        public_url=f"http://127.0.0.1:{port}",
        tips_url=tips_url,
        tips_token=NOTIFY_TOKEN,
        link_secret="l" * 32,
        subscription_secret="s" * 32,
        webhook_secrets=str(secrets),
        private_networks="127.0.0.0/8",
    )


@asynccontextmanager
async def unit_systems(port: int) -> AsyncIterator[list[dict[str, Any]]]:
    """A receiver for every unit, which has seen whatever comes; yields the bodies that came."""
    bodies: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.json_response({"acknowledged": True, "case": {"accepted": True}})

    app = web.Application()
    app.router.add_post("/reports", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield bodies
    finally:
        await runner.cleanup()


async def announce(bootstrap: str, envelopes: list[Envelope[Event]]) -> None:
    """Put tips' events on its topic, numbered as its relay does it; each one twice."""
    producer = kafka.producer(bootstrap, "test")
    await producer.start()
    numbers: dict[int, int] = {}
    try:
        for envelope in envelopes:
            record = to_record(envelope)
            partition = partition_of(record.key, REPORTS.partitions)
            numbers[partition] = numbers.get(partition, 0) + 1
            for _ in range(2):
                await producer.send_and_wait(
                    record.topic,
                    record.value,
                    key=record.key,
                    partition=partition,
                    headers=[*record.headers, ("ce_sequence", str(numbers[partition]).encode())],
                    timestamp_ms=record.timestamp,
                )
    finally:
        await producer.stop()


async def dispatches(bootstrap: str, count: int) -> list[Event]:
    """The first events on the topic of dispatches."""
    consumer = kafka.reader(bootstrap, "test")
    consumer.subscribe([DISPATCHES.name])
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            records = [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()
    return [from_record(record.topic, record.key, record.value, record.headers).event for record in records]


async def test_the_process_delivers_what_is_announced_and_says_it_on_kafka(
    database: MakeDatabase, own_kafka: str, tmp_path: Path
) -> None:
    """From Kafka to the unit and back: an issue and a tip, each announced twice, delivered and said once; the
    totals agree; the log names each two rules whose order decides, and no words, no link, no tip; it ends
    with 0 when asked to."""
    dsn, log, port = await database(), tmp_path / "log", free_port()
    await postgres.migrate(dsn, MIGRATIONS)
    await kafka.create_topics(own_kafka)
    town = local_copy(IBUURT, tmp_path, dict.fromkeys(ibuurt().units, port), tips_wait=False)
    rules = town / "routing.toml"
    nights = (
        '[[rules]]\nid = "nights"\nunit = "parking"\nreason = "front_desk_decides"\n'
        'when = { category = ["noise"], hour = ["00-06"] }\n\n'
    )
    rules.write_text(rules.read_text("utf-8").replace("[[rules]]", nights + "[[rules]]", 1), "utf-8")
    webhook_secrets(town, tmp_path / "secrets")
    (tmp_path / "keys").mkdir()
    async with (
        running_tips(await database("tips"), tmp_path / "keys") as tips,
        unit_systems(port) as bodies,
        aiohttp.ClientSession() as session,
    ):
        # Of weeks ago they would be late.
        tips.clock.now = datetime.now(UTC)
        env = environment(dsn, own_kafka, tips.internal_url, town, tmp_path / "secrets")
        async with running_process("notify", env, log) as process:
            for body in (issue(), tip()):
                assert (await tips.post(body)).status == 201
            envelopes = await announced(tips)
            begun = time.monotonic()
            await announce(own_kafka, envelopes)
            said = await dispatches(own_kafka, 6)
            print(
                f"ready after {process.seconds_to_ready:.2f} s, said after {time.monotonic() - begun:.2f} s"
            )
            for report in envelopes:
                about = [event for event in said if event.key == report.event.key]
                assert kinds(about) == ["ReportRouted", "ReportDelivered", "ReportAcknowledged"]
            assert sorted(body["data"]["report_id"] for body in bodies) == sorted(
                envelope.event.key for envelope in envelopes
            )
            async with session.get(
                f"{process.internal_url}/totals", headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"}
            ) as answer:
                totals = await answer.json()
            assert {totals[name] for name in ("accepted", "routed", "delivered", "acknowledged")} == {2}
            assert totals["open_deliveries"] == 0
            async with session.get(bodies[0]["data"]["answer_url"]) as page:
                assert page.status == 200
            memory = psutil.Process(process.child.pid).memory_info().rss
            print(f"{memory / 2**20:.0f} MiB")
        assert process.child.returncode == 0
    written = log.read_text()
    (tips_id,) = [envelope.event.key for envelope in envelopes if envelope.event.coarse]
    warned = [one for one in map(json.loads, written.splitlines()) if one["event"] == "rules_overlap"]
    assert {one["level"] for one in warned} == {"warning"}
    assert [(one["first"], one["second"], one["goes_to"], one["not_to"]) for one in warned] == [
        ("nights", "noise_in_the_centre", "parking", "inspection"),
        ("nights", "noise_elsewhere_north", "parking", "neighbourhood_police_north"),
        ("nights", "noise_elsewhere_south", "parking", "neighbourhood_police_south"),
    ]
    assert not [trace for trace in (SECRET_WORDS, "/answer/", tips_id) if trace in written]


async def test_a_missing_webhook_secret_is_named_with_its_mend(
    database: MakeDatabase, infrastructure: Infrastructure, tmp_path: Path
) -> None:
    """The process ends with 1 and a line that names the file and how to make it."""
    webhook_secrets(IBUURT, tmp_path / "secrets")
    (tmp_path / "secrets/parking").unlink()
    env = environment(
        await database(), infrastructure.bootstrap, "http://127.0.0.1:9", IBUURT, tmp_path / "secrets"
    )
    command = [sys.executable, "-m", "services.notify"]
    await asyncio.to_thread(subprocess.run, [*command, "migrate"], cwd=ROOT, env=env, check=True)
    ended = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=env, capture_output=True, timeout=30, check=False
    )
    last = ended.stderr.decode().strip().splitlines()[-1]
    assert ended.returncode == 1
    assert str(tmp_path / "secrets/parking") in last
    assert "make one with" in last
