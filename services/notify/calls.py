"""The two HTTP calls of a delivery: the words from tips, and the signed webhook to the unit.

The words pass through and stay nowhere: they are not stored, not cached and not logged.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
from standardwebhooks import Webhook as Signer

from services.notify.core.deliveries import (
    Delivered,
    Delivery,
    Failed,
    Gone,
    Outcome,
    channels,
    says_acknowledged,
)
from services.notify.core.links import LINK_DAYS, Link, write_token
from shared.municipality import Municipality, Webhook

WORDS_SECONDS = 5.0
# At a time: after an outage thousands wait, and `tips` has reports to take meanwhile.
READINGS = 8
WEBHOOK_SECONDS = 10.0
ANSWER_BYTES = 65_536
WORDS_BYTES = 1_048_576
UNREADABLE = {"damaged": "words_damaged", "key-lost": "key_lost"}
# A unit's system that answers with one of these is not fit for the next call either.
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def open_session(concurrency: int) -> aiohttp.ClientSession:
    """A session for all calls: no cookies, no proxies from the environment, nothing unpacked."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=2 * concurrency, keepalive_timeout=10),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": "ibuurt-notify", "Accept-Encoding": "identity"},
        trust_env=False,
    )


class Calls:
    """Makes a delivery's calls; what went wrong is an outcome, not an error."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        municipality: Municipality,
        *,
        tips_url: str,
        tips_token: str,
        link_secret: str,
        public_url: str,
        secrets: Mapping[str, tuple[str, ...]],
        clock: Callable[[], datetime],
        webhook_seconds: float = WEBHOOK_SECONDS,
    ) -> None:
        self._session = session
        self._channels = {unit.id: channels(unit) for unit in municipality.units.values()}
        self._signers = {unit: tuple(map(Signer, listed)) for unit, listed in secrets.items()}
        self._tips_url = tips_url.rstrip("/")
        self._tips_headers = {"Authorization": f"Bearer {tips_token}"}
        self._link_secret = link_secret
        self._public_url = public_url.rstrip("/")
        self._clock = clock
        self._webhook_seconds = webhook_seconds
        self._readings = asyncio.Semaphore(READINGS)

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Fetch the words at this moment and send them. Takes at most the sum of both time limits."""
        channel = self._channels.get(delivery.unit, {}).get(delivery.channel)
        if channel is None or delivery.unit not in self._signers:
            return Failed("no_channel")
        words = await self._fetch_words(delivery)
        if not isinstance(words, dict):
            return words
        return await self._send(delivery, channel, self._body(delivery, words))

    async def _fetch_words(self, delivery: Delivery) -> dict[str, Any] | Failed | Gone:
        url = f"{self._tips_url}/internal/v1/reports/{delivery.report_id}/words"
        reading = {"purpose": "delivery", "reader": f"unit:{delivery.unit} via webhook"}
        try:
            async with asyncio.timeout(WORDS_SECONDS), self._readings:
                posting = self._session.post(
                    url, json=reading, headers=self._tips_headers, allow_redirects=False
                )
                async with posting as answer:
                    if answer.status == HTTPStatus.GONE:
                        return Gone()
                    if answer.status == HTTPStatus.NOT_FOUND:
                        # Never silently dropped: tips may have been restored, or the address may be wrong.
                        return Failed("report_unknown")
                    if answer.status != HTTPStatus.OK:
                        return await _not_given(answer)
                    words = json.loads(await _read(answer, WORDS_BYTES))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failed(f"tips_{_reason(error)}", tips_up=False)
        return words if isinstance(words, dict) else Failed("tips_malformed", tips_up=False)

    def _body(self, delivery: Delivery, words: Mapping[str, Any]) -> str:
        now = self._clock()
        link = Link(delivery.report_id, delivery.unit, now + timedelta(days=LINK_DAYS))
        data = {
            "report_id": str(delivery.report_id),
            "kind": delivery.kind,
            "category": delivery.category,
            "areas": delivery.areas,
            "unit": delivery.unit,
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
        }
        return json.dumps(
            {"type": "ibuurt.report", "timestamp": _written(now), "data": data}, ensure_ascii=False
        )

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
                    content = await _read(answer, ANSWER_BYTES)
                    media_type = answer.content_type
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # With a 2xx the unit has the report, whatever became of the rest of its answer.
            return Delivered(False) if _taken(status) else Failed(_reason(error, status), unit_up=False)
        if not _taken(status):
            up = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _BUSY
            return Failed(f"http_{status}", unit_up=up)
        return Delivered(says_acknowledged(_json(content, media_type), channel.acknowledged_field))


async def _not_given(answer: aiohttp.ClientResponse) -> Failed:
    """Why `tips` does not give words: they are damaged, or their key is lost, which is of this report and
    those beside it; or it cannot now."""
    said = _json(await _read(answer, ANSWER_BYTES), answer.content_type)
    code = str(said.get("type", "")).rpartition(":")[2] if isinstance(said, dict) else ""
    if code in UNREADABLE:
        return Failed(UNREADABLE[code], no_words=True)
    return Failed(f"tips_{answer.status}", tips_up=False)


def _taken(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body. Raises ValueError for one above the limit, without reading on."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > limit:
            answer.close()
            raise ValueError("the answer is too long")
    return bytes(content)


def _json(content: bytes, media_type: str) -> object:
    if media_type != "application/json" and not media_type.endswith("+json"):
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _reason(error: Exception, status: int = 0) -> str:
    """A code for what went wrong; never the error's text, which may hold an address."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if status:
        return f"http_{status}"
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "refused"
    if isinstance(error, aiohttp.ClientError | OSError):
        return "disconnected"
    return "malformed"


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
