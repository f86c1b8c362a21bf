"""`verify`, `ledger` and `releases`: what an operator is told of what was published."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.stats import saying_again, verifying
from services.stats.core.release import NOTHING_BEFORE, Link, noisy, unsigned
from services.stats.signing import Signer
from shared.cloudevents import to_value
from shared.errors import Refusal
from shared.events import STATISTICS, StatisticsReleased
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.stats_harness import ROOT, SECRET, Stats, on_topic, put, report, stats_of
from tests.integration.test_stats_closing import CLOSED, NOON, OCTOBER_CLOSED, close
from tests.integration.test_stats_reading import FORGED, _next
from tests.spine import delete_records, read_topic, until
from tests.stats_town import SPEC


@pytest_asyncio.fixture
async def stats(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> AsyncIterator[Stats]:
    """October is released and shown."""
    async with stats_of(infrastructure.bootstrap, await database("stats")) as made:
        await made.count([report(NOON), report(NOON), report(NOON, "harbour")])
        async with made.serving():
            await close(made, OCTOBER_CLOSED)
            await made.shown(len(await made.released()))
        yield made


async def verified(stats: Stats, left: int = 0) -> list[str]:
    """What `verify` says, where so many records are known to be no release."""
    said: list[str] = []
    async with stats.pool.acquire() as connection:
        await verifying.verify(connection, stats.bootstrap, said.append, left)
    return said


async def refused(stats: Stats, connection: Any = None) -> list[str]:
    """What it says where something disagrees, but the last line; on a connection that may have changed it."""
    if connection is None:
        async with stats.pool.acquire() as own:
            return await refused(stats, own)
    said: list[str] = []
    with pytest.raises(Refusal, match="things disagree, each named above"):
        await verifying.verify(connection, stats.bootstrap, said.append)
    return said[:-1]


async def test_what_was_published_agrees_with_everything(stats: Stats) -> None:
    """Also where the same record stands there twice, as after a writer's death."""
    releases = await stats.released()
    await put(stats, releases[0])
    said = await verified(stats)
    assert said[0].startswith(f"{len(releases)} releases on {STATISTICS.name}")
    assert said[-1] == "topic, database, ledger and budget agree"


async def test_a_record_that_is_no_release_is_named(stats: Stats) -> None:
    """With its place and why, for every forgery; the chain without them is whole."""
    releases = await stats.released()
    expected = []
    for number, (name, (made, reason)) in enumerate(sorted(FORGED.items())):
        forged = made(releases[-1])
        await put(stats, forged)
        if name == "a release that leaves one out":
            # There are more than three by now.
            reason = "second_release"
        at = len(releases) + number
        expected.append(f"the record at offset {at} is not release {forged.number}: {reason}")
    assert await refused(stats) == expected
    assert (await verified(stats, len(expected)))[-1] == "topic, database, ledger and budget agree"
    with pytest.raises(Refusal, match=f"{len(expected)} things disagree"):
        await verified(stats, len(expected) - 1)


async def _another_digest(database: Any) -> None:
    await database.execute("UPDATE release SET digest = repeat('a', 64) WHERE number = 2")


async def _another_figure(database: Any) -> None:
    content = await database.fetchval("SELECT content FROM release WHERE number = 1")
    value = json.loads(content)["cells"][0]["value"]
    forged = content.replace(f'"value":{value}'.encode(), f'"value":{value + 1}'.encode(), 1)
    assert forged != content
    await database.execute("UPDATE release SET content = $1 WHERE number = 1", forged)


async def _one_word_more(database: Any) -> None:
    await database.execute(
        r"""UPDATE release SET content = '{"note":"x",'::bytea || substr(content, 2) WHERE number = 1"""
    )


async def _another_period(database: Any) -> None:
    await database.execute("UPDATE release SET period = '2026-W39-2026-09' WHERE number = 1")


async def _one_less(database: Any) -> None:
    await database.execute(
        """DELETE FROM ledger
           WHERE (table_id, period) = (SELECT table_id, period FROM release WHERE number = 1)"""
    )


async def _one_more(database: Any) -> None:
    await database.execute("INSERT INTO ledger VALUES ('reports.month', '2026-09', '2026-09-01', 1, 2)")


async def _dearer(database: Any) -> None:
    await database.execute("UPDATE ledger SET numerator = 2 WHERE table_id = 'reports.month'")


async def _only_here(database: Any) -> None:
    await database.execute(
        """INSERT INTO release SELECT number + 100, gen_random_uuid(), spec, table_id, 'another', edition,
           state, repeat('b', 64), content, released_at, shown_at, signing_key
           FROM release WHERE number = 1"""
    )


async def _only_there(database: Any) -> None:
    await database.execute("DELETE FROM release WHERE number = (SELECT max(number) FROM release)")


async def _other_spec(database: Any) -> None:
    await database.execute(
        "UPDATE spec SET content = replace(content::text, '\"scale\": 5', '\"scale\": 6')::jsonb"
    )


DISAGREE = (
    (_another_digest, "release 2 is another in the database: it is of another time"),
    (_another_figure, "release 1 is shown otherwise than it was published: restore the database"),
    (_one_word_more, "release 1 is shown otherwise than it was published: restore the database"),
    (_another_period, "release 1 is shown otherwise than it was published: restore the database"),
    (_one_less, "the ledger says 0 of "),
    (_one_more, "the ledger has spent something on reports.month 2026-09, and there is no such release"),
    (_dearer, "the ledger says 1 of reports.month 2026-10, its release says 1/2"),
    (_only_here, "release 101 was shown and is not on the topic: `outbox resend`"),
    (_only_there, "is on the topic alone: restart stats, which takes it over"),
    (_other_spec, "its scale is 5, and town-1 promises 6"),
)


async def test_what_disagrees_is_named_with_what_to_do(stats: Stats) -> None:
    await verified(stats)
    for break_it, words in DISAGREE:
        async with stats.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await break_it(connection)
            said = await refused(stats, connection)
            await transaction.rollback()
        assert any(words in line for line in said), (words, said)


async def test_a_budget_that_is_overspent_is_named_also_where_all_else_agrees(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """A spec that nobody checked: topic and ledger say the same of it, and it is too much."""
    month = SPEC.table("reports.month").model_copy(update={"scale": 1})
    others = tuple(table for table in SPEC.tables if table.id != month.id)
    dear = SPEC.model_copy(update={"tables": (month, *others)})
    async with stats_of(infrastructure.bootstrap, await database("stats"), dear) as stats:
        async with stats.serving():
            await close(stats, OCTOBER_CLOSED)
        assert await refused(stats) == [
            "6/5 was spent on each of the reports of the quarter from 2026-10-01: more than 1"
        ]


async def test_the_commands_say_it_on_the_command_line(stats: Stats, infrastructure: Infrastructure) -> None:
    """`releases` and `ledger` tell no count; `verify` ends with 1 where something disagrees."""

    async def command(name: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.stats", name],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
            env={
                **os.environ,
                "IBUURT_DATABASE_URL": stats.dsn,
                "IBUURT_KAFKA_BOOTSTRAP": infrastructure.bootstrap,
            },
        )

    releases = await stats.released()
    listed = await command("releases")
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(releases)]] == [str(one.number) for one in releases]
    assert lines[0].startswith(f"1 {releases[0].table} {releases[0].period} first: released at ")
    # Of the town, which stands still in autumn 2026; of the command it is today.
    (waiting,) = [line for line in lines if line.startswith("- reports.month 2026-11: ")]
    assert waiting.endswith((", closes then", ", waits until everything is applied that was written by then"))
    ledger = await command("ledger")
    assert "reports.month: 1 periods from 2026-10-01 to 2026-10-01, 1/2 of each" in ledger.stdout
    assert "reports: at most 7/10 (epsilon 0.700) of each in its whole life, of 1" in ledger.stdout
    good = await command("verify")
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "topic, database, ledger and budget agree")
    await _another_digest(stats.pool)
    bad = await command("verify")
    assert bad.returncode == 1
    assert "1 things disagree" in bad.stderr


needs_tools = pytest.mark.skipif(
    not (shutil.which("jq") and shutil.which("openssl")), reason="apt install jq openssl"
)


async def by_script(stats: Stats) -> subprocess.CompletedProcess[str]:
    """What docs/examples/verify.sh says of the topic, record by record, as kcat gives it."""
    records = await read_topic(stats.bootstrap, STATISTICS.name)
    return await scripted(
        [stats.signer.public],
        *(one.value.decode() for partition in records.values() for one in partition if one.value),
    )


async def scripted(keys: list[str], *values: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        ["sh", "docs/examples/verify.sh", *keys],
        input="".join(f"{value}\n" for value in values),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


@needs_tools
async def test_a_subscriber_with_jq_and_openssl_comes_to_the_same(stats: Stats) -> None:
    """From the topic alone, also where a record was sent twice."""
    releases = await stats.released()
    await put(stats, releases[0])
    said = await by_script(stats)
    assert said.returncode == 0, said.stderr
    assert said.stdout == f"{len(releases)} releases are right, the newest is {releases[-1].digest}\n"


@needs_tools
async def test_a_script_that_was_given_nothing_has_verified_nothing() -> None:
    """As where the topic is empty, or was read by somebody who may not."""
    said = await scripted(["0" * 64])
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith(
        "no release came, so nothing is verified: read the topic from its beginning"
    )


@needs_tools
@pytest.mark.skipif(not shutil.which("kcat"), reason="apt install kcat")
async def test_the_documented_command_fails_where_kcat_fails(tmp_path: Path) -> None:
    """With nobody at that address: nothing is said to be right."""
    (command,) = re.findall(r"^kcat .*", (ROOT / "docs/verifying.md").read_text("utf-8"), re.MULTILINE)
    (tmp_path / "kcat.conf").write_text("bootstrap.servers=127.0.0.1:1\n", "utf-8")
    shutil.copy(ROOT / "docs/examples/verify.sh", tmp_path)
    told = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", command.replace("KEY", "0" * 64)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert "ERROR" in told.stderr


@needs_tools
async def test_a_subscriber_sees_each_forgery(stats: Stats) -> None:
    """And goes on with the chain."""
    releases = await stats.released()
    forged = [made(releases[-1]) for _, (made, _) in sorted(FORGED.items())]
    for one in forged:
        await put(stats, one)
    said = await by_script(stats)
    assert said.returncode == 1
    for at, one in enumerate(forged, len(releases) + 1):
        assert f"record {at}, number {one.number}" in said.stderr
    end = f"{len(forged)} records are not right; up to them {len(releases)} releases follow one another"
    assert end in said.stderr


def chain_of(*periods: tuple[Signer, str]) -> list[StatisticsReleased]:
    """Releases that follow one another, each of its period and by its key."""
    made: list[StatisticsReleased] = []
    table = SPEC.table("reports.week_part")
    for signer, period in periods:
        after = Link(made[-1].number, made[-1].digest) if made else Link(0, NOTHING_BEFORE)
        made.append(signer.sign(unsigned(SPEC, table, period, after, noisy(table, [4, 5, 6], [1, 0, -1]))))
    return made


@needs_tools
async def test_a_key_that_was_replaced_signs_no_more() -> None:
    """A thief of the old key makes the next release, before the municipality does: it is named, and the real
    one is right. In whatever order the keys are given; also with a third key, where each before it is stolen,
    and where all of it stands there again, as after a loss."""
    old, new, third = Signer(SECRET), Signer("n" * 32), Signer("t" * 32)
    weeks = [f"2026-W{week}-2026-10" for week in (40, 41, 42, 43)]
    chain = chain_of((old, weeks[0]), (new, weeks[1]), (new, weeks[2]), (third, weeks[3]))
    forged = chain_of((old, weeks[0]), (new, weeks[1]), (old, weeks[2]))[-1:]
    forged += [signer.sign(_next(chain[3], "2026-W44-2026-10")) for signer in (old, new)]

    def lines(*releases: StatisticsReleased) -> list[str]:
        return [(to_value(one) or b"").decode() for one in releases]

    keys = [old.public, new.public, third.public]
    for given in (keys, keys[::-1]):
        good = await scripted(given, *lines(*chain, *chain))
        assert (good.returncode, good.stderr) == (0, "")
        assert good.stdout == f"4 releases are right, the newest is {chain[3].digest}\n"
        told = await scripted(given, *lines(*chain[:2], forged[0], *chain[2:], *forged[1:]))
        assert told.returncode == 1
        assert told.stderr.splitlines() == [
            f"record 3, number 3: its key was replaced, {old.public}",
            f"record 6, number 5: its key was replaced, {old.public}",
            f"record 7, number 5: its key was replaced, {new.public}",
            "3 records are not right; up to them 4 releases follow one another",
        ]


@needs_tools
@pytest.mark.parametrize("lost", ["all", "the first three"])
async def test_what_the_topic_lost_is_said_again_as_it_was(stats: Stats, lost: str) -> None:
    """Also where the outbox has none of it any more: byte for byte, so that the chain is whole from the topic
    alone, nobody sees a second release, and nothing is counted or spent again."""
    releases, before = await stats.released(), await stats.chain()
    spent = await stats.rows("TABLE ledger")
    await stats.pool.execute("DELETE FROM outbox_batch WHERE sent_on IS NOT NULL")
    async with stats.pool.acquire() as connection:
        said: list[str] = []

        async def say_again(who: str | None) -> None:
            await saying_again.say_again(connection, stats.bootstrap, "/town/stats", who, said.append)

        with pytest.raises(Refusal, match="nothing is to be said again"):
            await say_again("ann")
        end = len(releases) if lost == "all" else 3
        await delete_records(stats.bootstrap, STATISTICS.name, 0, end)
        await say_again(None)
        assert await stats.value("SELECT count(*) FROM outbox") == 0
        await say_again("ann")
    assert said == [
        f"dry run: releases 1 to {len(releases)} would be said again; with --by NAME they are",
        f"releases 1 to {len(releases)} are said again, as soon as stats runs",
    ]
    async with stats.serving():

        async def all_there() -> bool:
            return len(await on_topic(stats.bootstrap)) == 2 * len(releases) - end

        await until(all_there)
    assert (await verified(stats))[-1] == "topic, database, ledger and budget agree"
    assert (await by_script(stats)).returncode == 0
    assert (await on_topic(stats.bootstrap))[-len(releases) :] == releases
    assert (await stats.chain(), await stats.rows("TABLE ledger")) == (before, spent)


async def test_nothing_released_is_nothing_to_verify(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    async with stats_of(infrastructure.bootstrap, await database("stats")) as stats:
        stats.now = CLOSED
        assert await on_topic(stats.bootstrap) == []
        assert (await verified(stats))[-1] == "topic, database, ledger and budget agree"
        assert SECRET not in json.dumps(await verified(stats))
