"""The whole process: `python -m services.tips` with a real Kafka and PostgreSQL."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from bench.records import partition_of
from shared import kafka, postgres
from shared.cloudevents import Envelope, from_record, to_record
from shared.events import DISPATCHES, REPORTS, ReportAccepted, ReportRouted
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration import service_process
from tests.integration.service_process import OPERATOR_TOKEN, Process, running_process
from tests.integration.tips_server import (
    IBUURT,
    MIGRATIONS,
    NOTIFY_TOKEN,
    PUBLIC_URL,
    SECRET_WORDS,
    issue,
    new_key,
    photo_folder,
    tip,
)


def environment(dsn: str, bootstrap: str, key_folder: Path) -> dict[str, str]:
    return service_process.environment(
        dsn,
        bootstrap,
        IBUURT,
        receipt_pepper="r" * 32,
        lookup_pepper="l" * 32,
        key_folder=str(key_folder),
        photo_store=str(photo_folder(key_folder)),
        notify_token=NOTIFY_TOKEN,
        public_url=PUBLIC_URL,
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"IBUURT_LOOKUP_PEPPER": "r" * 32}, "IBUURT_LOOKUP_PEPPER"),
        ({"IBUURT_RECEIPT_PEPPER": "short"}, "IBUURT_RECEIPT_PEPPER"),
        ({"IBUURT_KEY_FOLDER": "/nowhere/keys"}, "IBUURT_KEY_FOLDER"),
        ({"IBUURT_PUBLIC_URL": "reports.example"}, "IBUURT_PUBLIC_URL"),
        ({"IBUURT_PHOTO_STORE": "/nowhere/photos"}, "IBUURT_PHOTO_STORE"),
        ({"IBUURT_PHOTO_STORE": "memory:///"}, "IBUURT_PHOTO_STORE"),
        ({"IBUURT_NOTIFY_TOKEN": "short"}, "IBUURT_NOTIFY_TOKEN"),
    ],
)
async def test_a_setting_that_cannot_be_used_is_named_with_its_mend(
    changes: dict[str, str],
    named: str,
    database: MakeDatabase,
    infrastructure: Infrastructure,
    tmp_path: Path,
) -> None:
    """The process ends with 1 and one line that names the setting and says what to do."""
    env = environment(await database(), infrastructure.bootstrap, tmp_path)
    assert (await asyncio.to_thread(service_process.ended, "tips", env, "migrate")).returncode == 0
    ended = await asyncio.to_thread(service_process.ended, "tips", env | changes)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1
    assert last.startswith(f"tips: {named}")
    assert ";" in last


async def test_the_process_takes_a_report_sends_its_event_and_applies_what_comes_back(
    database: MakeDatabase, own_kafka: str, tmp_path: Path
) -> None:
    """From HTTP to Kafka and back, through relay, fence and consumer; it ends with 0 when asked to, and its
    log has neither words nor a line for the tip."""
    dsn, log, keys = await database(), tmp_path / "log", tmp_path / "keys"
    keys.mkdir()
    await postgres.migrate(dsn, MIGRATIONS)
    await kafka.create_topics(own_kafka)
    env = environment(dsn, own_kafka, keys)
    async with running_process("tips", env, log) as process, aiohttp.ClientSession() as session:
        answer = await sent(session, process, tip())
        event = await accepted_on_kafka(own_kafka)
        assert not [trace for trace in ("report_accepted", "/v1/reports", "POST") if trace in log.read_text()]
        assert (event.kind, event.category) == ("tip", "drug_dealing")
        await dispatch(own_kafka, event.report_id)
        report = await until_routed(session, process, answer["receipt"])
        assert [step["status"] for step in report["timeline"]] == ["accepted", "routed"]
        headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        async with session.get(f"{process.internal_url}/totals", headers=headers) as totals_answer:
            totals = await totals_answer.json()
        assert (totals["accepted"], totals["routed"]) == (1, 1)
        async with session.get(f"{process.internal_url}/metrics") as answered:
            metrics = await answered.text()
        assert "photo_store_away 0.0" in metrics
        # When something was first counted, which may be when a tip came.
        assert "_created" not in metrics
        await sent(session, process, issue())
        memory = psutil.Process(process.child.pid).memory_info().rss
        print(f"ready after {process.seconds_to_ready:.2f} s, {memory / 2**20:.0f} MiB")
    assert process.child.returncode == 0
    assert SECRET_WORDS not in log.read_text()
    assert str(event.report_id) not in log.read_text()
    assert "report_accepted" in log.read_text()


async def test_it_does_not_start_without_the_keys_that_its_reports_are_under(
    database: MakeDatabase, infrastructure: Infrastructure, tmp_path: Path
) -> None:
    """Nor makes them anew: what came under those would be lost when the folder is restored. Once they are
    given up, it starts."""
    dsn, keys, empty = await database(), tmp_path / "keys", tmp_path / "empty"
    keys.mkdir()
    empty.mkdir()
    env = environment(dsn, infrastructure.bootstrap, keys)
    lost = env | {"IBUURT_KEY_FOLDER": str(empty)}
    await postgres.migrate(dsn, MIGRATIONS)
    async with running_process("tips", env, tmp_path / "log") as process, aiohttp.ClientSession() as session:
        await sent(session, process, tip())
    name = f"{datetime.now(UTC):%Y-%m}-led-365"
    for arguments in ([], ["retention", "run", "--by", "jansen"]):
        ended = await asyncio.to_thread(service_process.ended, "tips", lost, *arguments)
        last = ended.stderr.strip().splitlines()[-1]
        assert ended.returncode == 1
        assert name in last
        assert "restore them from the newest keys.tar" in last
        assert not (empty / name).exists()
    given_up = await asyncio.to_thread(
        service_process.ended, "tips", lost, "keys", "destroy", name, "--even-so", "--by", "jansen"
    )
    assert given_up.returncode == 0, given_up.stderr
    async with running_process("tips", lost, tmp_path / "log") as process, aiohttp.ClientSession() as session:
        await sent(session, process, tip())


async def sent(session: aiohttp.ClientSession, process: Process, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Idempotency-Key": new_key()}
    async with session.post(f"{process.url}/v1/reports", json=body, headers=headers) as answer:
        assert answer.status == 201
        read: dict[str, Any] = await answer.json()
        return read


async def accepted_on_kafka(bootstrap: str) -> ReportAccepted:
    """The first event on the topic of reports."""
    consumer = kafka.reader(bootstrap, "test")
    consumer.subscribe([REPORTS.name])
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            record = await consumer.getone()
    finally:
        await consumer.stop()
    assert record.timestamp % 3_600_000 == 0
    event = from_record(record.topic, record.key, record.value, record.headers).event
    assert isinstance(event, ReportAccepted)
    return event


async def dispatch(bootstrap: str, report_id: uuid.UUID) -> None:
    """Route the report, as `notify` would."""
    now = datetime.now(UTC)
    event = ReportRouted(
        report_id=report_id,
        kind="tip",
        version=1,
        unit="neighbourhood_police_south",
        rule="police_without_area",
        rules_version="abc",
        reason="police_on_duty",
        acknowledge_by=now + timedelta(hours=24),
        resolve_by=now + timedelta(hours=336),
    )
    record = to_record(Envelope.of(event, id=uuid.uuid4(), source="/ibuurt/notify", now=now))
    producer = kafka.producer(bootstrap, "test")
    await producer.start()
    try:
        await producer.send_and_wait(
            record.topic,
            record.value,
            key=record.key,
            partition=partition_of(record.key, DISPATCHES.partitions),
            headers=[*record.headers, ("ce_sequence", b"1")],
            timestamp_ms=record.timestamp,
        )
    finally:
        await producer.stop()


async def until_routed(session: aiohttp.ClientSession, process: Process, receipt: str) -> dict[str, Any]:
    headers = {"Authorization": f"Receipt {receipt}"}
    async with asyncio.timeout(20):
        while True:
            async with session.get(f"{process.url}/v1/reports/mine", headers=headers) as answer:
                report: dict[str, Any] = (await answer.json())["report"]
            if report["status"] == "routed":
                return report
            await asyncio.sleep(0.1)
