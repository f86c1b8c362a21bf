"""The signed call to a unit's own system (Standard Webhooks), and what it holds.

The words pass through and stay nowhere: they are not stored, not cached and not logged.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import aiohttp
from pydantic_core import to_json
from standardwebhooks import Webhook as Signer

from services.notify import outgoing
from services.notify.core.clocks import written
from services.notify.core.deliveries import (
    Delivered,
    Delivery,
    Failed,
    Outcome,
    about_of,
    says_acknowledged,
    turn_of,
)
from shared.municipality import Extent, Webhook

WEBHOOK_SECONDS = 10.0
ANSWER_BYTES = 65_536


class Webhooks:
    """Makes the calls; what went wrong is an outcome, not an error."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        secrets: Mapping[str, tuple[str, ...]],
        clock: Callable[[], datetime],
        seconds: float,
    ) -> None:
        self._session = session
        self._signers = {unit: tuple(map(Signer, listed)) for unit, listed in secrets.items()}
        self._clock = clock
        self._seconds = seconds

    def sign_for(self, unit: str) -> bool:
        """Whether calls to a unit can be signed."""
        return unit in self._signers

    async def send(
        self, delivery: Delivery, channel: Webhook, level: Extent, given: Mapping[str, Any], link: str
    ) -> Outcome:
        """Make a delivery's call. `given` is what `tips` gave, nothing unless `level` is words; of a notice
        what it tells."""
        return await self._post(delivery, channel, self._body(delivery, level, given, link))

    def _body(self, delivery: Delivery, level: Extent, given: Mapping[str, Any], link: str) -> str:
        about = about_of(delivery.step)
        type_, data = f"ibuurt.report.{about}", dict[str, Any]()
        if about == "notice":
            return self._said("ibuurt.notice", given)
        if about in ("route", "message") and level == "notice":
            type_, data = "ibuurt.report.notice", {"answer_url": link}
        elif about == "message" and level == "codes":
            data = _codes(delivery) | {"answer_url": link}
        elif about == "message":
            data = {"messages": _messages(given)}
        elif about == "route":
            type_ = "ibuurt.report"
            said = _words(given) if level == "words" else {}
            data = _codes(delivery) | _came(delivery, given) | said | {"answer_url": link}
        return self._said(type_, {"report_id": str(delivery.report_id), "unit": delivery.unit, **data})

    def _said(self, type_: str, data: Mapping[str, Any]) -> str:
        said = {"type": type_, "timestamp": written(self._clock()), "data": data}
        return to_json(said).decode()

    async def _post(self, delivery: Delivery, channel: Webhook, body: str) -> Outcome:
        headers = outgoing.signed(delivery.id, self._clock(), body, self._signers[delivery.unit])
        status = 0
        try:
            async with asyncio.timeout(self._seconds):
                posting = self._session.post(
                    channel.url, data=body.encode(), headers=headers, allow_redirects=False
                )
                async with posting as answer:
                    status = answer.status
                    content = await outgoing.read(answer, ANSWER_BYTES)
                    media_type = answer.content_type
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # With a 2xx the unit has the report, whatever became of the rest of its answer.
            if outgoing.is_taken(status):
                return Delivered()
            reason = outgoing.reason(error, status)
            # Whoever was not called is not known to be down: the address is somebody's mistake.
            return Failed(reason, unit_up=None if reason == outgoing.ADDRESS_REFUSED else False)
        if not outgoing.is_taken(status):
            return Failed(f"http_{status}", unit_up=outgoing.is_up(status))
        said = outgoing.json_of(content, media_type)
        erased = said.get("erased") if isinstance(said, dict) else None
        return Delivered(
            says_acknowledged(said, channel.acknowledged_field),
            erased=erased if isinstance(erased, bool) else None,
        )


def _codes(delivery: Delivery) -> dict[str, Any]:
    return {
        "kind": delivery.kind,
        "category": delivery.category,
        "areas": delivery.areas,
        "language": delivery.language,
        "accepted_at": written(delivery.accepted_at),
        "acknowledge_by": written(delivery.acknowledge_by),
        "resolve_by": written(delivery.resolve_by),
    }


def _came(delivery: Delivery, given: Mapping[str, Any]) -> dict[str, Any]:
    """How often the report came to a unit; for a later one how, and what was written meanwhile."""
    turn = turn_of(delivery.step)
    if turn == 1:
        return {"turn": turn}
    said = {"messages": _messages(given)} if "messages" in given else {}
    return {"turn": turn, "before": given["before"], **said}


def _words(words: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": words.get("description"),
        "location": words.get("location"),
        "happened": words.get("happened"),
        "answers": words.get("answers", {}),
        "contact": words.get("contact"),
        "not_an_emergency": words.get("not_an_emergency", False),
    }


def _messages(conversation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The whole conversation: whoever has lost a message has it then."""
    return [
        {name: message.get(name) for name in ("number", "sender", "unit", "text", "at")}
        for message in conversation.get("messages", ())
    ]
