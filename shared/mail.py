"""Handing an e-mail over to the operator's mail server."""

import asyncio
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Literal

import aiosmtplib

from shared.settings import MailSettings


@dataclass(frozen=True)
class MailServer:
    """Where e-mail is handed over. `tls` is "tls" from the start, "starttls", or "none" on this machine."""

    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    user: str = ""
    password: str = ""


def server_of(settings: MailSettings) -> MailServer:
    """The server that the settings name."""
    return MailServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_tls,
        settings.smtp_user,
        settings.smtp_password.get_secret_value(),
    )


def domain_of(sender: str) -> str:
    """The part of a sender's address, such as Meldingen <meldingen@town.example>, behind the @."""
    return parseaddr(sender)[1].rpartition("@")[2]


async def hand_over(server: MailServer, message: bytes, sender: str, to: str, seconds: float) -> None:
    """Hand an e-mail over for one recipient, within so many seconds.

    Once the server has taken it, it is handed over, however the connection ends.

    Raises aiosmtplib.SMTPRecipientsRefused where the server does not take it for this recipient; another
    aiosmtplib.SMTPException, OSError or TimeoutError for everything else.
    """
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.user or None,
        password=server.password or None,
        use_tls=server.tls == "tls",
        start_tls=server.tls == "starttls",
        # Looked up, it may take long, and it tells a name of this machine.
        local_hostname=domain_of(sender),
        timeout=seconds,
    )
    taken = False
    try:
        async with asyncio.timeout(seconds), client:
            # As bytes: the library would fold the headers its own way.
            await client.sendmail(parseaddr(sender)[1], [to], message)
            taken = True
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        if not taken:
            raise
