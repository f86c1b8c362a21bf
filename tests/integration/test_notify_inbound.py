"""The partners' inbound webhook, and Standard Webhooks as another language has them, both ways."""

import json
import subprocess
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from shared.events import ReportAcknowledged, ReportResolved
from tests.conftest import MakeDatabase
from tests.integration.node import TOOLS, node_or_skip
from tests.integration.notify_harness import Notify, accepted, running_notify, send, signing_secret
from tests.integration.tips_server import Tips, issue

UNIT = "public_space"


@pytest_asyncio.fixture
async def notify(database: MakeDatabase, tips: Tips) -> AsyncIterator[Notify]:
    async with running_notify(await database("notify"), tips.internal_url) as running:
        yield running


def act(report_id: object, action: str = "acknowledge", **more: Any) -> str:
    data = {"report_id": str(report_id), "action": action} | more
    return json.dumps({"type": "ibuurt.act", "timestamp": "2026-11-12T13:00:00Z", "data": data})


def signed(
    body: str, unit: str = UNIT, webhook_id: str | None = None, ago: int = 0, *, former: bool = False
) -> dict[str, str]:
    """The headers that the partner's system sends."""
    webhook_id, now = webhook_id or f"msg_{uuid.uuid4()}", datetime.now(UTC) - timedelta(seconds=ago)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(signing_secret(unit, former=former)).sign(webhook_id, now, body),
        "content-type": "application/json",
    }


async def post(
    notify: Notify, body: str, headers: dict[str, str], unit: str = UNIT
) -> tuple[int, dict[str, Any]]:
    url = f"{notify.url}/inbound/{unit}"
    async with notify.session.post(url, data=body.encode(), headers=headers) as answer:
        content = await answer.read()
        return answer.status, json.loads(content) if content else {}


async def routed(notify: Notify) -> uuid.UUID:
    envelope = accepted()
    await notify.apply(envelope)
    return envelope.event.report_id


async def test_a_partners_system_acts_on_its_reports(notify: Notify) -> None:
    """Seen, planned, done: each is an event by `inbound`; the same webhook-id again changes nothing."""
    report = await routed(notify)
    headers = signed(body := act(report))
    assert await post(notify, body, headers) == (200, {"status": "acknowledged", "changed": True})
    assert await post(notify, body, headers) == (200, {"status": "acknowledged", "changed": False})
    body = act(report, "resolve", outcome="done")
    assert (await post(notify, body, signed(body)))[1]["status"] == "resolved"
    (seen,), (done,) = await notify.said(ReportAcknowledged), await notify.said(ReportResolved)
    assert (seen.by, done.outcome) == ("inbound", "done")  # type: ignore[attr-defined]


async def test_two_units_may_choose_the_same_id(notify: Notify) -> None:
    """Each act is done: a webhook-id is one of its unit's."""
    lamp, noise = accepted(), accepted("noise", areas={"district": "centre"})
    await notify.apply(lamp, noise)
    for report, unit in ((lamp, UNIT), (noise, "inspection")):
        body = act(report.event.report_id)
        answer = await post(notify, body, signed(body, unit, "msg_1"), unit)
        assert answer == (200, {"status": "acknowledged", "changed": True})
    assert len(await notify.said(ReportAcknowledged)) == 2


async def test_the_longest_text_may_come_in_any_script(notify: Notify, tips: Tips) -> None:
    """5,000 characters of which each is twelve bytes of JSON."""
    (report,) = await send(tips, notify)
    body = act(report, "ask", text="\N{ELECTRIC LIGHT BULB}" * 5_000)
    assert (await post(notify, body, signed(body)))[0] == 200


async def test_another_text_under_the_id_of_an_act_is_refused_as_another_act(
    notify: Notify, tips: Tips
) -> None:
    """By the webhook and at the desk, although it is tips that notices."""
    (report,) = await send(tips, notify)
    answers = []
    for text in ("Which lamp?", "Which street?"):
        body = act(report, "ask", text=text)
        answers.append(await post(notify, body, signed(body, webhook_id="msg_1")))
    for text in ("The second lamp?", "The second street?"):
        asked = {"text": text, "act_id": "5e9c0d34-0000-4000-8000-000000000000"}
        answers.append(await notify.act(report, "ask", UNIT, **asked))
    assert [status for status, _ in answers] == [200, 409, 200, 409]
    assert {answer["type"].split(":")[-1] for _, answer in answers[1::2]} == {"act-id-reused"}


async def test_whoever_has_a_report_no_more_writes_nothing_under_an_old_id(
    notify: Notify, tips: Tips
) -> None:
    """Nor whoever never had it: nothing is at tips. What was done with its text is answered again."""
    mine, others = await send(tips, notify, issue(), issue() | {"category": "noise"})
    done = act(mine, "acknowledge")
    assert (await post(notify, done, signed(done, webhook_id="msg_1")))[0] == 200
    asked = act(mine, "ask", text="Which lamp?")
    assert (await post(notify, asked, signed(asked, webhook_id="msg_2")))[0] == 200
    body = act(mine, "refuse", reason="private_ground")
    assert (await post(notify, body, signed(body)))[0] == 200
    for webhook_id in ("msg_1", "msg_2"):
        for body in (act(mine, text="Call me"), act(others, text="Call me"), act(others, "ask", text="Who?")):
            status, answer = await post(notify, body, signed(body, webhook_id=webhook_id))
            assert (status, answer["type"].split(":")[-1]) == (409, "act-id-reused")
    status, answer = await post(notify, asked, signed(asked, webhook_id="msg_2"))
    assert (status, answer["changed"]) == (200, False)
    rows = await tips.rows("SELECT report_id FROM message")
    assert [row["report_id"] for row in rows] == [mine]


async def test_while_a_secret_is_replaced_both_hold(notify: Notify, tips: Tips) -> None:
    """What is sent is signed with either, what comes is taken with either: whichever the unit has by now."""
    (report,) = await send(tips, notify)
    notify.work()
    (arrival,) = await notify.units.seen(1, UNIT)
    await notify.settled()
    for former in (False, True):
        verifier = Webhook(signing_secret(UNIT, former=former))
        assert verifier.verify(arrival.content, arrival.headers)["data"]["report_id"] == str(report)
        body = act(report, "plan", day=f"{datetime.now(UTC) + timedelta(days=2 + former):%Y-%m-%d}")
        answer = await post(notify, body, signed(body, former=former))
        assert answer == (200, {"status": "planned", "changed": True})


async def test_what_is_not_signed_by_the_unit_does_nothing(notify: Notify) -> None:
    """Another unit's secret, a changed body, an old time, no headers, a unit that there is not."""
    report = await routed(notify)
    body, others = act(report), act(report, "resolve", outcome="done")
    for sent, headers, unit in (
        (body, signed(body, "parking"), UNIT),
        (others, signed(body), UNIT),
        (body, signed(body, ago=3_600), UNIT),
        (body, signed(body) | {"webhook-signature": "v1,AAAA"}, UNIT),
        (body, signed(body) | {"webhook-signature": "nonsense"}, UNIT),
        (body, signed(body) | {"webhook-timestamp": "soon"}, UNIT),
        (body, {"content-type": "application/json"}, UNIT),
        (body, signed(body), "nobody"),
    ):
        status, answer = await post(notify, sent, headers, unit)
        assert (status, answer["type"].split(":")[-1]) == (401, "not-signed")
    (row,) = await notify.rows("SELECT status FROM dispatch")
    assert row["status"] == "routed"


async def test_a_unit_acts_on_its_own_reports_alone(notify: Notify) -> None:
    """Another unit's report is with another unit; one that there is not is unknown."""
    report = await routed(notify)
    body = act(report)
    status, answer = await post(notify, body, signed(body, "parking"), "parking")
    assert (status, answer["unit"]) == (409, UNIT)
    body = act(uuid.uuid4())
    assert (await post(notify, body, signed(body)))[0] == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("[]", 422),
        (json.dumps({"type": "ibuurt.other", "data": {}}), 422),
        (json.dumps({"type": "ibuurt.act", "data": {"report_id": "x", "action": "acknowledge"}}), 422),
        (act(uuid.uuid4(), "deliver"), 422),
        (act(uuid.uuid4(), "acknowledge", words="x"), 422),
        (act(uuid.uuid4(), "plan", day="soon"), 422),
        (act(uuid.uuid4(), "ask", text="x" * 65_536), 413),
    ],
)
async def test_a_body_that_says_nothing_clear_is_refused(notify: Notify, body: str, status: int) -> None:
    """However well it is signed."""
    assert (await post(notify, body, signed(body)))[0] == status


async def test_a_copy_is_confirmed_later(notify: Notify, tips: Tips) -> None:
    """A system that cannot say at once that it has erased says it by the inbound webhook."""
    (report,) = await send(tips, notify)
    notify.work()
    await notify.settled()
    body = json.dumps({"type": "ibuurt.erased", "data": {"report_id": str(report), "erased": True}})
    # Not before it was erased.
    assert (await post(notify, body, signed(body)))[0] == 404


async def test_another_language_verifies_what_is_sent_and_signs_what_comes(
    notify: Notify, tips: Tips
) -> None:
    """npm's `standardwebhooks`: it takes the webhook of a report and no changed one, and is taken."""
    node = node_or_skip("webhooks are NOT verified in another language")

    def run(command: str, **given: Any) -> subprocess.CompletedProcess[str]:
        argv = [node, str(TOOLS / "webhook.mjs"), command]
        given["secret"] = signing_secret(UNIT)
        return subprocess.run(
            argv, input=json.dumps(given), cwd=TOOLS, capture_output=True, text=True, timeout=60, check=False
        )

    (report,) = await send(tips, notify)
    notify.work()
    (arrival,) = await notify.units.seen(1, UNIT)
    await notify.settled()
    headers = {name.lower(): value for name, value in arrival.headers.items()}
    body = arrival.content.decode()
    verified = run("verify", headers=headers, body=body)
    assert json.loads(verified.stdout)["data"]["report_id"] == str(report)
    changed = run("verify", headers=headers, body=body.replace("public_space", "parking"))
    assert changed.returncode == 1
    assert "WebhookVerificationError" in changed.stderr
    sent = act(report)
    by_node = json.loads(run("sign", id="msg_from_node", body=sent).stdout)
    status, answer = await post(notify, sent, by_node | {"content-type": "application/json"})
    assert (status, answer["status"]) == (200, "acknowledged")
