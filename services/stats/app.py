"""Composition root: reads the environment's municipality, wires the parts, runs them."""

from services.stats import queries
from services.stats.config import Settings
from services.stats.consumer import Counting
from services.stats.core import Scope
from shared import municipality
from shared.consumer import Apply
from shared.events import SUBSCRIPTIONS
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
