"""`python -m tests.integration.dying_worker DSN TIPS_URL PORT FUSE`: notify's worker alone, with a fuse
(tests/chaos/dying.py), until it is killed or nothing is open."""

import asyncio
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from services.notify import calls, outgoing, queries_deliveries
from services.notify.core.deliveries import Retrying
from services.notify.delivery import Limits, Worker
from services.notify.digests import Digests
from services.notify.dispatches import Dispatches
from services.notify.metrics import DeliveryMetrics
from services.notify.moving import Moves
from services.notify.noticing import Notices
from services.notify.tips import Tips
from shared import postgres
from tests.chaos.dying import wrap
from tests.integration.notify_harness import LINK_SECRET, signing_secret, town_at
from tests.integration.tips_server import NOTIFY_TOKEN

LEASE_SECONDS = 1.0


def _now() -> datetime:
    return datetime.now(UTC)


async def work(dsn: str, tips_url: str, port: int) -> None:
    """Deliver until nothing is open."""
    pool: Any = await postgres.open_pool(dsn, "notify")
    town = town_at(port)
    dispatches = Dispatches(town)
    async with outgoing.open_session(16) as session:
        made = calls.Calls(
            session,
            town,
            Tips(session, tips_url, NOTIFY_TOKEN, _now),
            Notices(pool, dispatches.clocks, _now),
            Digests(pool, town, dispatches.responsibility, _now),
            Moves(pool),
            link_secret=LINK_SECRET,
            public_url="https://units.example",
            secrets={unit: (signing_secret(unit),) for unit in town.units},
            clock=_now,
        )
        worker = Worker(
            pool,
            made.deliver,
            units=tuple(town.units),
            dispatches=dispatches,
            limits=Limits(16, 8),
            retrying=Retrying(0.02, 0.1, 50),
            metrics=DeliveryMetrics(CollectorRegistry()),
            clock=_now,
            chance=random.random,
            appended=lambda: None,
            lease_seconds=LEASE_SECONDS,
        )
        running = asyncio.create_task(worker.run())
        while True:
            async with pool.acquire() as connection:
                if not await queries_deliveries.open_deliveries(connection):
                    break
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await pool.close()


if __name__ == "__main__":
    _, _dsn, _tips_url, _port, _fuse = sys.argv
    wrap("notify", Path(_fuse))
    asyncio.run(work(_dsn, _tips_url, int(_port)))
