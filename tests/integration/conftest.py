"""What the tests on a real Kafka and PostgreSQL share besides the servers themselves."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.kafka import Kafka
from tests.conftest import Infrastructure, MakeDatabase
from tests.containers import Container, container_kafka
from tests.integration.stats_harness import Stats, stats_of
from tests.integration.tips_server import Tips, running_tips
from tests.spine import Database, opened, renew_topics


@pytest_asyncio.fixture
async def fresh_topics(infrastructure: Infrastructure) -> None:
    """The contract's topics, empty, as a fresh database expects them."""
    await renew_topics(infrastructure.bootstrap)


@pytest.fixture
def own_kafka(infrastructure: Infrastructure, tmp_path: Path) -> Iterator[str]:
    """Where a Kafka without topics is: the session's may hold what another database has sent."""
    if infrastructure.kafka is None:
        pytest.skip("starts a Kafka of its own, and this session uses somebody else's")
    if isinstance(infrastructure.kafka, Container):
        with container_kafka() as container:
            yield container.bootstrap
        return
    server = Kafka(tmp_path / "kafka")
    server.start()
    yield server.bootstrap
    server.stop()


@pytest_asyncio.fixture
async def spine(fresh_topics: None, database: MakeDatabase) -> AsyncIterator[Database]:
    """A fresh database with the shared tables and one for effects, and empty topics."""
    async with opened(await database("shared")) as fresh:
        yield fresh


@pytest_asyncio.fixture
async def tips(database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Tips]:
    """The real tips, on a fresh database."""
    async with running_tips(await database("tips"), tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def stats(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> AsyncIterator[Stats]:
    """The releases of a small town, nothing counted yet, on a fresh database."""
    async with stats_of(infrastructure.bootstrap, await database("stats")) as made:
        yield made
