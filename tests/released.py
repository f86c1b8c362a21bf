"""Releases of many years, as if they had been published, in a database: figures are drawn, not counted."""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from services.stats import queries_releases
from services.stats.core import adjusting, margins
from services.stats.core.periods import Period, periods
from services.stats.core.release import Link, noisy, unsigned
from services.stats.core.spec import Spec, Table
from services.stats.signing import Signer
from shared.cloudevents import to_value
from shared.events import ReleasedCell, StatisticsReleased

NOW = datetime(2026, 11, 1, tzinfo=UTC)


async def publish(
    connection: Any, spec: Spec, signer: Signer, since: date, until: date, *, shown: bool = True
) -> list[StatisticsReleased]:
    """Put all releases of a spec there, of the periods that begin between the days."""
    link = await queries_releases.last_link(connection)
    made = []
    for release in releases(spec, since, until, link):
        signed = signer.sign(release)
        at = NOW if shown else None
        await queries_releases.insert_release(connection, signed, to_value(signed) or b"", NOW, at)
        made.append(signed)
    return made


def releases(spec: Spec, since: date, until: date, link: Link) -> Iterator[StatisticsReleased]:
    """Each table's periods, and the months' final editions."""
    drawn = random.Random(7)
    for subject in ("reports", "incidents"):
        first: dict[str, dict[str, tuple[ReleasedCell, ...]]] = {}
        for table in (one for one in spec.tables if one.subject == subject):
            for one in periods(table.grain, since, until):
                counts = [drawn.randrange(60) for _ in table.cells()]
                cells = noisy(table, counts, [drawn.randrange(-5, 6) for _ in counts])
                first.setdefault(table.id, {})[one.name] = cells
                bound = {table.id: margins.of_one(table.scale)}
                release = unsigned(spec, table, one.name, link, cells, margins=bound)
                link = Link(release.number, release.digest)
                yield release
        month, week = spec.table(f"{subject}.month"), spec.table(f"{subject}.week_part")
        for one in periods("month", since, until):
            release = _final(spec, month, week, one, link, first)
            link = Link(release.number, release.digest)
            yield release


def _final(
    spec: Spec,
    month: Table,
    week: Table,
    one: Period,
    link: Link,
    first: Mapping[str, Mapping[str, tuple[ReleasedCell, ...]]],
) -> StatisticsReleased:
    names = [part.name for part in periods("week_part", one.begin, one.end)]
    final = adjusting.adjust(
        month,
        week,
        {cell.cell: cell.value for cell in first[month.id][one.name]},
        {
            (name, *cell.cell): cell.value
            for name in names
            for cell in first[week.id].get(name)
            or noisy(week, [9] * len(week.cells()), [0] * len(week.cells()))
        },
    )
    bounds = adjusting.margins(month, week, len(names))
    return unsigned(spec, month, one.name, link, adjusting.cells_of(final), edition="final", margins=bounds)
