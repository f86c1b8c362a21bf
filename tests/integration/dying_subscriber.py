"""`python -m tests.integration.dying_subscriber DSN FUSE`: the worker of webhook subscriptions alone, with a
fuse (tests/chaos/dying.py), until it is killed or nothing waits."""

import asyncio
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from services.notify import outgoing
from services.notify import queries_subscriptions as queries
from services.notify.metrics import SubscriptionMetrics
from services.notify.subscription_calls import SubscriptionCalls
from services.notify.subscription_worker import Manner, SubscriptionWorker
from shared import postgres
from tests.chaos.dying import wrap
from tests.integration.subscription_harness import MASTER

LEASE_SECONDS, CALL_SECONDS = 1.0, 0.4


def _now() -> datetime:
    return datetime.now(UTC)


async def work(dsn: str) -> None:
    """Call until nothing waits."""
    pool: Any = await postgres.open_pool(dsn, "notify")
    async with outgoing.open_session(8) as session:
        worker = SubscriptionWorker(
            pool,
            SubscriptionCalls(session, MASTER, _now, CALL_SECONDS).send,
            manner=Manner(
                8, 4, 0.02, 0.1, timedelta(days=5), 20, timedelta(days=1), LEASE_SECONDS, CALL_SECONDS
            ),
            metrics=SubscriptionMetrics(CollectorRegistry()),
            clock=_now,
            chance=random.random,
        )
        running = asyncio.create_task(worker.run())
        while True:
            async with pool.acquire() as connection:
                if not (await queries.backlog(connection)).open:
                    break
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await pool.close()


if __name__ == "__main__":
    _, _dsn, _fuse = sys.argv
    wrap("notify", Path(_fuse))
    asyncio.run(work(_dsn))
