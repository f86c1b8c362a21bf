"""Outgoing HTTP: a session, and answers read within limits; what went wrong becomes a code."""

import json

import aiohttp


def open_session(concurrency: int) -> aiohttp.ClientSession:
    """A session for all calls: no cookies, no proxies from the environment, nothing unpacked."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=2 * concurrency, keepalive_timeout=10),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": "ibuurt-notify", "Accept-Encoding": "identity"},
        trust_env=False,
    )


async def read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body. Raises ValueError for one above the limit, without reading on."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > limit:
            answer.close()
            raise ValueError("the answer is too long")
    return bytes(content)


def json_of(content: bytes, media_type: str) -> object:
    """What a JSON body says; None where it is none."""
    if media_type != "application/json" and not media_type.endswith("+json"):
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def reason(error: Exception, status: int = 0) -> str:
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
