"""Contacts of webhook subscriptions are told by e-mail, once, that theirs was disabled, or events of it were
set aside."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.notify import queries_contacts
from services.notify.core.contact_letters import Trouble, letter
from services.notify.core.deliveries import Delivered, Failed
from services.notify.core.letters import Writer
from services.notify.emails import Emails

EVERY_SECONDS = 60.0
AGAIN = timedelta(minutes=15)
# Whoever could not be told by then is written to by the operator, whom the alarm tells.
LONGEST = timedelta(days=3)

log = structlog.get_logger()


class Contacts:
    """Tells them; whether one was told is logged without the address."""

    def __init__(self, pool: Any, emails: Emails, writer: Writer, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._emails = emails
        self._writer = writer
        self._clock = clock

    async def look(self) -> None:
        """Tell whoever is to be told now."""
        async with self._pool.acquire() as connection:
            found = await queries_contacts.take_notices(connection, self._clock(), AGAIN)
        for one in found:
            failed = await self._tell(one)
            if failed is None or failed.for_good or (one.since and self._clock() - one.since > LONGEST):
                async with self._pool.acquire() as connection:
                    await queries_contacts.end_notice(connection, one)
                self._say_end(one, failed)
            else:
                log.warning("subscription_contact_not_now", name=one.name, reason=failed.reason)

    async def _tell(self, one: Trouble) -> Failed | None:
        try:
            message = letter(one, self._writer, self._clock())
            outcome = await self._emails.hand_over(message, one.contact)
        except Exception as error:
            # Whatever it is, the others are told all the same.
            log.error("subscription_contact_error", name=one.name, exc_info=error)
            return Failed("error")
        return None if isinstance(outcome, Delivered) else outcome

    def _say_end(self, one: Trouble, failed: Failed | None) -> None:
        if failed is None:
            log.info("subscription_contact_told", name=one.name)
            return
        mend = "reach its contact by another way than e-mail"
        log.error("subscription_contact_not_told", name=one.name, reason=failed.reason, mend=mend)
