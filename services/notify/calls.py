"""The two calls of a delivery: for the words to tips, and the signed webhook to the unit.

The words pass through and stay nowhere: they are not stored, not cached and not logged.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
from standardwebhooks import Webhook as Signer

from services.notify import outgoing
from services.notify.core.deliveries import (
    Delivered,
    Delivery,
    Failed,
    Gone,
    Outcome,
    about_of,
    channels,
    says_acknowledged,
)
from services.notify.core.links import LINK_DAYS, Link, write_token
from services.notify.noticing import Notices
from services.notify.tips import Tips
from shared.municipality import Municipality, Webhook

WEBHOOK_SECONDS = 10.0
ANSWER_BYTES = 65_536
# A unit's system that answers with one of these is not fit for the next call either.
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class Calls:
    """Makes a delivery's calls; what went wrong is an outcome, not an error."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        municipality: Municipality,
        tips: Tips,
        notices: Notices,
        *,
        link_secret: str,
        public_url: str,
        secrets: Mapping[str, tuple[str, ...]],
        clock: Callable[[], datetime],
        webhook_seconds: float = WEBHOOK_SECONDS,
    ) -> None:
        self._session = session
        self._channels = {unit.id: channels(unit) for unit in municipality.units.values()}
        self._signers = {unit: tuple(map(Signer, listed)) for unit, listed in secrets.items()}
        self._tips = tips
        self._notices = notices
        self._link_secret = link_secret
        self._public_url = public_url.rstrip("/")
        self._clock = clock
        self._webhook_seconds = webhook_seconds

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Fetch the words at this moment and send them. Takes at most the sum of both time limits."""
        channel = self._channels.get(delivery.unit, {}).get(delivery.channel)
        if channel is None or delivery.unit not in self._signers:
            return Failed("no_channel")
        about = about_of(delivery.step)
        if about == "notice":
            told = await self._notices.of(delivery.unit)
            if told is None:
                return Gone()
            body = self._written("ibuurt.notice", told)
        elif about in ("withdrawn", "erased"):
            body = self._body(f"ibuurt.report.{about}", delivery, {})
        else:
            ask = self._tips.messages if about == "message" else self._tips.words
            found = await ask(delivery.report_id, _reader(delivery))
            if not isinstance(found, dict):
                return found
            body = self._message(delivery, found) if about == "message" else self._report(delivery, found)
        outcome = await self._send(delivery, channel, body)
        if not isinstance(outcome, Delivered):
            return outcome
        if about == "erased" and outcome.erased is not None:
            return await self._confirm(delivery, outcome)
        return replace(outcome, words=about in ("route", "message"))

    async def _confirm(self, delivery: Delivery, outcome: Delivered) -> Outcome:
        erased = bool(outcome.erased)
        told = await self._tips.confirm(delivery.report_id, _reader(delivery), erased=erased)
        # What tips no longer knows needs no certificate.
        return told if isinstance(told, Failed) and told.reason != "report_unknown" else outcome

    def _report(self, delivery: Delivery, words: Mapping[str, Any]) -> str:
        link = Link(delivery.report_id, delivery.unit, self._clock() + timedelta(days=LINK_DAYS))
        return self._body(
            "ibuurt.report",
            delivery,
            {
                "kind": delivery.kind,
                "category": delivery.category,
                "areas": delivery.areas,
                "description": words.get("description"),
                "location": words.get("location"),
                "happened": words.get("happened"),
                "answers": words.get("answers", {}),
                "contact": words.get("contact"),
                "not_an_emergency": words.get("not_an_emergency", False),
                "language": delivery.language,
                "accepted_at": _written(delivery.accepted_at),
                "acknowledge_by": _written(delivery.acknowledge_by),
                "resolve_by": _written(delivery.resolve_by),
                "answer_url": f"{self._public_url}/answer/{write_token(link, self._link_secret)}",
            },
        )

    def _message(self, delivery: Delivery, conversation: Mapping[str, Any]) -> str:
        """The whole conversation: whoever has lost a message has it then."""
        told = [
            {name: message.get(name) for name in ("number", "sender", "unit", "text", "at")}
            for message in conversation.get("messages", ())
        ]
        return self._body("ibuurt.report.message", delivery, {"messages": told})

    def _body(self, type_: str, delivery: Delivery, more: Mapping[str, Any]) -> str:
        return self._written(type_, {"report_id": str(delivery.report_id), "unit": delivery.unit, **more})

    def _written(self, type_: str, data: Mapping[str, Any]) -> str:
        said = {"type": type_, "timestamp": _written(self._clock()), "data": data}
        return json.dumps(said, ensure_ascii=False)

    async def _send(self, delivery: Delivery, channel: Webhook, body: str) -> Outcome:
        now = self._clock()
        signatures = [signer.sign(str(delivery.id), now, body) for signer in self._signers[delivery.unit]]
        headers = {
            "Content-Type": "application/json",
            "webhook-id": str(delivery.id),
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        status = 0
        try:
            async with asyncio.timeout(self._webhook_seconds):
                posting = self._session.post(
                    channel.url, data=body.encode(), headers=headers, allow_redirects=False
                )
                async with posting as answer:
                    status = answer.status
                    content = await outgoing.read(answer, ANSWER_BYTES)
                    media_type = answer.content_type
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # With a 2xx the unit has the report, whatever became of the rest of its answer.
            return Delivered() if _taken(status) else Failed(outgoing.reason(error, status), unit_up=False)
        if not _taken(status):
            up = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _BUSY
            return Failed(f"http_{status}", unit_up=up)
        said = outgoing.json_of(content, media_type)
        erased = said.get("erased") if isinstance(said, dict) else None
        return Delivered(
            says_acknowledged(said, channel.acknowledged_field),
            erased=erased if isinstance(erased, bool) else None,
        )


def _reader(delivery: Delivery) -> str:
    """Who reads, as the log of readings names it."""
    return f"unit:{delivery.unit} via {delivery.channel.partition('.')[0]}"


def _taken(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
