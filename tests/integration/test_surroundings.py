"""What the watchdog tells of what a process stands on: Kafka, the topics, the database, the certificates."""

import asyncio
import contextlib
import math
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from prometheus_client import CollectorRegistry

from deploy.operator import certificates
from shared import kafka, postgres
from shared import watchdog as watchdog_module
from shared.cluster import Cluster, Where
from shared.events import REPORTS
from shared.expiry import AUTHORITY, expiries
from shared.metrics import ConsumerMetrics, RelayMetrics, SurroundingsMetrics
from shared.watchdog import Health, Watchdog
from tests.conftest import Infrastructure, Server
from tests.spine import Database, delete_topics, running, until

NOW = datetime.now(UTC).replace(microsecond=0)
CERTIFICATE = "kafka_certificate_expires_timestamp_seconds"


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "TICK_SECONDS", 0.05)


def watchdog(where: Where, pool: Any) -> tuple[Watchdog, CollectorRegistry]:
    """The watchdog of a `notify`, not yet running, and what it shows."""
    registry = CollectorRegistry()
    relay, consumer = RelayMetrics(registry), ConsumerMetrics(registry)
    surroundings = SurroundingsMetrics(registry)
    dog = Watchdog(pool, where, "notify", [REPORTS], set, Health(), relay, consumer, surroundings)
    return dog, registry


async def test_whether_kafka_answers_is_shown(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server
) -> None:
    """Also when it goes and comes back; the database is not meant by it."""
    dog, registry = watchdog(infrastructure.bootstrap, spine.pool)
    async with running(dog.run()):
        await until(lambda: registry.get_sample_value("kafka_up"))
        local_kafka.kill()
        await until(lambda: registry.get_sample_value("kafka_up") == 0, 30)
        assert registry.get_sample_value("database_up") == 1
        await asyncio.to_thread(local_kafka.start)
        await until(lambda: registry.get_sample_value("kafka_up"), 30)


async def test_whether_the_database_answers_is_shown(
    infrastructure: Infrastructure, spine: Database, local_postgres: Server
) -> None:
    """The same for PostgreSQL."""
    dog, registry = watchdog(infrastructure.bootstrap, spine.pool)
    async with running(dog.run()):
        await until(lambda: registry.get_sample_value("database_up"))
        local_postgres.kill()
        await until(lambda: registry.get_sample_value("database_up") == 0, 30)
        await asyncio.to_thread(local_postgres.start)
        await until(lambda: registry.get_sample_value("database_up"), 30)


async def test_a_missing_topic_is_shown_and_is_no_absence_of_kafka(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Kafka answers all the same; once the topic is there nothing is wrong any more."""
    await delete_topics(infrastructure.bootstrap, [REPORTS.name])
    dog, registry = watchdog(infrastructure.bootstrap, spine.pool)
    async with running(dog.run()):
        await until(lambda: registry.get_sample_value("kafka_topics_wrong"))
        assert registry.get_sample_value("kafka_up") == 1
        await kafka.create_topics(infrastructure.bootstrap)
        await until(lambda: registry.get_sample_value("kafka_topics_wrong") == 0)


async def test_the_age_of_the_oldest_open_transaction_is_shown(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """It grows while one is open, whoever of this role has opened it, and is 0 once none is."""
    dog, registry = watchdog(infrastructure.bootstrap, spine.pool)
    other = await postgres.connect(spine.dsn, "forgotten")
    try:
        async with running(dog.run()):
            async with other.transaction():
                await until(
                    lambda: (registry.get_sample_value("database_oldest_transaction_seconds") or 0) > 0.5
                )
            await until(lambda: registry.get_sample_value("database_oldest_transaction_seconds") == 0)
    finally:
        await other.close()


@dataclass
class Tls:
    """The real Kafka behind TLS: its certificate ends at `ends`, its authority's at `authority_ends`."""

    where: Cluster
    ends: datetime
    authority_ends: datetime


@contextlib.asynccontextmanager
async def behind_tls(
    bootstrap: str, folder: Path, authority: tuple[str, str], made: datetime
) -> AsyncIterator[Tls]:
    """Kafka's own listener here is unsecured; what ends the TLS before it shows a certificate of ours."""
    key, crt = certificates.new_certificate(*authority, ["127.0.0.1"], made)
    (folder / "kafka.pem").write_text(f"{key}\n{crt}\n")
    (folder / "ca.crt").write_text(authority[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "kafka.pem")
    host, _, port = bootstrap.partition(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        copying = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
        await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
        for task in copying:
            task.cancel()
        for end in (writer, back):
            end.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    listening = server.sockets[0].getsockname()[1]
    try:
        yield Tls(
            Cluster(f"127.0.0.1:{listening}", ca=folder / "ca.crt"),
            certificates.expires(crt),
            made + timedelta(days=certificates.AUTHORITY_DAYS),
        )
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


async def test_the_end_of_the_certificate_that_kafka_shows_is_read(
    infrastructure: Infrastructure, tmp_path: Path
) -> None:
    """And of the authority that it comes from, where the file holds others too."""
    authority = certificates.new_authority(NOW)
    async with behind_tls(infrastructure.bootstrap, tmp_path, authority, NOW) as tls:
        found = await expiries(tls.where)
        address = tls.where.bootstrap
        assert found == {address: tls.ends.timestamp(), AUTHORITY: tls.authority_ends.timestamp()}


async def test_a_broker_that_is_away_does_not_hide_the_others(
    infrastructure: Infrastructure, tmp_path: Path
) -> None:
    """Nothing listens at the first of the two addresses."""
    authority = certificates.new_authority(NOW)
    async with behind_tls(infrastructure.bootstrap, tmp_path, authority, NOW) as tls:
        both = replace(tls.where, bootstrap=f"127.0.0.1:1,{tls.where.bootstrap}")
        assert set(await expiries(both)) == {tls.where.bootstrap, AUTHORITY}


async def test_without_tls_there_is_no_certificate(infrastructure: Infrastructure) -> None:
    """As on a developer's own stack: nothing is told, so that nothing is alarming."""
    assert await expiries(infrastructure.bootstrap) == {}


async def test_it_is_read_under_the_services_event_loop_too(
    infrastructure: Infrastructure, tmp_path: Path
) -> None:
    """Services run on uvloop, which has a TLS of its own."""
    authority = certificates.new_authority(NOW)

    async def read(where: Where) -> Mapping[str, float]:
        found = await expiries(where)
        # A service's loop goes on; one that ended at once would cut the connection's end short.
        await asyncio.sleep(0.5)
        return found

    async with behind_tls(infrastructure.bootstrap, tmp_path, authority, NOW) as tls:
        found = await asyncio.to_thread(uvloop.run, read(tls.where))
    assert found[tls.where.bootstrap] == tls.ends.timestamp()


async def test_a_certificate_that_has_ended_is_still_told(
    infrastructure: Infrastructure, tmp_path: Path
) -> None:
    """Nobody can be shown it any more; the watchdog keeps the end that it saw, and asks soon again."""
    authority = certificates.new_authority(NOW - timedelta(days=certificates.DAYS))
    dog, registry = watchdog("", None)
    async with behind_tls(
        infrastructure.bootstrap, tmp_path, authority, NOW - timedelta(days=certificates.DAYS - 3)
    ) as tls:
        dog._bootstrap = tls.where
        await dog._look_at_certificates(0.0)
    label = {"certificate": tls.where.bootstrap}
    assert registry.get_sample_value(CERTIFICATE, label) == tls.ends.timestamp()
    ended = NOW - timedelta(days=certificates.DAYS + 1)
    async with behind_tls(infrastructure.bootstrap, tmp_path, authority, ended) as later:
        dog._bootstrap = later.where
        assert await expiries(later.where) == {}
        await dog._look_at_certificates(watchdog_module.CERTIFICATES_SECONDS)
        assert registry.get_sample_value(CERTIFICATE, label) == tls.ends.timestamp()
        await dog._look_at_certificates(watchdog_module.CERTIFICATES_SECONDS + 61)
        soon = watchdog_module.CERTIFICATES_RETRY_SECONDS
        assert dog._certificates_at == watchdog_module.CERTIFICATES_SECONDS + 61 + soon


async def test_certificates_are_looked_at_anew_when_kafka_is_back(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server
) -> None:
    """Not an hour later: whoever renewed one and restarted Kafka wants to see the alarm end."""
    dog, registry = watchdog(infrastructure.bootstrap, spine.pool)
    async with running(dog.run()):
        await until(lambda: registry.get_sample_value("kafka_up"))
        await until(lambda: dog._certificates_at > 0)
        dog._certificates_at = math.inf
        local_kafka.kill()
        await until(lambda: registry.get_sample_value("kafka_up") == 0, 30)
        await asyncio.to_thread(local_kafka.start)
        await until(lambda: dog._certificates_at < math.inf, 60)
