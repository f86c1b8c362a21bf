"""Webhook subscriptions of the whole process: `python -m services.notify`, a real Kafka and PostgreSQL."""

import uuid
from datetime import timedelta
from pathlib import Path

import aiohttp

from bench.records import partition_of
from deploy.local.town import webhook_secrets
from services.notify import queries_subscriptions as queries
from shared import kafka, postgres
from shared.cloudevents import Envelope
from shared.events import STATISTICS, Event
from tests.conftest import MakeDatabase
from tests.integration.mail_server import mailbox
from tests.integration.notify_harness import IBUURT, MIGRATIONS, SENDER
from tests.integration.service_process import ask, running_process
from tests.integration.subscription_harness import (
    MASTER,
    Subscriptions,
    changed,
    gone,
    released,
    running_subscriptions,
    versions,
)
from tests.integration.test_notify_service import environment
from tests.spine import Writer, until, writing

A, B = (uuid.UUID(int=number) for number in (1, 2))


async def write(writer: Writer, numbers: dict[tuple[str, int], int], *envelopes: Envelope[Event]) -> None:
    """Put events on their topics, numbered as a relay does it; each one twice."""
    for envelope in envelopes:
        topic = envelope.event.topic
        place = topic.name, partition_of(envelope.event.key.encode(), topic.partitions)
        numbers[place] = numbers.get(place, 0) + 1
        for _ in range(2):
            await writer.event(place[1], numbers[place], envelope)


async def test_the_process_calls_who_was_added_while_it_runs(
    database: MakeDatabase, own_kafka: str, tmp_path: Path
) -> None:
    """From Kafka to the subscriber, each event written twice and told once; nobody writes statistics for a
    while, and that is no fault; started anew it goes on, and with a mail server it tells the contact of one
    that was disabled. The log names no address and no contact."""
    dsn, log = await database(), tmp_path / "log"
    await postgres.migrate(dsn, MIGRATIONS)
    await kafka.create_topics(own_kafka)
    webhook_secrets(IBUURT, tmp_path / "secrets")
    env = environment(dsn, own_kafka, "http://127.0.0.1:9", IBUURT, tmp_path / "secrets")
    env |= {"IBUURT_SUBSCRIPTION_SECRET": MASTER, "IBUURT_RETRY_CAP_SECONDS": "0.2"}
    numbers: dict[tuple[str, int], int] = {}
    async with (
        running_subscriptions(dsn) as subs,
        writing(own_kafka) as writer,
        aiohttp.ClientSession() as session,
    ):
        async with running_process("notify", env, log) as process:
            await _added(subs, env, "parks", "IssueChanged")
            await _added(subs, env, "open-data", "StatisticsReleased")
            await write(writer, numbers, changed(A, 1), changed(B, 1), changed(A, 2), gone(B))
            await subs.seen(3, "parks")
            await subs.settled()
            async with session.get(f"{process.internal_url}/metrics") as answer:
                metrics = await answer.text()
            assert 'subscription_deliveries_total{result="done"}' in metrics
            assert f'consumer_gap{{partition="0",topic="{STATISTICS.name}"}} 1' not in metrics
        assert process.child.returncode == 0
        assert "gis@" not in log.read_text()
        assert "/hooks/" not in log.read_text()
        await write(writer, numbers, released(1), changed(A, 3), released(2))
        failed = {await subs.subscribe("failing", categories=frozenset({"graffiti"})): "http_503"}
        async with subs.pool.acquire() as connection:
            for _ in range(2):
                await queries.note_failures(connection, failed, subs.clock(), timedelta())
        with mailbox() as box:
            smtp = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(box.port), "SMTP_TLS": "none"}
            env |= {f"IBUURT_{name}": value for name, value in (smtp | {"EMAIL_FROM": SENDER}).items()}
            async with running_process("notify", env, log):
                await subs.seen(2, "open-data")
                await subs.settled()
                await until(lambda: box.taken)
        assert [one["To"] for one in box.taken] == ["gis@parks.example"]
        assert process.child.returncode == 0
    assert versions(subs.of("parks"), A) == [1, 2, 3]
    # Where its state had not gone yet when it was gone, only the word goes.
    assert versions(subs.of("parks"), B) in ([1, 0], [0])
    assert [call.data["number"] for call in subs.of("open-data")] == [1, 2]
    assert {call.signed_by for call in subs.calls} == {(1,)}
    assert "gis@" not in log.read_text()


async def _added(subs: Subscriptions, env: dict[str, str], name: str, type_: str) -> None:
    url = f"http://127.0.0.1:{subs.port}/hooks/{name}"
    order = ("--name", name, "--contact", "gis@parks.example", "--url", url, "--type", type_)
    made = await ask("notify", env, "subscriptions", "add", *order, "--by", "jansen")
    (line,) = [line for line in made.splitlines() if line.startswith("id ")]
    subs.ids[name] = uuid.UUID(line.split()[1])
