"""Composition root: reads the environment's municipality, wires the parts, runs them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from services.stats import former, horizon, measuring, noise, queries, queries_releases, reading, specs
from services.stats.closing import Closing
from services.stats.config import Settings
from services.stats.consumer import Counting
from services.stats.core.release import check_size
from services.stats.core.spec import SUBJECTS, spec_of
from services.stats.history import is_forgotten
from services.stats.http.desk import Desk
from services.stats.http.public import public_app
from services.stats.metrics import ReleaseMetrics
from services.stats.signing import Signer
from shared import municipality
from shared.consumer import Apply
from shared.events import SUBSCRIPTIONS, StatisticsReleased
from shared.mending.recover import History, Recover, Recovered
from shared.municipality import Municipality
from shared.repeating import repeat
from shared.service import Service


async def serve(settings: Settings, service: Service) -> None:
    """Run until the process is told to stop. Raises MunicipalityError for a folder that cannot be used, and
    Refusal where what it asks for is not what was promised."""
    town = municipality.read(settings.municipality)
    service.municipality = f"{town.slug} {town.version}"
    spec = spec_of(town)
    earlier = former.read(settings.municipality, spec)
    for one in (*earlier, spec):
        for table in one.tables:
            noise.check(table.scale)
    check_size(spec)
    signer = _signer(settings)
    async with service.pool.acquire() as connection, connection.transaction():
        keys = [signer.public, *settings.former_keys]
        known = await specs.settle(connection, spec, keys, _now(), earlier)
        await specs.count_earlier(connection, spec)
    relay = service.send()
    closing = Closing(
        service.pool,
        settings.kafka,
        known,
        signer,
        source=f"/{town.slug}/stats",
        clock=_now,
        appended=relay.wake,
    )
    service.consume(SUBSCRIPTIONS["stats"], _counting(town), after=closing.noted)
    metrics = ReleaseMetrics(service.registry)
    service.also("releases", lambda: measuring.told_of_refusal(lambda: closing.run(relay.checked), metrics))
    service.also(
        "measuring",
        lambda: repeat(
            "measuring", lambda: measuring.measure(service.pool, metrics, _now()), measuring.EVERY_SECONDS
        ),
    )
    service.also(
        "horizon",
        lambda: repeat(
            "horizon", lambda: horizon.forget(service.pool, closing.draw, _now()), horizon.EVERY_SECONDS
        ),
    )
    service.answer(queries.totals)
    await service.run(public_app(Desk(service.pool, town, tuple(known))))


def applying(settings: Settings) -> Apply:
    """What it does with what it reads. Raises MunicipalityError for a folder that cannot be used."""
    return _counting(municipality.read(settings.municipality))


def _counting(town: Municipality) -> Apply:
    return Counting(town.tz, town.primary_area_set).apply


def recovering(settings: Settings) -> Recover:
    """Its releases come back as they were published; its counts follow as it reads on."""
    return taking_back([_signer(settings).public, *settings.former_keys])


def taking_back(public_keys: Sequence[str]) -> Recover:
    """The same, for releases that are signed by these keys."""

    async def take_back(connection: Any, history: History) -> Recovered:
        for key in public_keys:
            await queries_releases.insert_key(connection, key)
        known = await queries_releases.keys(connection)
        taken = 0
        for envelope in history.own:
            if isinstance(release := envelope.event, StatisticsReleased):
                fault = await reading.take(connection, release, known, envelope.time, _now())
                await reading.refuse_unknown(connection, release, fault)
                taken += fault is None
        forgotten = [one for one in SUBJECTS if await is_forgotten(connection, one)]
        return Recovered(
            [
                f"{taken} releases came back as they were published",
                "the counts come back by themselves, as it reads on from its backup",
                *(
                    f"the newest release of {one} is withheld, and this database does not know why: where "
                    f"`close-history --subject {one} --until` was said, say it again before stats starts, or "
                    "what closes now is released as if nothing had happened"
                    for one in forgotten
                ),
            ]
        )

    return take_back


def _signer(settings: Settings) -> Signer:
    return Signer(settings.signing_key.get_secret_value())


def _now() -> datetime:
    return datetime.now(UTC)
