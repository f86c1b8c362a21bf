"""No call to a unit reaches an address that is not the internet's, however it is written or found; real
listeners on this machine see that nothing comes."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from deploy.local.processes import free_port
from services.notify import outgoing
from services.notify.core.addresses import Network
from services.notify.core.deliveries import Retrying
from shared.events import DeliveryFailed
from shared.municipality import Municipality, Webhook
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import kinds, running_notify, send
from tests.integration.tips_server import Tips

ONE: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.2/32"),)


class Names(AbstractResolver):
    """Real addresses for a name: the answers one after another, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in answer
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def listening(port: int, *hosts: str) -> AsyncIterator[list[str]]:
    """Servers on addresses of this machine; what was asked of them."""
    seen: list[str] = []

    async def take(request: web.Request) -> web.StreamResponse:
        seen.append(str(request.transport.get_extra_info("sockname")[0]) if request.transport else "")
        return web.Response(headers={"Connection": "close"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    for host in hosts:
        await web.TCPSite(runner, host, port).start()
    try:
        yield seen
    finally:
        await runner.cleanup()


async def called(session: aiohttp.ClientSession, url: str) -> str:
    """What became of a call: its status, or the code of its failure."""
    try:
        async with asyncio.timeout(5), session.post(url, allow_redirects=False) as answer:
            return str(answer.status)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return outgoing.reason(error)


async def test_what_stands_behind_the_networks_own_nat64_is_not_called() -> None:
    """As a literal, and as one address of a name."""
    behind = "2a00:db8:64::127.0.0.1"
    prefixes = (ipaddress.ip_network("2a00:db8:64::/96"),)
    async with outgoing.open_guarded_session(4, (), Names([behind]), prefixes) as session:
        for host in (f"[{behind}]", "unit.example"):
            assert await called(session, f"http://{host}:9/") == outgoing.ADDRESS_REFUSED


async def test_a_name_that_changes_its_address_reaches_nothing_more() -> None:
    """Asked for the second connection it says another address: refused, and nothing comes there."""
    port, names = free_port(), Names(["127.0.0.2"], ["127.0.0.3"])
    async with (
        listening(port, "127.0.0.2", "127.0.0.3") as seen,
        outgoing.open_guarded_session(4, ONE, names) as session,
    ):
        url = f"http://unit.example:{port}/reports"
        assert await called(session, url) == "200"
        assert isinstance(session.connector, aiohttp.TCPConnector)
        session.connector.clear_dns_cache()
        assert await called(session, url) == "address_refused"
        assert (seen, names.asked) == (["127.0.0.2"], 2)


async def test_what_was_checked_is_what_is_called() -> None:
    """The name is asked once for a connection: there is no second answer between check and call."""
    port, names = free_port(), Names(["127.0.0.2"], ["127.0.0.3"])
    async with (
        listening(port, "127.0.0.2", "127.0.0.3") as seen,
        outgoing.open_guarded_session(4, ONE, names) as session,
    ):
        assert await called(session, f"http://unit.example:{port}/") == "200"
        assert (seen, names.asked) == (["127.0.0.2"], 1)


async def test_a_name_with_one_wrong_address_among_right_ones_is_refused() -> None:
    """Or whoever answers for the name would only have to let the first connection fail."""
    port = free_port()
    async with (
        listening(port, "127.0.0.2", "127.0.0.3") as seen,
        outgoing.open_guarded_session(4, ONE, Names(["127.0.0.2", "127.0.0.3"])) as session,
    ):
        assert await called(session, f"http://unit.example:{port}/") == "address_refused"
        assert seen == []


SPELLINGS = (
    *("127.0.0.1", "localhost", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1"),
    *("0177.0.0.1", "017700000001", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[0:0:0:0:0:ffff:127.0.0.1]", "0", "0.0.0.0", "[::]", "127。0。0。1", "①②⑦.0.0.1"),
)


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_this_machine_is_called(host: str) -> None:
    """Nothing comes to it; each is refused, not tried."""
    port = free_port()
    async with listening(port, "127.0.0.1") as seen, outgoing.open_guarded_session(4, ()) as session:
        assert await called(session, f"http://{host}:{port}/") == "address_refused"
        assert seen == []


@pytest.mark.parametrize("host", ["localhost.", "%31%32%37.0.0.1"])
async def test_no_name_that_may_be_this_machine_is_called(host: str) -> None:
    """Refused where it is known to be, and otherwise known to nobody."""
    port = free_port()
    async with listening(port, "127.0.0.1") as seen, outgoing.open_guarded_session(4, ()) as session:
        assert await called(session, f"http://{host}:{port}/") in ("address_refused", "dns")
        assert seen == []


async def test_a_refused_address_is_seen_and_given_up(database: MakeDatabase, tips: Tips) -> None:
    """It counts as an attempt, ends with its reason, and is not held against the unit's system."""

    def wrong(town: Municipality) -> Municipality:
        hook = Webhook(kind="webhook", url="https://169.254.169.254/latest/meta-data")
        unit = town.units["public_space"].model_copy(update={"channels": (hook,)})
        return town.model_copy(update={"units": {**town.units, unit.id: unit}})

    async with running_notify(await database("notify"), tips.internal_url, change=wrong) as notify:
        await send(tips, notify)
        notify.work(retrying=Retrying(0.02, 0.05, 7))
        await notify.settled()
        (failed,) = await notify.said(DeliveryFailed)
        assert isinstance(failed, DeliveryFailed)
        assert (failed.reason, failed.attempts) == ("address_refused", 7)
        assert kinds(await notify.said())[-2:] == ["DeliveryFailed", "ReportEscalated"]
        assert notify.metric("delivery_circuit_open", destination="public_space") == 0
