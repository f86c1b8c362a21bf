"""Attacks 12 and 15 of the fifteen: what a `stats` does not start with, and what is held elsewhere."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import asyncpg
import pytest

from services.stats import app, noise, queries_releases, specs
from services.stats.config import Settings
from services.stats.core import spec
from services.stats.core.release import digest
from services.stats.core.spec import Spec, Table
from shared import postgres
from shared.cloudevents import to_value
from shared.errors import Refusal
from shared.service import Service
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.service_process import OPERATOR_TOKEN, ROOT
from tests.integration.stats_harness import SECRET, Stats, on_topic, report, stats_of
from tests.privacy.stepping import run_until_done
from tests.privacy.table import ROWS, Row
from tests.privacy.test_kills import MOMENTS, NOON
from tests.spine import renew_topics
from tests.stats_town import SPEC


class Started(Exception):  # noqa: N818 - it is no error
    """The spec is taken, and the work would begin."""


def _begin(_service: Service) -> Any:
    raise Started


async def start(infrastructure: Infrastructure, dsn: str, monkeypatch: pytest.MonkeyPatch) -> list[Table]:
    """Start what app.serve wires, up to its work; returns the tables of reports with which it does. Raises
    Refusal where it does not."""
    settings = Settings.model_validate(
        {
            "municipality": ROOT / "deploy/municipalities/ibuurt",
            "database_url": dsn,
            "kafka_bootstrap": infrastructure.bootstrap,
            "http_port": 1,
            "internal_port": 1,
            "operator_token": OPERATOR_TOKEN,
            "signing_key": SECRET,
        }
    )
    monkeypatch.setattr(Service, "send", _begin)
    pool = await postgres.open_pool(dsn, "test")
    try:
        with pytest.raises(Started):
            await app.serve(settings, Service("stats", settings, pool))
        async with pool.acquire() as connection:
            [stored] = await queries_releases.specs(connection)
    finally:
        await pool.close()
    return [one for one in Spec.model_validate_json(stored["content"]).tables if one.subject == "reports"]


def _spends(tables: list[Table]) -> str:
    """What one report would spend, by what OpenDP says of its noise."""
    scales = [table.scale for table in tables]
    spent = sum(noise.spends(scale) if scale >= 0 else 1 / scale for scale in scales)
    return f"starts; what each report spends adds up to {spent:.2f}"


def _with(tables: Callable[[tuple[Table, ...]], tuple[Table, ...]]) -> Callable[[pytest.MonkeyPatch], None]:
    """Have the folder ask for other tables."""

    def asked(**values: Any) -> Spec:
        return Spec.model_validate(values | {"tables": tables(values["tables"])})

    return lambda monkeypatch: monkeypatch.setattr(spec, "Spec", asked)


def _month_of(scale: int) -> Callable[[pytest.MonkeyPatch], None]:
    return _with(
        lambda tables: tuple(
            table.model_copy(update={"scale": scale}) if table.id == "reports.month" else table
            for table in tables
        )
    )


class TooMuch(NamedTuple):
    """What spends too much: how it comes about, what protects, and in its order each module whose `check`
    refuses it by itself, with its words."""

    plant: Callable[[pytest.MonkeyPatch], None]
    protection: str
    refused_by: tuple[tuple[ModuleType, str], ...]


def _half_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenDP that takes a scale for another."""
    genuine = noise._laplace

    def laplace(scale: int) -> Any:
        return genuine(scale / 2)  # type: ignore[arg-type] # a float is what it makes of it

    monkeypatch.setattr(noise, "_laplace", laplace)


SUM, ASKED = "sum in fractions at start", "OpenDP is asked at start"
NO_NOISE = ((spec, "would be published as they are"), (noise, "would spend inf on each report"))
TOO_MUCH = {
    "a table more": TooMuch(
        _with(lambda tables: (*tables, tables[0].model_copy(update={"id": "reports.day", "scale": 2}))),
        SUM,
        ((spec, "the tables of reports spend 52/35"),),
    ),
    "half a scale": TooMuch(_month_of(1), SUM, ((spec, "the tables of reports spend 52/35"),)),
    "no noise": TooMuch(_month_of(0), f"{SUM}; {ASKED}", NO_NOISE),
    "the other way": TooMuch(_month_of(-2), f"{SUM}; {ASKED}", NO_NOISE),
    "an OpenDP that draws half the noise": TooMuch(
        _half_the_noise, ASKED, ((noise, "would spend 0.4 on each report"),)
    ),
}


def _nothing(_asked: Any) -> None:
    """A check that checks nothing."""


async def test_12_what_is_shipped_starts(
    infrastructure: Infrastructure, database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would say nothing that the others do not."""
    tables = await start(infrastructure, await database("stats"), monkeypatch)
    assert [table.scale for table in tables] == [5, 2, 7, 7]


@pytest.mark.parametrize("name", sorted(TOO_MUCH))
async def test_12_a_spec_that_spends_too_much_is_refused(
    infrastructure: Infrastructure, database: MakeDatabase, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Before anything is drawn, by each of the checks; without them it starts."""
    dsn, one = await database("stats"), TOO_MUCH[name]
    one.plant(monkeypatch)
    for module, words in one.refused_by:
        with pytest.raises(Refusal, match=words):
            await start(infrastructure, dsn, monkeypatch)
        monkeypatch.setattr(module, "check", _nothing)
    spends = _spends(await start(infrastructure, dsn, monkeypatch))
    ROWS.append(Row(12, f"budget: {name}", one.protection, "no such check", "refused", spends))


async def test_12_a_ledger_that_has_spent_too_much_is_refused(
    infrastructure: Infrastructure, database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the spec says: somebody wrote in it, or released what no spec allows."""
    dsn = await database("stats")
    connection = await postgres.connect(dsn, "test")
    for table, numerator in (("reports.month", 1), ("reports.day", 2)):
        await connection.execute(
            "INSERT INTO ledger VALUES ($1, '2026-10', '2026-10-01', $2, 2)", table, numerator
        )
    await connection.close()
    with pytest.raises(Refusal, match="the ledger has spent 3/2 on each of the reports"):
        await start(infrastructure, dsn, monkeypatch)
    monkeypatch.setattr(specs, "overspent", _nothing)
    await start(infrastructure, dsn, monkeypatch)
    ROWS.append(
        Row(
            12,
            "budget: a ledger that has spent 3/2",
            "the ledger is added up at start",
            "no such check",
            "refused",
            "starts",
        )
    )


async def _settled(stats: Stats, name: str) -> list[str]:
    """The specs that there are when one of this name is asked for, of the same periods."""
    async with stats.pool.acquire() as connection, connection.transaction():
        known = await specs.settle(connection, SPEC.model_copy(update={"id": name}), [], stats.now)
    return [spec.id for spec in known]


async def _again(stats: Stats) -> str:
    """Put a second release of a released period in the database, and spend its budget again."""
    [first, *_] = await stats.released()
    last = (await stats.released())[-1]
    second = first.model_copy(update={"number": last.number + 1, "previous": last.digest})
    second = stats.signer.sign(second.model_copy(update={"digest": digest(second)}))
    refused = 0
    for what in ("release", "ledger"):
        try:
            async with stats.pool.acquire() as connection, connection.transaction():
                if what == "release":
                    await queries_releases.insert_release(
                        connection, second, to_value(second) or b"", stats.now
                    )
                else:
                    await connection.execute("INSERT INTO ledger SELECT * FROM ledger LIMIT 1")
        except asyncpg.UniqueViolationError:
            refused += 1
    return f"{refused} of 2 refused"


async def test_12_no_period_is_published_twice_by_another_spec_or_another_row(
    infrastructure: Infrastructure, database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that begins among periods that are drawn does not start; the database has one release and one
    debit of a period."""
    await renew_topics(infrastructure.bootstrap)
    async with stats_of(infrastructure.bootstrap, await database("stats")) as stats:
        stats.now = MOMENTS[0]
        await run_until_done(stats)
        with pytest.raises(Refusal, match="has its noise already"):
            await _settled(stats, "town-2")
        built = await _again(stats)

        async def nothing(_connection: Any, _spec: str) -> dict[str, Any]:
            return {}

        monkeypatch.setattr(queries_releases, "last_drawn", nothing)
        started = await _settled(stats, "town-2")
        for name in ("release_table_id_period_edition_key", "release_release_id_key"):
            await stats.pool.execute(f"ALTER TABLE release DROP CONSTRAINT {name}")
        await stats.pool.execute("ALTER TABLE ledger DROP CONSTRAINT ledger_pkey")
        broken = await _again(stats)
    ROWS.append(
        Row(
            12,
            "a period twice: by the next spec, by a second row",
            "a spec begins where nothing is drawn; keys of release and ledger",
            "no look at what is drawn; no keys",
            f"refused; {built}",
            f"starts with {' and '.join(started)} for one period; {broken}",
        )
    )
    assert (built, broken) == ("2 of 2 refused", "0 of 2 refused")


async def test_12_a_database_of_another_time_than_the_topic_does_not_start(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """It has released something else of the same period: its relay refuses, and so does what adopts."""
    await renew_topics(infrastructure.bootstrap)
    async with stats_of(infrastructure.bootstrap, await database("stats")) as stats:
        stats.now = MOMENTS[0]
        await run_until_done(stats)
    async with stats_of(infrastructure.bootstrap, await database("stats")) as other:
        other.now = MOMENTS[0]
        await other.count([report(NOON)])
        await other.closing.step()
        with pytest.raises(Refusal, match="which this database has not sent"):
            await run_until_done(other)
        with pytest.raises(Refusal, match="is another in this database"):
            await other.closing.adopt()
        [published], [own] = await on_topic(other.bootstrap), await other.released()
        assert (published.period, published.cells) != (own.period, own.cells)
        # What looks at nothing shows what it has.
        await other.pool.execute("UPDATE release SET shown_at = now()")
        shown = await other.value("SELECT count(*) FROM release WHERE shown_at IS NOT NULL")
    ROWS.append(
        Row(
            12,
            "a restored backup that disagrees with the topic",
            "the topic is read before anything is done",
            "no look at the topic",
            "relay and adoption refuse",
            f"{shown} period is shown with second figures",
        )
    )


ELSEWHERE = {
    "intake: packets, logs, disk, database, statements": (
        "tests.e2e.test_canary",
        ("test_no_mark_is_anywhere_but_where_it_may_be", "test_what_is_planted_is_found"),
    ),
    "photos: EXIF, GPS and all other metadata": (
        "tests.unit.test_tips_photo_decoding",
        ("test_no_metadata_of_any_kind_are_left",),
    ),
}


def test_15_what_belongs_to_tips_is_held_by_its_tests() -> None:
    """They are there, under these names; the first plants marks and must find them."""
    for what, (module, names) in ELSEWHERE.items():
        there = vars(importlib.import_module(module))
        assert all(callable(there.get(name)) for name in names)
        ROWS.append(Row(15, what, "of tips", f"see {module}", "held there", "held there"))
