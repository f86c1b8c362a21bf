"""What the handlers work with, and how they get a connection of the database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from services.tips.areas import Areas
from services.tips.core.emails import Sender
from services.tips.grouping import Busy
from services.tips.keys import KeyFolder
from services.tips.limits import Limits
from services.tips.metrics import TipsMetrics
from services.tips.photos.decoders import Decoders
from services.tips.photos.store import PhotoStore
from services.tips.storing import Storing
from shared import postgres
from shared.municipality import Municipality
from shared.web import Problem

TURN_SECONDS = 5
# Of the pool's ten connections: two groups of submissions and two of readings have theirs besides
# (grouping.py), and so has the consumer.
TURNS = 5
LATER = {"Retry-After": "5"}
log = structlog.get_logger()


@dataclass(frozen=True)
class Peppers:
    """The two secrets that receipts are made with, and looked up with."""

    receipt: bytes
    lookup: bytes


@dataclass(frozen=True)
class Desk:
    """What the handlers work with. `clock` gives the time in UTC; `wake` tells the relay;
    `public_url` is where residents reach this service, and the pages of issues begin with it."""

    pool: Any
    municipality: Municipality
    areas: Areas
    keys: KeyFolder
    peppers: Peppers
    metrics: TipsMetrics
    storing: Storing
    limits: Limits
    # None where the municipality sends no e-mail.
    sender: Sender | None
    wake: Callable[[], None]
    clock: Callable[[], datetime]
    public_url: str
    photo_store: PhotoStore
    decoders: Decoders = field(default_factory=Decoders)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TURNS))

    @property
    def source(self) -> str:
        """Who speaks in the events that are appended."""
        return f"/{self.municipality.slug}/tips"


@asynccontextmanager
async def connection(desk: Desk) -> AsyncIterator[Any]:
    """A connection of the pool. Raises Problem 503 where the database is away or busy."""
    async with not_now():
        # The wait for a turn and the connecting have each their own time: with one for both, those who have
        # waited long would break off each new connection after an outage, and nobody would ever have one.
        await asyncio.wait_for(desk.turns.acquire(), TURN_SECONDS)
        try:
            async with desk.pool.acquire() as taken:
                yield taken
        finally:
            desk.turns.release()


@asynccontextmanager
async def not_now() -> AsyncIterator[None]:
    """Raises Problem 503 where the database is away or busy in the block."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, Busy) and not postgres.is_transient(error):
            raise
        log.warning("database_away", error=type(error).__name__)
        raise Problem(
            503,
            "not-now",
            "Not now",
            "Try again in a few seconds; a report with the same Idempotency-Key is stored only once.",
            headers=LATER,
        ) from None
