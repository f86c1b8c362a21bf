"""shared/topics.py on the real Kafka: topics are the contract's, or one line says what differs."""

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaTimeoutError

from shared import kafka, topics
from shared.errors import Refusal
from shared.events import DISPATCHES, ISSUES, REPORTS, all_topics
from tests.conftest import Infrastructure
from tests.spine import add_partitions, delete_topics, until

DEAD = DISPATCHES.dead_letters("stats")


@pytest_asyncio.fixture
async def admin(infrastructure: Infrastructure, fresh_topics: None) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that may do everything; the contract's topics are there."""
    async with kafka.admin(infrastructure.bootstrap) as client:
        yield client


async def settings(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    """What is set for the topic itself."""
    return (await topics._settings(admin, [name]))[name]


async def change(admin: AIOKafkaAdminClient, name: str, wanted: Mapping[str, str]) -> None:
    """Replace all its settings, as an operator's hand does; returns when the broker goes by them."""
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, dict(wanted))])
    await become(admin, {name: wanted})


async def become(admin: AIOKafkaAdminClient, wanted: Mapping[str, Mapping[str, str]]) -> None:
    """Wait until each topic has these settings: the controller answers before the broker has learnt them."""

    async def are() -> bool:
        return await topics._settings(admin, list(wanted)) == wanted

    await until(are)


async def test_a_topic_that_is_missing_is_made_as_the_contract_says(
    admin: AIOKafkaAdminClient, infrastructure: Infrastructure
) -> None:
    """With its partitions and settings; what is there stays."""
    await delete_topics(infrastructure.bootstrap, [ISSUES.name])
    assert await topics.make(admin) == [ISSUES.name]

    async def there() -> bool:
        (found,) = await admin.describe_topics([ISSUES.name])
        return len(found["partitions"]) == ISSUES.partitions

    await until(there)
    await become(admin, {ISSUES.name: ISSUES.settings})
    assert await topics.make(admin) == []


async def test_other_settings_are_refused_and_mended_where_that_is_asked(admin: AIOKafkaAdminClient) -> None:
    """Every topic that differs is named, with each setting that is other, too much or missing."""
    await change(admin, REPORTS.name, {"retention.ms": "1000"})
    await change(admin, ISSUES.name, {**ISSUES.settings, "segment.ms": "60000"})
    with pytest.raises(Refusal) as refusal:
        await topics.make(admin)
    said = str(refusal.value)
    assert f"topic {REPORTS.name} has retention.ms 1000, the contract says 7776000000; " in said
    assert f"topic {ISSUES.name} has segment.ms 60000, the contract says (unset); run " in said
    assert "--mend-settings" in said
    assert (await settings(admin, REPORTS.name))["retention.ms"] == "1000"
    assert await topics.make(admin, mend_settings=True) == []
    await become(admin, {topic.name: topic.settings for topic in all_topics()})


async def test_other_partitions_are_refused_whatever_is_asked(
    admin: AIOKafkaAdminClient, infrastructure: Infrastructure
) -> None:
    """Nothing mends them but a new topic; and nothing else is touched before."""
    await delete_topics(infrastructure.bootstrap, [ISSUES.name])
    await add_partitions(infrastructure.bootstrap, DEAD, 13)

    async def grown() -> bool:
        (found,) = await admin.describe_topics([DEAD])
        return len(found["partitions"]) == 13

    await until(grown)
    with pytest.raises(Refusal, match=f"topic {DEAD} has 13 partitions, the contract says 12; .* make the"):
        await topics.make(admin, mend_settings=True)
    assert ISSUES.name not in await admin.list_topics()


async def test_an_administrator_waits_until_the_brokers_name_their_controller(
    infrastructure: Infrastructure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that has just started names none, and aiokafka's client then fails on a NoneType."""
    start = AIOKafkaAdminClient.start

    async def starts_early(client: AIOKafkaAdminClient) -> None:
        await start(client)
        client._client.cluster.controller = None

    monkeypatch.setattr(AIOKafkaAdminClient, "start", starts_early)
    async with kafka.admin(infrastructure.bootstrap) as client:
        assert client._client.cluster.controller is not None

    async def answers_nothing(client: object) -> None:
        """As a broker whose answer has no brokers: the client leaves that unread."""

    monkeypatch.setattr(AIOKafkaClient, "force_metadata_update", answers_nothing)
    monkeypatch.setattr(kafka, "REQUEST_TIMEOUT_MS", 300)
    with pytest.raises(KafkaTimeoutError, match="who the controller is"):
        async with kafka.admin(infrastructure.bootstrap):
            pass
