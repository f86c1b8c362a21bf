"""What uvicorn lacks: an end to connections that hold a place and ask for nothing.

uvicorn waits for ever for a request's headers, however many come, and after an early answer for the rest of
the body. Whoever opens connections and sends a byte now and then would soon have all that there are.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# From the connection, or from a further request's first byte, to the end of its headers.
HEADER_SECONDS = 15
HEADER_BYTES = 65_536
# For the rest of a body that was answered before its end; a client that still sends may not see the answer
# where the connection is closed at once.
REST_SECONDS = 30


class Patient(HttpToolsProtocol):
    """One connection; closed when what is awaited has not come in time."""

    _deadline: asyncio.TimerHandle | None = None
    _awaits_headers = True
    _header_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._end_in(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_in(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._awaits_headers:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._end()

    def on_message_begin(self) -> None:
        if not self._awaits_headers:
            self._awaits_headers, self._header_bytes = True, 0
            self._end_in(HEADER_SECONDS)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._awaits_headers = False
        self._end_in(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._end_in(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.cycle.more_body:
            self._end_in(REST_SECONDS)
        super().on_response_complete()

    def _end_in(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._end) if seconds is not None else None

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
