"""What should be gone goes by itself, what is held stays, and whoever dies in between changes neither."""

import asyncio
import json
import signal
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.tips import app, auditing, erasing, holding, month_keys, retention, sealing
from services.tips.core import chain, keeping
from services.tips.keys import KeyDestroyed, KeyFolder, KeyLost
from services.tips.queries import disclosures, holds, reports
from services.tips.sealing import Sealed
from shared.errors import Refusal
from shared.events import hour_of
from tests.conftest import MakeDatabase
from tests.integration.dying_keeper import POINTS
from tests.integration.followed import followed
from tests.integration.test_mending import Told
from tests.integration.tips_server import ROOT, SECRET_WORDS, Tips, issue, running_tips, tip

LED, GDPR = "2026-11-led-365", "2026-11-gdpr-365"
# The first moment at which the words of November 2026 are kept no longer.
OVER = datetime(2027, 12, 1, tzinfo=UTC)
SOURCE = "/ibuurt/tips"


async def sent(tips: Tips, body: dict[str, Any], status: str = "resolved") -> uuid.UUID:
    """A report that was sent and has come so far."""
    before = {row["report_id"] for row in await tips.rows("SELECT report_id FROM report")}
    assert (await tips.post(body)).status == 201
    (found,) = {row["report_id"] for row in await tips.rows("SELECT report_id FROM report")} - before
    await tips.rows("UPDATE report SET status = $2 WHERE report_id = $1", found, status)
    return uuid.UUID(str(found))


async def run(tips: Tips, now: datetime, told: Told | None = None) -> None:
    async with tips.pool.acquire() as connection:
        await retention.run(
            connection, tips.desk.keys, tips.desk.municipality, now, "test", told or Told(), tips.desk.wake
        )


async def place(
    tips: Tips, report_id: uuid.UUID, until: date, now: datetime | None = None, *, erase_after: bool = False
) -> None:
    async with tips.pool.acquire() as connection:
        await holding.place(
            connection,
            report_id,
            "court_order",
            until,
            now or tips.clock.now,
            "jansen",
            Told(),
            erase_after=erase_after,
            source=SOURCE,
        )


async def erase(tips: Tips, report_id: uuid.UUID) -> str:
    """As the resident's erasure does it; the status afterwards."""
    async with tips.pool.acquire() as connection, connection.transaction():
        found = await reports.lock(connection, report_id)
        assert found is not None
        return (await erasing.erase(connection, found[0], "resident", tips.clock.now, SOURCE)).status


async def key_of(tips: Tips, report_id: uuid.UUID) -> str | None:
    """The key that a report is under, after looking whether it opens."""
    async with tips.pool.acquire() as connection:
        return await opened(connection, tips.desk.keys, report_id)


async def opened(connection: Any, keys: KeyFolder, report_id: uuid.UUID) -> str | None:
    row = await connection.fetchrow(
        "SELECT key_name, wrapped_key, sealed FROM report WHERE report_id = $1", report_id
    )
    if row["key_name"] is None:
        return None
    sealed = Sealed(*row)
    assert sealing.unseal(report_id, sealed, keys.get(sealed.key_name))["description"] == SECRET_WORDS
    return str(sealed.key_name)


async def log_of(tips: Tips, report_id: uuid.UUID) -> list[tuple[str, str]]:
    """What was done with a report after it was sent: acts and purposes."""
    async with tips.pool.acquire() as connection, connection.transaction():
        await auditing_ok(connection)
        entries = [one.entry async for one in disclosures.of_report(connection, report_id)]
    return [(entry.act, entry.purpose) for entry in entries if entry.act != "collection"]


async def auditing_ok(connection: Any) -> None:
    for name in chain.CHAINS:
        last, head = await disclosures.ends(connection, name)
        async for stored in disclosures.walk(connection, name):
            assert chain.fault(last, stored) is None
            last = stored.mark
        assert last == head


async def erased_events(tips: Tips) -> dict[uuid.UUID, str]:
    rows = await tips.rows("SELECT key, value FROM outbox WHERE type LIKE '%ReportErased%'")
    found = {uuid.UUID(row["key"].decode()): json.loads(row["value"])["reason"] for row in rows}
    assert len(found) == len(rows)
    return found


async def test_words_are_kept_until_their_months_time_is_over_and_not_a_moment_longer(tips: Tips) -> None:
    """Days after the end of the month in which they came; then erased, said in an event, logged, and the
    month's key destroyed."""
    report_id = await sent(tips, tip())
    await run(tips, OVER - timedelta(microseconds=1))
    assert await key_of(tips, report_id) == LED
    wakes = len(tips.wakes)
    await run(tips, OVER)
    assert await key_of(tips, report_id) is None
    assert tips.desk.keys.state(LED) == "destroyed"
    assert await erased_events(tips) == {report_id: "retention"}
    assert await log_of(tips, report_id) == [("erasure", "retention")]
    assert len(tips.wakes) > wakes
    (row,) = await tips.rows("SELECT status, erased_on FROM report")
    assert (row["status"], row["erased_on"]) == ("erased", OVER.date())
    (row,) = await tips.rows("SELECT who, detail FROM mending WHERE command = 'retention run'")
    assert json.loads(row["detail"]) == {"destroyed": LED, "erased": 1, "held": 0, "extended": 0}
    await run(tips, OVER)
    assert len(await tips.rows("SELECT FROM mending")) == 1


async def test_what_is_open_is_kept_under_the_present_months_key(tips: Tips) -> None:
    """Of the same class, logged, and its resident sees the new day; once: when that one's time is over too it
    goes, open as it is, as the dry run says before."""
    mine = await followed(tips, issue())
    still, done = mine.report_id, await sent(tips, issue(), "refused")
    assert (await mine.view())["kept_until"] == "2027-12-01"
    await tips.rows("UPDATE report SET status = 'planned' WHERE report_id = $1", still)
    await run(tips, OVER)
    assert await key_of(tips, still) == "2027-12-gdpr-365"
    assert await log_of(tips, still) == [("alteration", "retention_extended")]
    assert await key_of(tips, done) is None
    assert (await mine.view())["kept_until"] == "2028-12-31"
    end, told = datetime(2028, 12, 31, tzinfo=UTC), Told()
    async with tips.pool.acquire() as connection:
        await retention.plan(connection, tips.desk.keys, tips.desk.municipality, end, told)
    assert "2027-12-gdpr-365: 1 erased, 0 held, 0 open and extended; then destroyed" in told
    await run(tips, end)
    assert await key_of(tips, still) is None
    assert tips.desk.keys.state("2027-12-gdpr-365") == "destroyed"


async def test_what_is_held_outlives_its_month_under_a_key_of_its_own(tips: Tips) -> None:
    """Until the hold's last day is over; then it goes like everything else, its key too. Meanwhile no day is
    told on which its words' time ends."""
    mine, other = await followed(tips, tip()), await sent(tips, tip())
    held = mine.report_id
    await tips.rows("UPDATE report SET status = 'resolved'")
    await place(tips, held, date(2028, 1, 31))
    assert (await mine.view())["kept_until"] is None
    await run(tips, OVER)
    hold_key = f"hold-{held}"
    assert await key_of(tips, held) == hold_key
    assert await key_of(tips, other) is None
    assert tips.desk.keys.state(LED) == "destroyed"
    assert (await mine.view())["kept_until"] is None
    await run(tips, datetime(2028, 1, 31, 23, tzinfo=UTC))
    assert await key_of(tips, held) == hold_key
    await run(tips, datetime(2028, 2, 1, tzinfo=UTC))
    assert await key_of(tips, held) is None
    assert tips.desk.keys.state(hold_key) == "destroyed"
    assert await log_of(tips, held) == [
        ("alteration", "hold_placed:court_order"),
        ("alteration", "retention_held"),
        ("alteration", "hold_lifted"),
        ("erasure", "retention"),
    ]


async def test_a_resident_erases_what_is_held_and_nobody_reads_it_until_it_is_gone(tips: Tips) -> None:
    """The words are locked away meanwhile, and erased in the resident's name when the hold ends."""
    report_id = await sent(tips, tip())
    await place(tips, report_id, date(2026, 12, 24))
    assert (await tips.words(report_id)).status == 200
    assert await erase(tips, report_id) == "resolved"
    async with tips.pool.acquire() as connection:
        hold = await holds.of(connection, report_id)
    assert hold is not None
    assert (hold.until, hold.erase_when_lifted) == (date(2026, 12, 24), "resident")
    answer = await tips.words(report_id)
    assert (answer.status, answer.code) == (410, "report-restricted")
    assert await erased_events(tips) == {}
    await place(tips, report_id, date(2026, 12, 25))
    await run(tips, datetime(2026, 12, 25, tzinfo=UTC))
    assert await key_of(tips, report_id) == LED
    await run(tips, datetime(2026, 12, 26, tzinfo=UTC))
    assert await key_of(tips, report_id) is None
    assert await erased_events(tips) == {report_id: "resident"}
    assert (await log_of(tips, report_id))[-2:] == [
        ("alteration", "hold_lifted"),
        ("erasure", "erase_when_lifted:resident"),
    ]


async def test_a_hold_is_lifted_before_its_time_and_what_was_to_go_goes_at_once(tips: Tips) -> None:
    """A dry run changes nothing; the list names what is held."""
    report_id = await sent(tips, issue())
    await place(tips, report_id, date(2026, 12, 24))
    await erase(tips, report_id)
    async with tips.pool.acquire() as connection:
        told = Told()
        await holding.show(connection, told)
        assert (
            f"{report_id}: court_order, placed by jansen on 2026-11-12, until 2026-12-24, then erased" in told
        )
        await holding.lift(connection, report_id, tips.clock.now, None, told, SOURCE)
        assert await holds.of(connection, report_id) is not None
        await holding.lift(connection, report_id, tips.clock.now, "jansen", told, SOURCE)
        with pytest.raises(Refusal, match="is not held"):
            await holding.lift(connection, report_id, tips.clock.now, "jansen", told, SOURCE)
    assert await key_of(tips, report_id) is None
    assert await erased_events(tips) == {report_id: "resident"}


@pytest.mark.parametrize(("days", "fits"), [(-1, False), (0, True), (732, True), (733, False)])
async def test_a_hold_has_an_end_that_is_not_too_far(days: int, fits: bool, tips: Tips) -> None:
    """From today to two years ahead; then somebody looks at it again."""
    report_id = await sent(tips, issue())
    until = tips.clock.now.date() + timedelta(days=days)
    if fits:
        await place(tips, report_id, until)
    else:
        with pytest.raises(Refusal, match="732 days ahead"):
            await place(tips, report_id, until)
    assert len(await tips.rows("SELECT FROM hold")) == int(fits)


async def test_what_is_erased_cannot_be_held(tips: Tips) -> None:
    """Nor what never was."""
    report_id = await sent(tips, issue())
    assert await erase(tips, report_id) == "erased"
    for one in (report_id, uuid.uuid4()):
        with pytest.raises(Refusal, match="there are no words"):
            await place(tips, one, date(2026, 12, 24))


async def test_a_dry_run_says_what_would_go_and_what_goes_soon(tips: Tips) -> None:
    """And changes nothing."""
    await sent(tips, tip())
    await sent(tips, tip(), "planned")
    await place(tips, await sent(tips, tip()), date(2028, 1, 31))
    await sent(tips, issue())
    async with tips.pool.acquire() as connection:
        told = Told()
        keys, town = tips.desk.keys, tips.desk.municipality
        await retention.plan(connection, keys, town, OVER, told)
        assert f"{LED}: 1 erased, 1 held, 1 open and extended; then destroyed" in told
        assert told[-1] == "4 reports end within 30 days, these included"
        await retention.plan(
            connection, tips.desk.keys, tips.desk.municipality, OVER - timedelta(days=30), told
        )
        assert told[-1].startswith("4 reports")
        await retention.plan(
            connection, tips.desk.keys, tips.desk.municipality, OVER - timedelta(days=31), told
        )
        assert told[-1].startswith("0 reports")
    assert len(await tips.rows("SELECT FROM report WHERE sealed IS NOT NULL")) == 4


async def test_the_service_does_it_by_itself_and_two_replicas_do_it_once(tips: Tips) -> None:
    """One event and one line in the log for each report, whoever came first."""
    ids = [await sent(tips, issue()) for _ in range(12)]
    keepers = [
        asyncio.create_task(app.keep(tips.pool, tips.desk, lambda: OVER, every_seconds=0.01)) for _ in "ab"
    ]
    async with asyncio.timeout(30):
        while tips.desk.keys.state(GDPR) != "destroyed":  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.02)
    for keeper in keepers:
        assert not keeper.done()
        keeper.cancel()
    await asyncio.gather(*keepers, return_exceptions=True)
    assert set(await erased_events(tips)) == set(ids)
    for report_id in ids:
        assert await log_of(tips, report_id) == [("erasure", "retention")]


async def test_next_months_keys_are_made_ahead(tips: Tips) -> None:
    """So that they can be backed up before the first report is under them; their files tell no minute."""
    await run(tips, tips.clock.now)
    made = {name for name in tips.desk.keys.names() if name.startswith("2026-12-")}
    assert made == set(
        keeping.month_names(tips.desk.municipality.categories.values(), datetime(2026, 12, 3, tzinfo=UTC))
    )
    async with tips.pool.acquire() as connection:
        told = Told()
        await month_keys.make(connection, tips.desk.keys, ["2027-01-led-365", *made], "jansen", told)
    assert told == ["2027-01-led-365", "1 keys are made"]
    for name in tips.desk.keys.names():
        at = tips.desk.keys.made_at(name)
        assert at is not None
        assert (at.minute, at.second, at.microsecond) == (0, 0, 0)


async def test_a_key_that_somebody_may_know_is_rotated_while_reports_come(tips: Tips) -> None:
    """All that was under it is under the next generation, what comes meanwhile too; it ends with its
    month."""
    early = [await sent(tips, tip()) for _ in range(3)]
    stop = asyncio.Event()
    answers = []

    async def resident() -> None:
        while not stop.is_set():
            answers.append((await tips.post(tip())).status)

    residents = [asyncio.create_task(resident()) for _ in range(4)]
    await asyncio.sleep(0.2)
    async with tips.pool.acquire() as connection:
        await month_keys.rotate(connection, tips.desk.keys, LED, "jansen", Told())
        with pytest.raises(Refusal, match="there is no key"):
            await month_keys.rotate(connection, tips.desk.keys, LED, "jansen", Told())
    await asyncio.sleep(0.1)
    stop.set()
    await asyncio.gather(*residents)
    assert set(answers) <= {201, 503}
    assert tips.desk.keys.state(LED) == "destroyed"
    rows = await tips.rows("SELECT report_id FROM report")
    assert len(rows) == answers.count(201) + len(early)
    assert {await key_of(tips, row["report_id"]) for row in rows} == {f"{LED}.2"}
    await tips.rows("UPDATE report SET status = 'resolved'")
    await run(tips, OVER)
    assert tips.desk.keys.state(f"{LED}.2") == "destroyed"


async def test_a_key_is_not_destroyed_before_who_was_about_to_use_it_has_ended(tips: Tips) -> None:
    """A transaction that put words under it before it was retired, and commits after that: they are moved,
    too, and not lost with the key."""
    await sent(tips, tip())
    late = await sent(tips, issue())
    async with tips.pool.acquire() as busy, tips.pool.acquire() as operator:
        transaction = busy.transaction()
        await transaction.start()
        found = await reports.lock(busy, late)
        assert found
        assert found[1]
        await month_keys.move(busy, tips.desk.keys, found[0], found[1], LED)
        rotating = asyncio.create_task(month_keys.rotate(operator, tips.desk.keys, LED, "jansen", Told()))
        async with asyncio.timeout(20):
            while not await tips.rows("SELECT FROM retired_key"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        await asyncio.wait([rotating], timeout=0.5)
        assert tips.desk.keys.state(LED) == "there"
        await transaction.commit()
        await rotating
    assert tips.desk.keys.state(LED) == "destroyed"
    assert await key_of(tips, late) == f"{LED}.2"


async def test_nothing_is_put_under_a_retired_key(tips: Tips) -> None:
    """The database refuses it with "not now": whoever was about to is told to come again, and comes under the
    next generation."""
    await tips.post(tip())
    await tips.rows("INSERT INTO retired_key VALUES ($1)", LED)
    answer = await tips.post(tip())
    assert (answer.status, answer.code) == (503, "not-now")
    tips.desk.keys.make(f"{LED}.2")
    assert (await tips.post(tip())).status == 201


async def destroy(tips: Tips, name: str, *, even_so: bool = False) -> None:
    async with tips.pool.acquire() as connection:
        keys, now = tips.desk.keys, tips.clock.now
        await month_keys.destroy(
            connection, keys, name, now, "jansen", Told(), even_so=even_so, source=SOURCE
        )


async def test_a_hold_that_comes_while_its_key_is_destroyed_keeps_the_words(tips: Tips) -> None:
    """After it was seen that nothing is held: they stay under the key, which stays too, and are read as
    before; the others are erased, and that is said."""
    held, other = await sent(tips, tip()), await sent(tips, tip())
    async with tips.pool.acquire() as busy:
        transaction = busy.transaction()
        await transaction.start()
        await reports.lock(busy, other)
        destroying = asyncio.create_task(destroy(tips, LED, even_so=True))
        async with asyncio.timeout(20):
            while not await tips.rows("SELECT FROM retired_key"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        await place(tips, held, date(2026, 12, 24))
        await transaction.commit()
    with pytest.raises(Refusal, match=f"1 reports stay under {LED}: they are held"):
        await destroying
    assert (await key_of(tips, held), await key_of(tips, other)) == (LED, None)
    assert (await tips.words(held)).status == 200
    assert await log_of(tips, held) == [("alteration", "hold_placed:court_order"), ("disclosure", "delivery")]
    with pytest.raises(Refusal, match="1 reports under"):
        await destroy(tips, LED, even_so=True)
    async with tips.pool.acquire() as connection:
        await holding.lift(connection, held, tips.clock.now, "jansen", Told(), SOURCE)
    await destroy(tips, LED, even_so=True)
    assert (await key_of(tips, held), tips.desk.keys.state(LED)) == (None, "destroyed")


async def test_a_key_is_destroyed_only_when_nothing_is_under_it(tips: Tips) -> None:
    """Or when somebody says so, but never what is held."""
    held, other = await sent(tips, tip()), await sent(tips, tip())
    await place(tips, held, date(2026, 12, 24))

    with pytest.raises(Refusal, match="1 reports under"):
        await destroy(tips, LED, even_so=True)
    async with tips.pool.acquire() as connection:
        await holding.lift(connection, held, tips.clock.now, "jansen", Told(), SOURCE)
    with pytest.raises(Refusal, match="2 reports are under"):
        await destroy(tips, LED)
    with pytest.raises(Refusal, match="there is no key"):
        await destroy(tips, "2020-01-led-365")
    await destroy(tips, LED, even_so=True)
    assert await erased_events(tips) == {held: "retention", other: "retention"}
    assert await log_of(tips, other) == [("erasure", "key_destroyed")]
    with pytest.raises(KeyDestroyed):
        tips.desk.keys.get(LED)
    assert await key_of(tips, await sent(tips, tip())) == f"{LED}.2"


async def test_keys_are_listed_with_what_is_under_them(tips: Tips) -> None:
    """State, when it was made, how many reports, when it ends."""
    held = await sent(tips, tip())
    await place(tips, held, date(2028, 1, 31))
    await sent(tips, issue())
    await run(tips, OVER)
    async with tips.pool.acquire() as connection:
        told = Told()
        await month_keys.show(connection, tips.desk.keys, told)
    assert f"{LED}: destroyed, 0 reports, ends 2027-12-01" in told
    (line,) = [line for line in told if line.startswith("hold-")]
    assert line.startswith(f"hold-{held}: there, made 20")
    assert line.endswith(":00, 1 reports, ends with its hold")


async def test_erased_reports_and_the_oldest_log_go_in_the_end(tips: Tips) -> None:
    """The totals stay as they were, and the log is still a chain, from the last entry that went."""
    kept, gone = await sent(tips, issue()), await sent(tips, issue())
    old = datetime(2020, 1, 1, tzinfo=UTC)
    async with tips.pool.acquire() as connection:
        for at in (old, old, tips.clock.now):
            async with connection.transaction():
                entry = chain.Entry(gone, "tip", hour_of(at), "erasure", "retention", "tips", "retention")
                await disclosures.record(connection, [entry])
        before = await reports.totals(connection)
    await erase(tips, gone)
    await run(tips, tips.clock.now + timedelta(days=keeping.ERASED_KEPT_DAYS))
    assert len(await tips.rows("SELECT FROM report")) == 2
    await run(tips, tips.clock.now + timedelta(days=keeping.ERASED_KEPT_DAYS + 1))
    assert [row["report_id"] for row in await tips.rows("SELECT report_id FROM report")] == [kept]
    async with tips.pool.acquire() as connection:
        after = await reports.totals(connection)
        assert {name: after[name] for name in ("accepted", "digest")} == {
            name: before[name] for name in ("accepted", "digest")
        }
        (row,) = await tips.rows("SELECT cut_number, number FROM disclosure_chain WHERE chain = 'tip'")
        assert (row["cut_number"], row["number"]) == (2, 3)
        told = Told()
        await auditing.verify(connection, {"tip": [chain.Mark(1, bytes(32))]}, told)
        assert "chain tip: 1 has gone by its time; it cannot be held against" in told


async def test_what_cannot_be_opened_is_said_and_the_rest_goes_all_the_same(
    tips: Tips, tmp_path: Path
) -> None:
    """What is open under a lost key waits for the folder to be restored; what is done is erased without it,
    and what somebody has tampered with keeps nobody else's words here."""
    lost, done = await sent(tips, tip(), "planned"), await sent(tips, tip())
    bad, other = await sent(tips, issue(), "planned"), await sent(tips, issue())
    await tips.rows("UPDATE report SET wrapped_key = sha256('x') WHERE report_id = $1", bad)
    (tmp_path / LED).rename(tmp_path / "elsewhere")
    keys = KeyFolder(tmp_path)
    async with tips.pool.acquire() as connection:
        with pytest.raises(Refusal) as refusal:
            await retention.run(connection, keys, tips.desk.municipality, OVER, "test", Told())
        assert f"1 reports stay under {LED}: key {LED} is missing" in str(refusal.value)
        assert f"1 reports stay under {GDPR}: InvalidTag" in str(refusal.value)
        for report_id in (done, other):
            assert await opened(connection, keys, report_id) is None
        with pytest.raises(KeyLost):
            await opened(connection, keys, lost)
        (tmp_path / "elsewhere").rename(tmp_path / LED)
        with pytest.raises(Refusal, match=f"^not all came to its end: 1 reports stay under {GDPR}"):
            await retention.run(connection, keys, tips.desk.municipality, OVER, "test", Told())
        assert await opened(connection, keys, lost) == "2027-12-led-365"
        assert keys.state(LED) == "destroyed"


# Which points a run passes, and at which call of each it dies.
DEATHS = {
    "retention": [*((point, 1) for point in POINTS), ("before a commit", 2), ("before the log", 2)],
    "rotate": [
        *((point, 1) for point in ("before the hold's key", "before retiring", "before the wait")),
        *((point, 1) for point in ("before the words move", "before a commit", "before the journal")),
        *((point, 1) for point in ("before the destruction", "between mark and removal")),
    ],
    "destroy": [
        *((point, 1) for point in ("before the event", "before the log", "before a commit")),
        *((point, 1) for point in ("before the destruction", "between mark and removal")),
    ],
}


async def dies(dsn: str, folder: Path, now: datetime, point: str, hits: int, *command: str) -> bool:
    """Whether a process of its own that does this died at that point."""
    done = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-m",
            "tests.integration.dying_keeper",
            *(dsn, str(folder), now.isoformat(), point, str(hits), *command),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


async def again(tips: Tips, command: str, name: str, now: datetime) -> None:
    """The next run, which nothing stops."""
    keys = tips.desk.keys
    async with tips.pool.acquire() as connection:
        if command == "retention":
            await retention.run(connection, keys, tips.desk.municipality, now, "test", Told())
        elif keys.state(name) == "there":
            work: dict[str, Any] = {"even_so": True, "source": SOURCE}
            if command == "rotate":
                await month_keys.rotate(connection, keys, name, "test", Told())
            else:
                await month_keys.destroy(connection, keys, name, now, "test", Told(), **work)
        else:
            keys.tidy()  # as the hourly run does


@pytest.mark.parametrize("command", list(DEATHS))
async def test_whoever_dies_leaves_nothing_half_done_after_the_next_run(
    command: str, database: MakeDatabase, tmp_path: Path
) -> None:
    """SIGKILL at every point: nothing that must stay is lost, and in the end each report is erased once, held
    or extended, as it should be, and no key is left that should be gone."""
    dsn = await database()
    async with running_tips(dsn, tmp_path) as tips:
        for nth, (point, hits) in enumerate(DEATHS[command]):
            # Each in a year of its own, so that each has a key of its own.
            tips.clock.now = datetime(2026 + 4 * nth, 11, 12, 13, 37, tzinfo=UTC)
            name = f"{tips.clock.now:%Y-%m}-led-365"
            now = tips.clock.now + timedelta(days=400 if command == "retention" else 0)
            if point in ("before reports are forgotten", "before the log is cut"):
                async with tips.pool.acquire() as connection, connection.transaction():
                    old = datetime(2010, 1, 1, tzinfo=UTC)
                    entry = chain.Entry(uuid.uuid4(), "issue", old, "erasure", "x", "tips", "retention")
                    await disclosures.record(connection, [entry])
            held, still, done, ended = await four(tips, now, hold=command != "destroy")
            spam = await sent(tips, tip(), "delivered")
            if command == "retention":
                day = now.date() - timedelta(days=10)
                await tips.rows("UPDATE report SET spam_on = $2 WHERE report_id = $1", spam, day)
            assert await dies(dsn, tmp_path, now, point, hits, command, name), point
            if command != "destroy":
                assert {await key_of(tips, one) is None for one in (held, still)} == {False}, point
            await again(tips, command, name, now)
            keys = {one: await key_of(tips, one) for one in (held, still, done, ended, spam)}
            if command == "rotate":
                assert set(keys.values()) == {f"{name}.2"}, point
            elif command == "destroy":
                assert set(keys.values()) == {None}, point
                assert set(await erased_events(tips)) == set(keys), point
            else:
                assert (keys[held], keys[still]) == (f"hold-{held}", f"{now:%Y-%m}-led-365"), point
                assert keys[done] is keys[ended] is keys[spam] is None, point
                gone = {done: "retention", ended: "resident", spam: "spam"}
                assert await erased_events(tips) == gone, point
                assert await log_of(tips, done) == [("erasure", "retention")], point
            left = await asyncio.to_thread(lambda: {file.name for file in tmp_path.iterdir()})
            assert name not in left, point
            assert not [one for one in left if one.startswith(".")], point
            for table in ("hold", "report", "outbox", "submission"):
                await tips.rows(f"DELETE FROM {table}")


async def four(tips: Tips, now: datetime, *, hold: bool) -> list[uuid.UUID]:
    """One that is held, one that is open, one that is done, and one whose resident has erased it under a hold
    that has ended."""
    statuses = ("resolved", "planned", "resolved", "resolved")
    held, still, done, ended = [await sent(tips, tip(), status) for status in statuses]
    if hold:
        await place(tips, held, now.date() + timedelta(days=9), now)
        await place(tips, ended, tips.clock.now.date() + timedelta(days=5))
        await erase(tips, ended)
    return [held, still, done, ended]
