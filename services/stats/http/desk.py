"""What the public routes share: the database, the town, and how an answer is kept and asked for again."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import structlog
from fastapi import Request
from fastapi.responses import Response

from services.stats.core.spec import Spec, Table
from shared import postgres
from shared.municipality import Municipality
from shared.web import ANYWHERE, has, not_now

# What a release says never changes, and its address has its digest.
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
A_WHILE = {"Cache-Control": "public, max-age=60"}

log = structlog.get_logger()


@dataclass(frozen=True)
class Desk:
    """`specs` are all that there ever were, the newest last."""

    pool: Any
    municipality: Municipality
    specs: tuple[Spec, ...]

    @cached_property
    def inhabitants(self) -> Mapping[str, int]:
        """By area, and by "" of all of them, where it is known of each."""
        town = self.municipality
        known = town.statistics.inhabitants
        areas = town.area_sets[town.primary_area_set].areas
        return {**known, "": sum(known.values())} if known.keys() >= areas.keys() else known

    def license_of(self, spec: str) -> str | None:
        """The license of what a spec has published; None for a spec that is not known."""
        return next((one.license for one in self.specs if one.id == spec), None)

    def codes(self, table: str, column: str) -> tuple[str, ...]:
        """What a column of a table can be, by every spec."""
        return self._codes(column, lambda one: one.id == table)

    @property
    def areas(self) -> tuple[str, ...]:
        """The areas of all tables."""
        return self._codes("area", lambda _one: True)

    def _codes(self, column: str, of: Callable[[Table], bool]) -> tuple[str, ...]:
        tables = (one for spec in self.specs for one in spec.tables if of(one) and column in one.columns)
        return tuple(dict.fromkeys(code for one in tables for code in one.codes[one.columns.index(column)]))


@asynccontextmanager
async def connection(desk: Desk) -> AsyncIterator[Any]:
    """A connection of the pool. Raises Problem 503 where the database is away or busy."""
    try:
        async with desk.pool.acquire() as taken:
            yield taken
    except Exception as error:
        if not postgres.is_transient(error):
            raise
        log.warning("database_away", error=type(error).__name__)
        raise not_now() from None


def answer(
    request: Request, body: bytes, media_type: str, etag: str, kept: Mapping[str, str], **more: str
) -> Response:
    """The body, or 304 where the caller has it."""
    headers = {"ETag": etag, **ANYWHERE, **kept}
    if has(request, etag):
        return Response(status_code=304, headers=headers)
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return Response(body, media_type=media_type, headers=headers | named)
