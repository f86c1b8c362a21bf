"""The topics as the contract says: made where they are missing, held against it where they are there."""

from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from shared.errors import Refusal, typed
from shared.events import Topic, all_topics

# Where a value comes from, in Kafka's answer: it was set for this topic.
SET_FOR_TOPIC = 1


async def make(
    client: AIOKafkaAdminClient, *, replication: int = 1, mend_settings: bool = False
) -> list[str]:
    """Make the topics that are missing, with their settings; returns their names.

    Raises Refusal where one exists with other partitions, or with other settings and not `mend_settings`.
    """
    existing = {entry["topic"]: len(entry["partitions"]) for entry in await client.describe_topics()}
    there = [topic for topic in all_topics() if topic.name in existing]
    for topic in there:
        if existing[topic.name] != topic.partitions:
            raise Refusal(wrong_partitions(topic, existing[topic.name]))
    await _check_settings(client, there, mend_settings)
    missing = [topic for topic in all_topics() if topic.name not in existing]
    if missing:
        response = await client.create_topics(
            [
                NewTopic(topic.name, topic.partitions, replication, topic_configs=dict(topic.settings))
                for topic in missing
            ]
        )
        _raise_first(response)
    return [topic.name for topic in missing]


def wrong_partitions(topic: Topic, found: int) -> str:
    """What a refusal says of a topic with another number of partitions."""
    return (
        f"topic {topic.name} has {found} partitions, the contract says {topic.partitions}; "
        "a partition count is for a topic's life: make the topic anew, or deploy the contract it had"
    )


async def _check_settings(client: AIOKafkaAdminClient, topics: list[Topic], mend: bool) -> None:
    found = await _settings(client, [topic.name for topic in topics])
    wrong = [topic for topic in topics if found[topic.name] != topic.settings]
    if mend:
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, topic.name, dict(topic.settings)) for topic in wrong
        ]
        for response in await client.alter_configs(resources) if wrong else []:
            for code, message, _, name in response.resources:
                if code:
                    raise Refusal(f"topic {name} keeps its settings: {for_code(code).__name__} {message}")
    elif wrong:
        said = "; ".join(_differences(topic, found[topic.name]) for topic in wrong)
        raise Refusal(
            f"{said}; run {typed('topics', 'topics --mend-settings')} to set what the contract says (a "
            "shorter retention deletes what is older), or deploy the contract that they follow"
        )


def _differences(topic: Topic, found: Mapping[str, str]) -> str:
    names = sorted(found.keys() | topic.settings.keys())
    said = ", ".join(
        f"{name} {found.get(name, '(unset)')}, the contract says {topic.settings.get(name, '(unset)')}"
        for name in names
        if found.get(name) != topic.settings.get(name)
    )
    return f"topic {topic.name} has {said}"


async def _settings(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """What is set for each topic itself; what it takes over from its broker is the deployment's affair."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await client.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code:
                raise Refusal(f"topic {name} cannot be described: {for_code(code).__name__} {message}")
            found[name] = {key: value for key, value, _, source, *_ in entries if source == SET_FOR_TOPIC}
    return found


def _raise_first(response: Any) -> None:
    for name, code, *detail in response.topic_errors:
        if code and for_code(code).__name__ != "TopicAlreadyExistsError":
            raise Refusal(f"topic {name} could not be made: {for_code(code).__name__} {detail}")
