"""Submissions that come together are stored together, and each is answered by itself."""

import asyncio
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from services.tips.photos import holding
from services.tips.queries import reports
from tests.integration.tips_server import SECRET_WORDS, Tips, issue, new_key, running_tips, tip

MANY = 100


async def test_those_that_come_together_share_a_commit(tips: Tips) -> None:
    """Fewer transactions than reports; each has its own answer, its own event and its own receipt."""
    answers = await asyncio.gather(*(tips.post(issue() if nth % 2 else tip()) for nth in range(MANY)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["receipt"] for answer in answers}) == MANY
    (row,) = await tips.rows("SELECT count(DISTINCT xmin::text) AS commits, count(*) AS stored FROM report")
    assert row["stored"] == MANY
    assert row["commits"] < MANY / 2
    assert len(await tips.rows("SELECT DISTINCT id FROM outbox WHERE topic = 'ibuurt.reports.v1'")) == MANY


async def test_one_that_comes_alone_does_not_wait_for_others(tips: Tips) -> None:
    """No timer holds a group open: the answer comes with nobody else there."""
    async with asyncio.timeout(10):
        assert (await tips.post(tip())).status == 201


async def test_a_submission_that_cannot_be_stored_fails_alone(tips: Tips) -> None:
    """A key of yesterday, whose report is still there, is refused; all that came with it are accepted."""
    key = new_key()
    assert (await tips.post(tip(), key)).status == 201
    tips.clock.now += timedelta(hours=26)
    async with tips.pool.acquire() as connection:
        await reports.drop_submissions(connection, tips.clock.now)
    sent = [tips.post(issue()) for _ in range(MANY // 2)]
    sent += [tips.post(tip(), key)]
    sent += [tips.post(issue()) for _ in range(MANY // 2)]
    answers = await asyncio.gather(*sent)
    refused = [(answer.status, answer.code) for answer in answers if answer.status != 201]
    assert refused == [(409, "idempotency-key-expired")]
    assert len(await tips.rows("SELECT FROM report")) == MANY + 1


async def test_the_same_submission_many_times_at_once_is_one_report(tips: Tips) -> None:
    """Within one group and across groups: one row, one event, the same receipt for all; another body under
    the key is refused."""
    key, other = new_key(), issue(description=f"{SECRET_WORDS}, and the neighbour")
    same = [tips.post(issue(), key) for _ in range(MANY // 2)]
    answers = await asyncio.gather(*same, *(tips.post(tip()) for _ in range(MANY // 2)))
    receipts = {answer.body["receipt"] for answer in answers[: MANY // 2]}
    assert ({answer.status for answer in answers}, len(receipts)) == ({201}, 1)
    assert (await tips.post(other, key)).status == 409
    assert len(await tips.rows("SELECT FROM report")) == 1 + MANY // 2
    assert len(await tips.rows("SELECT FROM outbox WHERE topic = 'ibuurt.reports.v1'")) == 1 + MANY // 2


async def test_photos_that_cannot_be_taken_cost_the_others_nothing(tips: Tips) -> None:
    """The group is not done again one by one: whoever has a bad id is told, the rest share their commits."""
    bad = [issue(photos=[str(uuid.uuid4())]) for _ in range(5)]
    answers = await asyncio.gather(*(tips.post(one) for one in [*bad, *(issue() for _ in range(MANY))]))
    assert [(one.status, one.code) for one in answers[:5]] == [(422, "photo-unknown")] * 5
    assert {one.status for one in answers[5:]} == {201}
    (row,) = await tips.rows("SELECT count(DISTINCT xmin::text) AS commits, count(*) AS stored FROM report")
    assert row["stored"] == MANY
    assert row["commits"] < MANY / 2


async def test_two_services_that_take_the_same_photos_do_not_deadlock(tips: Tips, tmp_path: Path) -> None:
    """In whatever order they come: each photo goes with one report, and nobody is told to try again."""
    async with tips.pool.acquire() as connection:
        ids = [str(await holding.stage(connection, tips.desk.keys, b"x", tips.clock.now)) for _ in range(60)]
    async with running_tips(tips.dsn, tmp_path) as other:
        for service in (tips, other):  # the first connection takes long
            await asyncio.gather(*(service.post(issue()) for _ in range(10)))
        sent = [tips.post(issue(photos=[one])) for one in ids]
        sent += [other.post(issue(photos=[one])) for one in reversed(ids)]
        answers = await asyncio.gather(*sent)
    told = Counter((one.status, one.code) for one in answers)
    assert told == {(201, ""): len(ids), (422, "photo-taken"): len(ids)}
    (row,) = await tips.rows("SELECT count(DISTINCT report_id) AS taken FROM photo")
    assert row["taken"] == len(ids)


async def test_who_has_gone_is_stored_whole_or_not_at_all(tips: Tips) -> None:
    """Cut off at any moment, a sender leaves a report with its event, or nothing; a retry tells which."""
    for nth in range(20):
        key = new_key()
        sending = asyncio.create_task(tips.post(tip(), key))
        await asyncio.sleep(nth / 4_000)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert (await tips.post(tip(), key)).status == 201
    (row,) = await tips.rows(
        "SELECT (SELECT count(*) FROM report) AS reports, (SELECT count(*) FROM outbox) AS events"
    )
    assert (row["reports"], row["events"]) == (20, 20)


async def test_the_database_away_is_said_to_each(tips: Tips) -> None:
    """Whoever waits when its connection ends is told to try again; a retry is stored once."""
    keys = [new_key() for _ in range(5)]
    async with tips.pool.acquire() as blocking, blocking.transaction():
        await blocking.execute("LOCK TABLE report IN ACCESS EXCLUSIVE MODE")
        sending = [asyncio.create_task(tips.post(tip(), key)) for key in keys]
        while not all(one.done() for one in sending):
            await asyncio.sleep(0.05)
            await blocking.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND datname = current_database()"
            )
    assert {(one.result().status, one.result().code) for one in sending} == {(503, "not-now")}
    assert {(await tips.post(tip(), key)).status for key in keys} == {201}
    assert len(await tips.rows("SELECT FROM report")) == len(keys)


async def test_no_more_wait_than_may(tips: Tips, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit a submission is refused at once, and nothing of it is kept."""
    monkeypatch.setattr("services.tips.grouping.WAITING_MOST", 0)
    answer = await tips.post(issue())
    assert (answer.status, answer.code) == (503, "not-now")
    assert await tips.stored() == 0


async def test_readings_that_come_together_share_a_commit(tips: Tips) -> None:
    """Each is logged once and has its own answer: words, or that there are none."""
    for _ in range(4):
        await asyncio.gather(*(tips.post(issue()) for _ in range(MANY // 4)))
    reports_there = [row["report_id"] for row in await tips.rows("SELECT report_id FROM report")]
    await tips.rows(
        "UPDATE report SET key_name = NULL, wrapped_key = NULL, sealed = NULL WHERE report_id = $1",
        reports_there[0],
    )
    unknown = uuid.uuid4()
    asked = [*reports_there, unknown]
    answers = dict(zip(asked, await asyncio.gather(*map(tips.words, asked)), strict=True))
    assert answers.pop(unknown).status == 404
    assert answers.pop(reports_there[0]).status == 410
    assert {(one.status, one.body["description"]) for one in answers.values()} == {(200, SECRET_WORDS)}
    assert {one.body["report_id"] for one in answers.values()} == {str(one) for one in answers}
    (row,) = await tips.rows(
        """SELECT count(*) AS logged, count(DISTINCT report_id) AS reports,
                  count(DISTINCT xmin::text) AS commits FROM disclosure WHERE act = 'disclosure'"""
    )
    assert (row["logged"], row["reports"]) == (MANY - 1, MANY - 1)
    assert row["commits"] < MANY / 2
