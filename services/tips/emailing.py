"""The worker that sends e-mail: at least once, each with a Message-ID of its own that a repeat has too.

Nothing is logged of whom it goes to: the mail server knows that, and its operator.
"""

import asyncio
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import aiosmtplib
import structlog

from services.tips import sealing
from services.tips.core import emails as core
from services.tips.core.emails import Sender
from services.tips.keys import KeyDestroyed, KeyFolder, KeyLost
from services.tips.metrics import TipsMetrics
from services.tips.queries import emails
from services.tips.queries.emails import Due
from shared import postgres
from shared.mail import MailServer, hand_over

POLL_SECONDS = 2.0
# An attempt, with every answer of the mail server that it takes.
SEND_SECONDS = 60.0
# Longer than an attempt may take: it is prolonged before each.
LEASE = timedelta(seconds=90)
AT_ONCE = 20
RETRY_BASE, RETRY_CAP = timedelta(seconds=30), timedelta(hours=2)
# Two days and a half of trying.
ATTEMPTS_MOST = 40
FOR_GOOD = 500
# RFC 3463: no such mailbox, moved and nobody knows where, takes no mail. Other refusals for good are about us
# (a policy, our name, our server), or may be.
NO_MAILBOX = re.compile(r"\s*5\.1\.(1|6|10)\b", re.ASCII)

log = structlog.get_logger()


class Emailing:
    """Sends for as long as `run` runs."""

    def __init__(
        self,
        pool: Any,
        keys: KeyFolder,
        server: MailServer,
        sender: Sender,
        languages: tuple[str, ...],
        secret: bytes,
        metrics: TipsMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._server = server
        self._sender = sender
        self._languages = languages
        self._secret = secret
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Send until cancelled; whoever is away is waited for."""
        while True:
            try:
                taken = await self._send_due()
            except Exception as error:
                if not postgres.is_transient(error):
                    raise
                log.warning("not_now", part="e-mail", error=type(error).__name__)
                taken = 0
            if taken < AT_ONCE:
                await asyncio.sleep(POLL_SECONDS)

    async def _send_due(self) -> int:
        now = self._clock()
        leased = now + LEASE
        async with self._pool.acquire() as connection:
            due = await emails.lease(connection, now, leased, AT_ONCE)
        for one in due:
            await self._deal_with(one, leased)
        return len(due)

    async def _deal_with(self, due: Due, leased: datetime) -> None:
        # Those before it may have taken long: it may be another worker's by now, or wanted no more.
        async with self._pool.acquire() as connection:
            attempt = await emails.keep(connection, due.email_id, leased, self._clock() + LEASE)
        if attempt is None:
            return
        outcome = await self._outcome(due, attempt)
        self._metrics.emails.labels(outcome).inc()
        async with self._pool.acquire() as connection:
            if outcome == "no_mailbox":
                await emails.forget(connection, due.subscription_id)
            elif outcome in ("later", "blocked", "key_lost"):
                await emails.put_off(connection, due.email_id, self._clock() + _pause(attempt))
            else:
                await emails.drop(connection, due.email_id)

    async def _outcome(self, due: Due, attempt: int) -> str:
        """What came of an attempt, as the metric has it."""
        try:
            address = self._address(due)
        except KeyLost:
            return "key_lost"
        if address is None:
            return "erased"
        outcome = await self._send(due, address)
        if outcome in ("later", "blocked") and attempt >= ATTEMPTS_MOST:
            log.error("email_given_up", mend="see what the mail server logs; later news is sent again")
            return "given_up"
        return outcome

    def _address(self, due: Due) -> str | None:
        """None where it is gone for good. Raises KeyLost where it is not, and the operator must mend it."""
        if due.words is None:
            return None
        try:
            key = sealing.open_key(due.report_id, due.words, self._keys.get(due.words.key_name))
            opened = sealing.unseal_part(key, due.report_id, due.subscription_id, due.address)
        except KeyLost:
            log.error("key_lost", key=due.words.key_name, mend="restore the key folder from its backup")
            raise
        except (KeyDestroyed, sealing.Unreadable) as error:
            log.error("email_address_unreadable", error=type(error).__name__)
            return None
        return str(opened["address"])

    async def _send(self, due: Due, address: str) -> str:
        """What came of it: sent, no_mailbox, blocked (refused for good, but not for the address), later."""
        link = f"/v1/email/{due.subscription_id}/{core.token(due.subscription_id, self._secret)}"
        said = core.texts(due.language, self._languages)
        try:
            name = core.message_name(due.email_id, self._secret)
            message = core.compose(due.about, address, name, link, self._sender, said, self._clock())
        except Exception as error:
            # One e-mail must not end those of all others.
            log.error("email_not_made", exc_info=error)
            return "later"
        try:
            await hand_over(self._server, message.as_bytes(), self._sender.address, address, SEND_SECONDS)
        except aiosmtplib.SMTPRecipientsRefused as error:
            (refused,) = error.recipients
            gone = refused.code >= FOR_GOOD and NO_MAILBOX.match(refused.message)
            return "no_mailbox" if gone else _not_sent(refused)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return _not_sent(error)
        return "sent"


def _not_sent(error: Exception) -> str:
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
    # Nothing that the server said: it may repeat the address.
    log.warning("email_not_sent", error=type(error).__name__, code=code)
    return "blocked" if code >= FOR_GOOD else "later"


def _pause(attempt: int) -> timedelta:
    """Doubled each time, up to a limit, and jittered."""
    jitter: float = random.uniform(0.5, 1)  # noqa: S311 - no secret
    pause: timedelta = min(RETRY_BASE * 2 ** min(attempt, 16), RETRY_CAP) * jitter
    return pause
