"""What was published counts, whatever a database says: adopted as it is, and nothing else is taken for it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from services.stats import queries_releases, specs
from services.stats.app import taking_back
from services.stats.core.auditing import Read, chain
from services.stats.core.release import Link, digest, unsigned
from services.stats.core.spec import Spec
from services.stats.history import close_history
from services.stats.signing import Signer
from shared.errors import Poison, Refusal
from shared.events import ReleasedCell, StatisticsReleased
from shared.mending.recover import recover
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.stats_harness import (
    ROOT,
    SECRET,
    Stats,
    days,
    incident,
    on_topic,
    put,
    report,
    stats_of,
)
from tests.integration.test_stats_closing import CLOSED, FIRST, NOON, OCTOBER_CLOSED, close
from tests.spine import relaying, running, until
from tests.stats_town import SPEC


async def recovered(stats: Stats) -> list[str]:
    """`outbox recover`, as the relay's refusal asks for; returns what it says."""
    said: list[str] = []
    await recover(
        stats.dsn,
        stats.bootstrap,
        "stats",
        taking_back([stats.signer.public]),
        deliver_again=False,
        first_counts=False,
        who="eva",
        say=said.append,
    )
    return said


async def test_an_empty_database_is_told_to_hear_again_that_a_past_ends(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """Nothing but the journal of the database that was lost knew it: what closes would be released as if
    nothing had happened since."""

    async def ends(of: Stats) -> list[str]:
        told: list[str] = []
        async with of.pool.acquire() as connection:
            await close_history(
                connection, "incidents", date(2026, 10, 31), "ann", date(2026, 11, 9), told.append
            )
        return told

    async def month(of: Stats, when: datetime) -> str:
        async with of.serving():
            await close(of, when)
        return {one.period: one.state for one in await of.released() if one.table == "incidents.month"}[
            f"{when - days(40):%Y-%m}"
        ]

    await ends(stats)
    assert await month(stats, datetime(2027, 1, 8, tzinfo=UTC)) == "withheld"
    async with stats_of(infrastructure.bootstrap, await database("stats"), now=stats.now) as empty:
        said = await recovered(empty)
        assert [line for line in said if "close-history --subject" in line] == [
            line for line in said if "--subject incidents --until" in line
        ]
        assert any("say it again before stats starts" in line for line in said)
        # Of the past, which is released, there is nothing left to say.
        assert await ends(empty) == [
            "what ends after 2026-10-31 is withheld, until close-history names a later day or none"
        ]
        assert await month(empty, datetime(2027, 2, 8, tzinfo=UTC)) == "withheld"


async def test_an_empty_database_adopts_what_was_published_and_releases_none_of_it_again(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """All reports are read again: those of what was published count there, and in no later period as well."""
    reports = [report(NOON), report(NOON), report(datetime(2026, 11, 3, 10, tzinfo=UTC), "harbour")]
    await stats.count([*reports, incident(NOON)])
    async with stats.serving():
        await close(stats, OCTOBER_CLOSED)
        before = await stats.chain()
    async with stats_of(infrastructure.bootstrap, await database("stats")) as empty:
        empty.now = OCTOBER_CLOSED
        await empty.closing.adopt()
        assert await empty.chain() == before
        ledger = "SELECT * FROM ledger ORDER BY table_id, period"
        assert await empty.rows(ledger) == await stats.rows(ledger)
        await recovered(empty)
        await empty.count([*reports[::-1], incident(NOON)])
        async with empty.serving():
            await close(empty, OCTOBER_CLOSED)
            assert await empty.chain() == before
            await close(empty, datetime(2026, 12, 3, tzinfo=UTC))
        assert (await empty.chain())[: len(before)] == before
        assert (await empty.counts("reports.month", "2026-11"))["harbour", "noise"] == 1
        assert sum((await empty.counts("reports.month", "2026-11")).values()) == 1
        assert await on_topic(empty.bootstrap) == await empty.released()


async def test_a_backup_of_any_night_releases_the_same_bytes_or_nothing(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """Restored when more was out: its relay refuses, what is on the topic is taken over as it is, and what
    follows continues its chain."""
    bootstrap, dsn = infrastructure.bootstrap, await database()
    backups: list[tuple[datetime, str]] = []
    for night in (CLOSED - days(1), CLOSED + days(6), CLOSED + days(8), OCTOBER_CLOSED):
        async with stats_of(bootstrap, dsn) as stats, stats.serving():
            await close(stats, night)
            await stats.count([report(night.replace(minute=0))])
            published = await stats.chain()
        backups.append((night, await database(template=dsn.rsplit("/", 1)[1])))
    assert len(published) == 7
    for night, backup in backups[:3]:
        async with stats_of(bootstrap, backup, now=night) as restored:
            relay, _ = relaying(bootstrap, backup, "stats")
            with pytest.raises(Refusal, match="which this database has not sent"):
                await relay.run()
            await restored.closing.adopt()
            assert await restored.chain() == published
    async with stats_of(bootstrap, backups[1][1]) as restored:
        await recovered(restored)
        async with restored.serving():
            await close(restored, datetime(2026, 12, 3, tzinfo=UTC))
        assert (await restored.chain())[:7] == published
        assert await on_topic(bootstrap) == await restored.released()


async def test_a_database_that_released_something_else_refuses(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """It would show what was never published."""
    async with stats.serving():
        await close(stats, CLOSED)
    async with stats_of(infrastructure.bootstrap, await database("stats")) as other:
        other.now = CLOSED
        await other.closing.step()
        with pytest.raises(Refusal, match=r"release 1 \(reports.week_part .* is another in this database"):
            await other.closing.adopt()


async def test_a_key_that_is_not_known_is_asked_for(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """An empty database whose secret is a new one: not to adopt would be to release everything again."""
    async with stats.serving():
        await close(stats, CLOSED)
    async with stats_of(infrastructure.bootstrap, await database("stats"), secret="n" * 32) as other:
        with pytest.raises(Refusal, match="which stats does not know: where it is an earlier one of yours"):
            await other.closing.adopt()
        async with other.pool.acquire() as connection:
            await queries_releases.insert_key(connection, Signer(SECRET).public)
        await other.closing.adopt()
        assert await other.chain() == await stats.chain()


async def disown(stats: Stats, key: str, *how: str) -> subprocess.CompletedProcess[str]:
    """The command, on its database."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.stats", "disown-key", key, *how],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        env={**os.environ, "IBUURT_DATABASE_URL": stats.dsn},
    )


async def test_a_forged_next_release_is_left_once_its_key_is_said_to_be_a_strangers(stats: Stats) -> None:
    """Until then stats does not start, since it may be one of ours; the mend is the one that it names. What
    is not the next release keeps nobody from starting. The own key is not disowned."""
    async with stats.serving():
        await close(stats, CLOSED)
        await stats.shown(1)
    [first] = await stats.released()
    await put(stats, THEIRS.sign(_redigested(_next(first).model_copy(update={"number": 1_000_000}))))
    await stats.closing.adopt()
    await put(stats, THEIRS.sign(_next(first)))
    with pytest.raises(Refusal, match="`stats disown-key KEY --by NAME`") as refused:
        await stats.closing.adopt()
    assert THEIRS.public in str(refused.value)
    for key, how, code, told in (
        (THEIRS.public, ["--dry-run"], 0, "dry run: releases by"),
        (OURS.public, ["--by", "eva"], 1, "is a key of yours"),
        ("caae", ["--by", "eva"], 1, "a key is 64 of 0-9 and a-f"),
        (THEIRS.public, [], 2, "one of the arguments --dry-run --by is required"),
    ):
        done = await disown(stats, key, *how)
        assert (done.returncode, told in done.stdout + done.stderr) == (code, True), done
        with pytest.raises(Refusal, match="disown-key"):
            await stats.closing.adopt()
    assert (await disown(stats, THEIRS.public, "--by", "eva")).returncode == 0
    await stats.closing.adopt()
    assert await stats.released() == [first]
    assert await stats.rows("SELECT who, command FROM mending") == [("eva", "disown-key")]
    await stats.count([OURS.sign(_next(first))])
    assert len(await stats.released()) == 2


async def test_a_key_that_another_has_followed_signs_no_more(stats: Stats) -> None:
    """Whoever stole it, or starts with an old secret: what it signs is not taken, and who would sign with it
    does not start."""
    new = Signer("n" * 32)
    async with stats.serving():
        await close(stats, CLOSED)
    [first] = await stats.released()
    async with stats.pool.acquire() as connection:
        await queries_releases.insert_key(connection, new.public)
    second = new.sign(_next(first))
    await stats.count([second])
    stolen = OURS.sign(_next(second, "2026-W42-2026-10"))
    with pytest.raises(Poison) as poison:
        await stats.count([stolen])
    assert poison.value.reason == "retired_signing_key"
    read = [Read(at, one, True) for at, one in enumerate((first, second, stolen))]
    whole, left = chain(read, {OURS.public, new.public})
    assert (whole, [one.why for one in left]) == ([first, second], ["retired_signing_key"])
    with pytest.raises(Refusal, match="is an earlier one, and nobody takes any more what it signs"):
        await stats.closing.adopt()


async def test_a_replica_whose_key_another_follows_meanwhile_releases_nothing_more(
    stats: Stats, infrastructure: Infrastructure
) -> None:
    """A key is rotated and one of two replicas goes on with the old one: no release by it follows one by the
    new key, neither a first edition nor a final one, and the chain is whole."""
    refused = "is an earlier one, and nobody takes any more what it signs"
    async with stats_of(infrastructure.bootstrap, stats.dsn, secret="n" * 32) as renewed, renewed.serving():
        await close(stats, CLOSED)
        await close(renewed, CLOSED + days(7))
        with pytest.raises(Refusal, match=refused):
            await close(stats, CLOSED + days(14))
        renewed.now = stats.now = OCTOBER_CLOSED
        await until(renewed.closing.freeze)
        await renewed.closing.release()
        with pytest.raises(Refusal, match=refused):
            await stats.closing.release_final()
        await close(renewed, OCTOBER_CLOSED)
    released = await stats.released()
    assert released[-1].edition == "final"
    assert [one.signing_key for one in released] == [OURS.public] + [renewed.signer.public] * 6
    read = [Read(at, one, True) for at, one in enumerate(await on_topic(stats.bootstrap))]
    assert chain(read, {OURS.public, renewed.signer.public}) == (released, [])


async def test_who_starts_on_an_empty_database_adopts_before_anything_else(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """By itself, as the program does it: not before the topic was found in order, and nothing is released a
    second time."""
    async with stats.serving():
        await close(stats, CLOSED)
        published = await stats.chain()
    async with stats_of(infrastructure.bootstrap, await database("stats")) as empty:
        empty.now, checked = CLOSED, asyncio.Event()
        async with running(empty.closing.run(checked)):
            await asyncio.sleep(1)
            assert await empty.chain() == []
            checked.set()
            await until(empty.chain)
        assert await empty.chain() == published
        assert await empty.value("SELECT count(*) FROM outbox") == 0


def _changed(release: StatisticsReleased) -> StatisticsReleased:
    cells = (release.cells[0].model_copy(update={"value": 999}), *release.cells[1:])
    return release.model_copy(update={"cells": cells})


def _next(release: StatisticsReleased, period: str = "2026-W41-2026-10") -> StatisticsReleased:
    table = SPEC.table("reports.week_part")
    cells = tuple(ReleasedCell(table=table.id, cell=cell, value=1) for cell in table.cells())
    return unsigned(SPEC, table, period, Link(release.number, release.digest), cells)


def _redigested(release: StatisticsReleased) -> StatisticsReleased:
    return release.model_copy(update={"digest": digest(release)})


OURS, THEIRS = Signer(SECRET), Signer("t" * 32)
FORGED: dict[str, tuple[Callable[[StatisticsReleased], StatisticsReleased], str]] = {
    "other figures under the old digest": (
        lambda one: OURS.sign(_changed(_next(one))),
        "broken_digest",
    ),
    "other figures under the old number": (
        lambda one: _redigested(_changed(one)),
        "forged_release",
    ),
    "a second release of ours under a number": (
        lambda one: OURS.sign(_redigested(_changed(one))),
        "second_release",
    ),
    "a second release of a period": (lambda one: OURS.sign(_next(one, FIRST)), "second_release"),
    "a release without a signature": (_next, "forged_release"),
    "a release by another key": (lambda one: THEIRS.sign(_next(one)), "unknown_signing_key"),
    "a release by another key in our name": (
        lambda one: THEIRS.sign(_next(one)).model_copy(update={"signing_key": OURS.public}),
        "forged_release",
    ),
    "a release that leaves one out": (
        lambda one: OURS.sign(_redigested(_next(one).model_copy(update={"number": 3}))),
        "broken_chain",
    ),
    "a release that follows another": (
        lambda one: OURS.sign(_redigested(_next(one).model_copy(update={"previous": "a" * 64}))),
        "broken_chain",
    ),
}


async def test_what_is_no_release_of_ours_has_its_named_answer_and_changes_nothing(stats: Stats) -> None:
    """Each as it would come from the topic; the genuine next one is taken."""
    async with stats.serving():
        await close(stats, CLOSED)
        await stats.shown(1)
    [first] = await stats.released()
    for name, (made, reason) in FORGED.items():
        with pytest.raises(Poison) as poison:
            await stats.count([made(first)])
        assert poison.value.reason == reason, name
        assert await stats.released() == [first], name
    await stats.count([first])
    await stats.count([OURS.sign(_next(first))])
    assert len(await stats.released()) == 2


async def test_a_spec_is_for_its_version(stats: Stats) -> None:
    """Another under its id is refused; the next version begins where nothing is drawn, and until then the old
    one goes on."""

    async def settled(**changes: object) -> list[Spec]:
        async with stats.pool.acquire() as connection, connection.transaction():
            return await specs.settle(connection, SPEC.model_copy(update=changes), [], stats.now)

    tables = (SPEC.tables[0].model_copy(update={"scale": 6}), *SPEC.tables[1:])
    assert await settled() == [SPEC]
    with pytest.raises(Refusal, match="has changed, and town-1 has promised otherwise"):
        await settled(tables=tables)
    with pytest.raises(Refusal, match=r"town-2 begins on 2026-10-01, but .* has its noise already"):
        await settled(id="town-2", tables=tables)
    later = tuple(table.model_copy(update={"since": date(2027, 1, 1)}) for table in tables)
    with pytest.raises(Refusal, match=r"town-2 begins on 2026-10-01, but incidents\."):
        await settled(id="town-2", tables=(*later[:4], *tables[4:]))
    both = await settled(id="town-2", tables=later)
    assert [spec.id for spec in both] == ["town-1", "town-2"]
    with pytest.raises(Refusal, match="another replica of stats has started with town-2"):
        await stats.closing.draw()
    renewed = Stats(stats.bootstrap, stats.dsn, stats.pool, both, SECRET)
    async with renewed.serving():
        await close(renewed, datetime(2027, 1, 9, tzinfo=UTC))
    by_period = {one.period: one for one in await stats.released() if one.table == "reports.week_part"}
    assert by_period["2026-W53-2026-12"].margins == {"reports.week_part": 150}
    assert by_period["2026-W53-2027-01"].spec == "town-2"
    assert by_period["2026-W53-2027-01"].margins == {"reports.week_part": 180}


async def test_a_version_that_was_started_with_is_not_withdrawn_by_an_earlier_one(stats: Stats) -> None:
    """It would begin all the same: it is put back, or another follows it. A replica that runs with the
    earlier one draws and releases nothing more: it would do so for the later one's periods."""

    async def settled(number: int, since: date = date(2027, 1, 1)) -> list[str]:
        tables = tuple(table.model_copy(update={"since": since}) for table in SPEC.tables)
        spec = SPEC.model_copy(update={"id": f"town-{number}", "tables": tables})
        async with stats.pool.acquire() as connection, connection.transaction():
            known.extend(await specs.settle(connection, spec if number > 1 else SPEC, [], stats.now))
        return [one.id for one in known]

    known: list[Spec] = []
    assert await settled(3) == ["town-1", "town-3"]
    for number in (1, 2):
        with pytest.raises(Refusal, match=f"town-3 is promised, .* folder is at town-{number}: town-3 would"):
            await settled(number, date(2027, 4, 1))
    known.clear()
    assert await settled(3) == ["town-1", "town-3"]
    known.clear()
    assert await settled(10) == ["town-1", "town-3", "town-10"]
    async with stats.serving():
        with pytest.raises(Refusal, match="another replica of stats has started with town-"):
            await close(stats, CLOSED)
        assert await stats.released() == []
        renewed = Stats(stats.bootstrap, stats.dsn, stats.pool, known, SECRET)
        await close(renewed, datetime(2027, 1, 9, tzinfo=UTC))
    released = {one.period: one.spec for one in await stats.released() if one.table == "reports.week_part"}
    assert (released["2026-W40-2026-10"], released["2026-W53-2026-12"]) == ("town-1", "town-1")
    assert released["2026-W53-2027-01"] == "town-10"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale": 6}, "its scale is 5, and town-1 promises 6"),
        ({"codes": (("oakwood", "unknown"),)}, "its cells are not those of reports.week_part"),
        ({"since": date(2027, 1, 1)}, "town-1 begins reports.week_part on 2027-01-01"),
    ],
)
async def test_a_spec_that_changed_under_its_version_is_seen_by_what_was_published(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase, changes: dict[str, Any], said: str
) -> None:
    """An empty database knows of no other: it refuses at each start, whoever has taken the releases over.
    Another one goes on with the folder as it was."""
    async with stats.serving():
        await close(stats, CLOSED)
    changed = (SPEC.tables[0].model_copy(update=changes), *SPEC.tables[1:])
    bootstrap, spec = infrastructure.bootstrap, SPEC.model_copy(update={"tables": changed})
    refused = rf"release 1 \(reports.week_part {FIRST}\) is published, and {said}: statistics.toml"
    async with stats_of(bootstrap, await database("stats"), spec) as empty:
        await recovered(empty)
        for _ in range(2):
            with pytest.raises(Refusal, match=refused):
                await empty.closing.adopt()
    async with stats_of(bootstrap, await database("stats")) as empty:
        await empty.closing.adopt()
        assert await empty.chain() == await stats.chain()


async def test_a_version_begins_among_no_periods_that_another_has_released(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """Also where they were adopted: a database that was lost has drawn none of them."""
    async with stats.serving():
        await close(stats, CLOSED)
    async with stats_of(infrastructure.bootstrap, await database("stats")) as empty:
        await empty.closing.adopt()
        await empty.pool.execute("TRUNCATE period, spec")
        async with empty.pool.acquire() as connection, connection.transaction():
            with pytest.raises(Refusal, match=r"town-2 begins on 2026-10-01, but reports\.week_part of"):
                await specs.settle(connection, SPEC.model_copy(update={"id": "town-2"}), [], CLOSED)


async def test_a_month_that_had_begun_when_a_database_was_lost_closes_as_ever(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """Its week-parts that had closed are released: no past waits for anybody to say that it is complete."""
    lost_on = datetime(2026, 11, 20, 12, tzinfo=UTC)
    async with stats.serving():
        await close(stats, lost_on)
    async with stats_of(infrastructure.bootstrap, await database("stats"), now=lost_on) as empty:
        # As the horizon does, whichever comes first.
        await empty.closing.draw()
        await recovered(empty)
        async with empty.serving():
            await empty.closing.adopt()
            await close(empty, datetime(2026, 12, 6, tzinfo=UTC))
        released = {(one.table, one.period) for one in await empty.released() if one.edition == "first"}
    assert ("reports.month", "2026-11") in released
    assert ("incidents.month", "2026-10") in released


async def test_a_database_that_was_lost_releases_the_rest_of_a_former_version(
    stats: Stats, infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """The folder is at the next one: it goes on where the folder keeps the former, which is asked for where
    it does not, whether the next one is in the database by then or not."""
    later = tuple(table.model_copy(update={"since": date(2027, 1, 1)}) for table in SPEC.tables)
    bootstrap, following = infrastructure.bootstrap, SPEC.model_copy(update={"id": "town-2", "tables": later})
    async with stats.serving():
        await close(stats, CLOSED)
        published = await stats.chain()
    lost = await database("stats")
    async with stats_of(bootstrap, lost, following, now=CLOSED - days(1)) as empty:
        await recovered(empty)
        with pytest.raises(Refusal, match=r"is one of town-1, .* `docker compose .* spec --folder FOLDER`"):
            await empty.closing.adopt()
    for dsn in (lost, await database("stats")):
        async with stats_of(bootstrap, dsn, following, now=CLOSED, former=[SPEC]) as empty:
            await recovered(empty)
            await empty.closing.adopt()
            async with empty.pool.acquire() as connection:
                kept = await queries_releases.specs(connection)
            assert [one["id"] for one in kept] == ["town-1", "town-2"]
    async with stats_of(bootstrap, lost, following, now=CLOSED, former=[SPEC]) as empty, empty.serving():
        await close(empty, datetime(2027, 1, 9, tzinfo=UTC))
        assert (await empty.chain())[:1] == published
        specs_of = {
            one.period: one.spec for one in await empty.released() if one.table == "reports.week_part"
        }
        assert (specs_of["2026-W41-2026-10"], specs_of["2026-W53-2026-12"]) == ("town-1", "town-1")
        assert specs_of["2026-W53-2027-01"] == "town-2"
        assert await on_topic(bootstrap) == await empty.released()
        other = SPEC.model_copy(update={"zone": "Europe/Brussels"})
        async with empty.pool.acquire() as connection, connection.transaction():
            with pytest.raises(Refusal, match="is not the town-1 that this database has kept; take the file"):
                await specs.settle(connection, following, [], empty.now, [other])


async def test_a_ledger_that_has_spent_too_much_is_refused(stats: Stats) -> None:
    """Somebody wrote in it, or released what no spec allows."""
    await stats.pool.execute("INSERT INTO ledger VALUES ('reports.day', '2026-10-02', '2026-10-02', 1, 1)")
    await stats.pool.execute("INSERT INTO ledger VALUES ('reports.month', '2026-10', '2026-10-01', 1, 2)")
    async with stats.pool.acquire() as connection, connection.transaction():
        with pytest.raises(Refusal, match="the ledger has spent 3/2 on each of the reports of the quarter"):
            await specs.settle(connection, SPEC, [], stats.now)
