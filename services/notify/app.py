"""The composition root of notify: reads the surroundings, wires the parts, runs them."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from aiohttp import ClientSession

from services.notify import (
    calls,
    config,
    horizon,
    http,
    mornings,
    outgoing,
    public_issues,
    queries,
    recovery,
    telling_contacts,
)
from services.notify.acting import Acting
from services.notify.clocks import Sweeper
from services.notify.consumer import Reports
from services.notify.core.deliveries import Retrying
from services.notify.core.letters import Writer
from services.notify.delivery import Limits, Worker
from services.notify.digests import Digests
from services.notify.dispatches import Dispatches
from services.notify.emails import Emails
from services.notify.metrics import DeliveryMetrics, SubscriptionMetrics
from services.notify.mornings import Mornings
from services.notify.moving import Moves
from services.notify.noticing import Notices
from services.notify.reassigning import reassign
from services.notify.subscribing import Subscribers
from services.notify.subscription_calls import SubscriptionCalls
from services.notify.subscription_worker import Manner, SubscriptionWorker
from services.notify.telling import Telling
from services.notify.telling_contacts import Contacts
from services.notify.tips import Tips
from shared import municipality as municipalities
from shared.cloudevents import Envelope
from shared.consumer import Apply
from shared.events import SUBSCRIPTIONS, Event
from shared.mail import server_of
from shared.mending.recover import Recover
from shared.municipality import Municipality
from shared.municipality.coverage import sorts_of
from shared.municipality.references import overlaps
from shared.repeating import once, repeat
from shared.service import Service

log = structlog.get_logger()


async def serve(settings: config.Settings, service: Service) -> None:
    """Run notify until it is told to stop. Raises Refusal where folder or secrets cannot be used."""
    municipality = municipalities.read(settings.municipality)
    service.municipality = f"{municipality.slug} {municipality.version}"
    _warn(municipality)
    signing = config.read_webhook_secrets(settings.webhook_secrets, municipality)
    config.check_mail(settings, municipality)
    metrics = DeliveryMetrics(service.registry)
    link_secret = settings.link_secret.get_secret_value()
    chance = secrets.SystemRandom().random
    relay = service.send()
    dispatches = Dispatches(municipality)

    def guarded(concurrency: int) -> ClientSession:
        private, nat64 = settings.private_networks, settings.nat64_prefixes
        return outgoing.open_guarded_session(concurrency, private, nat64=nat64)

    async with (
        outgoing.open_session(settings.delivery_concurrency) as to_tips,
        guarded(settings.delivery_concurrency) as session,
        # Of their own, so that subscribers that hang take no connection from units.
        guarded(settings.subscription_concurrency) as calling,
    ):
        tips = Tips(to_tips, settings.tips_url, settings.tips_token.get_secret_value(), _now)
        digests = Digests(service.pool, municipality, dispatches.responsibility, _now)
        writer = Writer(municipality, settings.email_from)
        emails = Emails(server_of(settings), writer, _now)
        deliveries = calls.Calls(
            session,
            municipality,
            tips,
            Notices(service.pool, dispatches.clocks, _now),
            digests,
            Moves(service.pool),
            link_secret=link_secret,
            public_url=settings.public_url,
            secrets=signing,
            clock=_now,
            emails=emails,
        )
        worker = Worker(
            service.pool,
            deliveries.deliver,
            units=tuple(municipality.units),
            dispatches=dispatches,
            limits=Limits(settings.delivery_concurrency, settings.delivery_per_unit),
            retrying=Retrying(settings.retry_base_seconds, settings.retry_cap_seconds, settings.max_attempts),
            metrics=metrics,
            clock=_now,
            chance=chance,
            appended=relay.wake,
        )
        subscriptions = SubscriptionWorker(
            service.pool,
            SubscriptionCalls(calling, settings.subscription_secret.get_secret_value(), _now).send,
            manner=_manner(settings),
            metrics=SubscriptionMetrics(service.registry),
            clock=_now,
            chance=chance,
        )
        telling = Telling(municipality, clock=_now, chance=chance)
        acting = Acting(dispatches, telling, clock=_now)

        def routed() -> None:
            relay.wake()
            worker.wake()

        def applied() -> None:
            routed()
            subscriptions.wake()

        async def forget() -> None:
            await horizon.forget(service.pool, _now())

        service.consume(SUBSCRIPTIONS["notify"], _apply(Reports(dispatches, telling, clock=_now)), applied)
        service.also("deliveries", worker.run)
        sweeper = Sweeper(service.pool, dispatches, metrics=metrics, clock=_now, appended=routed)

        async def watch_clocks() -> None:
            units = tuple(municipality.units)
            await once("reassigning", lambda: reassign(service.pool, acting, units, routed))
            await sweeper.run()

        service.also("clocks", watch_clocks)
        digesting = Mornings(
            service.pool, municipality, dispatches.responsibility.calendars, _now, worker.wake
        )
        service.also("mornings", lambda: repeat("mornings", digesting.look, mornings.EVERY_SECONDS))
        service.also(
            "horizon",
            lambda: repeat("horizon", forget, horizon.EVERY_SECONDS),
        )
        service.also("subscriptions", subscriptions.run)
        if settings.smtp_host:
            contacts = Contacts(service.pool, emails, writer, _now)
            service.also(
                "contacts", lambda: repeat("contacts", contacts.look, telling_contacts.EVERY_SECONDS)
            )
        service.answer(queries.totals)
        answers = http.Answers(
            service.pool, municipality, acting, link_secret, metrics=metrics, clock=_now, appended=routed
        )
        desk = http.Desk(service.pool, municipality, acting, tips, signing, _now, routed, dispatches.clocks)
        http.add_internal(service.internal, desk, digests, settings.desk_token.get_secret_value())
        await service.run(http.public_app(answers, desk, digests, link_secret))


def applying(settings: config.Settings) -> Apply:
    """What it does with reports and with public events; a worker that runs finds what falls due. Raises
    Refusal for a folder that cannot be used."""
    chance = secrets.SystemRandom().random
    municipality = municipalities.read(settings.municipality)
    telling = Telling(municipality, clock=_now, chance=chance)
    return _apply(Reports(Dispatches(municipality), telling, clock=_now))


def recovering(settings: config.Settings) -> Recover:
    """What it takes back from its own topic. Raises Refusal for a folder that cannot be used."""
    municipality = municipalities.read(settings.municipality)
    return lambda connection, history: recovery.take_back(connection, history, municipality, _now())


def _warn(municipality: Municipality) -> None:
    """Name each two rules whose order decides."""
    for first, second in overlaps(municipality.rules, sorts_of(municipality.categories.values())):
        log.warning("rules_overlap", first=first.id, second=second.id, goes_to=first.unit, not_to=second.unit)


def _apply(reports: Reports) -> Apply:
    subscribers = Subscribers(_now)

    async def apply(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        await reports.apply(connection, envelopes)
        await public_issues.apply(connection, envelopes)
        await subscribers.apply(connection, envelopes)

    return apply


def _manner(settings: config.Settings) -> Manner:
    return Manner(
        settings.subscription_concurrency,
        settings.subscription_at_once,
        settings.retry_base_seconds,
        settings.retry_cap_seconds,
        timedelta(days=settings.subscription_disable_days),
        settings.subscription_aside_refusals,
        timedelta(hours=settings.subscription_aside_hours),
    )


def _now() -> datetime:
    return datetime.now(UTC)
