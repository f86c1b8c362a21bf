"""Three brokers: what an operator mends; under load one is lost, leaders change, two are lost."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from shared import kafka
from shared.events import DISPATCHES, REPORTS, STATISTICS, all_topics
from tests.compose.deployment import SERVICES, typed
from tests.compose.faults.conftest import deployed
from tests.compose.faults.trial import Trial, answers, number

BROKERS = ("kafka", "kafka-2", "kafka-3")
ROUNDS = "IBUURT_CHAOS_ROUNDS"
TOPICS = (REPORTS.name, DISPATCHES.name)
# On a busy machine Kafka alone takes minutes to start.
BACK_SECONDS = 420.0
# By the image's script, with the administrator's password from where the broker has it.
ELECTION = """
umask 077
cat >/tmp/admin.properties <<END
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
ssl.truststore.type=PEM
ssl.truststore.location=/run/secrets/ca.crt
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" \
password="$(cat /run/secrets/admin)";
END
KAFKA_HEAP_OPTS=-Xmx128m /opt/kafka/bin/kafka-leader-election.sh --bootstrap-server $HOSTNAME:9092 \
  --admin.config /tmp/admin.properties --election-type PREFERRED --all-topic-partitions
"""

Partitions = Mapping[tuple[str, int], Any]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with deployed(tmp_path_factory, "docker-compose.three-brokers.yml") as made:
        yield made


async def test_a_mend_of_settings_keeps_three_replicas_of_which_two_acknowledge(three: Trial) -> None:
    """The page's command, where a setting was changed and a topic is to be made anew besides."""
    names = [topic.name for topic in all_topics()]
    where = await asyncio.to_thread(lambda: three.kafka)
    changed = ConfigResource(ConfigResourceType.TOPIC, STATISTICS.name, {"retention.ms": "60000"})
    async with kafka.admin(where) as client:
        await client.alter_configs([changed])
        await client.delete_topics([DISPATCHES.dead_letters("stats")])
        await asyncio.to_thread(
            typed, three.deployment, "docker compose run --rm --no-deps topics topics --mend-settings"
        )
        described = await client.describe_topics(names)
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        answered = [one for answer in await client.describe_configs(asked) for one in answer.resources]
    assert {len(one["replicas"]) for topic in described for one in topic["partitions"]} == {len(BROKERS)}
    settings = {name: {key: value for key, value, *_ in found} for _, _, _, name, found in answered}
    assert {found["min.insync.replicas"] for found in settings.values()} == {"2"}
    assert settings[STATISTICS.name]["retention.ms"] == "-1"


@pytest.mark.parametrize(
    "command",
    [
        "docker compose run --rm operator rotate NAME",
        "docker compose run --rm --no-deps operator renew-certificate",
    ],
)
def test_what_is_to_be_restarted_is_every_broker(three: Trial, command: str) -> None:
    """By the line that the command prints; all are in again after it."""
    _, said = typed(three.deployment, command, NAME="kafka_controller")
    (restart,) = re.findall(r"now run `(docker compose restart [^`]+)`", said)
    assert restart.split()[3:] == list(BROKERS)
    three.deployment.typed(restart)
    three.deployment.healthy([*SERVICES, *BROKERS], BACK_SECONDS)


async def test_each_broker_lost_and_leaders_changed_under_load_leave_the_ledger_exact(three: Trial) -> None:
    """One broker after the other dies and comes back, and each time the preferred leaders are elected again.
    Every report is accepted at the first try. IBUURT_CHAOS_ROUNDS: how often all three, once unless told."""
    moved = elected = 0
    before = len(three.outcomes)
    async with three.open_units():
        async with three.load():
            await asyncio.sleep(2)
            for broker in BROKERS * number(ROUNDS, 1):
                at_first = await _whole(three)
                await asyncio.to_thread(three.kill, broker)
                await asyncio.sleep(10)
                await asyncio.to_thread(three.start, broker)
                without = await _whole(three)
                moved += _changed(at_first, without)
                await asyncio.to_thread(three.deployment.run, "exec", "-T", broker, "sh", "-c", ELECTION)
                elected += _changed(without, await _whole(three))
        book = await three.settled()
    print(f"ledger of brokers that change: leaders lost {moved}, elected {elected}; {book.line()}")
    assert moved > 0
    assert elected > 0
    assert set(answers(three.outcomes[before:])) <= {201, 422}
    assert book.balanced, book.faults


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_reports_are_accepted_while_two_of_three_brokers_are_away(three: Trial, how: str) -> None:
    """Fewer are in sync than an acknowledgement needs: reports wait in the outbox, and flow when the brokers
    are back. Killed, the cluster has no controller either; stopped, the last broker refuses by itself."""
    before = len(three.outcomes)
    away = BROKERS[1:]
    await _whole(three)
    async with three.open_units():
        async with three.load():
            await asyncio.sleep(3)
            for broker in away:
                if how == "kill":
                    await asyncio.to_thread(three.kill, broker)
                else:
                    await asyncio.to_thread(three.deployment.run, "stop", broker)
            waiting = await _waiting(three)
            await asyncio.sleep(10)
            for broker in away:
                await asyncio.to_thread(three.start, broker)
        book = await three.settled()
    print(f"ledger of two brokers away ({how}), {waiting} events waited; {book.line()}")
    assert set(answers(three.outcomes[before:])) <= {201, 422}
    assert book.balanced, book.faults


async def _waiting(trial: Trial) -> int:
    """Wait until reports wait in the outbox of tips; how many."""
    end = time.monotonic() + BACK_SECONDS
    while (waiting := int((await asyncio.to_thread(trial.totals))["tips"]["waiting"])) < 30:
        assert time.monotonic() < end, waiting
        await asyncio.sleep(1)
    return waiting


async def _whole(trial: Trial) -> Partitions:
    """The partitions once every replica is in sync."""
    end = time.monotonic() + BACK_SECONDS
    while True:
        # The broker that is asked may be the one that is coming back.
        with suppress(KafkaError):
            found = await _partitions(trial)
            if all(len(one["isr"]) == len(BROKERS) for one in found.values()):
                return found
        assert time.monotonic() < end, "some replicas are not in sync"
        await asyncio.sleep(1)


async def _partitions(trial: Trial) -> Partitions:
    async with kafka.admin(await asyncio.to_thread(lambda: trial.kafka)) as client:
        described = await client.describe_topics(list(TOPICS))
    return {(topic["topic"], one["partition"]): one for topic in described for one in topic["partitions"]}


def _changed(before: Partitions, after: Partitions) -> int:
    """How many partitions have another leader."""
    return sum(before[place]["leader"] != after[place]["leader"] for place in before)
