"""A real SMTP server for the tests, which answers as it is told, and one that hangs up."""

import asyncio
import email
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from deploy.local.processes import free_port
from deploy.operator import certificates
from shared.mail import MailServer


@dataclass
class Mailbox:
    """`recipients` and `contents` are its answers to each recipient and each e-mail, one after another; the
    last one stays."""

    port: int = field(default_factory=free_port)
    recipients: list[str] = field(default_factory=lambda: ["250 OK"])
    contents: list[str] = field(default_factory=lambda: ["250 OK"])
    # Everything that was offered, also what was not taken, as it came over the wire.
    offered: list[bytes] = field(default_factory=list)
    taken: list[EmailMessage] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    # While it is not set, an e-mail is not answered.
    open: threading.Event = field(default_factory=threading.Event)

    @property
    def server(self) -> MailServer:
        """As `notify` is told of it."""
        return MailServer("127.0.0.1", self.port, "none")

    async def handle_RCPT(self, _server: Any, session: Any, given: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.addresses.append(address)
        self.encrypted.append(session.ssl is not None)
        said = _next(self.recipients)
        if said.startswith("250"):
            given.rcpt_tos.append(address)
        return said

    async def handle_DATA(self, _server: Any, _session: Any, given: Any) -> str:  # noqa: N802 - aiosmtpd's name
        while not self.open.is_set():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.01)
        self.offered.append(given.content)
        said = _next(self.contents)
        if said.startswith("250"):
            message = email.message_from_bytes(given.content, policy=default)
            assert isinstance(message, EmailMessage)
            self.taken.append(message)
        return said

    @property
    def names(self) -> list[str]:
        """The Message-IDs of all that was offered."""
        return [str(email.message_from_bytes(one)["Message-ID"]) for one in self.offered]


def _next(answers: list[str]) -> str:
    return answers.pop(0) if len(answers) > 1 else answers[0]


def authority(folder: Path, hosts: Sequence[str] = ("127.0.0.1", "localhost")) -> tuple[ssl.SSLContext, Path]:
    """A certificate of these hosts, and the file of the authority that gave it."""
    now = datetime.now(UTC)
    ca_key, ca = certificates.new_authority(now)
    key, certificate = certificates.new_certificate(ca_key, ca, hosts, now)
    files = {"ca.crt": ca, "mail.key": key, "mail.crt": certificate}
    for name, content in files.items():
        (folder / name).write_text(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "mail.crt", folder / "mail.key")
    return context, folder / "ca.crt"


@contextmanager
def mailbox(
    tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", account: tuple[str, str] | None = None
) -> Iterator[Mailbox]:
    """It runs; with `tls` it takes nothing before STARTTLS, with an `account` (its name and password) nothing
    before that has signed in."""
    box = Mailbox()
    box.open.set()

    def signs_in(_server: Any, _session: Any, _given: Any, _how: str, said: LoginPassword) -> AuthResult:
        told = said.login.decode(), said.password.decode()
        return AuthResult(success=told == account)

    more: dict[str, Any] = {"tls_context": tls, "require_starttls": True} if tls else {}
    more |= {"authenticator": signs_in, "auth_required": True} if account else {}
    controller = Controller(box, hostname=host, port=box.port, server_hostname="mail.example", **more)
    controller.start()
    try:
        yield box
    finally:
        box.open.set()
        controller.stop()


@asynccontextmanager
async def hanging_up(
    port: int, at: bytes, allowed: Callable[[], bool], *, hangs: bool = False
) -> AsyncIterator[list[bytes]]:
    """A server that closes the connection when a command comes, or in the middle of an e-mail where that is
    b"."; or that says nothing more, where it `hangs`. `allowed` is asked each time whether it may go through
    instead. Yields the e-mails that it took."""
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: bytes) -> None:
            writer.write(line + b"\r\n")
            await writer.drain()

        await say(b"220 mail.example")
        while line := await reader.readline():
            command = line.strip().upper().split(b" ")[0].split(b":")[0]
            if command == at and not allowed():
                if hangs:
                    await reader.read()
                break
            if command == b"DATA":
                await say(b"354 go on")
                content = await reader.readuntil(b"\r\n.\r\n")
                if at == b"." and not allowed():
                    break
                taken.append(content)
            await say(b"250 OK")
            if command == b"QUIT":
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield taken
    finally:
        server.close()


__all__ = ["Mailbox", "authority", "hanging_up", "mailbox"]
