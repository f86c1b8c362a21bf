"""`python -m bench.peers.hostile_senders URL A_MINUTE NUMBER`: those who want to break the intake, a process.

So many submissions a minute, at even intervals and whatever becomes of the earlier ones, until standard input
ends; from four networks that NUMBER names, two of them IPv6 whose senders have many addresses. Then it prints
what came back as one JSON object: the statuses by kind ("-" where the connection was closed without one), and
the receipts of what was accepted.
"""

import asyncio
import io
import ipaddress
import itertools
import json
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from shared.web import MAX_BODY_BYTES
from tests.photos import encoded, noise

JSON = "application/json"
DESCRIPTION = "It has been like this for a week, and every evening it is worse. "
# More pixels than this are refused by the header; so many must be decoded.
BOMB = (7_900, 8_000)
TRICKLE_BYTES, TRICKLE_SECONDS = 16, 0.5
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Attack:
    """A request: `chunked` says no length before; `slow` sends a little at a time, `headless` not even the
    end of its headers."""

    path: str
    body: bytes = b""
    content_type: str = JSON
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False
    slow: bool = False
    headless: bool = False


def attacks() -> Iterator[tuple[str, Callable[[], Attack]]]:
    """The kinds, one after another without end; half of them are reports in order."""
    valid = _report(DESCRIPTION)
    largest = _report(DESCRIPTION * 150).ljust(MAX_BODY_BYTES)
    fields = json.dumps({f"field_{number}": number for number in range(3_000)}).encode()
    answers = json.dumps(
        {**json.loads(valid), "answers": {f"q{n}": ["x"] * 5 for n in range(2_000)}}
    ).encode()
    bomb = encoded(Image.new("L", BOMB), "PNG")
    half = encoded(noise(4_000, 3_000), quality=92)
    half = half[: len(half) // 2]
    kinds: list[tuple[str, Callable[[], Attack]]] = [
        ("a report", lambda: _sent(valid)),
        ("the largest report", lambda: _sent(largest)),
        ("a report", lambda: _sent(valid)),
        ("half of a JSON", lambda: _sent(largest[: MAX_BODY_BYTES // 8])),
        ("10 MB", lambda: _sent(b" " * 10_000_000, chunked=True)),
        ("the largest report", lambda: _sent(largest)),
        ("deep lists", lambda: _sent(b"[" * MAX_BODY_BYTES)),
        ("3,000 fields", lambda: _sent(fields)),
        ("2,000 answers", lambda: _sent(answers)),
        ("a wrong receipt", _wrong_receipt),
        ("a photo of 63 megapixels", lambda: _photo(bomb, "image/png")),
        ("half of a photo", lambda: _photo(half, "image/jpeg")),
        ("a slow report", lambda: _sent(valid, slow=True)),
        ("a slow photo", lambda: Attack("/v1/photos", half, "image/jpeg", slow=True)),
        ("slow headers", lambda: Attack("/v1/reports", slow=True, headless=True)),
        ("a report", lambda: _sent(valid)),
    ]
    return itertools.cycle(kinds)


def _report(description: str) -> bytes:
    place = {"point": {"latitude": 52.05, "longitude": 5.6}}
    report = {"kind": "issue", "category": "bulky_waste", "description": description, "location": place}
    return json.dumps(report).encode()


def _sent(body: bytes, *, chunked: bool = False, slow: bool = False) -> Attack:
    key = {"Idempotency-Key": secrets.token_urlsafe(24)}
    return Attack("/v1/reports", body, headers=key, chunked=chunked, slow=slow)


def _photo(body: bytes, content_type: str) -> Attack:
    return Attack("/v1/photos", body, content_type)


def _wrong_receipt() -> Attack:
    code = "".join(secrets.choice("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for _ in range(21))
    return Attack("/v1/reports/mine", method="GET", headers={"Authorization": f"Receipt {code}"})


def addresses(number: int) -> Iterator[str]:
    """The senders' addresses, in turn from each network."""
    chance = random.Random(number)
    for place in itertools.count():
        if place % 4 < 2:
            yield f"198.18.{number}.{place % 4 + 1}"
        else:
            network = int(ipaddress.ip_address(f"2001:db8:{number:x}:{place % 4}::"))
            yield str(ipaddress.ip_address(network + chance.getrandbits(64)))


class Senders:
    """Sends, and keeps what came back."""

    def __init__(self, url: str, number: int) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._addresses = addresses(number)
        self.statuses: dict[str, Counter[str]] = {}
        self.receipts: list[str] = []

    async def send(self, kind: str, attack: Attack) -> None:
        """One request, to its answer or its end."""
        status, body = "-", b""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                status, body = await self._exchanged(attack)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            status = "still open"
        self.statuses.setdefault(kind, Counter())[status] += 1
        if status == "201" and attack.path == "/v1/reports":
            self.receipts.append(json.loads(body)["receipt"])

    async def _exchanged(self, attack: Attack) -> tuple[str, bytes]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        sending = asyncio.create_task(self._write(writer, attack))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.splitlines()
                if line.lower().startswith(b"content-length:")
            )
            return head.split()[1].decode(), await reader.readexactly(length)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()

    async def _write(self, writer: asyncio.StreamWriter, attack: Attack) -> None:
        async for piece in _pieces(attack, next(self._addresses)):
            writer.write(piece)
            await writer.drain()


async def _pieces(attack: Attack, address: str) -> AsyncIterator[bytes]:
    headers = {"Host": "localhost", "X-Forwarded-For": address, **attack.headers}
    if attack.body:
        headers["Content-Type"] = attack.content_type
        length = (
            {"Transfer-Encoding": "chunked"} if attack.chunked else {"Content-Length": str(len(attack.body))}
        )
        headers |= length
    lines = [
        f"{attack.method} {attack.path} HTTP/1.1",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    yield "\r\n".join(lines).encode() + (b"\r\nX-More: " if attack.headless else b"\r\n\r\n")
    if attack.headless:
        while True:
            yield b"x"
            await asyncio.sleep(TRICKLE_SECONDS)
    step = TRICKLE_BYTES if attack.slow else 65_536
    for start in range(0, len(attack.body), step):
        piece = attack.body[start : start + step]
        yield b"%x\r\n%b\r\n" % (len(piece), piece) if attack.chunked else piece
        if attack.slow:
            await asyncio.sleep(TRICKLE_SECONDS)
    if attack.chunked:
        yield b"0\r\n\r\n"


async def main(url: str, a_minute: float, number: int) -> dict[str, Any]:
    """Send until standard input ends."""
    senders, tasks = Senders(url, number), set[asyncio.Task[None]]()
    kinds, loop = attacks(), asyncio.get_running_loop()
    over = loop.run_in_executor(None, io.TextIOWrapper(sys.stdin.buffer).read)
    print("ready", flush=True)
    begun = loop.time()
    for place in itertools.count():
        kind, attack = next(kinds)
        tasks.add(task := asyncio.create_task(senders.send(kind, attack())))
        task.add_done_callback(tasks.discard)
        pause = begun + (place + 1) * 60 / a_minute - loop.time()
        done, _ = await asyncio.wait({over}, timeout=max(0.0, pause))
        if done:
            break
    for task in [*tasks]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {"statuses": senders.statuses, "receipts": senders.receipts}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))))
