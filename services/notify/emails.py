"""The e-mail of a delivery: handed over to the operator's mail server, and what its answer means.

Nothing is logged of whom it goes to, nor what the server said: it may repeat the address.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from email.message import EmailMessage
from http import HTTPStatus
from typing import Any

import aiosmtplib

from services.notify.core.deliveries import Delivered, Delivery, Failed, Outcome
from services.notify.core.letters import Writer
from shared.mail import MailServer, hand_over
from shared.municipality import Email, Extent

# With the wait and the words and messages before it (5 s each), less than a lease (leasing.py).
SMTP_SECONDS = 12.0
_FOR_GOOD, _CLOSING = 500, 421
# A policy that refuses so many different addresses in a row is the server's fault, not theirs.
ADDRESSES = 3
# What an e-mail holds, and not who sends it (RFC 3463).
_CONTENT = re.compile(r"5\.6\.")
# RFC 3463: a refusal that is about the system, the network, the protocol, the content, or a policy is no
# fault of the address, though it comes in answer to it.
_NOT_THE_MAILBOX = re.compile(r"\s*5\.[34567]\.", re.ASCII)


class Emails:
    """Sends e-mails; what went wrong is an outcome, not an error."""

    def __init__(
        self,
        server: MailServer,
        writer: Writer,
        clock: Callable[[], datetime],
        seconds: float = SMTP_SECONDS,
    ) -> None:
        self._server = server
        self._writer = writer
        self._clock = clock
        self._seconds = seconds
        # The addresses that were refused since the server took one.
        self._refused: set[str] = set()

    async def send(
        self, delivery: Delivery, channel: Email, level: Extent, given: Mapping[str, Any], link: str
    ) -> Outcome:
        """Send a delivery's e-mail. `given` is what `tips` gave, nothing unless `level` is words."""
        message = self._writer.write(delivery, channel.address, level, given, link, self._clock())
        return await self.hand_over(message, channel.address)

    async def hand_over(self, message: EmailMessage, to: str) -> Delivered | Failed:
        """Hand an e-mail over to the mail server."""
        try:
            await hand_over(self._server, message.as_bytes(), self._writer.sender, to, self._seconds)
        except aiosmtplib.SMTPRecipientsRefused as error:
            (refused,) = error.recipients
            if refused.code < _FOR_GOOD:
                return _failed(refused)
            if not _NOT_THE_MAILBOX.match(refused.message):
                return Failed("mailbox_refused", unit_up=True, for_good=True)
            return self._of_address(refused.code, to)
        except aiosmtplib.SMTPDataError as error:
            if error.code >= _FOR_GOOD and not _CONTENT.match(error.message):
                # Of an e-mail that has one recipient.
                return self._of_address(error.code, to)
            self._refused.clear()
            return _failed(error)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return _failed(error)
        self._refused.clear()
        return Delivered()

    def _of_address(self, code: int, to: str) -> Failed:
        """It is said of one address, and says nothing of the server, unless it is said of others too."""
        self._refused.add(to)
        return Failed(f"smtp_{code}", unit_up=False if len(self._refused) >= ADDRESSES else None)


def _failed(error: Exception) -> Failed:
    """Why it is tried again. A server that puts one e-mail off, as with greylisting, works, and so does one
    that does not like what an e-mail holds."""
    if isinstance(error, aiosmtplib.SMTPDataError) and _CONTENT.match(error.message):
        return Failed(f"smtp_{error.code}", unit_up=True)
    if isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= HTTPStatus.BAD_REQUEST:
        return Failed(f"smtp_{error.code}", unit_up=error.code < _FOR_GOOD and error.code != _CLOSING)
    causes = (error, error.__cause__, error.__context__)
    if any(isinstance(one, ssl.SSLError) for one in causes) or "STARTTLS" in str(error):
        return Failed("smtp_tls", unit_up=False)
    if isinstance(error, aiosmtplib.SMTPServerDisconnected):
        return Failed("smtp_disconnected", unit_up=False)
    if isinstance(error, TimeoutError):
        return Failed("smtp_timeout", unit_up=False)
    return Failed("smtp_refused", unit_up=False)
