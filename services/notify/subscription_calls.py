"""The call of a webhook subscription: the event as it stands on its topic, signed with all secrets in use."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import aiohttp
from standardwebhooks import Webhook as Signer

from services.notify import outgoing
from services.notify.core.deliveries import Delivered, Failed
from services.notify.core.subscriptions import Due, body, secrets_in_use

CALL_SECONDS = 10.0
ANSWER_BYTES = 65_536


class SubscriptionCalls:
    """Makes the calls; what went wrong is an outcome, not an error. One takes `seconds` at most."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        master: str,
        clock: Callable[[], datetime],
        seconds: float = CALL_SECONDS,
    ) -> None:
        self._session = session
        self._master = master
        self._clock = clock
        self.seconds = seconds

    async def send(self, due: Due) -> Delivered | Failed:
        """Send it. A 2xx is delivered, whatever else the answer says; no redirect is followed."""
        now, content = self._clock(), body(due)
        signing = secrets_in_use(self._master, due.subscription_id, due.generation, due.previous_until, now)
        headers = outgoing.signed(due.id, now, content, map(Signer, signing))
        status = 0
        try:
            async with asyncio.timeout(self.seconds):
                posting = self._session.post(
                    due.url, data=content.encode(), headers=headers, allow_redirects=False
                )
                async with posting as answer:
                    status = answer.status
                    if outgoing.is_taken(status):
                        # So that the connection can be used again; an endless answer is left.
                        await outgoing.read(answer, ANSWER_BYTES)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return (
                Delivered()
                if outgoing.is_taken(status)
                else Failed(outgoing.reason(error, status), unit_up=False)
            )
        if outgoing.is_taken(status):
            return Delivered()
        return Failed(f"http_{status}", unit_up=outgoing.is_up(status))
