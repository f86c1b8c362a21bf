"""Who may have words of a report is told when they are erased, whatever was recorded of the call."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from services.notify.core.deliveries import Delivery, Outcome, Retrying
from services.notify.webhook import Webhooks
from tests.integration.followed import Followed, followed
from tests.integration.notify_harness import plain
from tests.integration.test_notify_turns import LAST, UNIT, Town, town
from tests.spine import until

__all__ = ["town"]


async def _never(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


async def _sent(town: Town, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Followed:
    """A report whose words its unit was sent; time passes."""
    await town.notify.stop()
    town.notify.clock.go_on_from(town.tips.clock.now)
    town.notify.units.answers[UNIT] = answer
    town.notify.work(retrying=Retrying(0.05, 0.1, 2), lease_seconds=2)
    report = await followed(town.tips)
    await town.pass_on()
    first = (await town.notify.units.seen(1, UNIT))[0]
    assert first.data["description"]
    return report


async def _erase(town: Town, report: Followed) -> None:
    town.notify.units.answers[UNIT] = plain(200, {"erased": True})
    assert (await report.mine("DELETE")).status in (200, 201, 202, 204)
    await town.pass_on()


async def _is_told(town: Town, report: Followed) -> None:
    await until(lambda: any(one.body["type"] == "ibuurt.report.erased" for one in town.notify.units.arrivals))
    await town.notify.settled()
    certificate = (await report.mine("GET", "/certificate")).body["certificate"]
    assert [one["state"] for one in certificate["sent_to"]] == ["confirmed"]


@pytest.mark.parametrize("status", [302, 404, 503])
async def test_who_refused_it_has_read_it(town: Town, status: int) -> None:
    """The call had the words, whatever was answered."""
    report = await _sent(town, plain(status))
    await town.notify.settled()
    await _erase(town, report)
    await _is_told(town, report)


async def test_who_still_has_the_call_when_it_is_erased_is_told(town: Town) -> None:
    """What its worker records then is too late; and one that died records nothing."""
    report = await _sent(town, _never)
    await _erase(town, report)
    await _is_told(town, report)


async def test_who_gets_the_words_after_all_is_told_of_it_after_that(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has fetched them, and is on its way when they are erased: whoever confirms that all is erased
    has nothing of it afterwards."""
    fetched, send = asyncio.Event(), Webhooks.send

    async def slowly(webhooks: Webhooks, delivery: Delivery, *given: Any) -> Outcome:
        if delivery.step == "route":
            fetched.set()
            await asyncio.sleep(1)
        return await send(webhooks, delivery, *given)

    monkeypatch.setattr(Webhooks, "send", slowly)
    await town.notify.stop()
    town.notify.clock.go_on_from(town.tips.clock.now)
    town.notify.work(lease_seconds=3)
    report = await followed(town.tips)
    await town.pass_on()
    await fetched.wait()
    await _erase(town, report)
    await _is_told(town, report)
    arrived = [one.body["type"] for one in town.notify.units.arrivals]
    assert arrived == ["ibuurt.report", "ibuurt.report.erased"]


async def test_who_erased_what_was_lost_with_a_database_is_asked_once(town: Town) -> None:
    """There is no certificate that its confirmation could go to."""
    report = await _sent(town, plain())
    await town.notify.settled()
    await town.notify.stop()
    await _erase(town, report)
    await town.tips.rows("DELETE FROM erasure")
    town.notify.work()
    await town.notify.settled()
    (row,) = await town.notify.rows("SELECT state, attempts FROM delivery WHERE step = 'erased'")
    assert tuple(row) == ("done", 1)


async def test_who_was_sent_nothing_is_told_nothing(town: Town) -> None:
    """It is erased before anybody took it."""
    await town.notify.stop()
    report = await followed(town.tips)
    await town.pass_on()
    await _erase(town, report)
    assert [row["step"] for row in await town.notify.rows("SELECT step FROM delivery")] == ["route"]


async def test_who_has_refused_gets_no_more_of_it(town: Town) -> None:
    """It says so by another way while its own system is down: the words go to nobody but the next unit."""
    report = await _sent(town, plain(503))
    await town.notify.stop()
    await town.notify.rows("UPDATE delivery SET state = 'open', due_at = now(), next_attempt_at = now()")
    await town.notify.act(report.report_id, "refuse", UNIT, reason="private_ground")
    rows = await town.notify.rows("SELECT unit, state FROM delivery ORDER BY unit")
    assert [tuple(row) for row in rows] == [(LAST, "open"), (UNIT, "cancelled")]
