"""Photos that belong to reports and messages, from upload to erasure, over real HTTP."""

import asyncio
import uuid
from datetime import timedelta

from services.tips.queries import holds
from tests.integration.followed import ANSWER, QUESTION, Followed, followed
from tests.integration.test_tips_photos import own, read, uploaded
from tests.integration.tips_server import Tips, issue, new_key, tip


async def test_a_reports_photos_go_with_it(tips: Tips) -> None:
    """Who has the receipt sees them, a unit reads them by their ids; the same submission takes them once."""
    photo_ids = [await uploaded(tips), await uploaded(tips)]
    key, body = new_key(), tip(photos=[str(one) for one in photo_ids])
    receipt = (await tips.post(body, key)).body["receipt"]
    assert (await tips.post(body, key)).body["receipt"] == receipt
    report_id = await tips.report_id()
    assert (await tips.words(report_id)).body["photos"] == [str(one) for one in photo_ids]
    for photo_id in photo_ids:
        assert (await own(tips, receipt, photo_id)).status == 200
        assert (await read(tips, report_id, photo_id)).status == 200


async def test_a_photo_that_cannot_be_taken_stops_its_report_alone(tips: Tips) -> None:
    """It is named, nothing of the report is stored, and those that came with it are."""
    photo_id = await uploaded(tips)
    assert (await tips.post(issue(photos=[str(photo_id)]))).status == 201
    bad = [issue(photos=[str(await uploaded(tips)), str(one)]) for one in (photo_id, uuid.uuid4())]
    answers = await asyncio.gather(*(tips.post(one) for one in [issue(), *bad, tip(), issue()]))
    assert [answer.status for answer in answers] == [201, 422, 422, 201, 201]
    assert [answer.code for answer in answers[1:3]] == ["photo-taken", "photo-unknown"]
    assert [one["pointer"] for answer in answers[1:3] for one in answer.body["errors"]] == ["/photos/1"] * 2
    assert len(await tips.rows("SELECT FROM report")) == 4


async def test_more_photos_than_may_be_are_refused_by_name(tips: Tips) -> None:
    """Six, or something that is no id."""
    for photos in ([str(uuid.uuid4()) for _ in range(6)], ["../etc/passwd"]):
        answer = await tips.post(issue(photos=photos))
        assert answer.status == 422
        assert answer.body["errors"][0]["pointer"].startswith("/photos")


async def test_both_sides_messages_have_photos(tips: Tips) -> None:
    """Of a tip as of an issue; the other side sees which message they belong to."""
    mine, asked, answered = await followed(tips, tip()), await uploaded(tips), await uploaded(tips)
    assert (await mine.ask(QUESTION, photos=[str(asked)])).status == 201
    key = {"Idempotency-Key": new_key()}
    sent = {"text": ANSWER, "photos": [str(answered)]}
    for _ in range(2):
        assert (await mine.mine("POST", "/messages", sent, **key)).status == 201
    assert (await mine.mine("POST", "/messages", {"text": ANSWER}, **key)).status == 409
    assert await photos_of(mine) == [[str(asked)], [str(answered)]]
    inside = (await mine.inside("GET", "/messages?purpose=follow_up&reader=officer:k.jansen")).body
    assert [one["photos"] for one in inside["messages"]] == [[str(asked)], [str(answered)]]
    for photo_id in (asked, answered):
        assert (await own(tips, mine.receipt, photo_id)).status == 200
    listed = (await mine.mine("GET", "/export")).body["export"]["photos"]
    assert listed == sorted(f"/v1/reports/mine/photos/{one}" for one in (asked, answered))


async def test_erased_they_are_gone_and_counted_in_the_certificate(tips: Tips) -> None:
    """The report's own and the conversation's."""
    first, second = await uploaded(tips), await uploaded(tips)
    mine = await followed(tips, tip(photos=[str(first)]))
    await mine.mine(
        "POST", "/messages", {"text": ANSWER, "photos": [str(second)]}, **{"Idempotency-Key": new_key()}
    )
    certificate = (await mine.mine("DELETE")).body["certificate"]
    assert certificate["destroyed"]["photos"] == 2
    assert (await own(tips, mine.receipt, first)).status == 410
    assert await tips.rows("SELECT FROM photo") == []


async def test_what_a_hold_keeps_after_erasing_is_read_by_nobody(tips: Tips) -> None:
    """The resident is told until when; words, conversation and photos are closed to everybody who asks, and
    nothing more is written."""
    photo_id = await uploaded(tips)
    mine = await followed(tips, tip(photos=[str(photo_id)]))
    today = tips.clock.now.date()
    async with tips.pool.acquire() as connection:
        until = today + timedelta(days=30)
        await holds.place(connection, mine.report_id, "investigation", "operator", today, until)
    answer = await mine.mine("DELETE")
    assert (answer.status, answer.code, answer.body["until"]) == (409, "on-hold", until.isoformat())
    asked = [
        await tips.words(mine.report_id),
        await mine.inside("GET", "/messages?purpose=follow_up&reader=officer:k.jansen"),
        await read(tips, mine.report_id, photo_id),
        await own(tips, mine.receipt, photo_id),
        await mine.mine("GET", "/messages"),
        await mine.write("One more thing."),
    ]
    assert {(one.status, one.code) for one in asked} == {(410, "report-restricted")}
    export = (await mine.mine("GET", "/export")).body["export"]
    assert (export["words"], export["messages"], export["photos"]) == (None, [], [])


async def photos_of(mine: Followed) -> list[list[str]]:
    conversation = (await mine.mine("GET", "/messages")).body["messages"]
    return [one["photos"] for one in conversation]
