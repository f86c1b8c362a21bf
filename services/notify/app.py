"""The composition root of notify: reads the surroundings, wires the parts, runs them."""

import secrets
from datetime import UTC, datetime

from services.notify import calls, config, dead_ends, http, outgoing, queries, recovery
from services.notify.acting import Acting
from services.notify.consumer import Reports
from services.notify.core.deliveries import Retrying
from services.notify.core.letters import Writer
from services.notify.delivery import Limits, Worker
from services.notify.emails import Emails
from services.notify.metrics import DeliveryMetrics
from services.notify.tips import Tips
from shared import municipality as municipalities
from shared.consumer import Apply
from shared.events import SUBSCRIPTIONS
from shared.mail import server_of
from shared.mending.recover import Recover
from shared.service import Service


async def serve(settings: config.Settings, service: Service) -> None:
    """Run notify until it is told to stop. Raises Refusal where folder or secrets cannot be used."""
    municipality = municipalities.read(settings.municipality)
    service.municipality = f"{municipality.slug} {municipality.version}"
    signing = config.read_webhook_secrets(settings.webhook_secrets, municipality)
    config.check_mail(settings, municipality)
    metrics = DeliveryMetrics(service.registry)
    source = f"/{municipality.slug}/notify"
    link_secret = settings.link_secret.get_secret_value()
    chance = secrets.SystemRandom().random
    relay = service.send()
    async with (
        outgoing.open_session(settings.delivery_concurrency) as to_tips,
        outgoing.open_guarded_session(settings.delivery_concurrency, settings.private_networks) as session,
    ):
        tips = Tips(to_tips, settings.tips_url, settings.tips_token.get_secret_value(), _now)
        deliveries = calls.Calls(
            session,
            municipality,
            tips,
            link_secret=link_secret,
            public_url=settings.public_url,
            secrets=signing,
            clock=_now,
            emails=Emails(server_of(settings), Writer(municipality, settings.email_from), _now),
        )
        worker = Worker(
            service.pool,
            deliveries.deliver,
            units=tuple(municipality.units),
            fallbacks=dead_ends.names_of(municipality),
            source=source,
            rules_version=municipality.version,
            limits=Limits(settings.delivery_concurrency, settings.delivery_per_unit),
            retrying=Retrying(settings.retry_base_seconds, settings.retry_cap_seconds, settings.max_attempts),
            metrics=metrics,
            clock=_now,
            chance=chance,
            appended=relay.wake,
        )
        reports = Reports(municipality, clock=_now, chance=chance)
        acting = Acting(municipality, clock=_now, chance=chance)

        def routed() -> None:
            relay.wake()
            worker.wake()

        service.consume(SUBSCRIPTIONS["notify"], reports.apply, routed)
        service.also("deliveries", worker.run)
        service.answer(queries.totals)
        answers = http.Answers(
            service.pool, municipality, acting, link_secret, metrics=metrics, clock=_now, appended=routed
        )
        desk = http.Desk(service.pool, municipality, acting, tips, signing, _now, routed)
        http.add_desk(service.internal, desk, settings.desk_token.get_secret_value())
        await service.run(http.public_app(answers, desk))


def applying(settings: config.Settings) -> Apply:
    """What it does with reports; a worker that runs finds what falls due. Raises Refusal for a folder that
    cannot be used."""
    chance = secrets.SystemRandom().random
    municipality = municipalities.read(settings.municipality)
    return Reports(municipality, clock=_now, chance=chance).apply


def recovering(settings: config.Settings) -> Recover:
    """What it takes back from its own topic. Raises Refusal for a folder that cannot be used."""
    municipality = municipalities.read(settings.municipality)
    return lambda connection, history: recovery.take_back(connection, history, municipality, _now())


def _now() -> datetime:
    return datetime.now(UTC)
