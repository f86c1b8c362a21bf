"""The spec of the municipality's folder, held against what this database has published before."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.stats import queries, queries_releases
from services.stats.core.periods import part_of
from services.stats.core.spec import Spec, overspent
from services.stats.former import FOLDER
from shared.errors import Refusal


async def settle(
    connection: Any, spec: Spec, public_keys: list[str], now: datetime, former: Sequence[Spec] = ()
) -> list[Spec]:
    """Keep the spec, the former ones that the folder has and the keys, in the caller's transaction; returns
    every spec that there ever was, oldest first.

    Raises Refusal where the spec of this id was another before, where it begins among periods that another
    has drawn the noise of or released, where there was one after it, and where the ledger has spent more than
    a report may.
    """
    await queries_releases.hold_chain(connection)
    stored = {row["id"]: row["digest"] for row in await queries_releases.specs(connection)}
    asked = [*former, spec]
    for place, one in enumerate(asked):
        if one.id not in stored:
            await _refuse_among(connection, one, [later.id for later in asked[place:]])
        elif stored[one.id] != one.digest():
            raise Refusal(_changed(one, spec))
        await queries_releases.insert_spec(connection, one.id, one.digest(), one.model_dump_json(), now)
    kept = await every(connection)
    if (newest := kept[-1].id) != spec.id:
        raise Refusal(
            f"{newest} is promised, and the municipality's folder is at {spec.id}: {newest} would begin all "
            "the same; put it back, or write another version after it"
        )
    for key in public_keys:
        await queries_releases.insert_key(connection, key)
    if spent := overspent((await queries_releases.spent(connection)).values()):
        subject, quarter, cost = spent
        raise Refusal(
            f"the ledger has spent {cost} on each of the {subject} of the quarter that begins on {quarter}, "
            "which is more than 1: somebody wrote in it; restore stats' database, and tell your data "
            "protection officer if more was published than the topic's first releases"
        )
    return kept


async def every(connection: Any) -> list[Spec]:
    """Every spec that there ever was, oldest first."""
    return [Spec.model_validate_json(row["content"]) for row in await queries_releases.specs(connection)]


async def _refuse_among(connection: Any, spec: Spec, spared: list[str]) -> None:
    """Raise Refusal where it begins among periods of others than are spared."""
    drawn = await queries_releases.last_drawn(connection, spared)
    for table in spec.tables:
        last = drawn.get(table.id)
        if last and last >= table.since:
            raise Refusal(
                f"{spec.id} begins on {table.since}, but {table.id} of the period that begins on {last} "
                "has its noise already; write a since after that in statistics.toml"
            )


def _changed(one: Spec, spec: Spec) -> str:
    if one is not spec:
        return (
            f"{FOLDER}/{one.id}.json is not the {one.id} that this database has kept; take the file away, or "
            "print it again from the folder as it was at that version"
        )
    return (
        f"statistics.toml, an area or a category has changed, and {spec.id} has promised otherwise; put "
        "them back, or write the next version with a since that is still to come"
    )


async def count_earlier(connection: Any, spec: Spec) -> None:
    """Have what an earlier version of this program has kept count in its own week-part."""
    hours = await queries.uncounted_hours(connection)
    if hours:
        await queries.count_in(connection, {hour: part_of(hour, spec.tz) for hour in hours})
