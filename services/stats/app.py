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
from shared.municipality import Municipality
from shared.service import Service


async def serve(settings: Settings, service: Service) -> None:
    """Run until the process is told to stop. Raises MunicipalityError for a folder that cannot be used."""
    town = municipality.read(settings.municipality)
    service.municipality = f"{town.slug} {town.version}"
    service.consume(SUBSCRIPTIONS["stats"], _counting(town))
    service.answer(queries.totals)
    await service.run(None)


def applying(settings: Settings) -> Apply:
    """What it does with reports and dispatches. Raises MunicipalityError for a folder that cannot be used."""
    return _counting(municipality.read(settings.municipality))


def _counting(town: Municipality) -> Apply:
    areas = frozenset(town.area_sets[town.primary_area_set].areas)
    return Counting(Scope(town.tz, town.primary_area_set, areas, frozenset(town.categories))).apply


def recovering(_settings: Settings) -> Recover:
    """It has said nothing that its counts follow from: they come back as it reads on."""

    async def take_back(_connection: Any, _history: History) -> Recovered:
        return Recovered(["the counts come back by themselves, as it reads on from its backup"])

    return take_back
