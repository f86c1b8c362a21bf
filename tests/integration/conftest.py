"""What the tests on a real Kafka and PostgreSQL share besides the servers themselves."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.conftest import Infrastructure, MakeDatabase
from tests.spine import Database, opened, renew_topics


@pytest_asyncio.fixture
async def fresh_topics(infrastructure: Infrastructure) -> None:
    """The contract's topics, empty, as a fresh database expects them."""
    await renew_topics(infrastructure.bootstrap)


@pytest_asyncio.fixture
async def spine(fresh_topics: None, database: MakeDatabase) -> AsyncIterator[Database]:
    """A fresh database with the shared tables and one for effects, and empty topics."""
    async with opened(await database()) as fresh:
        yield fresh
