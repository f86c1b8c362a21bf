"""What `tips` says of public issues on ibuurt.issues.v1, through the outbox."""

import asyncio
import itertools
import json
import random
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

from services.tips import app, erasing, publishing, recovery
from services.tips.core import lifecycle, public
from services.tips.queries import reports
from shared import events, postgres
from shared.cloudevents import Envelope
from shared.events import IssueChanged, IssueGone
from shared.mending.recover import History, recover
from shared.mending.resend import resend
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration import service_process
from tests.integration.test_tips_consumer import LIFE, apply, envelope, stored
from tests.integration.test_tips_issues import listed, sent
from tests.integration.test_tips_service import environment
from tests.integration.tips_server import PUBLIC_URL, Tips, issue, running_tips, tip, town_with
from tests.spine import read_topic, relaying, renew_topics, running, until

SOURCE = "/ibuurt/tips"


async def said(tips: Tips) -> list[Any]:
    """The events about issues, in the order in which they were appended."""
    rows = await tips.rows("SELECT * FROM outbox WHERE topic = 'ibuurt.issues.v1' ORDER BY position")
    found: list[Any] = []
    for row in rows:
        assert row["source"] == SOURCE
        if row["value"] is None:
            assert row["type"] == IssueGone.type
            found.append(IssueGone(issue_id=uuid.UUID(row["key"].decode())))
        else:
            found.append(IssueChanged.model_validate_json(row["value"]))
            assert str(found[-1].issue_id).encode() == row["key"]
    return found


async def erase(tips: Tips, report_id: uuid.UUID) -> None:
    async with tips.pool.acquire() as connection, connection.transaction():
        locked = await reports.lock(connection, report_id)
        assert locked
        await erasing.erase(connection, locked[0], "resident", tips.clock.now, SOURCE)


async def change(tips: Tips, report_id: uuid.UUID, **columns: str) -> None:
    """Change a report as a part of the service does, and say what is public of it."""
    public_ones = [one.id for one in tips.desk.municipality.categories.values() if one.public]
    cause = publishing.Cause(uuid.uuid4(), tips.clock.now, SOURCE)
    async with tips.pool.acquire() as connection, connection.transaction():
        await reports.lock(connection, report_id)
        for column, value in columns.items():
            await connection.execute(
                f"UPDATE report SET {column} = $2 WHERE report_id = $1", report_id, value
            )
        await publishing.announce(connection, {report_id: cause}, categories=public_ones)


async def test_every_change_of_the_public_state_is_said_once_and_whole(tips: Tips) -> None:
    """Accepted, each step that changes what the public sees, and nothing for a step that does not."""
    row = await sent(tips)
    for number, one in enumerate(LIFE, 1):
        await apply(tips, [envelope(row, one, number, tips.clock.now)])
    found = await said(tips)
    assert [event.status for event in found] == ["accepted", "routed", "acknowledged", "resolved"]
    assert [event.version for event in found] == [1, 2, 3, 4]
    assert found[-1] == IssueChanged(
        issue_id=row["issue_id"],
        version=4,
        category="street_light",
        areas={"district": "oakwood"},
        latitude=52.05,
        longitude=5.6,
        status="resolved",
        page=f"{PUBLIC_URL}/issues/{row['issue_id']}",
    )
    await apply(tips, [envelope(row, LIFE[-1], len(LIFE), tips.clock.now)])
    assert len(await said(tips)) == 4


async def test_nothing_is_said_of_tips_and_of_categories_that_are_not_public(tips: Tips) -> None:
    """Whatever happens to them."""
    for body in (tip(), issue(category="noise")):
        row = await sent(tips, body)
        await apply(tips, [envelope(row, one, n, tips.clock.now) for n, one in enumerate(LIFE, 1)])
        await change(tips, row["report_id"], status="withdrawn")
        if body["kind"] == "issue":
            await change(tips, row["report_id"], category="street_light")
        await erase(tips, row["report_id"])
    assert await said(tips) == []


async def test_an_issue_that_is_erased_or_no_longer_public_gets_a_tombstone(tips: Tips) -> None:
    """Once; no later step, and no way back, says anything more of it. What is withdrawn is said to be."""
    erased, hidden, withdrawn = await sent(tips), await sent(tips), await sent(tips)
    await erase(tips, erased["report_id"])
    await change(tips, hidden["report_id"], category="noise")
    await change(tips, withdrawn["report_id"], status="withdrawn")
    found = await said(tips)
    assert found[3:5] == [IssueGone(issue_id=one["issue_id"]) for one in (erased, hidden)]
    assert (found[5].issue_id, found[5].status) == (withdrawn["issue_id"], "withdrawn")
    for row in (erased, hidden):
        await apply(tips, [envelope(row, events.ReportRouted, 1, tips.clock.now)])
    await change(tips, hidden["report_id"], category="street_light")
    assert len(await said(tips)) == 6
    assert [one["id"] for one in await listed(tips)] == [str(withdrawn["issue_id"])]
    assert await tips.rows("SELECT FROM issue WHERE report_id = $1", erased["report_id"]) == []


async def test_a_recategorised_issue_keeps_its_id(tips: Tips) -> None:
    """From one public category to another: a change like any other."""
    row = await sent(tips)
    await change(tips, row["report_id"], category="graffiti")
    first, second = await said(tips)
    assert (second.issue_id, second.version, second.category) == (first.issue_id, 2, "graffiti")


async def test_the_public_status_is_the_same_in_whatever_order_steps_arrive(tips: Tips) -> None:
    """Shuffled, in any batches, half of them twice: versions rise by one, no event repeats the one before it,
    and the last one is what the steps come to."""
    rows = await stored(tips, 8)
    happened = [
        envelope(row, one, number, tips.clock.now)
        for row in rows
        for number, one in enumerate(chosen(random.Random(row["report_id"].int)), 1)
    ]
    for seed in range(4):
        await tips.rows("DELETE FROM report_step")
        await tips.rows("UPDATE report SET status = 'accepted'")
        await tips.rows("DELETE FROM outbox")
        await tips.rows("UPDATE issue SET status = 'accepted', version = 1")
        chance = random.Random(seed)
        arriving = happened + chance.sample(happened, len(happened) // 2)
        chance.shuffle(arriving)
        while arriving:
            size = chance.randint(1, 9)
            batch, arriving = arriving[:size], arriving[size:]
            await apply(tips, batch)
        by_issue: dict[uuid.UUID, list[IssueChanged]] = {}
        for event in await said(tips):
            by_issue.setdefault(event.issue_id, []).append(event)
        for row in await tips.rows("SELECT * FROM issue"):
            told = by_issue.get(row["issue_id"], [])
            assert [event.version for event in told] == list(range(2, len(told) + 2))
            statuses = ["accepted", *(event.status for event in told)]
            assert all(one != other for one, other in itertools.pairwise(statuses))
            steps = [lifecycle.step_of(one, "issue") for one in happened]
            mine = [step for step in steps if step.report_id == row["report_id"]]
            assert statuses[-1] == row["status"] == public.PUBLIC_STATUS[lifecycle.status(mine)]


def chosen(chance: random.Random) -> list[type[events.ReportEvent]]:
    return [chance.choice(list(lifecycle.STEPS)) for _ in range(chance.randint(1, 6))]


async def test_a_batch_that_rolls_back_says_nothing(tips: Tips) -> None:
    """The event stands or falls with the change."""
    row = await sent(tips)
    async with tips.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        locked = await reports.lock(connection, row["report_id"])
        assert locked
        await erasing.erase(connection, locked[0], "resident", tips.clock.now, SOURCE)
        await transaction.rollback()
    assert len(await said(tips)) == 1
    assert len(await listed(tips)) == 1


async def test_what_the_folder_makes_public_no_more_goes_at_start(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """Issues of a category that is not public any more get a tombstone, those whose pages moved are said
    anew; what becomes public does not reach back. Another start says nothing."""
    dsn = await database()
    async with running_tips(dsn, tmp_path) as tips:
        for _ in range(3):
            await sent(tips)
        await sent(tips, issue(category="noise"))
        kept = await sent(tips, issue(category="graffiti"))
    town = town_with(street_light={"public": False}, noise={"public": True})
    async with running_tips(dsn, tmp_path, town, "https://moved.example/") as tips:
        for _ in range(2):
            settling = asyncio.create_task(app.settle_issues(tips.desk))
            async with asyncio.timeout(20):
                while len(await said(tips)) < 8:  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            settling.cancel()
        found = (await said(tips))[4:]
        assert [one for one in found if isinstance(one, IssueChanged)] == [
            IssueChanged(
                issue_id=kept["issue_id"],
                version=2,
                category="graffiti",
                areas={"district": "oakwood"},
                latitude=52.05,
                longitude=5.6,
                status="accepted",
                page=f"https://moved.example/issues/{kept['issue_id']}",
            )
        ]
        assert len(found) == 4
        assert [one["id"] for one in await listed(tips)] == [str(kept["issue_id"])]


# After a restore.


async def _relay(bootstrap: str, dsn: str) -> None:
    relay, _ = relaying(bootstrap, dsn)
    connection = await postgres.connect(dsn, "test")
    waiting = """SELECT EXISTS (SELECT FROM outbox)
                     OR EXISTS (SELECT FROM outbox_batch WHERE sent_on IS NULL)"""

    async def sent_all() -> bool:
        return not await connection.fetchval(waiting)

    try:
        async with running(relay.run()):
            await until(sent_all)
    finally:
        await connection.close()


async def _last(bootstrap: str) -> dict[str, Any]:
    """The last value under each key of the topic, as a subscriber has it; None for a tombstone."""
    found: dict[str, Any] = {}
    for records in (await read_topic(bootstrap, "ibuurt.issues.v1")).values():
        for record in records:
            found[record.key.decode()] = json.loads(record.value) if record.value else None
    return found


async def test_a_restored_database_and_the_topic_agree_again(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, tmp_path: Path
) -> None:
    """After `outbox recover` of a backup: what changed after it is said as it was, under a higher version;
    what was erased after it stays gone; what came after it is gone with its report; what was not touched is
    not mentioned. What waited in the backup's outbox has not the last word."""
    bootstrap, dsn, lines = infrastructure.bootstrap, await database(), list[str]()
    async with running_tips(dsn, tmp_path) as tips:
        still, moved, gone, unsaid = [await sent(tips) for _ in range(4)]
        await _relay(bootstrap, dsn)
        await change(tips, moved["report_id"], status="acknowledged")
        backup = await database(template=await _closed(tips))
        late = await sent(tips)
        for number, one in enumerate(LIFE, 1):
            await apply(tips, [envelope(moved, one, number, tips.clock.now)])
        await erase(tips, gone["report_id"])
    await _relay(bootstrap, dsn)
    before = await _last(bootstrap)
    assert before[str(moved["issue_id"])]["status"] == "resolved"
    async with running_tips(backup, tmp_path) as tips:
        # Residents are served before the operator comes.
        await change(tips, moved["report_id"], status="planned")
        await erase(tips, unsaid["report_id"])
    await recover(
        backup,
        bootstrap,
        "tips",
        lambda connection, history: recovery.take_back(connection, history, tips.clock.now),
        deliver_again=False,
        first_counts=False,
        who="an operator",
        say=lines.append,
    )
    assert [line for line in lines if "public issues" in line] == [
        "1 public issues changed after the backup: they are said again as they were",
        "1 public issues came after the backup; their reports are lost, so they are public no more",
    ]
    await _relay(bootstrap, backup)
    after = await _last(bootstrap)
    was, now = before[str(moved["issue_id"])], after[str(moved["issue_id"])]
    assert now == was | {"version": now["version"]}
    assert now["version"] > was["version"]
    assert after[str(still["issue_id"])] == before[str(still["issue_id"])]
    for row in (gone, unsaid, late):
        assert after[str(row["issue_id"])] is None
    async with running_tips(backup, tmp_path) as tips:
        found = {one["id"]: one for one in await listed(tips)}
        assert found.keys() == {str(still["issue_id"]), str(moved["issue_id"])}
        assert found[str(moved["issue_id"])]["version"] == now["version"]
        assert (await tips.get(f"/v1/issues/{late['issue_id']}")).status == 410


async def test_a_topic_that_was_lost_holds_every_public_issue_again(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, tmp_path: Path
) -> None:
    """Issues that were last said longer ago than the outbox keeps, and younger ones: after `outbox resend`
    and `issues say-again` a new subscriber has each as the old one had it, and none that is not public."""
    bootstrap, dsn, lines = infrastructure.bootstrap, await database(), list[str]()

    def run(*arguments: str) -> str:
        done = service_process.ended("tips", environment(dsn, bootstrap, tmp_path), "issues", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    async with running_tips(dsn, tmp_path) as tips:
        old, moved, erased, hidden = [await sent(tips) for _ in range(4)]
        for body in (tip(), issue(category="noise")):
            await sent(tips, body)
        await change(tips, moved["report_id"], status="acknowledged")
        await erase(tips, erased["report_id"])
        await _relay(bootstrap, dsn)
        # Fourteen days later.
        await tips.rows("DELETE FROM outbox_batch")
        await change(tips, hidden["report_id"], category="noise")
        young = await sent(tips)
        await _relay(bootstrap, dsn)
        before = {issue_id: value for issue_id, value in (await _last(bootstrap)).items() if value}
        public_ones = {str(one["issue_id"]) for one in (old, moved, young)}
        assert before.keys() == public_ones

        await renew_topics(bootstrap)
        await resend(dsn, bootstrap, "tips", who="an operator", say=lines.append)
        assert any("tips issues say-again --by NAME` says every issue" in line for line in lines)
        lacking = {issue_id for issue_id, value in (await _last(bootstrap)).items() if value}
        assert lacking == {str(young["issue_id"])}
        assert "dry run: 3 public issues would be said again" in await asyncio.to_thread(
            run, "say-again", "--dry-run"
        )
        assert await tips.rows("SELECT FROM outbox") == []
        assert "3 public issues are said again" in await asyncio.to_thread(run, "say-again", "--by", "jansen")
        await _relay(bootstrap, dsn)
        assert {issue_id: value for issue_id, value in (await _last(bootstrap)).items() if value} == before
        noted = await tips.rows("SELECT who, detail FROM mending WHERE command = 'issues say-again'")
        assert [tuple(row) for row in noted] == [("jansen", '{"issues": 3}')]
        assert {one["id"] for one in await listed(tips)} == public_ones


async def _closed(tips: Tips) -> str:
    """The name of the database, with nobody connected to it: a copy is made of it."""
    (row,) = await tips.rows("SELECT current_database() AS name")
    await tips.pool.expire_connections()
    name: str = row["name"]
    async with tips.pool.acquire() as connection:
        await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await tips.pool.expire_connections()
    async with tips.pool.acquire() as connection:
        connection.terminate()
    return name


async def test_what_is_erased_is_public_no_more_though_its_tombstone_was_never_sent(
    tips: Tips, tmp_path: Path
) -> None:
    """The report's event reached Kafka, the issue's did not."""
    row = await sent(tips)
    erased = events.ReportErased(report_id=row["report_id"], kind="issue", version=2, reason="resident")
    own: Envelope[Any] = Envelope.of(erased, id=uuid.uuid4(), source=SOURCE, now=tips.clock.now)
    changed = IssueChanged.model_validate_json((await tips.rows("SELECT value FROM outbox"))[1]["value"])
    again: Envelope[Any] = Envelope.of(changed, id=uuid.uuid4(), source=SOURCE, now=tips.clock.now)
    for more in ([], [again]):
        async with tips.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            history = History([own, *more], [], deliver_again=False)
            found = await recovery.take_back(connection, history, tips.clock.now + timedelta(days=1))
            assert [one.event for one in found.events] == [IssueGone(issue_id=row["issue_id"])]
            assert await connection.fetchval("SELECT count(*) FROM issue") == 0
            await transaction.rollback()
