"""A `stats` that does what is due, without a consumer's group: what was sent is read back as at a start."""

import functools

from prometheus_client import CollectorRegistry

from shared.metrics import RelayMetrics
from shared.relay import Relay
from tests.integration.stats_harness import Stats
from tests.spine import running, until

PATIENCE = 60.0


async def run_until_done(stats: Stats) -> None:
    """Check the topics, adopt what is there, then close, send and read back until nothing is left. Raises
    Refusal as a start does."""
    relay = Relay(stats.dsn, stats.bootstrap, "stats", RelayMetrics(CollectorRegistry()))
    async with running(relay.run()) as relaying:
        await until(lambda: relay.checked.is_set() or relaying.done(), PATIENCE)
        if relaying.done():
            await relaying
        await stats.closing.adopt()
        while await stats.closing.step():
            relay.wake()
            await until(functools.partial(_sent, stats), PATIENCE)
            await stats.closing.adopt()


async def _sent(stats: Stats) -> bool:
    waits = "SELECT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM outbox_batch WHERE sent_on IS NULL)"
    return not await stats.value(waits)
