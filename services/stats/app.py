"""Composition root: reads the environment's municipality, wires the parts, runs them."""

from typing import Any

from services.stats import queries
from services.stats.config import Settings
from services.stats.consumer import Counting
from services.stats.core import Scope
from shared import municipality
from shared.consumer import Apply
from shared.events import SUBSCRIPTIONS
from shared.mending.recover import History, Recover, Recovered
from shared.service import Service


async def serve(settings: Settings, service: Service) -> None:
    """Run until the process is told to stop. Raises MunicipalityError for a folder that cannot be used."""
    service.consume(SUBSCRIPTIONS["stats"], applying(settings))
    service.answer(queries.totals)
    await service.run(None)


def applying(settings: Settings) -> Apply:
    """What it does with reports and dispatches. Raises MunicipalityError for a folder that cannot be used."""
    place = municipality.read(settings.municipality)
    areas = frozenset(place.area_sets[place.primary_area_set].areas)
    return Counting(Scope(place.tz, place.primary_area_set, areas, frozenset(place.categories))).apply


def recovering(_settings: Settings) -> Recover:
    """It has said nothing that its counts follow from: they come back as it reads on."""

    async def take_back(_connection: Any, _history: History) -> Recovered:
        return Recovered(["the counts come back by themselves, as it reads on from its backup"])

    return take_back
