"""The calls of a delivery: to tips for what may leave, and by its channel to the unit.

The words pass through and stay nowhere: they are not stored, not cached and not logged.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import aiohttp

from services.notify.core.deliveries import (
    DIGEST,
    Delivered,
    Delivery,
    Failed,
    Gone,
    Outcome,
    about_of,
    channels,
    fallbacks,
    kind_of,
    level_of,
    party,
    turn_of,
)
from services.notify.core.links import (
    DIGEST_DAYS,
    LINK_DAYS,
    DigestLink,
    Link,
    write_digest_token,
    write_token,
)
from services.notify.digests import Digests, as_json
from services.notify.emails import Emails
from services.notify.moving import Moves
from services.notify.noticing import Notices
from services.notify.tips import Tips
from services.notify.webhook import WEBHOOK_SECONDS, Webhooks
from shared.events import Kind
from shared.municipality import Channel, Desk, Email, Extent, Municipality, Unit, Webhook


class Calls:
    """Makes a delivery's calls; what went wrong is an outcome, not an error."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        municipality: Municipality,
        tips: Tips,
        notices: Notices,
        digests: Digests,
        moves: Moves,
        *,
        link_secret: str,
        public_url: str,
        secrets: Mapping[str, tuple[str, ...]],
        clock: Callable[[], datetime],
        webhook_seconds: float = WEBHOOK_SECONDS,
        emails: Emails | None = None,
    ) -> None:
        self._channels = {
            unit.id: {**channels(unit), **fallbacks(unit), **_of_digest(unit)}
            for unit in municipality.units.values()
        }
        self._categories = municipality.categories
        self._tips = tips
        self._webhooks = Webhooks(session, secrets, clock, webhook_seconds)
        self._emails = emails
        self._notices = notices
        self._digests = digests
        self._moves = moves
        self._link_secret = link_secret
        self._public_url = public_url.rstrip("/")
        self._clock = clock

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Fetch what may leave at this moment and send it. Takes at most the sum of both time limits."""
        channel = self._channels.get(delivery.unit, {}).get(delivery.channel)
        if isinstance(channel, Desk):
            # It is in the unit's list already.
            return Delivered(tips_asked=False)
        if not self._can_send(delivery.unit, channel):
            return Failed("no_channel", tips_asked=False)
        about = about_of(delivery.step)
        level = self._leaving(delivery, delivery.category, delivery.kind)
        words = about in ("route", "message") and level == "words"
        given = await self._given(delivery, words=words)
        if isinstance(given, Failed | Gone):
            return given
        outcome = await self._send(delivery, channel, level, given)
        if isinstance(outcome, Delivered) and outcome.erased is not None and about == "erased":
            return await self._confirm(delivery, outcome)
        if isinstance(outcome, Delivered):
            return Delivered(outcome.acknowledged, words, outcome.erased, tips_asked=words)
        return replace(outcome, tips_asked=words) if isinstance(outcome, Failed) else outcome

    async def _given(self, delivery: Delivery, *, words: bool) -> Mapping[str, Any] | Failed | Gone:
        """What there is to send besides the row: `words` of tips, or what is gathered for a unit."""
        about = about_of(delivery.step)
        if about == "notice":
            return await self._notices.of(delivery.unit, partial(self._leaving, delivery)) or Gone(
                tips_asked=False
            )
        if about == "digest":
            digest = await self._digests.of(delivery.unit)
            return Gone(tips_asked=False) if digest.empty else as_json(digest)
        if about == "route" and turn_of(delivery.step) > 1:
            return await self._moved(delivery, words=words)
        if not words:
            return {}
        ask = self._tips.messages if about == "message" else self._tips.words
        return await ask(delivery.report_id, _reader(delivery))

    async def _moved(self, delivery: Delivery, *, words: bool) -> Mapping[str, Any] | Failed | Gone:
        """What a unit needs that did not have the report from the start: how it came, and where words may
        leave what was written meanwhile."""
        given: dict[str, Any] = {"before": await self._moves.of(delivery.report_id)}
        for ask in (self._tips.words, self._tips.messages) if words else ():
            told = await ask(delivery.report_id, _reader(delivery))
            if isinstance(told, Failed | Gone):
                return told
            given |= told
        return given

    def _leaving(self, delivery: Delivery, category: str, kind: Kind) -> Extent:
        return level_of(self._categories.get(category), kind, delivery.channel)

    def _can_send(self, unit: str, channel: Channel | None) -> bool:
        if isinstance(channel, Email):
            return self._emails is not None
        return isinstance(channel, Webhook) and self._webhooks.sign_for(unit)

    async def _send(
        self, delivery: Delivery, channel: Channel | None, level: Extent, given: Mapping[str, Any]
    ) -> Outcome:
        if isinstance(channel, Email) and self._emails:
            return await self._emails.send(delivery, channel, level, given, self._link(delivery))
        if isinstance(channel, Webhook):
            return await self._webhooks.send(delivery, channel, level, given, self._link(delivery))
        return Failed("no_channel")

    def _link(self, delivery: Delivery) -> str:
        if about_of(delivery.step) == "digest":
            seen = DigestLink(delivery.unit, self._clock() + timedelta(days=DIGEST_DAYS))
            return f"{self._public_url}/digest/{write_digest_token(seen, self._link_secret)}"
        link = Link(delivery.report_id, delivery.unit, self._clock() + timedelta(days=LINK_DAYS))
        return f"{self._public_url}/answer/{write_token(link, self._link_secret)}"

    async def _confirm(self, delivery: Delivery, outcome: Delivered) -> Outcome:
        erased = bool(outcome.erased)
        told = await self._tips.confirm(delivery.report_id, _reader(delivery), erased=erased)
        # What tips no longer knows needs no certificate.
        return told if isinstance(told, Failed) and told.reason != "report_unknown" else outcome


def _of_digest(unit: Unit) -> Mapping[str, Channel]:
    return {DIGEST: Email(kind="email", address=unit.digest)} if unit.digest else {}


def _reader(delivery: Delivery) -> str:
    """Who reads, as the log of readings names it."""
    return party(delivery.unit, kind_of(delivery.channel))
