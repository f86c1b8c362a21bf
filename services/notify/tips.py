"""What notify asks of tips: words and conversations, which tips logs, and what units write to residents.

What comes back is stored nowhere, not cached and not logged.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl
from pydantic_core import from_json

from services.notify import outgoing
from services.notify.core.clocks import written
from services.notify.core.deliveries import Failed, Gone

TIPS_SECONDS = 5.0
# At a time: after an outage thousands wait, and `tips` has reports to take meanwhile.
READINGS = 16
ANSWER_BYTES = 1_048_576
# Another text was written under the id that this one has.
MESSAGE_REUSED = "tips_message-id-reused"
UNREADABLE = {"damaged": "words_damaged", "key-lost": "key_lost"}
Given = dict[str, Any] | Failed | Gone


class Tips:
    """The internal API of tips. What went wrong is an outcome, not an error."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        token: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._clock = clock
        self._readings = asyncio.Semaphore(READINGS)

    async def words(self, report_id: uuid.UUID, reader: str) -> Given:
        """The words of a report, for a reader who takes them away."""
        reading = {"purpose": "delivery", "reader": reader}
        return await self._ask("POST", report_id, "words", json=reading)

    async def messages(self, report_id: uuid.UUID, reader: str) -> Given:
        """The conversation about a report, for a reader who takes it away."""
        reading = {"purpose": "delivery", "reader": reader}
        return await self._ask("GET", report_id, "messages", params=reading)

    async def write(
        self, report_id: uuid.UUID, message_id: uuid.UUID, unit: str, by: str, text: str, *, asks: bool
    ) -> Given:
        """What a unit writes to the resident, `by` whom, for the log there; `asks` where it wants an answer.
        The same id is stored once."""
        message = {"message_id": str(message_id), "unit": unit, "by": by, "text": text, "asks": asks}
        return await self._ask("POST", report_id, "messages", json=message)

    async def confirm(self, report_id: uuid.UUID, reader: str, *, erased: bool) -> Given:
        """What a reader says of its copy of what was erased; it is in the certificate then."""
        said = {"state": "confirmed" if erased else "cannot", "at": written(self._clock())}
        path = f"erasure-confirmations/{quote(reader, safe='')}"
        return await self._ask("PUT", report_id, path, json=said)

    async def _ask(self, method: str, report_id: uuid.UUID, path: str, **sent: Any) -> Given:
        url = yarl.URL(f"{self._url}/internal/v1/reports/{report_id}/{path}", encoded=True)
        try:
            async with asyncio.timeout(TIPS_SECONDS), self._readings:
                asking = self._session.request(
                    method, url, headers=self._headers, allow_redirects=False, **sent
                )
                async with asking as answer:
                    if answer.status == HTTPStatus.GONE:
                        return Gone()
                    if answer.status == HTTPStatus.NOT_FOUND:
                        # Never silently dropped: tips may have been restored, or the address may be wrong.
                        return Failed("report_unknown")
                    if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
                        return await _not_given(answer)
                    given = from_json(await outgoing.read(answer, ANSWER_BYTES))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failed(f"tips_{outgoing.reason(error)}", tips_up=False)
        return given if isinstance(given, dict) else Failed("tips_malformed", tips_up=False)


async def _not_given(answer: aiohttp.ClientResponse) -> Failed:
    """Why `tips` does not give words: they are damaged, or their key is lost, which is of this report and
    those beside it; or what was sent is refused; or it cannot now."""
    said = outgoing.json_of(await outgoing.read(answer, ANSWER_BYTES), answer.content_type)
    code = str(_of(said, "type")).rpartition(":")[2]
    if code in UNREADABLE:
        return Failed(UNREADABLE[code], no_words=True)
    if answer.status in (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
        return Failed(f"tips_{code}")
    return Failed(f"tips_{answer.status}", tips_up=False)


def _of(said: object, name: str) -> object:
    return said.get(name, "") if isinstance(said, Mapping) else ""
