"""The public port of `stats`, in its process, on releases in a real database."""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from services.stats.core.spec import spec_of
from services.stats.signing import Signer
from shared import postgres
from shared.events import StatisticsReleased
from shared.municipality import read
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration import service_process
from tests.integration.openapi_seed import Known
from tests.integration.service_process import ROOT, ended, running_process
from tests.integration.test_tips_openapi import OPENAPI, asked
from tests.released import publish

TOWN = ROOT / "deploy/municipalities/ibuurt"
SECRET = "k" * 32


@dataclass
class Public:
    """A running stats, and what is released in it."""

    url: str
    dsn: str
    session: aiohttp.ClientSession
    shown: list[StatisticsReleased]
    hidden: list[StatisticsReleased]

    async def get(self, path: str, **headers: str) -> tuple[int, bytes, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(URL(self.url + path, encoded=True), headers=named) as answer:
            return answer.status, await answer.read(), answer.headers

    async def json(self, path: str, status: int = 200) -> Any:
        got, body, headers = await self.get(path)
        assert got == status, body
        if status >= 400:
            assert headers["content-type"] == "application/problem+json"
        return json.loads(body)

    def release(self, table: str, period: str, edition: str = "first") -> StatisticsReleased:
        return next(
            one for one in self.shown if (one.table, one.period, one.edition) == (table, period, edition)
        )


@asynccontextmanager
async def public(infrastructure: Infrastructure, dsn: str, folder: Path) -> AsyncIterator[Public]:
    env = service_process.environment(dsn, infrastructure.bootstrap, TOWN, signing_key=SECRET)
    assert ended("stats", env, "migrate").returncode == 0
    # Before it runs: what has no final edition yet would get one of its own.
    connection = await postgres.connect(dsn, "test")
    spec, signer = spec_of(read(TOWN)), Signer(SECRET)
    shown = await publish(connection, spec, signer, date(2025, 1, 1), date(2025, 4, 1))
    hidden = await publish(connection, spec, signer, date(2025, 4, 1), date(2025, 5, 1), shown=False)
    await connection.close()
    async with (
        running_process("stats", env, folder / "stats.log") as process,
        aiohttp.ClientSession() as session,
    ):
        yield Public(process.url, dsn, session, shown, hidden)


@pytest.fixture
async def stats(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, tmp_path: Path
) -> AsyncIterator[Public]:
    async with public(infrastructure, await database(), tmp_path) as running:
        yield running


async def test_a_release_is_read_as_it_was_signed_and_kept_for_ever(stats: Public) -> None:
    """Its bytes, its figures as JSON, CSV and a data package agree; the ETag holds; what was not read back
    from the topic is nowhere."""
    listed, path = [], "/v1/releases?limit=10"
    while path:
        page = await stats.json(path)
        listed += page["releases"]
        path = page["next"]
    assert [one["digest"] for one in listed] == [one.digest for one in stats.shown]
    final = stats.release("reports.month", "2025-02", "final")
    files = next(one["files"] for one in listed if one["digest"] == final.digest)
    status, body, headers = await stats.get(files["release.json"])
    assert StatisticsReleased.model_validate_json(body) == final
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    again, nothing, _ = await stats.get(files["release.json"], If_None_Match=headers["etag"])
    assert (status, again, nothing) == (200, 304, b"")
    told = await stats.json(files["figures.json"] + "?area=oakwood")
    assert {one["area"] for one in told["figures"]} == {"oakwood"}
    whole = await stats.json(files["figures.json"])
    assert len(whole["figures"]) == len(final.cells)
    assert all(one["margin"] > 0 for one in whole["figures"])
    _, written, _ = await stats.get(files["figures.csv"])
    rows = list(csv.DictReader(io.StringIO(written.decode())))
    assert [float(row["value"]) for row in rows] == [one["value"] for one in whole["figures"]]
    _, packed, _ = await stats.get(files["package.zip"])
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        package = json.loads(archive.read("datapackage.json"))
        resource, signed = package["resources"]
        assert archive.read(signed["path"]) == body
        assert archive.read(resource["path"]) == written
        assert archive.read("release.json") == body
    assert resource["hash"] == f"sha256:{hashlib.sha256(written).hexdigest()}"
    assert resource["bytes"] == len(written)
    assert [one["name"] for one in resource["schema"]["fields"]] == list(rows[0])
    for one in stats.hidden:
        assert (await stats.json(f"/v1/releases/{one.digest}/release.json", 404))["type"].endswith(
            "release-unknown"
        )


async def test_statistics_have_bounds_and_rates_and_nothing_that_is_not_shown(stats: Public) -> None:
    """By topic, area, category and period, as JSON and as CSV; the final edition where there is one."""
    path = "/v1/statistics/reports/month?area=oakwood&category=graffiti"
    told = await stats.json(path)
    assert [one["period"] for one in told["figures"]] == ["2025-01", "2025-02", "2025-03"]
    one = told["figures"][1]
    final = stats.release("reports.month", "2025-02", "final")
    cell = next(
        cell for cell in final.cells if (cell.table, cell.cell) == ("reports.month", ("oakwood", "graffiti"))
    )
    assert (one["value"], one["edition"], one["release"]) == ((cell.tenths or 0) / 10, "final", final.digest)
    assert one["inhabitants"] == 8900
    assert one["per_1000"] == pytest.approx(one["value"] / 8.9, abs=0.0005)
    assert one["margin"] / 8.9 <= one["per_1000_margin"] < one["margin"] / 8.9 + 0.0015
    _, written, headers = await stats.get(path + "&format=csv")
    rows = list(csv.DictReader(io.StringIO(written.decode())))
    assert [float(row["value"]) for row in rows] == [each["value"] for each in told["figures"]]
    assert headers["cache-control"] == "public, max-age=60"
    assert (await stats.get(path + "&format=csv", If_None_Match=headers["etag"]))[0] == 304
    city = await stats.json("/v1/statistics/recorded-crime/month_city?period=2025-03")
    areas = await stats.json("/v1/statistics/recorded-crime/month_area?period=2025-03")
    assert city["figures"][0]["value"] == pytest.approx(sum(each["value"] for each in areas["figures"]))
    assert city["figures"][0]["inhabitants"] == sum(each.get("inhabitants", 0) for each in areas["figures"])
    topics = await stats.json("/v1/statistics/reports/month_category?period=2025-03")
    assert all(
        each["per_1000"] == pytest.approx(each["value"] / 56.5, abs=0.0005) for each in topics["figures"]
    )
    for table in ("reports/week_part", "answers/took", "answers/outcome", "reports/month"):
        all_of_it = await stats.json(f"/v1/statistics/{table}")
        assert all_of_it["figures"]
        assert not {each["release"] for each in all_of_it["figures"]} & {each.digest for each in stats.hidden}


async def test_week_parts_are_those_of_their_months_final_edition_once_it_is_out(stats: Public) -> None:
    """In JSON and CSV, with its margin and digest, so that weeks and districts add up; until then, and where
    the final edition is withheld or not shown, those that were released for the week-part alone."""
    february = stats.release("reports.month", "2025-02", "final")
    connection = await postgres.connect(stats.dsn, "test")
    await connection.execute(
        "UPDATE release SET shown_at = NULL WHERE edition = 'final' AND period = '2025-03'"
    )
    await connection.execute(
        "UPDATE release SET state = 'withheld' WHERE edition = 'final' AND period = '2025-01'"
    )
    await connection.close()
    told = await stats.json("/v1/statistics/reports/week_part?area=oakwood")
    parts = {one["period"]: one for one in told["figures"]}
    assert len(parts) == len(told["figures"]) == 16
    assert {period: one["edition"] for period, one in parts.items()} == {
        period: "final" if period.endswith("2025-02") else "first" for period in parts
    }
    final = {
        cell.cell[0]: (cell.tenths or 0) / 10
        for cell in february.cells
        if cell.table == "reports.week_part" and cell.cell[1] == "oakwood"
    }
    mine = {period: one for period, one in parts.items() if one["edition"] == "final"}
    assert {period: one["value"] for period, one in mine.items()} == final
    assert {one["release"] for one in mine.values()} == {february.digest}
    assert {one["margin"] for one in mine.values()} == {february.margins["reports.week_part"] / 10}
    assert all("week_part" not in one for one in parts.values())
    area = await stats.json("/v1/statistics/reports/month_area?area=oakwood&period=2025-02")
    assert sum(final.values()) == pytest.approx(area["figures"][0]["value"])
    (january,) = {
        (one["edition"], one["release"])
        for one in (await stats.json("/v1/statistics/reports/month?period=2025-01"))["figures"]
    }
    assert january == ("first", stats.release("reports.month", "2025-01").digest)
    first = stats.release("reports.week_part", "2025-W10-2025-03")
    assert parts[first.period]["release"] == first.digest
    _, written, _ = await stats.get("/v1/statistics/reports/week_part?area=oakwood&format=csv")
    rows = list(csv.DictReader(io.StringIO(written.decode())))
    assert [(row["period"], float(row["value"]), row["release"]) for row in rows] == [
        (one["period"], one["value"], one["release"]) for one in told["figures"]
    ]


async def test_csv_names_what_was_withheld_as_json_does(stats: Public) -> None:
    """By a line of its own among the others, without figures."""
    connection = await postgres.connect(stats.dsn, "test")
    await connection.execute(
        "UPDATE release SET state = 'withheld' WHERE table_id = 'reports.month' AND period = '2025-02'"
    )
    await connection.close()
    for table in ("month", "month_city"):
        path = f"/v1/statistics/reports/{table}"
        told = await stats.json(path)
        assert told["withheld"] == ["2025-02"]
        assert "2025-02" not in {one["period"] for one in told["figures"]}
        _, written, _ = await stats.get(f"{path}?format=csv")
        rows = list(csv.DictReader(io.StringIO(written.decode())))
        assert [row["period"] for row in rows] == sorted(row["period"] for row in rows)
        (withheld,) = (row for row in rows if row["state"] != "released")
        assert {name: value for name, value in withheld.items() if value} == {
            "period": "2025-02",
            "edition": "final",
            "state": "withheld",
            "release": stats.release("reports.month", "2025-02", "final").digest,
        }
        assert len(rows) == len(told["figures"]) + 1


async def test_head_is_answered_as_get_is_without_a_body(stats: Public) -> None:
    """On every kind of address; a method that there is not says so."""
    digest = stats.shown[0].digest
    for path in ("/", "/v1/releases", f"/v1/releases/{digest}/figures.csv", "/v1/statistics/reports/month"):
        status, _, expected = await stats.get(path)
        async with stats.session.head(stats.url + path) as answer:
            assert (answer.status, await answer.read()) == (status, b"")
            kept = [name for name in expected if name.lower() not in ("date", "transfer-encoding")]
            assert {name: answer.headers.get(name) for name in kept} == {
                name: expected[name] for name in kept
            }
    async with stats.session.head(f"{stats.url}/v1/statistics/gossip") as answer:
        assert (answer.status, await answer.read()) == (404, b"")
    async with stats.session.post(f"{stats.url}/v1/releases") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


LONG = "x" * 3_000
REFUSED: list[tuple[str, int, str, str | None]] = [
    ("statistics/gossip", 404, "unknown-topic", "answers/outcome"),
    ("statistics/gossip/month", 404, "unknown-topic", "recorded-crime"),
    ("statistics/reports/day", 404, "unknown-table", "week_part"),
    ("statistics/reports/month?area=atlantis", 422, "unknown-area", "oakwood"),
    ("statistics/reports/month?area=", 422, "unknown-area", "oakwood"),
    ("statistics/reports/month?area=Oakwood", 422, "unknown-area", "oakwood"),
    (f"statistics/reports/month?area={LONG}", 422, "unknown-area", "oakwood"),
    ("statistics/reports/month?area='%20OR%201=1--", 422, "unknown-area", "oakwood"),
    ("statistics/reports/month?area=oakwood%00", 422, "unknown-area", "oakwood"),
    ("statistics/reports/month?area=%ff%fe", 422, "unknown-area", "oakwood"),
    ("statistics/reports/month?area=oakwood&area=harbour", 422, "parameter-twice", None),
    ("statistics/reports/month?category=burglary", 422, "unknown-category", "noise"),
    ("statistics/recorded-crime/month?category=noise", 422, "unknown-category", "burglary"),
    ("statistics/answers/took?took=8h", 422, "unknown-took", "24h"),
    ("statistics/answers/outcome?outcome=lost;DROP%20TABLE%20release", 422, "unknown-outcome", "in_time"),
    ("statistics/answers/outcome?area=oakwood", 422, "unknown-parameter", "category"),
    ("statistics/reports/month?format=xml", 422, "unknown-format", "csv"),
    ("statistics/reports/month?period=2026-13", 422, "unknown-period", "a month, such as 2026-10"),
    ("statistics/reports/month?period=2026-10-01", 422, "unknown-period", "a month, such as 2026-10"),
    ("statistics/reports/month?period=%d9%a2026-10", 422, "unknown-period", "a month, such as 2026-10"),
    ("statistics/reports/month?from=0000-01", 422, "unknown-period", "a month, such as 2026-10"),
    ("statistics/reports/week_part?period=2026-W60-2026-10", 422, "unknown-period", None),
    ("statistics/reports/week_part?period=2026-W41-2026-03", 422, "unknown-period", None),
    ("statistics/answers/took?period=2026-10", 422, "unknown-period", "a quarter, such as 2026-Q4"),
    ("statistics/answers/took?period=2026-Q5", 422, "unknown-period", "a quarter, such as 2026-Q4"),
    ("statistics/reports/month?colour=red", 422, "unknown-parameter", "area"),
    ("statistics/reports/month?from=2026-02&until=2026-01", 422, "reversed-range", None),
    ("statistics/reports/month?from=1999-01&until=2026-01", 422, "range-too-long", None),
    ("statistics/reports/month?from=1000-01", 422, "range-too-long", None),
    ("statistics/reports/month?period=2026-01&until=2026-02", 422, "period-or-range", None),
    ("releases?limit=100000", 422, "unknown-limit", "a whole number from 1 to 500"),
    ("releases?limit=0", 422, "unknown-limit", "a whole number from 1 to 500"),
    ("releases?after=-1", 422, "unknown-after", "a whole number from 0 to 1000000000"),
    ("releases?after=1e3", 422, "unknown-after", "a whole number from 0 to 1000000000"),
    ("releases?table=reports.month'--", 422, "unknown-table", "reports.month"),
    (f"releases/{'0' * 64}/release.json", 404, "release-unknown", None),
    ("releases/'%20OR%20'1'='1/release.json", 404, "release-unknown", None),
    (f"releases/{LONG}/release.json", 404, "release-unknown", None),
    (f"releases/{'0' * 64}/release.xls", 404, "unknown-format", "figures.csv"),
    (f"releases/{'0' * 64}/release.json?area=oakwood", 422, "unknown-parameter", None),
    (f"releases/{'0' * 64}/figures.json?area=atlantis", 422, "unknown-area", "oakwood"),
]


async def test_a_range_of_long_ago_is_empty(stats: Public) -> None:
    """The ten years before the year 1000 too."""
    for table, until in (("reports/month", "1000-01"), ("answers/took", "1001-Q1")):
        assert (await stats.json(f"/v1/statistics/{table}?until={until}"))["figures"] == []


async def test_what_there_is_not_is_refused_with_what_there_is(stats: Public) -> None:
    """Each refusal names its code and what would do, and repeats nothing of what was sent."""
    for path, status, code, allowed in REFUSED:
        problem = await stats.json(f"/v1/{path}", status)
        assert problem["type"] == f"urn:ibuurt:problem:{code}", path
        assert allowed is None or allowed in problem["allowed"], path
        assert problem.get("allowed") != [], path
        assert not re.search(r"atlantis|xxx|DROP|OR 1=1|gossip", json.dumps(problem)), path


async def test_codes_have_their_names_in_both_languages(stats: Public) -> None:
    """Of every area and category that figures have, but for those that are none."""
    told = await stats.json("/v1/codes.json")
    assert told["areas"]["oakwood"] == {"nl": "Oakwood", "en": "Oakwood"}
    whole = await stats.json("/v1/statistics/reports/month?period=2025-03")
    assert {one["area"] for one in whole["figures"]} - {"unknown"} == set(told["areas"])
    assert {one["category"] for one in whole["figures"]} - {"other"} <= set(told["categories"])
    crime = await stats.json("/v1/statistics/recorded-crime/month?period=2025-03")
    assert {one["category"] for one in crime["figures"]} - {"other"} <= set(told["crimes"])
    ended = await stats.json("/v1/statistics/answers/outcome?period=2025-Q1")
    assert {one["outcome"] for one in ended["figures"]} == set(told["outcomes"])


async def test_the_page_is_whole_in_both_languages(stats: Public) -> None:
    """Every topic, an area of one's choice, bounds in words, downloads; nothing runs in it."""
    for language, between in (("nl", "Bijna altijd tussen"), ("en", "Nearly always between")):
        status, body, headers = await stats.get(f"/?language={language}&area=oakwood")
        page = body.decode()
        assert (status, headers["content-language"]) == (200, language)
        assert f'<html lang="{language}">' in page
        assert page.count("<section>") == 6
        assert between in page
        # Of the newest week as well, as everywhere else: so it adds up with its month.
        assert page.count(stats.release("reports.month", "2025-03", "final").digest) == 6
        assert stats.release("reports.week_part", "2025-W14-2025-03").digest not in page
        assert "<script" not in page
        for address in re.findall(r' href="(/[^"]*)"', page):
            assert (await stats.get(address.replace("&amp;", "&")))[0] == 200, address
        for table in ("incidents.month", "reports.took"):
            assert f'href="/v1/releases?table={table}"' in page
        assert 'href="/v1/openapi.json"' in page
        assert "script-src" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]


async def test_the_public_port_answers_as_its_document_says(stats: Public, tmp_path: Path) -> None:
    """schemathesis, with every check on."""
    run = await asked(tmp_path, "stats public", Known(stats.url, stats.url), stats.url + OPENAPI)
    run.hold()
