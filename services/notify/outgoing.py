"""Outgoing HTTP: sessions, and answers read within limits; what went wrong becomes a code."""

import socket
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from http import HTTPStatus

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic_core import from_json
from standardwebhooks import Webhook

from services.notify.core.addresses import Network, may_be_called

ADDRESS_REFUSED = "address_refused"
# Who answers with one of these is not fit for the next call either.
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_REFUSED = "calls may not go to this address"


class AddressRefused(OSError):  # noqa: N818 - an outcome
    """A call may not go there: see core/addresses.py."""


class GuardedResolver(AbstractResolver):
    """Gives a host's addresses to a connection, or none where a call may not go to one of them. The
    connection is made to these and no others, so that a name that changes its address changes nothing."""

    def __init__(self, allowed: Callable[[str], bool], resolver: AbstractResolver | None = None) -> None:
        self._allowed = allowed
        self._resolver = resolver or aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As the resolver within. Raises AddressRefused."""
        found = await self._resolver.resolve(host, port, family)
        if not all(self._allowed(one["host"]) for one in found):
            raise AddressRefused(_REFUSED)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def open_guarded_session(
    concurrency: int,
    private: Sequence[Network],
    resolver: AbstractResolver | None = None,
    nat64: Sequence[Network] = (),
) -> aiohttp.ClientSession:
    """A session for calls to others' systems, by the addresses of the internet and of `private` networks;
    `nat64` are this network's own prefixes of NAT64."""

    def allowed(address: str) -> bool:
        return may_be_called(address, private, nat64)

    def open_socket(to: aiohttp.AddrInfoType) -> socket.socket:
        # Whatever a connection is made to passes here, also an address that needed no resolver.
        family, kind, protocol, _, address = to
        if not allowed(str(address[0])):
            raise AddressRefused(_REFUSED)
        return socket.socket(family, kind, protocol)

    return _session(
        aiohttp.TCPConnector(
            limit=2 * concurrency,
            keepalive_timeout=10,
            resolver=GuardedResolver(allowed, resolver),
            socket_factory=open_socket,
        )
    )


def open_session(concurrency: int) -> aiohttp.ClientSession:
    """A session for calls to `tips`, whose address is the operator's own setting."""
    return _session(aiohttp.TCPConnector(limit=2 * concurrency, keepalive_timeout=10))


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """No cookies, no proxies from the environment, nothing unpacked. Each call has its own time limit."""
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": "ibuurt-notify", "Accept-Encoding": "identity"},
        trust_env=False,
    )


def signed(
    message_id: uuid.UUID, moment: datetime, content: str, signers: Iterable[Webhook]
) -> dict[str, str]:
    """The headers of a call as Standard Webhooks has it, signed with each secret that is in use."""
    signatures = [signer.sign(str(message_id), moment, content) for signer in signers]
    return {
        "Content-Type": "application/json",
        "webhook-id": str(message_id),
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def is_taken(status: int) -> bool:
    """Whether the receiver has it, whatever becomes of the rest of its answer."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def is_up(status: int) -> bool:
    """Whether a receiver that answers so is fit for the next call."""
    return status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _BUSY


async def read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body. Raises ValueError for one above the limit, without reading on."""
    content = bytearray()
    while not answer.content.at_eof():
        content += await answer.content.readany()
        if len(content) > limit:
            answer.close()
            raise ValueError("the answer is too long")
    return bytes(content)


def json_of(content: bytes, media_type: str) -> object:
    """What a JSON body says; None where it is none."""
    if media_type != "application/json" and not media_type.endswith("+json"):
        return None
    try:
        return from_json(content)
    except ValueError:
        return None


def reason(error: Exception, status: int = 0) -> str:
    """A code for what went wrong; never the error's text, which may hold an address."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if status:
        return f"http_{status}"
    # A number that is no address as it is usually written, such as 0177.0.0.1, is not taken for one.
    if isinstance(error, aiohttp.InvalidURL) or isinstance(getattr(error, "os_error", None), AddressRefused):
        return ADDRESS_REFUSED
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "refused"
    if isinstance(error, aiohttp.ClientError | OSError):
        return "disconnected"
    return "malformed"
