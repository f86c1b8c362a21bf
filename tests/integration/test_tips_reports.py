"""Sending a report and following it, over real HTTP and a real PostgreSQL."""

import asyncio
import json
import uuid
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
import structlog

from services.tips import app, receipts
from services.tips.core.chain import Entry
from services.tips.queries import disclosures, reports
from shared import outbox
from shared.cloudevents import from_record
from shared.events import ReportAccepted
from tests.conftest import Infrastructure
from tests.integration.followed import followed
from tests.integration.test_tips_photos import uploaded
from tests.integration.tips_server import (
    LATITUDE,
    LONGITUDE,
    SECRET_ADDRESS,
    SECRET_WORDS,
    Tips,
    issue,
    new_key,
    tip,
)


async def test_a_report_is_stored_with_its_event_and_the_relay_is_woken(tips: Tips) -> None:
    """One report, one event with the facts and no words, in one transaction."""
    answer = await tips.post(issue())
    assert (answer.status, answer.headers["Location"]) == (201, "/v1/reports/mine")
    page = (await tips.get("/v1/issues")).body["issues"][0]["page"]
    assert answer.body["report"] == {
        "kind": "issue",
        "category": "street_light",
        "language": "nl",
        "areas": {"district": "oakwood"},
        "status": "accepted",
        "text": "Wij hebben uw melding. Wij zoeken nu uit wie die oppakt.",
        "accepted_at": "2026-11-12T13:37:11.123456Z",
        "unit": None,
        "reason": None,
        "acknowledge_by": None,
        "answer_by": None,
        "resolve_by": None,
        "explained": {
            "who": "Wij zoeken nog uit wie verantwoordelijk is.",
            "by_when": "Wij weten nog niet wanneer dit klaar is.",
            "why": None,
            "before": None,
        },
        "question_open": False,
        "unread": 0,
        "erasure_waits": None,
        "possible": ["message", "withdraw", "erase"],
        "reopen_until": None,
        "public": {"page": page, "text": None, "text_by": None},
        "kept_until": "2027-12-01",
        "timeline": [
            {
                "status": "accepted",
                "text": "Wij hebben uw melding ontvangen.",
                "at": "2026-11-12T13:37:11.123456Z",
                "unit": None,
                "reason": None,
            }
        ],
    }
    assert len(tips.wakes) == 1
    (row,) = await tips.rows("SELECT * FROM outbox WHERE topic = 'ibuurt.reports.v1'")
    assert row["source"] == "/ibuurt/tips"
    event = ReportAccepted.model_validate_json(row["value"])
    assert event.report_id == await tips.report_id()
    assert (event.category, event.areas, event.urgency) == ("street_light", {"district": "oakwood"}, "normal")
    assert (event.source, event.regime, event.version) == ("api", "gdpr", 1)
    assert event.municipality_version == tips.desk.municipality.version
    assert tips.registry.get_sample_value("report_accepted_total") == 1


async def test_the_receipt_leads_back_to_the_report(tips: Tips) -> None:
    """As it was shown, and as a person may type it; every answer forbids keeping a copy."""
    answer = await tips.post(tip())
    receipt = answer.body["receipt"]
    for typed in (receipt, receipt.lower(), receipt.replace("-", " "), receipt.replace("0", "O")):
        mine = await tips.mine(typed)
        assert (mine.status, mine.body) == (200, {"report": answer.body["report"]})
        assert mine.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("location", "areas"),
    [
        ({"point": {"latitude": LATITUDE, "longitude": LONGITUDE}}, {"district": "oakwood"}),
        ({"area": {"district": "centre"}}, {"district": "centre"}),
        ({"address": SECRET_ADDRESS}, {}),
    ],
)
async def test_a_place_is_a_point_an_area_or_an_address(
    location: dict[str, object], areas: dict[str, str], tips: Tips
) -> None:
    """The area is known from the first two; whoever delivers reads the place as it was given."""
    answer = await tips.post(issue(location=location))
    assert answer.body["report"]["areas"] == areas
    words = await tips.words(await tips.report_id())
    assert words.body["location"] == location


async def test_without_a_language_the_first_one_of_the_municipality_is_taken(tips: Tips) -> None:
    """Left out or null."""
    body = issue()
    del body["language"]
    for sent in (body, body | {"language": None}):
        assert (await tips.post(sent)).body["report"]["language"] == "nl"


async def test_the_longest_description_is_taken(tips: Tips) -> None:
    """10,000 characters of three bytes, after the spaces around them."""
    answer = await tips.post(
        json.dumps(issue(description=" \n" + "✔" * 10_000 + " "), ensure_ascii=False).encode()
    )
    assert answer.status == 201
    assert (await tips.words(await tips.report_id())).body["description"] == "✔" * 10_000


async def test_the_same_submission_again_gets_the_same_answer_and_stores_nothing(tips: Tips) -> None:
    """Byte for byte, also when the report has moved on, and when the JSON was written otherwise."""
    key = new_key()
    first = await tips.post(issue(), key)
    await tips.rows("UPDATE report SET status = 'routed'")
    stored = await tips.stored()
    tips.clock.now += timedelta(hours=24)
    again = await tips.post(issue(), key)
    otherwise = await tips.post(json.dumps(issue(), indent=3, sort_keys=True).encode(), key)
    assert first.content == again.content == otherwise.content
    assert again.status == otherwise.status == 201
    assert await tips.stored() == stored
    assert len(tips.wakes) == 1
    assert tips.registry.get_sample_value("report_accepted_total") == 1


async def test_the_same_key_with_another_body_is_refused(tips: Tips) -> None:
    """And tells nothing of the report that it belongs to."""
    key = new_key()
    first = await tips.post(issue(), key)
    stored = await tips.stored()
    answer = await tips.post(issue(description="something else"), key)
    assert (answer.status, answer.code) == (409, "idempotency-key-reused")
    assert first.body["receipt"] not in answer.content.decode()
    assert await tips.stored() == stored


async def test_racing_submissions_store_one_report_and_get_one_answer(tips: Tips) -> None:
    """Twenty at once with the same key and body, several times."""
    for round_number in range(1, 6):
        key = new_key()
        answers = await asyncio.gather(*(tips.post(issue(), key) for _ in range(20)))
        assert {answer.status for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert await tips.stored() == 3 * round_number


async def test_of_racing_submissions_with_different_bodies_one_wins(tips: Tips) -> None:
    """The others are told that the key belongs to another report."""
    key = new_key()
    answers = await asyncio.gather(*(tips.post(issue(description=f"words {n}"), key) for n in range(10)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9
    assert await tips.stored() == 3


async def test_after_a_day_a_used_key_is_refused_and_its_receipt_still_works(tips: Tips) -> None:
    """Its submission is forgotten, its report is not: neither a second report nor a fault."""
    key = new_key()
    first = await tips.post(issue(), key)
    tips.clock.now += timedelta(hours=25)
    forgetting = asyncio.create_task(app.forget_submissions(tips.pool, tips.clock, every_seconds=0.01))
    await until_no_submission(tips)
    forgetting.cancel()
    stored = await tips.stored()
    answer = await tips.post(issue(), key)
    assert (answer.status, answer.code) == (409, "idempotency-key-expired")
    assert await tips.stored() == stored
    assert (await tips.mine(first.body["receipt"])).status == 200


async def until_no_submission(tips: Tips) -> None:
    async with asyncio.timeout(10):
        while await tips.rows("SELECT FROM submission"):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def test_a_submission_is_not_forgotten_within_a_day(tips: Tips) -> None:
    """The answer may have been lost for 24 hours."""
    await tips.post(issue())
    async with tips.pool.acquire() as connection:
        await reports.drop_submissions(connection, tips.clock.now + timedelta(hours=24))
    assert len(await tips.rows("SELECT FROM submission")) == 1


async def test_while_the_database_is_away_nothing_is_promised_and_a_retry_stores_it_once(
    tips: Tips, infrastructure: Infrastructure
) -> None:
    """503 with Retry-After; the same key later is stored."""
    key, (row,) = new_key(), await tips.rows("SELECT current_database() AS name")
    await barred(infrastructure, row["name"], allow=False)
    answers = [await tips.post(issue(), key), await tips.mine("0" * 21), await tips.words(uuid.uuid4())]
    await barred(infrastructure, row["name"], allow=True)
    assert {(answer.status, answer.code) for answer in answers} == {(503, "not-now")}
    assert {answer.headers["Retry-After"] for answer in answers} == {"5"}
    assert (await tips.post(issue(), key)).status == 201
    assert await tips.stored() == 3


async def barred(infrastructure: Infrastructure, name: str, *, allow: bool) -> None:
    """Whether anybody may connect to the database; ends who is connected."""
    connection = await asyncpg.connect(infrastructure.admin_dsn)
    await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allow}')
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
    )
    await connection.close()


async def test_words_are_read_with_a_log_entry(tips: Tips) -> None:
    """Who, through which service, why and when; a tip's to the hour."""
    await tips.post(issue())
    report_id = await tips.report_id()
    answer = await tips.words(report_id, purpose="delivery", reader="unit:public_space via webhook")
    assert answer.status == 200
    assert answer.body == {
        "report_id": str(report_id),
        "kind": "issue",
        "category": "street_light",
        "language": "nl",
        "areas": {"district": "oakwood"},
        "description": SECRET_WORDS,
        "location": {"point": {"latitude": LATITUDE, "longitude": LONGITUDE}},
        "happened": None,
        "answers": {},
        "contact": None,
        "photos": [],
        "not_an_emergency": False,
        "accepted_at": "2026-11-12T13:37:11.123456Z",
    }
    await tips.words(report_id, purpose="follow_up", reader="officer:k.jansen")
    async with tips.pool.acquire() as connection, connection.transaction():
        logged = [one async for one in disclosures.walk(connection, "issue")]
    now = tips.clock.now
    unit, officer = "unit:public_space via webhook", "officer:k.jansen"
    assert [one.entry for one in logged] == [
        Entry(report_id, "issue", now, "collection", "resident", "tips", "report"),
        Entry(report_id, "issue", now, "disclosure", unit, "notify", "delivery", unit),
        Entry(report_id, "issue", now, "consultation", officer, "notify", "follow_up"),
    ]
    assert [one.mark.number for one in logged] == [1, 2, 3]
    assert tips.registry.get_sample_value("report_words_read_total") == 2


async def test_a_reading_that_cannot_be_logged_does_not_happen(tips: Tips) -> None:
    """The log and the answer stand or fall together."""
    await tips.post(issue())
    await tips.rows("ALTER TABLE disclosure ADD CHECK (actor <> 'unit:parking')")
    answer = await tips.words(await tips.report_id(), reader="unit:parking")
    assert answer.status == 500
    assert SECRET_WORDS not in answer.content.decode()


@pytest.mark.parametrize(
    "statement", ["UPDATE disclosure SET actor = 'x'", "DELETE FROM disclosure", "TRUNCATE disclosure"]
)
async def test_the_log_of_readings_cannot_be_changed(statement: str, tips: Tips) -> None:
    """Not even by the service's own account."""
    await tips.post(issue())
    await tips.words(await tips.report_id())
    with pytest.raises(Exception, match="only added to"):
        await tips.rows(statement)
    assert len(await tips.rows("SELECT FROM disclosure")) == 2


async def test_erased_words_are_gone_and_asking_is_not_logged(tips: Tips) -> None:
    """410 when the report's key is deleted, and when its month's key is destroyed."""
    await tips.post(tip())
    report_id = await tips.report_id()
    await tips.rows("UPDATE report SET key_name = NULL, wrapped_key = NULL, sealed = NULL")
    assert (await tips.words(report_id)).code == "report-erased"
    await tips.rows("DELETE FROM report")
    await tips.post(tip())
    tips.desk.keys.destroy("2026-11-led-365")
    answer = await tips.words(await tips.report_id())
    assert (answer.status, answer.code) == (410, "report-erased")
    assert not await tips.rows("SELECT FROM disclosure WHERE act <> 'collection'")


async def test_a_lost_month_key_is_no_erasure(tips: Tips, tmp_path: Path) -> None:
    """The key folder was not restored: later it can be, so nobody is told that the words are gone."""
    await tips.post(issue())
    (tmp_path / "2026-11-gdpr-365").rename(tmp_path / "elsewhere")
    answer = await tips.words(await tips.report_id())
    assert (answer.status, answer.code) == (503, "key-lost")
    (tmp_path / "elsewhere").rename(tmp_path / "2026-11-gdpr-365")
    assert (await tips.words(await tips.report_id())).status == 200


async def test_words_moved_to_another_report_are_not_given_out(tips: Tips) -> None:
    """Whoever can write the database cannot have one report's words sent to another's unit."""
    await tips.post(issue())
    victim = await tips.report_id()
    await tips.post(issue(description="another"))
    await tips.rows(
        """UPDATE report SET wrapped_key = v.wrapped_key, sealed = v.sealed
           FROM (SELECT * FROM report WHERE report_id = $1) v WHERE report.report_id <> $1""",
        victim,
    )
    (other,) = await tips.rows("SELECT report_id FROM report WHERE report_id <> $1", victim)
    answer = await tips.words(other["report_id"])
    assert (answer.status, answer.code) == (503, "damaged")
    assert SECRET_WORDS not in answer.content.decode()


async def test_damaged_bytes_are_named_to_who_asks_and_to_the_operator(tips: Tips) -> None:
    """Of words, messages and photos, to both sides: no fault of the program, no erasure, and no answer that
    is logged as given."""
    photo = await uploaded(tips)
    mine = await followed(tips, tip(photos=[str(photo)]))
    await mine.ask()
    asked = "?purpose=follow_up&reader=officer:k.jansen"
    damage = "SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)"
    await tips.rows(f"UPDATE message {damage}")
    await tips.rows(f"UPDATE photo_part {damage}")
    with structlog.testing.capture_logs() as logs:
        answers = [
            await mine.mine("GET", "/messages"),
            await mine.mine("GET", "/export"),
            await mine.inside("GET", f"/messages{asked}"),
            await mine.mine("GET", f"/photos/{photo}"),
            await mine.inside("GET", f"/photos/{photo}{asked}"),
        ]
        await tips.rows(f"UPDATE report {damage}")
        answers += [await tips.words(mine.report_id), await mine.mine("GET", "/export")]
        await tips.rows(f"UPDATE report {damage.replace('sealed', 'wrapped_key')}")
        answers += [await mine.mine("GET", "/messages"), await mine.write("One more thing.")]
    told = {(one.status, one.code, "Retry-After" in one.headers) for one in answers}
    assert told == {(503, "damaged", True)}
    unreadable = [line for line in logs if line["event"] == "sealed_unreadable"]
    assert len(unreadable) == len(answers)
    assert all("from a backup" in line["mend"] for line in unreadable)
    assert str(mine.report_id) not in str(logs)
    assert await mine.log() == [("alteration", "unit:public_space", "notify", "message")]


async def test_a_receipt_is_found_as_phones_type_it(tips: Tips) -> None:
    """Dashes, spaces that do not break and full-width characters, in UTF-8 as in Latin-1."""
    receipt = (await tips.post(issue())).body["receipt"]
    for hyphen in ("\u2013", "\u2011", "\u00a0", "\u202f", "\u2009", "\u00ad", "\uff0d"):
        assert (await tips.mine(receipt.replace("-", hyphen))).status == 200, hex(ord(hyphen))
    wide = {place: place + 0xFEE0 for place in range(0x21, 0x7F)}
    assert (await tips.mine(receipt.translate(wide))).status == 200
    host, port = tips.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    code = receipt.replace("-", "\u00a0").encode("latin-1")
    head = b"GET /v1/reports/mine HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Receipt "
    writer.write(head + code + b"\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"200"
    writer.close()


async def test_the_event_can_be_read_by_its_readers(tips: Tips) -> None:
    """As the relay will send it."""
    await tips.post(tip())
    async with tips.pool.acquire() as connection:
        batch = await outbox.claim(connection)
    assert batch is not None
    (record,) = batch.records
    envelope = from_record(record.topic, record.key, record.value, record.headers())
    assert isinstance(envelope.event, ReportAccepted)
    assert envelope.time.minute == 0


async def test_totals_count_each_report_once(tips: Tips) -> None:
    """Accepted, and the fingerprint of the ids, whatever their order."""
    async with tips.pool.acquire() as connection:
        empty = await reports.totals(connection)
    assert empty == {
        "accepted": 0,
        "issues": 0,
        "digest": "0" * 16,
        "routed": 0,
        "delivered": 0,
        "acknowledged": 0,
        "waiting": 0,
    }
    for _ in range(3):
        await tips.post(tip())
    async with tips.pool.acquire() as connection:
        totals = await reports.totals(connection)
    assert (totals["accepted"], totals["waiting"]) == (3, 3)
    assert totals["digest"] != "0" * 16


async def test_receipts_are_not_stored(tips: Tips) -> None:
    """Only what is derived from them with the second pepper."""
    answer = await tips.post(tip())
    receipt = receipts.read(answer.body["receipt"])
    assert receipt is not None
    (row,) = await tips.rows("SELECT lookup_id FROM report")
    assert row["lookup_id"] == receipts.lookup_id(receipt, tips.desk.peppers.lookup)
