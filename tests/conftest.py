"""What all tests share: Kafka and PostgreSQL, started once per session, and a database per test."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from deploy.local.infrastructure import local_infrastructure
from deploy.local.postgres import create_database, drop_database
from shared import postgres
from tests.containers import container_servers, docker

ROOT = Path(__file__).parents[1]
EXTERNAL = ("IBUURT_TEST_KAFKA_BOOTSTRAP", "IBUURT_TEST_POSTGRES_DSN")
SERVERS = "IBUURT_TEST_SERVERS"
MakeDatabase = Callable[..., Awaitable[str]]


class Server(Protocol):
    """A Kafka or a PostgreSQL that this session has started: as a process (deploy/local) or in a container.
    Its data outlives `kill`, and `start` takes it up again on the same port."""

    @property
    def running(self) -> bool:
        """Whether it is alive (also when paused)."""

    def start(self) -> None:
        """Start it and wait until it answers."""

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""

    def stop(self) -> None:
        """SIGTERM; returns when it has ended in its own order."""

    def pause(self) -> None:
        """Connections stay open and nothing answers."""

    def resume(self) -> None:
        """It goes on; no error when it was not paused."""


@dataclass(frozen=True)
class Infrastructure:
    """Where Kafka (host:port) and PostgreSQL (DSN of a superuser) are; the servers themselves when this
    session has started them, None when they are somebody else's."""

    bootstrap: str
    admin_dsn: str
    kafka: Server | None = None
    postgres: Server | None = None


@pytest.fixture(scope="session")
def infrastructure() -> Iterator[Infrastructure]:
    """Kafka and PostgreSQL for the whole session: of the local stack, or with IBUURT_TEST_SERVERS=containers
    in containers. With IBUURT_TEST_KAFKA_BOOTSTRAP and IBUURT_TEST_POSTGRES_DSN set, those are used and
    nothing is started."""
    external = [os.environ.get(name, "") for name in EXTERNAL]
    if all(external):
        yield Infrastructure(bootstrap=external[0], admin_dsn=external[1])
        return
    if any(external):
        pytest.exit(f"set both of {' and '.join(EXTERNAL)}, or neither", returncode=2)
    chosen = os.environ.get(SERVERS) or "local"
    if chosen not in {"local", "containers"}:
        pytest.exit(f"{SERVERS} is local or containers, not {chosen}; or leave it out", returncode=2)
    if chosen == "containers":
        try:
            docker()
        except LookupError as why:
            pytest.exit(f"{SERVERS}={chosen}: {why}", returncode=2)
    with local_infrastructure() if chosen == "local" else container_servers() as servers:
        yield Infrastructure(servers.bootstrap, servers.admin_dsn, servers.kafka, servers.postgres)


@pytest.fixture
def local_kafka(infrastructure: Infrastructure) -> Iterator[Server]:
    """The session's Kafka, to kill, pause or stop; it runs again after the test."""
    if infrastructure.kafka is None:
        pytest.skip(f"kills Kafka, and {EXTERNAL[0]} names one that is not ours")
    yield infrastructure.kafka
    infrastructure.kafka.resume()
    if not infrastructure.kafka.running:
        infrastructure.kafka.start()


@pytest.fixture
def local_postgres(infrastructure: Infrastructure) -> Iterator[Server]:
    """The session's PostgreSQL, to kill, pause or stop; it runs again after the test."""
    if infrastructure.postgres is None:
        pytest.skip(f"kills PostgreSQL, and {EXTERNAL[1]} names one that is not ours")
    yield infrastructure.postgres
    infrastructure.postgres.resume()
    if not infrastructure.postgres.running:
        infrastructure.postgres.start()


@pytest.fixture(scope="session")
def migrated(infrastructure: Infrastructure) -> Iterator[dict[str, str]]:
    """The database of each service that is only copied, by the service's name: a copy takes half the time of
    the migrations."""
    names: dict[str, str] = {}
    yield names
    for name in names.values():
        asyncio.run(drop_database(infrastructure.admin_dsn, name))


@pytest_asyncio.fixture
async def database(infrastructure: Infrastructure, migrated: dict[str, str]) -> AsyncIterator[MakeDatabase]:
    """`await database()` makes an empty database of an unused name, `await database("tips")` one that is
    migrated for that service ("shared": for none), `await database(template=NAME)` a copy of another; each
    returns its DSN. All are dropped after the test, whoever is still connected."""
    names: list[str] = []

    async def make(service: str | None = None, template: str | None = None) -> str:
        names.append(f"test_{uuid.uuid4().hex}")
        if service:
            template = await _migrated(infrastructure.admin_dsn, migrated, service)
        return await create_database(infrastructure.admin_dsn, names[-1], template)

    yield make
    for name in names:
        await drop_database(infrastructure.admin_dsn, name)


async def _migrated(admin_dsn: str, migrated: dict[str, str], service: str) -> str:
    if service not in migrated:
        name = f"migrated_{service}_{uuid.uuid4().hex}"
        folders = [] if service == "shared" else [ROOT / "services" / service / "migrations"]
        await postgres.migrate(await create_database(admin_dsn, name), [postgres.SHARED_MIGRATIONS, *folders])
        migrated[service] = name
    return migrated[service]
