"""Photos over HTTP and in the stores: taken, attached, moved, read, dropped; nothing of them in clear."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.tips import erasing, sealing
from services.tips.http import photos as http_photos
from services.tips.photos import MAX_PHOTO_BYTES, MAX_PHOTOS, decoders, holding, moving
from services.tips.photos.store import PROBE, PhotoStore, StoreAway
from services.tips.queries import photos, reports
from shared.errors import Refusal
from shared.web import Problem
from tests.integration.test_tips_privacy import all_times, everything
from tests.integration.tips_server import HERE, NOTIFY_TOKEN, Answer, Tips, issue, tip
from tests.photos import MARK, PLAIN, encoded, noise, picture, png, segments, shown, tags

UPRIGHT = ["red", "green", "blue", "white"]


@pytest.fixture
def limited_room(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many uploads of residents may wait; of units one more."""
    monkeypatch.setattr(http_photos, "MAX_UPLOADS", 9)
    monkeypatch.setattr(http_photos, "UNITS_UPLOADS", 1)
    return 8


async def upload(tips: Tips, photo: bytes | None = None, **headers: str) -> Answer:
    """POST /v1/photos; by default of a phone's photo with a place in it."""
    body = encoded(picture(), exif=tags()) if photo is None else photo
    return await tips.request("POST", "/v1/photos", body, {"Content-Type": "image/jpeg"} | headers)


async def uploaded(tips: Tips) -> uuid.UUID:
    answer = await upload(tips)
    assert (answer.status, list(answer.body)) == (201, ["photo"])
    return uuid.UUID(answer.body["photo"])


async def sent(tips: Tips, body: dict[str, Any] | None = None) -> tuple[uuid.UUID, str]:
    """A report's id and its receipt."""
    before = {row["report_id"] for row in await tips.rows("SELECT report_id FROM report")}
    receipt = (await tips.post(body or tip())).body["receipt"]
    (new,) = {row["report_id"] for row in await tips.rows("SELECT report_id FROM report")} - before
    return new, receipt


async def attach(tips: Tips, report_id: uuid.UUID, photo_ids: Sequence[uuid.UUID]) -> None:
    async with tips.pool.acquire() as connection, connection.transaction():
        found = await reports.lock(connection, report_id)
        assert found
        assert found[1]
        key = sealing.open_key(report_id, found[1], tips.desk.keys.get(found[1].key_name))
        await holding.attach(connection, tips.desk.keys, report_id, key, photo_ids, tips.clock.now)


async def with_photo(tips: Tips, body: dict[str, Any] | None = None) -> tuple[uuid.UUID, str, uuid.UUID]:
    """A report with a photo: report id, receipt, photo id."""
    photo_id = await uploaded(tips)
    report_id, receipt = await sent(tips, body)
    await attach(tips, report_id, [photo_id])
    return report_id, receipt, photo_id


async def own(tips: Tips, receipt: str, photo_id: uuid.UUID) -> Answer:
    headers = {"Authorization": f"Receipt {receipt}"}
    return await tips.request("GET", f"/v1/reports/mine/photos/{photo_id}", None, headers)


async def read(tips: Tips, report_id: uuid.UUID, photo_id: uuid.UUID, **query: str) -> Answer:
    asked = {"purpose": "delivery", "reader": "unit:police via webhook"} | query
    url = f"{tips.internal_url}/internal/v1/reports/{report_id}/photos/{photo_id}?" + "&".join(
        f"{name}={value}" for name, value in asked.items()
    )
    return await tips.request("GET", url, None, {"Authorization": f"Bearer {NOTIFY_TOKEN}"})


async def erase(tips: Tips, report_id: uuid.UUID) -> None:
    async with tips.pool.acquire() as connection, connection.transaction():
        found = await reports.lock(connection, report_id)
        assert found
        await erasing.erase(connection, found[0], "resident", tips.clock.now, "/ibuurt/tips")


def objects(tips: Tips) -> list[Path]:
    folder = tips.desk.photo_store._folder
    assert folder
    # A draft of the probe's too: it is put and deleted all the time.
    return sorted(path for path in folder.iterdir() if not path.name.startswith(str(PROBE)))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def next_hour(tips: Tips) -> None:
    """The hour is over, and what it brought has moved."""
    tips.clock.now += timedelta(hours=1)
    await moving.move(tips.pool, tips.desk.photo_store, tips.clock.now)


async def test_a_photo_comes_back_to_its_own_receipt_before_and_after_it_has_moved(tips: Tips) -> None:
    """Upright, without metadata, and never to be cached."""
    _, receipt, photo_id = await with_photo(tips)
    before = await own(tips, receipt, photo_id)
    assert objects(tips) == []
    await next_hour(tips)
    assert len(objects(tips)) == 1
    assert await tips.rows("SELECT FROM photo_part") == []
    after = await own(tips, receipt, photo_id)
    for answer in (before, after):
        assert answer.status == 200
        assert shown(answer.content) == UPRIGHT
        assert set(segments(answer.content)) <= PLAIN
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Disposition"] == 'inline; filename="photo.jpg"'
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert before.content == after.content


async def test_a_photo_is_nobody_elses(tips: Tips) -> None:
    """Not another receipt's, not a wrong one's, not anybody's before a report has taken it."""
    report_id, _, photo_id = await with_photo(tips)
    other, other_receipt = await sent(tips)
    loose = await uploaded(tips)
    answer = await own(tips, other_receipt, photo_id)
    assert (answer.status, answer.code) == (404, "photo-unknown")
    assert (await own(tips, "0000-0000-0000-0000-00000", photo_id)).code == "receipt-unknown"
    assert (await own(tips, other_receipt, loose)).code == "photo-unknown"
    assert (await read(tips, other, photo_id)).code == "photo-unknown"
    assert (await read(tips, uuid.uuid4(), photo_id)).code == "report-unknown"
    bare = await tips.request("GET", f"/v1/reports/mine/photos/{photo_id}", None, {})
    assert (bare.status, bare.code) == (401, "receipt-missing")
    url = f"{tips.internal_url}/internal/v1/reports/{report_id}/photos/{photo_id}?purpose=x&reader=unit:y"
    assert (await tips.request("GET", url, None, {})).code == "not-authenticated"
    assert await tips.rows("SELECT * FROM disclosure WHERE purpose <> 'report'") == []


@pytest.mark.parametrize("body", [tip(), issue()], ids=["tip", "issue"])
async def test_who_reads_a_photo_is_logged(body: dict[str, Any], tips: Tips) -> None:
    """With the purpose that was given; of a tip the hour only. A resident's own look is not logged."""
    report_id, receipt, photo_id = await with_photo(tips, body)
    await own(tips, receipt, photo_id)
    for purpose, act in (("delivery", "disclosure"), ("follow_up", "consultation")):
        answer = await read(tips, report_id, photo_id, purpose=purpose, reader="officer:73 via desk")
        assert (answer.status, shown(answer.content)) == (200, UPRIGHT)
        row = (await tips.rows("SELECT * FROM disclosure ORDER BY number"))[-1]
        assert (row["act"], row["purpose"], row["actor"], row["service"]) == (
            act,
            purpose,
            "officer:73 via desk",
            "notify",
        )
        assert (row["at"].minute == 0) == (body["kind"] == "tip")
    assert len(await tips.rows("SELECT * FROM disclosure WHERE purpose <> 'report'")) == 2
    for wrong in ({"purpose": "Because I want to"}, {"reader": "me"}, {"more": "x"}):
        answer = await read(tips, report_id, photo_id, **wrong)
        assert (answer.status, answer.code) == (422, "invalid-request")
        assert "Because" not in answer.content.decode()
    assert len(await tips.rows("SELECT * FROM disclosure WHERE purpose <> 'report'")) == 2


REFUSED = {
    "text": (b"hello " + MARK.encode(), "not-a-photo"),
    "nothing": (b"", "not-a-photo"),
    "half": (encoded(noise(320, 240))[:5000], "photo-broken"),
    "a bomb": (png(2**31 - 1, 2**31 - 1, b"x"), "photo-too-many-pixels"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_photo_is_refused_by_the_name_of_the_fault(name: str, tips: Tips) -> None:
    """Whatever it calls itself; nothing is stored, nothing is repeated, and the detail says what to do."""
    photo, code = REFUSED[name]
    answer = await upload(tips, photo)
    assert (answer.status, answer.code) == (422, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert MARK not in answer.content.decode()
    assert await tips.rows("SELECT * FROM photo") == []


async def test_a_photo_goes_by_its_content_not_by_its_name_or_type(tips: Tips) -> None:
    """A PNG that says that it is a JPEG, a text, or a video."""
    for said in ("image/jpeg", "text/html", "video/mp4", "application/json"):
        answer = await upload(tips, encoded(picture(), "PNG"), **{"Content-Type": said})
        assert answer.status == 201


async def test_a_file_above_the_limit_is_refused_with_the_limit(tips: Tips) -> None:
    """Announced, or only noticed while it comes; one at the limit is read."""
    answer = await upload(tips, b"\0" * (MAX_PHOTO_BYTES + 1))
    assert (answer.status, answer.code) == (413, "photo-too-large")
    assert answer.body["limit_bytes"] == MAX_PHOTO_BYTES

    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_PHOTO_BYTES // 2**20 + 1):
            yield b"\0" * 2**20

    async with tips.session.post(f"{tips.url}/v1/photos", data=in_pieces()) as piecemeal:
        assert piecemeal.status == 413
    exact = encoded(picture()).ljust(MAX_PHOTO_BYTES, b"\0")
    assert (await upload(tips, exact)).status == 201


async def test_a_report_takes_each_upload_once_and_at_most_five(tips: Tips) -> None:
    """Unknown, taken, named twice, expired and a sixth are refused by their place, and nothing is taken."""
    report_id, _ = await sent(tips)
    ids = [await uploaded(tips) for _ in range(6)]
    taken = ids.pop()
    await attach(tips, report_id, [taken])
    other, _ = await sent(tips)
    cases = [
        ([ids[0], uuid.uuid4()], "photo-unknown", "/photos/1"),
        ([taken], "photo-taken", "/photos/0"),
        ([ids[0], ids[1], ids[0]], "photo-twice", "/photos/2"),
        ([*ids, taken], "too-many-photos", "/photos/5"),
    ]
    for photo_ids, code, pointer in cases:
        with pytest.raises(Problem) as refused:
            await attach(tips, other, photo_ids)
        assert refused.value.status == 422
        assert refused.value.body["type"] == f"urn:ibuurt:problem:{code}"
        assert [error["pointer"] for error in refused.value.body["errors"]] == [pointer]
    tips.clock.now += timedelta(hours=25)
    with pytest.raises(Problem) as refused:
        await attach(tips, other, [ids[0]])
    assert refused.value.body["type"] == "urn:ibuurt:problem:photo-unknown"
    tips.clock.now -= timedelta(hours=2)
    await attach(tips, other, ids)
    assert len(await tips.rows("SELECT * FROM photo WHERE report_id = $1", other)) == 5
    await attach(tips, other, [])


async def test_two_reports_that_take_an_upload_at_the_same_time_do_not_both_get_it(tips: Tips) -> None:
    """Whoever comes second is refused."""
    photo_id = await uploaded(tips)
    (first, _), (second, _) = await sent(tips), await sent(tips)
    both = (attach(tips, first, [photo_id]), attach(tips, second, [photo_id]))
    results = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "Problem"]


async def test_an_upload_that_no_report_took_is_dropped_after_a_day(tips: Tips) -> None:
    """After 24 to 25 hours, a whole hour; what a report has taken stays."""
    photo_id = await uploaded(tips)
    _, _, kept = await with_photo(tips)
    (row,) = await tips.rows("SELECT drop_after FROM photo WHERE photo_id = $1", photo_id)
    assert row["drop_after"] == datetime(2026, 11, 13, 14, tzinfo=UTC)
    for now, left in (
        (row["drop_after"] - timedelta(seconds=1), {photo_id, kept}),
        (row["drop_after"], {kept}),
    ):
        await moving.clear(tips.pool, tips.desk.photo_store, now)
        assert {one["photo_id"] for one in await tips.rows("SELECT photo_id FROM photo")} == left


async def test_photos_move_when_their_hour_is_over_and_not_before(tips: Tips) -> None:
    """So no object's time tells a tip's minute; an upload that no report took never moves."""
    await with_photo(tips)
    await uploaded(tips)
    tips.clock.now = tips.clock.now.replace(minute=59, second=59)
    await moving.move(tips.pool, tips.desk.photo_store, tips.clock.now)
    assert objects(tips) == []
    await with_photo(tips)
    await next_hour(tips)
    assert len(objects(tips)) == 2
    assert len(await tips.rows("SELECT * FROM photo WHERE here")) == 1
    names = {row["object_name"] for row in await tips.rows("SELECT object_name FROM photo")} - {None}
    assert {uuid.UUID(path.name) for path in objects(tips)} == names
    assert not names & {row["photo_id"] for row in await tips.rows("SELECT photo_id FROM photo")}


async def test_photos_do_not_move_in_the_order_in_which_they_came(
    tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object's own time would put a tip's photo between those of two issues, whose minutes are known. Once
    in 3,628,800 times they do, by chance."""
    came = []
    for body in (issue, tip):
        photo_ids = [await uploaded(tips) for _ in range(MAX_PHOTOS)]
        assert (await tips.post(body(photos=[str(one) for one in photo_ids]))).status == 201
        came += photo_ids
    put, name_object = [], photos.name_object

    async def named(connection: Any, photo_id: uuid.UUID, name: uuid.UUID) -> Any:
        put.append(photo_id)
        return await name_object(connection, photo_id, name)

    monkeypatch.setattr(photos, "name_object", named)
    await next_hour(tips)
    assert set(put) == set(came)
    assert put != came


async def test_the_service_moves_each_hours_photos_once_it_is_over(
    tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in its first minutes, when a late one could still come and would move alone; then by itself."""
    monkeypatch.setattr(moving, "LOOK_EVERY_SECONDS", 0.01)
    await with_photo(tips)
    tips.clock.now = tips.clock.now.replace(hour=14, minute=4)
    working = asyncio.create_task(moving.keep_moving(tips.pool, tips.desk.photo_store, tips.clock))
    try:
        await asyncio.sleep(0.3)
        assert objects(tips) == []
        tips.clock.now += moving.MOVE_AFTER
        async with asyncio.timeout(30):
            while not await tips.rows("SELECT FROM photo WHERE NOT here"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert len(objects(tips)) == 1
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_an_erased_reports_photos_are_gone(tips: Tips) -> None:
    """At once nothing opens them; the objects go with the next clearing, staged or moved."""
    report_id, receipt, photo_id = await with_photo(tips)
    await next_hour(tips)
    still_here = await uploaded(tips)
    await attach(tips, report_id, [still_here])
    await erase(tips, report_id)
    assert await tips.rows("SELECT * FROM photo") == []
    assert (await own(tips, receipt, photo_id)).status == 410
    assert (await read(tips, report_id, photo_id)).code == "report-erased"
    await moving.clear(tips.pool, tips.desk.photo_store, tips.clock.now)
    assert objects(tips) == []
    assert len(await tips.rows("SELECT * FROM photo_to_delete")) == 1
    await moving.clear(tips.pool, tips.desk.photo_store, tips.clock.now + holding.DELETION_REPEATED)
    assert await tips.rows("SELECT * FROM photo_to_delete") == []


async def test_a_photo_that_is_erased_while_it_moves_is_not_left_in_the_store(
    tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its name and its object, and even where the clearing is quicker than the put."""
    report_id, _, _ = await with_photo(tips)
    store = tips.desk.photo_store
    put = PhotoStore.put

    async def slowly(self: PhotoStore, name: uuid.UUID, sealed: bytes) -> None:
        await erase(tips, report_id)
        await moving.clear(tips.pool, store, tips.clock.now)
        await put(self, name, sealed)

    monkeypatch.setattr(PhotoStore, "put", slowly)
    await next_hour(tips)
    assert len(objects(tips)) == 1
    await moving.clear(tips.pool, store, tips.clock.now + holding.DELETION_REPEATED)
    assert objects(tips) == []
    assert await tips.rows("SELECT * FROM photo_to_delete") == []


async def test_an_upload_is_sealed_and_bound_to_what_took_it(tips: Tips) -> None:
    """No place, mark or JPEG in any table, file or time; a photo under another report's id opens nothing."""
    report_id, receipt, photo_id = await with_photo(tips)
    await uploaded(tips)
    with structlog.testing.capture_logs() as lines:
        await next_hour(tips)
        await uploaded(tips)
    assert lines == []
    dump = await everything(tips)
    stored = b"".join(path.read_bytes() for path in objects(tips))
    for mark in (b"Exif", b"JFIF", MARK.encode()):
        assert mark not in stored
        assert [table for table, text in dump.items() if mark.hex() in text] == []
    assert len(stored) % sealing.PHOTO_SIZE_CLASS_BYTES < 64
    assert {(time.minute, time.second) for time in await all_times(tips) if time} == {(0, 0)}
    other, other_receipt = await sent(tips)
    await tips.rows("UPDATE photo SET report_id = $1 WHERE report_id = $2", other, report_id)
    async with tips.pool.acquire() as connection:
        held = await photos.photo_of(connection, other, photo_id)
        found = await reports.lock(connection, other)
    assert held
    assert found
    assert found[1]
    key = sealing.open_key(other, found[1], tips.desk.keys.get(found[1].key_name))
    with pytest.raises(sealing.Unreadable):
        await holding.jpeg_of(tips.desk.photo_store, other, key, held)
    assert receipt != other_receipt


async def test_the_months_key_opens_no_photo_that_a_report_has_taken(tips: Tips) -> None:
    """Destroying the uploads' key takes what nobody took, and nothing else."""
    _, receipt, photo_id = await with_photo(tips)
    loose = await uploaded(tips)
    tips.desk.keys.destroy("2026-11-upload-1")
    assert (await own(tips, receipt, photo_id)).status == 200
    report_id, _ = await sent(tips)
    with pytest.raises(Problem) as refused:
        await attach(tips, report_id, [loose])
    assert refused.value.body["type"] == "urn:ibuurt:problem:photo-unknown"


async def test_photos_come_under_the_next_key_once_the_uploads_key_is_gone(tips: Tips) -> None:
    """Rotated or destroyed within its month: residents notice nothing."""
    await uploaded(tips)
    tips.desk.keys.destroy("2026-11-upload-1")
    report_id, _ = await sent(tips)
    await attach(tips, report_id, [await uploaded(tips)])
    assert tips.desk.keys.state("2026-11-upload-1.2") == "there"


async def test_a_store_that_is_away_is_said_and_nothing_is_lost(
    tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading answers 503 and logs nobody's reading; moving is tried again."""
    report_id, receipt, photo_id = await with_photo(tips)
    _, _, waiting = await with_photo(tips)

    def away(*_arguments: object, **_more: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr("services.tips.photos.store.obstore.put", away)
        tips.clock.now += timedelta(hours=1)
        with pytest.raises(StoreAway):
            await moving.move(tips.pool, tips.desk.photo_store, tips.clock.now)
    await moving.move(tips.pool, tips.desk.photo_store, tips.clock.now)
    assert len(objects(tips)) == 2
    with monkeypatch.context() as patched:
        patched.setattr("services.tips.photos.store.obstore.get", away)
        answer = await read(tips, report_id, photo_id)
        assert (answer.status, answer.code) == (503, "not-now")
    for path in objects(tips):
        path.rename(path.with_suffix(".gone"))
    assert (await own(tips, receipt, photo_id)).code == "photo-missing"
    assert await tips.rows("SELECT * FROM disclosure WHERE purpose <> 'report'") == []
    assert waiting


async def wait_for_reports(tips: Tips, count: int) -> None:
    """So many uploads of now."""
    async with tips.pool.acquire() as connection:
        for _ in range(count):
            await holding.stage(connection, tips.desk.keys, b"x", tips.clock.now)


async def units_upload(tips: Tips) -> Answer:
    url, token = f"{tips.internal_url}/internal/v1/photos", {"Authorization": f"Bearer {NOTIFY_TOKEN}"}
    return await tips.request("POST", url, encoded(picture()), token | {"Content-Type": "image/jpeg"})


async def test_too_many_open_uploads_are_refused_until_some_are_taken(tips: Tips, limited_room: int) -> None:
    """With the time to wait; units have some places to themselves, and reports are taken all the while."""
    first = await uploaded(tips)
    await wait_for_reports(tips, limited_room - 2)
    await uploaded(tips)
    answer = await upload(tips)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "photos-full", "600")
    assert (await units_upload(tips)).status == 201
    assert (await units_upload(tips)).code == "photos-full"
    report_id, _ = await sent(tips)
    await attach(tips, report_id, [first])
    await tips.rows("DELETE FROM photo WHERE ctid = (SELECT ctid FROM photo WHERE report_id IS NULL LIMIT 1)")
    assert (await upload(tips)).status == 201


async def test_whoever_shares_an_address_leaves_half_of_the_places(
    tips: Tips, limited_room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the onion service nobody can be told from anybody: one of them must not fill the town's."""
    await wait_for_reports(tips, limited_room // 2)
    monkeypatch.setattr(tips.desk.limits, "_unlimited", ())
    monkeypatch.setattr(tips.desk.limits, "_shared", (HERE,))
    assert (await upload(tips)).code == "photos-full"
    monkeypatch.setattr(tips.desk.limits, "_shared", ())
    assert (await upload(tips)).status == 201


async def test_half_full_the_oldest_uploads_go_before_their_day(tips: Tips, limited_room: int) -> None:
    """But no sooner than after an hour; what a report has taken stays. Whoever sends one of them is told to
    upload it again."""
    report_id, _, _ = await with_photo(tips)
    old = await uploaded(tips)
    await wait_for_reports(tips, limited_room // 2 - 2)
    tips.clock.now += timedelta(hours=1)
    await wait_for_reports(tips, 1)
    assert (await upload(tips)).status == 201
    tips.clock.now += timedelta(hours=1)
    assert await photos_there(tips) == (1, limited_room // 2 + 1)
    assert (await upload(tips)).status == 201
    assert await photos_there(tips) == (1, 3)
    refused = await tips.post(issue(photos=[str(old)]))
    assert (refused.status, refused.code) == (422, "photo-unknown")
    assert "an hour where very many do" in refused.body["detail"]
    assert len(await tips.rows("SELECT FROM photo WHERE report_id = $1", report_id)) == 1


async def photos_there(tips: Tips) -> tuple[int, int]:
    """Photos that a report has taken, and uploads that wait."""
    (row,) = await tips.rows("SELECT count(report_id) AS taken, count(*) AS there FROM photo")
    return row["taken"], row["there"] - row["taken"]


async def test_many_photos_at_once_are_all_taken_while_reports_go_on(
    tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than there are places; who must wait too long is told when to come again."""
    photos_at_once = [asyncio.create_task(upload(tips)) for _ in range(decoders.PLACES + 4)]
    await asyncio.sleep(0.05)
    assert (await tips.post(tip())).status == 201
    assert {answer.status for answer in await asyncio.gather(*photos_at_once)} == {201}
    monkeypatch.setattr(decoders, "WAITING", 0)
    answer = await upload(tips)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "photos-busy", "30")


async def test_the_openapi_document_has_every_answer(tips: Tips) -> None:
    """Upload and reading, with the statuses that can come."""
    document = (await tips.request("GET", "/v1/openapi.json", None, {})).body
    upload_path = document["paths"]["/v1/photos"]["post"]
    assert set(upload_path["responses"]) == {"201", "400", "408", "413", "422", "429", "503"}
    shown_path = document["paths"]["/v1/reports/mine/photos/{photo_id}"]["get"]
    assert set(shown_path["responses"]) == {"200", "401", "404", "410", "422", "429", "503"}
    assert list(shown_path["responses"]["200"]["content"]) == ["image/jpeg"]


async def test_a_put_that_was_cut_off_leaves_nothing_behind(tmp_path: Path) -> None:
    """Half a file of a process that was killed goes with the next put or deletion of its name."""
    store, name = PhotoStore(str(tmp_path)), uuid.uuid4()
    (tmp_path / f"{name}#1").write_bytes(b"half")
    await store.put(name, b"whole")
    assert names_in(tmp_path) == [str(name)]
    assert await store.get(name) == b"whole"
    (tmp_path / f"{name}#1").write_bytes(b"half")
    await store.delete(name)
    await store.delete(name)
    assert names_in(tmp_path) == []
    assert await store.get(name) is None


def test_a_store_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    """With the mend; and never one that forgets."""
    for where in (str(tmp_path / "nowhere"), "memory:///", "file:///tmp", "http://x/y"):
        with pytest.raises(Refusal, match="IBUURT_PHOTO_STORE"):
            PhotoStore(where)
