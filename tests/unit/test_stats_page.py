"""The page of released figures, without a server: its words, and that each figure is tied to its heads."""

from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from services.stats.core import spec
from services.stats.core.figures import Figure, Rate
from services.stats.core.release import NOTHING_BEFORE, Link
from services.stats.core.spec import spec_of
from services.stats.http.codes import OUTCOMES
from services.stats.http.desk import Desk
from services.stats.http.page import SHOWN, TEXTS, Page
from shared.cloudevents import to_value
from shared.events import StatisticsReleased
from shared.municipality import read
from tests.released import releases

TOWN = read(Path(__file__).parents[2] / "deploy/municipalities/ibuurt")
SPEC = spec_of(TOWN)
STYLE = (Path(__file__).parents[2] / "services/stats/http/page.css").read_text("utf-8")
RELEASED = list(releases(SPEC, date(2025, 1, 1), date(2025, 4, 1), Link(0, NOTHING_BEFORE)))


class Table(HTMLParser):
    """The tables of a page: heads and rows, a row its heads, and its cells by their names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.captions: list[str] = []
        self.heads: list[list[str]] = []
        self.rows: list[list[tuple[list[str], dict[str, str]]]] = []
        self.roles: set[tuple[str, str | None]] = set()
        self._in: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("table", "thead", "tbody", "tr", "th", "td"):
            self.roles.add((f"{tag}.{named['scope']}" if tag == "th" else tag, named.get("role")))
        if tag == "table":
            self.heads.append([])
            self.rows.append([])
        elif tag == "caption":
            self.captions.append("")
        elif tag == "tr":
            self.rows[-1].append(([], {}))
        if tag in ("caption", "th", "td"):
            self._in = tag, named

    def handle_endtag(self, tag: str) -> None:
        if self._in and tag == self._in[0]:
            self._in = None

    def handle_data(self, data: str) -> None:
        if self._in is None:
            return
        tag, named = self._in
        if tag == "caption":
            self.captions[-1] += data
        elif tag == "td":
            self.rows[-1][-1][1][named["data-label"] or ""] = data
        elif named["scope"] == "col":
            self.heads[-1].append(data)
        else:
            self.rows[-1][-1][0].append(data)


def row_of(release: StatisticsReleased) -> dict[str, Any]:
    told = release.model_dump(include={"period", "digest", "edition", "state"})
    return told | {"content": to_value(release)}


def newest(table: str) -> StatisticsReleased:
    mine = [one for one in RELEASED if one.table == table]
    return max(mine, key=lambda one: (one.period, one.edition == "final"))


def page_of(language: str, area: str) -> str:
    page = Page(Desk(None, TOWN, (SPEC,)), language, ("nl", "en"), area)
    return page.whole([page.section(view, row_of(newest(view.released))) for view in SHOWN])


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("area", ["", "oakwood"])
def test_every_figure_is_tied_to_its_heads(language: str, area: str) -> None:
    """Each row is called by all that it is about, each cell by its column, also where a narrow screen shows a
    row as a block; the roles are those of a table."""
    table = Table(page_of(language, area))
    assert len(table.heads) == len(SHOWN)
    for heads, (_, *rows) in zip(table.heads, table.rows, strict=True):
        assert rows
        for called, cells in rows:
            assert [*heads[: len(called)], *cells] == heads
            assert called
            assert all(cells.values())
        assert len({tuple(called) for called, _ in rows}) == len(rows)
    assert table.roles == {
        ("table", "table"),
        ("thead", "rowgroup"),
        ("tbody", "rowgroup"),
        ("tr", "row"),
        ("th.col", "columnheader"),
        ("th.row", "rowheader"),
        ("td", "cell"),
    }
    assert "attr(data-label)" in STYLE


def test_a_period_is_said_by_its_days() -> None:
    """And nobody is shown a name such as 2025-W14-2025-03."""
    said = [caption.rpartition(", ")[2] for caption in Table(page_of("en", "oakwood")).captions]
    assert said == [
        "March 2025",
        "31 March 2025",
        "March 2025",
        "31 March 2025",
        "January to March 2025",
        "January to March 2025",
    ]
    page = Page(Desk(None, TOWN, (SPEC,)), "nl", ("nl",), "")
    (week,) = (view for view in SHOWN if view.released == "reports.week_part")
    one = next(each for each in RELEASED if each.period == "2025-W07-2025-02" and each.table == week.released)
    assert "10 tot en met 16 februari 2025" in page.section(week, row_of(one))


@pytest.mark.parametrize("language", TEXTS)
def test_how_a_report_ended_is_told_as_it_is_counted(language: str) -> None:
    """Each outcome by the name that the downloads have, and what "done" means once, beside that table."""
    page = page_of(language, "")
    heads = Table(page).rows[-1][1:]
    assert {called[-1] for called, _ in heads} == {names[language] for names in OUTCOMES.values()}
    assert set(OUTCOMES) == set(spec.OUTCOMES)
    assert page.count(TEXTS[language]["ended"]) == 1


def test_the_bounds_that_are_shown_are_never_nearer_than_those_that_hold() -> None:
    """Rounded outwards, below 0 too, and a bound that is whole already stays."""
    page = Page(Desk(None, TOWN, (SPEC,)), "en", ("en",), "")
    assert page._bounds(Rate(9, 1.236, 0.451), "up_to", 2) == "0.78 to 1.69"
    assert page._bounds(Rate(9, 0.234, 1.351), "up_to", 2) == "\u22121.12 to 1.59"
    assert page._bounds(Figure("t", {}, 12.3, 5.9), "and", 1) == "6.4 and 18.2"
    assert page._bounds(Figure("t", {}, 3, 15.0), "and", 1) == "\u221212 and 18"
    assert page._bounds(Rate(9, 2.5, 0.1), "up_to", 2) == "2.40 to 2.60"


def test_a_page_without_figures_says_so() -> None:
    """Where nothing is released, and where a period is withheld."""
    page = Page(Desk(None, TOWN, (SPEC,)), "en", ("en",), "")
    assert TEXTS["en"]["nothing"] in page.section(SHOWN[0], None)
    withheld = row_of(newest(SHOWN[0].released)) | {"state": "withheld"}
    said = page.section(SHOWN[0], withheld)
    assert f"March 2025. {TEXTS['en']['withheld']}" in said
    assert "<table" not in said
    # An import that ended years ago: what it told until then is found all the same.
    assert '<a href="/v1/statistics/recorded-crime/month?format=csv">' in said
    assert "figures.csv" not in said


def test_a_week_that_its_months_final_edition_tells_is_shown_as_it_is_there() -> None:
    """Its own rows of that edition alone, which has those of all weeks of the month."""
    page = Page(Desk(None, TOWN, (SPEC,)), "en", ("en",), "")
    final = newest("reports.month")
    (week,) = (view for view in SHOWN if view.released == "reports.week_part")
    said = page.section(week, row_of(final) | {"period": "2025-W14-2025-03"})
    told = [
        cell.tenths
        for cell in final.cells
        if cell.table == week.cells and cell.cell[0].startswith("2025-W14")
    ]
    shown = [cells["Number, about"] for _, cells in Table(said).rows[0][1:]]
    assert shown == [page._number((tenths or 0) / 10) for tenths in told]


def test_a_code_is_called_by_what_it_is_a_code_of() -> None:
    """A category of reports, one of recorded crime, an area and an outcome may have one code between them."""

    def called(name: str) -> dict[str, Any]:
        return {"id": "open", "names": {"nl": name, "en": name}}

    known, told = TOWN.area_sets[TOWN.primary_area_set], TOWN.statistics
    crimes = (told.incidents.categories[0].model_copy(update=called("a crime")),)
    areas = {"open": known.areas["oakwood"].model_copy(update=called("an area"))}
    town = TOWN.model_copy(
        update={
            "area_sets": {TOWN.primary_area_set: known.model_copy(update={"areas": areas})},
            "categories": {"open": TOWN.categories["graffiti"].model_copy(update=called("a category"))},
            "statistics": told.model_copy(
                update={"incidents": told.incidents.model_copy(update={"categories": crimes})}
            ),
        }
    )
    page = Page(Desk(None, town, (SPEC,)), "en", ("en",), "open")
    for view, column, name in (
        (SHOWN[0], "category", "a crime"),
        (SHOWN[2], "category", "a category"),
        (SHOWN[2], "area", "an area"),
        (SHOWN[5], "outcome", OUTCOMES["open"]["en"]),
    ):
        figure = Figure(view.cells, {column: "open"}, 1, 2)
        assert f">{name}</th>" in page._row(view, [column], [column, "1", "2"], figure)
