"""The composition root of `tips`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from services.tips import consumer, http, publishing, recovery, retention
from services.tips.areas import Areas
from services.tips.config import Settings
from services.tips.core.certificate import CERTIFICATE_KEPT
from services.tips.core.emails import Sender
from services.tips.emailing import Emailing
from services.tips.keys import KeyFolder
from services.tips.limits import Limits
from services.tips.metrics import TipsMetrics
from services.tips.photos.moving import keep_clearing, keep_moving
from services.tips.photos.store import PhotoStore
from services.tips.queries import emails, erasures, issues, reports
from services.tips.storing import Storing
from shared import municipality
from shared.consumer import Apply
from shared.errors import Refusal
from shared.events import SUBSCRIPTIONS
from shared.mail import server_of
from shared.mending.recover import Recover
from shared.repeating import once, repeat
from shared.service import Service

DROP_EVERY_SECONDS = 600.0
KEEP_EVERY_SECONDS = 3_600.0
SETTLE_AGAIN_SECONDS = 5.0
log = structlog.get_logger()


async def serve(settings: Settings, service: Service) -> None:
    """Run until told to stop. Raises Refusal where the municipality or the key folder cannot be used."""
    town = municipality.read(settings.municipality)
    service.municipality = f"{town.slug} {town.version}"
    relay = service.send()
    wake = relay.wake
    store = PhotoStore(settings.photo_store, settings.photo_store_secret_key.get_secret_value())
    keys = KeyFolder(settings.key_folder)
    async with service.pool.acquire() as connection:
        if lost := await retention.lost_keys(connection, keys):
            raise Refusal(
                f"IBUURT_KEY_FOLDER lacks {', '.join(lost)}, which reports are under: {retention.LOST_MEND}"
            )
    metrics = TipsMetrics(service.registry)
    metrics.photo_store_away.set_function(lambda: store.away)
    desk = http.Desk(
        pool=service.pool,
        municipality=town,
        areas=Areas(town),
        keys=keys,
        peppers=http.Peppers(
            settings.receipt_pepper.get_secret_value().encode(),
            settings.lookup_pepper.get_secret_value().encode(),
        ),
        metrics=metrics,
        storing=Storing(service.pool, keys, wake, _now),
        limits=Limits(
            _now,
            proxies=settings.trusted_proxies,
            shared=settings.shared_networks,
            unlimited=settings.unlimited_networks,
        ),
        sender=_sender(settings, town),
        wake=wake,
        clock=_now,
        public_url=settings.public_url,
        photo_store=store,
    )
    service.consume(SUBSCRIPTIONS["tips"], consumer.apply, at_most=consumer.AT_MOST)
    # Reports are taken whatever becomes of Kafka, relay and consumer: the outbox keeps them.
    service.ready_needs_parts = False
    service.also("forget submissions", lambda: forget_submissions(service.pool, _now))
    service.also("retention", lambda: _after(relay.checked, keep, service.pool, desk, _now))
    service.also("settle issues", lambda: settle_issues(desk))
    service.also("forget receipts", lambda: forget_receipts(service.pool, _now))
    service.also("move photos", lambda: keep_moving(service.pool, store, _now))
    service.also("clear photos", lambda: keep_clearing(service.pool, store, _now))
    if desk.sender:
        emailing = Emailing(
            service.pool,
            desk.keys,
            server_of(settings),
            desk.sender,
            town.languages,
            desk.peppers.lookup,
            desk.metrics,
            _now,
        )
        service.also("e-mail", lambda: _after(relay.checked, emailing.run))
    service.answer(reports.totals)
    http.add_internal(service.internal, desk, settings.notify_token.get_secret_value())
    await service.run(http.public_app(desk))


async def _after(checked: asyncio.Event, work: Callable[..., Awaitable[None]], *given: Any) -> None:
    """What must not begin on a database that was restored and not recovered: it mails whoever ended e-mail
    since, and erases what was taken back since."""
    await checked.wait()
    await work(*given)


def _sender(settings: Settings, town: municipality.Municipality) -> Sender | None:
    if not settings.smtp_host:
        return None
    name = town.text(town.names, town.languages[0])
    return Sender(name, settings.email_from, settings.public_url.rstrip("/"))


def applying(_settings: Settings) -> Apply:
    """What it does with dispatches."""
    return consumer.apply


def recovering(_settings: Settings) -> Recover:
    """What it takes back from its own topic."""
    return lambda connection, history: recovery.take_back(connection, history, _now())


async def forget_submissions(
    pool: Any, clock: Callable[[], datetime], every_seconds: float = DROP_EVERY_SECONDS
) -> None:
    """Again and again, forget the submissions of more than a day ago and the addresses that nobody confirmed,
    whoever is away meanwhile."""

    async def forget(connection: Any, now: datetime) -> None:
        await reports.drop_submissions(connection, now)
        await issues.drop_support(connection, now)
        await emails.forget_unconfirmed(connection, now)

    await _again("forget submissions", pool, forget, clock, every_seconds)


async def forget_receipts(
    pool: Any, clock: Callable[[], datetime], every_seconds: float = DROP_EVERY_SECONDS
) -> None:
    """Again and again, forget the receipts and certificates of what was erased long ago."""

    async def forget(connection: Any, now: datetime) -> None:
        await erasures.forget_receipts(connection, now - CERTIFICATE_KEPT)

    await _again("forget receipts", pool, forget, clock, every_seconds)


async def _again(
    part: str,
    pool: Any,
    forget: Callable[[Any, datetime], Awaitable[None]],
    clock: Callable[[], datetime],
    every_seconds: float,
) -> None:
    async def once_more() -> None:
        async with pool.acquire() as connection:
            await forget(connection, clock())

    await repeat(part, once_more, every_seconds)


async def keep(
    pool: Any, desk: http.Desk, clock: Callable[[], datetime], every_seconds: float = KEEP_EVERY_SECONDS
) -> None:
    """Again and again, end what has come to its end, whoever is away meanwhile."""

    async def once_more() -> None:
        try:
            async with pool.acquire() as connection:
                await retention.run(
                    connection, desk.keys, desk.municipality, clock(), retention.WORKER, _quiet, desk.wake
                )
        except Refusal as refusal:
            # Not for the probes: reports are taken all the same, and the next hour tries again.
            log.error("not_kept", mend=str(refusal))

    await repeat("retention", once_more, every_seconds)


def _quiet(_line: str) -> None:
    """What a run did is in the journal."""


async def settle_issues(desk: http.Desk, again_seconds: float = SETTLE_AGAIN_SECONDS) -> None:
    """Once at start: what the municipality's folder makes public no more goes; pages that moved are said
    anew. Then it only waits: this part of the process must not end."""

    async def settle() -> None:
        more = True
        while more:
            async with desk.pool.acquire() as connection, connection.transaction():
                more = await publishing.settle(connection, desk.municipality, desk.public_url, desk.clock())
            desk.wake()

    await once("settle issues", settle, again_seconds)
    await asyncio.Event().wait()


def _now() -> datetime:
    return datetime.now(UTC)
