"""The network between every two parts is slow, narrow, silent or broken for a while, under load."""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from shared.errors import Refusal
from tests.chaos.network import FAULTS, PAIRS, Fault, Network, proxied_trial
from tests.chaos.toxiproxy import Proxies, proxies
from tests.chaos.trial import running, until_ready

LONG = bool(os.environ.get("IBUURT_CHAOS_LONG"))
# The short run: every pair once, every fault twice.
SHORT = [(pair, list(FAULTS)[number % len(FAULTS)]) for number, pair in enumerate(PAIRS)]
EVERY = [(pair, fault) for pair in PAIRS for fault in FAULTS]
RATE = 15.0


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    try:
        with proxied_trial() as made:
            yield made
    except Refusal as refusal:
        pytest.skip(str(refusal))


async def test_each_fault_does_what_it_is_named_after() -> None:
    """Asked through a proxy, an echo is late, does not come, comes slowly, or the connection ends."""
    try:
        with proxies() as between:
            took = {name: await _echo(between, fault) for name, fault in FAULTS.items()}
    except Refusal as refusal:
        pytest.skip(str(refusal))
    late, slow = took["latency"], took["bandwidth"]
    assert late, took
    assert 0.1 <= late <= 2, took
    assert slow, took
    assert slow >= 1, took
    assert took["reset"] is took["half-open"] is None


async def _echo(between: Proxies, fault: Fault) -> float | None:
    """The seconds until 4,000 bytes are back, None where they do not come within 6 seconds."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4_000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    name = fault.kind
    port = between.add(name, server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for way in fault.ways:
        between.poison(name, fault.kind, way, fault.attributes)
    began = time.monotonic()
    writer.write(b"x" * 4_000)
    try:
        async with asyncio.timeout(6):
            await reader.readexactly(4_000)
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return None
    else:
        return time.monotonic() - began
    finally:
        between.cure()
        writer.close()
        server.close()


@pytest.mark.parametrize(("pair", "fault"), EVERY if LONG else SHORT)
async def test_a_fault_of_the_network_between_two_loses_and_doubles_nothing(
    network: Network, pair: str, fault: str
) -> None:
    """While it lasts and afterwards everything is counted and delivered once, in order."""
    trial, what = network.trial, FAULTS[fault]
    seconds = what.seconds[LONG]
    async with running(trial):
        for service in trial.stack.services.values():
            await until_ready(service)
        before = len(trial.outcomes)
        sending = asyncio.create_task(trial.send(round((seconds + 2) * RATE), RATE))
        await asyncio.sleep(1)
        network.suffer(pair, what)
        await asyncio.sleep(seconds)
        network.cure()
        cured = time.monotonic()
        await sending
        book = await trial.settled()
        took = time.monotonic() - cured
        assert not network.straight()
    assert len(trial.outcomes) > before
    assert book.balanced, book.faults
    print(f"\nledger of {pair}, {fault} for {seconds:.0f} s, settled after {took:.1f} s: {book.line()}")
