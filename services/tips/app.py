"""The composition root of `tips`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from services.tips import consumer, http, recovery
from services.tips.areas import Areas
from services.tips.config import Settings
from services.tips.keys import KeyFolder
from services.tips.metrics import TipsMetrics
from services.tips.photos.moving import keep_clearing, keep_moving
from services.tips.photos.store import PhotoStore
from services.tips.queries import reports
from shared import municipality, postgres
from shared.consumer import Apply
from shared.events import SUBSCRIPTIONS
from shared.mending.recover import Recover
from shared.service import Service

DROP_EVERY_SECONDS = 600.0
log = structlog.get_logger()


async def serve(settings: Settings, service: Service) -> None:
    """Run until told to stop. Raises Refusal where the municipality or the key folder cannot be used."""
    town = municipality.read(settings.municipality)
    service.municipality = f"{town.slug} {town.version}"
    store = PhotoStore(settings.photo_store)
    desk = http.Desk(
        pool=service.pool,
        municipality=town,
        areas=Areas(town),
        keys=KeyFolder(settings.key_folder),
        peppers=http.Peppers(
            settings.receipt_pepper.get_secret_value().encode(),
            settings.lookup_pepper.get_secret_value().encode(),
        ),
        metrics=TipsMetrics(service.registry),
        wake=service.send().wake,
        clock=_now,
        photo_store=store,
    )
    service.consume(SUBSCRIPTIONS["tips"], consumer.apply)
    # Reports are taken whatever becomes of Kafka, relay and consumer: the outbox keeps them.
    service.ready_needs_parts = False
    service.also("forget submissions", lambda: forget_submissions(service.pool, _now))
    service.also("move photos", lambda: keep_moving(service.pool, store, _now))
    service.also("clear photos", lambda: keep_clearing(service.pool, store, _now))
    service.answer(reports.totals)
    http.add_words(service.internal, desk, settings.notify_token.get_secret_value())
    http.add_photos_of_reports(service.internal, desk, settings.notify_token.get_secret_value())
    await service.run(http.public_app(desk))


def applying(_settings: Settings) -> Apply:
    """What it does with dispatches."""
    return consumer.apply


def recovering(_settings: Settings) -> Recover:
    """What it takes back from its own topic."""
    return lambda connection, history: recovery.take_back(connection, history, _now())


async def forget_submissions(
    pool: Any, clock: Callable[[], datetime], every_seconds: float = DROP_EVERY_SECONDS
) -> None:
    """Again and again, forget the submissions of more than a day ago, whoever is away meanwhile."""
    while True:
        try:
            async with pool.acquire() as connection:
                await reports.drop_submissions(connection, clock())
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            log.warning("not_now", part="forget submissions", error=type(error).__name__)
        await asyncio.sleep(every_seconds)


def _now() -> datetime:
    return datetime.now(UTC)
