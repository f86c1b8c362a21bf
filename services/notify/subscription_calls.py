"""The call of a webhook subscription: the event as it stands on its topic, signed with all secrets in use."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

import aiohttp
from standardwebhooks import Webhook as Signer

from services.notify import outgoing
from services.notify.core.deliveries import Delivered, Failed
from services.notify.core.subscriptions import Due, body, secrets_in_use

CALL_SECONDS = 10.0
ANSWER_BYTES = 65_536
# Who answers with one of these is not fit for the next call either.
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


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
        headers = {
            "Content-Type": "application/json",
            "webhook-id": str(due.id),
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(Signer(one).sign(str(due.id), now, content) for one in signing),
        }
        status = 0
        try:
            async with asyncio.timeout(self.seconds):
                posting = self._session.post(
                    due.url, data=content.encode(), headers=headers, allow_redirects=False
                )
                async with posting as answer:
                    status = answer.status
                    if _taken(status):
                        # So that the connection can be used again; an endless answer is left.
                        await outgoing.read(answer, ANSWER_BYTES)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Delivered() if _taken(status) else Failed(outgoing.reason(error, status), unit_up=False)
        if _taken(status):
            return Delivered()
        up = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _BUSY
        return Failed(f"http_{status}", unit_up=up)


def _taken(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
