"""What an operator's commands mend: topics that lost what was sent, numbers that never come, dead letters."""

import asyncio
import json
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.local.processes import free_port
from shared import postgres
from shared.cloudevents import Envelope
from shared.errors import Poison, Refusal
from shared.events import DISPATCHES, ISSUES, REPORTS, Event, IssueGone
from shared.mending.gaps import accept_gap
from shared.mending.replay import Filter, replay
from shared.mending.resend import resend
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration import service_process
from tests.spine import (
    NOW,
    Database,
    apply,
    delete_records,
    envelope,
    headers,
    key_in,
    number_sequence,
    opened,
    reading,
    relaying,
    renew_topics,
    running,
    until,
    writing,
)

ROOT = Path(__file__).parents[2]


class Told(list[str]):
    """What a command said, line by line."""

    def __call__(self, line: str) -> None:
        self.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self)


async def _sent(bootstrap: str, database: Database, *partitions: int) -> list[uuid.UUID]:
    """Events that a relay has sent, one to each of the partitions, in that order; their ids."""
    given = [envelope(key_in(partition)) for partition in partitions]
    await database.append(*given)
    relay, _ = relaying(bootstrap, database.dsn)
    async with running(relay.run()):
        await database.sent()
    return [one.id for one in given]


async def _journal(database: Database) -> list[tuple[str, str, Any]]:
    rows = await database.fetch("SELECT * FROM mending ORDER BY id")
    return [(row["who"], row["command"], json.loads(row["detail"])) for row in rows]


async def test_a_topic_that_was_made_anew_is_filled_again(
    infrastructure: Infrastructure, spine: Database, database: MakeDatabase
) -> None:
    """The relay refuses and names the command; a dry run sends nothing; then every number is there again:
    what a group had applied is a repeat, what it had not is applied, and the relay goes on."""
    bootstrap, told = infrastructure.bootstrap, Told()
    async with opened(await database("shared")) as reader:
        ids = await _sent(bootstrap, spine, 3, 5, 3)
        async with running(reading(bootstrap, reader).consumer.run()):
            await reader.applied(3)
        ids += await _sent(bootstrap, spine, 3, 3, 5)
        await renew_topics(bootstrap)
        relay, _ = relaying(bootstrap, spine.dsn)
        with pytest.raises(
            Refusal, match=r"run `docker compose run --rm --no-deps tips outbox resend --by NAME`"
        ):
            await relay.run()

        await resend(spine.dsn, bootstrap, "tips", who=None, say=told)
        assert f"{REPORTS.name} partition 3: numbers 1 to 4 (4 are kept)" in told
        assert "dry run" in told[-1]
        assert await number_sequence(bootstrap, 3) == []
        assert await _journal(spine) == []

        await resend(spine.dsn, bootstrap, "tips", who="an operator", say=told)
        assert told[-1] == "6 events sent again; start tips"
        assert await number_sequence(bootstrap, 3) == [1, 2, 3, 4]
        assert await number_sequence(bootstrap, 5) == [1, 2]
        ((who, command, detail),) = await _journal(spine)
        assert (who, command) == ("an operator", "outbox resend")
        assert detail == {f"{REPORTS.name}/3": [1, 4], f"{REPORTS.name}/5": [1, 2]}

        ids += await _sent(bootstrap, spine, 3)
        assert await number_sequence(bootstrap, 3) == [1, 2, 3, 4, 5]
        async with running(reading(bootstrap, reader).consumer.run()):
            assert set(await reader.applied(7)) == set(ids)
        assert len(await reader.effects()) == 7


async def test_what_lacks_in_the_middle_is_sent_again_with_all_that_follows(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """A reader applies numbers in order, so what comes after the hole must come after it once more."""
    bootstrap = infrastructure.bootstrap
    await _sent(bootstrap, spine, 3, 3, 3, 3)
    batches = await spine.fetch("SELECT unnest(ids) AS id, unnest(numbers) AS number FROM outbox_batch")
    known = {row["number"]: row["id"] for row in batches}
    await renew_topics(bootstrap)
    async with writing(bootstrap) as writer:
        for number in (1, 2, 4):
            given = envelope(key_in(3))
            await writer.event(3, number, Envelope(known[number], given.source, given.time, given.event))
    await resend(spine.dsn, bootstrap, "tips", who="an operator", say=Told())
    assert await number_sequence(bootstrap, 3) == [1, 2, 4, 3, 4]
    await _sent(bootstrap, spine, 3)
    assert await number_sequence(bootstrap, 3) == [1, 2, 4, 3, 4, 5]


@pytest.mark.parametrize("there", [[4], [1, 2]], ids=["the end", "the beginning"])
async def test_a_compacted_topic_that_was_made_anew_is_filled_whole(
    infrastructure: Infrastructure, spine: Database, there: list[int]
) -> None:
    """Numbers that compaction has taken are not missing, but in a topic that is younger than what was sent it
    has taken none: also where a relay went on, or a `resend` was broken off, all of it is sent."""
    bootstrap, told = infrastructure.bootstrap, Told()
    given = [_issue_gone() for _ in range(4)]
    await spine.append(*given)
    relay, _ = relaying(bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.sent()
    await resend(spine.dsn, bootstrap, "tips", who=None, say=told)
    assert told[0] == "the topics hold every number that was sent; nothing is missing"
    await renew_topics(bootstrap)
    async with writing(bootstrap) as writer:
        for number in there:
            await writer.event(3, number, given[number - 1])
    await resend(spine.dsn, bootstrap, "tips", who="an operator", say=told)
    assert await number_sequence(bootstrap, 3, ISSUES) == [*there, *range(1 if there == [4] else 3, 5)]
    async with running(relaying(bootstrap, spine.dsn)[0].run()) as again:
        await asyncio.sleep(1)
        assert not again.done()


def _issue_gone() -> Envelope[Event]:
    event = IssueGone(issue_id=key_in(3))
    return Envelope.of(event, id=uuid.uuid4(), source="/test/tips", now=NOW)


async def test_what_retention_deleted_is_not_missing(infrastructure: Infrastructure, spine: Database) -> None:
    """It was there for as long as the topic keeps records; a number may be named all the same."""
    bootstrap, told = infrastructure.bootstrap, Told()
    await _sent(bootstrap, spine, 3, 3, 3, 3)
    await delete_records(bootstrap, REPORTS.name, 3, 2)
    await resend(spine.dsn, bootstrap, "tips", who="an operator", say=told)
    assert told[0] == "the topics hold every number that was sent; nothing is missing"
    assert await number_sequence(bootstrap, 3) == [3, 4]
    options: dict[str, Any] = {"topic": REPORTS.name, "partition": 3, "from_number": 2}
    await resend(spine.dsn, bootstrap, "tips", **options, who="an operator", say=told)
    assert await number_sequence(bootstrap, 3) == [3, 4, 2, 3, 4]


async def test_nothing_is_sent_again_beside_an_active_relay(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Its numbers must not come in between; the refusal says what to stop. Looking is allowed."""
    relay, registry = relaying(infrastructure.bootstrap, spine.dsn)
    async with running(relay.run()):
        await until(lambda: registry.get_sample_value("outbox_relay_active") == 1)
        with pytest.raises(Refusal, match="relay of tips is active; stop tips"):
            await resend(spine.dsn, infrastructure.bootstrap, "tips", who="an operator", say=Told())
        await resend(spine.dsn, infrastructure.bootstrap, "tips", who=None, say=Told())


async def test_a_topic_or_partition_that_is_not_there_is_named(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """With those that there are; what another service writes is not this one's to send."""
    common: dict[str, Any] = {"who": None, "say": Told()}
    with pytest.raises(Refusal, match=r"no topic ibuurt.dispatches.v1 here; name one of ibuurt.issues"):
        await resend(spine.dsn, infrastructure.bootstrap, "tips", topic=DISPATCHES.name, **common)
    with pytest.raises(
        Refusal, match=r"no topic songs here; name one of ibuurt.issues.v1, ibuurt.reports.v1"
    ):
        await accept_gap(spine.dsn, infrastructure.bootstrap, "notify", "songs", 3, **common)
    with pytest.raises(Refusal, match=r"partitions 0 to 11; name one of them"):
        await accept_gap(spine.dsn, infrastructure.bootstrap, "notify", REPORTS.name, 12, **common)


async def test_what_is_kept_no_longer_is_accepted_as_lost_and_the_rest_goes_on(
    infrastructure: Infrastructure, spine: Database, database: MakeDatabase
) -> None:
    """A topic made anew after the first numbers were forgotten: `resend` says which groups must accept what,
    `accept-gap` moves a running group over exactly those, and every later event is applied once."""
    bootstrap, told = infrastructure.bootstrap, Told()
    await _sent(bootstrap, spine, 3, 5)
    await _sent(bootstrap, spine, 3)
    ids = await _sent(bootstrap, spine, 3, 3)
    await spine.pool.execute("DELETE FROM outbox_batch WHERE batch < (SELECT max(batch) FROM outbox_batch)")
    await renew_topics(bootstrap)
    await resend(spine.dsn, bootstrap, "tips", who="an operator", say=told)
    assert (
        "numbers 1 to 2 are kept no longer: a group that lacks them needs `consumer accept-gap`" in told.text
    )
    assert await number_sequence(bootstrap, 3) == [3, 4]
    # Also of a partition of which nothing at all is kept.
    assert f"{REPORTS.name} partition 5: numbers 1 to 1 (0 are kept)" in told.text

    async with opened(await database("shared")) as reader:
        found = reading(bootstrap, reader)
        async with running(found.consumer.run()):
            await until(lambda: found.count("consumer_early_total", topic=REPORTS.name) >= 2)
            arguments = (reader.dsn, bootstrap, "notify", REPORTS.name, 3)
            await accept_gap(*arguments, who=None, say=told)
            assert "numbers 1 to 2 (2) are not there; number 3 is, at offset 0" in told.text
            assert (await reader.fence(3))["sequence"] == 0
            await accept_gap(*arguments, who="an operator", say=told)
            assert await reader.applied(2) == ids
            with pytest.raises(Refusal, match="nothing is missing in front of it"):
                await accept_gap(*arguments, who="an operator", say=told)
        detail = {"topic": REPORTS.name, "partition": 3, "first": 1, "last": 2}
        assert await _journal(reader) == [("an operator", "consumer accept-gap", detail)]


async def test_a_number_that_is_there_is_no_gap(infrastructure: Infrastructure, spine: Database) -> None:
    """Whoever would accept it would lose it; the refusal says where it is."""
    async with writing(infrastructure.bootstrap) as writer:
        await writer.events(3, [2, 1])
    arguments = (spine.dsn, infrastructure.bootstrap, "notify", REPORTS.name, 3)
    with pytest.raises(Refusal, match=r"number 1, the next for notify, is at offset 1 .* nothing is missing"):
        await accept_gap(*arguments, who="an operator", say=Told())


# Dead letters.


def _unless(known: set[uuid.UUID]) -> Any:
    """An apply that cannot take the events of these ids."""

    async def some_fail(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        if any(given.id in known for given in envelopes):
            raise Poison("unknown_category")
        await apply(connection, envelopes)

    return some_fail


async def test_a_dead_letter_is_applied_once_when_its_cause_is_mended(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """A dry run applies nothing; then what can be read now is applied in the group's database, once however
    often it is replayed, and what cannot stays where it is, with its reason."""
    bootstrap, told = infrastructure.bootstrap, Told()
    bad = [envelope(key_in(3), 1), envelope(key_in(5), 1)]
    strange = envelope(key_in(7), 1)
    async with writing(bootstrap) as writer:
        for partition, given in zip((3, 5), bad, strict=True):
            await writer.event(partition, 1, given)
        await writer.record(7, strange.event.key.encode(), b"?", headers(1, strange))
        (first,) = await writer.events(9, [1])
        await writer.events(9, [1])  # under another id: another writer's
    found = reading(bootstrap, spine, using=_unless({one.id for one in bad}))
    async with running(found.consumer.run()):
        await until(lambda: found.total("consumer_poison_total") == 4)

    async def again(apply: Any, chosen: Filter, who: str | None) -> str:
        told.clear()
        await replay(spine.dsn, bootstrap, "notify", apply, chosen, rate=1_000, who=who, say=told)
        return told.text

    assert "2 can be read now" in await again(apply, Filter(), None)
    assert await spine.effects() == [first]
    named = Filter(event_id=str(bad[0].id))
    assert f"{REPORTS.name} partition 3 offset 0: unknown_category: applied" in await again(
        apply, named, "an operator"
    )
    assert await spine.effects() == [first, bad[0].id]
    said = await again(_unless({bad[1].id}), Filter(topic=REPORTS.name), "an operator")
    assert "1 applied before" in said
    assert "1 still cannot be applied (unknown_category)" in said
    assert "1 still cannot be read (bad_value)" in said
    assert "1 not chosen" in said
    assert "1 applied" in (await again(apply, Filter(reason="unknown_category"), "an operator"))
    assert "2 applied before" in await again(apply, Filter(reason="unknown_category"), "an operator")
    assert await spine.effects() == [first, bad[0].id, bad[1].id]
    assert "1 can be read now" in await again(apply, Filter(reason="number_used_twice"), None)
    assert {command for _, command, _ in await _journal(spine)} == {"dead-letters replay"}


# The command line.


def _run(dsn: str, bootstrap: str, *command: str) -> "subprocess.CompletedProcess[str]":
    env = service_process.environment(
        dsn, bootstrap, ROOT / "deploy/municipalities/ibuurt", signing_key="k" * 32
    )
    return service_process.ended("stats", env, *command)


async def test_the_commands_are_a_services_own(infrastructure: Infrastructure, spine: Database) -> None:
    """Each prints what it did and ends with 0; a refusal is one line and 1; without --by or --dry-run, 2."""
    bootstrap = infrastructure.bootstrap
    stats = ROOT / "services" / "stats" / "migrations"
    await postgres.migrate(spine.dsn, [postgres.SHARED_MIGRATIONS, stats])
    ended = _run(spine.dsn, bootstrap, "outbox", "resend", "--dry-run")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "nothing is missing" in ended.stdout
    ended = _run(spine.dsn, bootstrap, "dead-letters", "replay", "--by", "an operator")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "there are no dead letters" in ended.stdout
    gap = ("consumer", "accept-gap", "--topic", REPORTS.name, "--partition", "3")
    ended = _run(spine.dsn, bootstrap, *gap, "--by", "an operator")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"stats: {REPORTS.name} partition 3 holds no number above 0")
    assert len(ended.stderr.splitlines()) == 1
    assert _run(spine.dsn, bootstrap, *gap).returncode == 2
    ended = _run(spine.dsn, f"127.0.0.1:{free_port()}", *gap, "--dry-run")
    assert ended.returncode == 1
    assert ended.stderr.startswith("stats: Kafka does not answer")
