"""`python -m tests.integration.dying_subscriber DSN`: a worker of webhook subscriptions that kills itself
(SIGKILL) when a subscriber has answered, before that is recorded."""

import asyncio
import os
import random
import signal
import sys
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from services.notify import outgoing
from services.notify.core.deliveries import Delivered, Failed
from services.notify.core.subscriptions import Due
from services.notify.metrics import SubscriptionMetrics
from services.notify.subscription_calls import SubscriptionCalls
from services.notify.subscription_worker import Manner, SubscriptionWorker
from shared import postgres
from tests.integration.subscription_harness import MASTER


def now() -> datetime:
    return datetime.now(UTC)


async def main() -> None:
    pool = await postgres.open_pool(sys.argv[1], "notify")
    async with outgoing.open_session(8) as session:
        calls = SubscriptionCalls(session, MASTER, now, 0.4)

        async def send(due: Due) -> Delivered | Failed:
            await calls.send(due)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        worker = SubscriptionWorker(
            pool,
            send,
            manner=Manner(1, 1, 0.05, 0.1, timedelta(days=5), lease=1.0, call=0.4),
            metrics=SubscriptionMetrics(CollectorRegistry()),
            clock=now,
            chance=random.random,
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
