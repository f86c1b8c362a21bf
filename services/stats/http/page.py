"""A plain page of what was released last, in words of level B1. It works without JavaScript."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from services.stats import queries_public
from services.stats.core import figures, periods
from services.stats.core.figures import VIEWS, Figure, View
from services.stats.http import asked, codes, releases, statistics
from services.stats.http.desk import A_WHILE, Desk, connection
from shared.documented import problems
from shared.web import choose_language

POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
SHOWN = tuple(view for view in VIEWS if not view.of_final)
MANY_ROWS = 60
_FILES: Mapping[str, str] = {"csv": "figures.csv", "json": "figures.json", "zip": "package.zip"}
# Of which kind the codes of a column are, in the list of codes.
_KINDS: Mapping[str, str] = {"area": "areas", "category": "categories", "took": "took", "outcome": "outcomes"}
OPENAPI = "/v1/openapi.json"
TEXTS: Mapping[str, Mapping[str, str]] = {
    "nl": {
        "name": "Nederlands",
        "title": "Cijfers over de buurt",
        "about": "Hier ziet u hoeveel misdrijven de politie heeft geteld, hoeveel meldingen bewoners deden, "
        "en wat daarmee gebeurde. We tonen alleen weken en maanden die voorbij zijn.",
        "noise": "Geen getal is precies. We maken elk getal met opzet een beetje hoger of lager. Zo kan "
        "niemand zien of één melding erbij zit. Bij elk getal staat tussen welke twee getallen het echte "
        "aantal bijna altijd ligt: in 95 van de 100 gevallen. Een getal kan ook lager dan 0 zijn.",
        "area": "Wijk",
        "all": "Alle wijken",
        "show": "Laat zien",
        "recorded-crime": "Misdrijven die de politie heeft geteld",
        "reports": "Meldingen van bewoners",
        "answers": "Wat er met meldingen gebeurde",
        "month": "per maand",
        "week_part": "per week",
        "took": "hoe snel een team de melding zag",
        "outcome": "hoe de melding afliep",
        "nothing": "Er zijn nog geen cijfers.",
        "withheld": "Van deze periode tonen we geen cijfers, want er ontbreken gegevens.",
        "category": "Onderwerp",
        "value": "Aantal, ongeveer",
        "bounds": "Bijna altijd tussen",
        "and": "en",
        "up_to": "tot",
        "to": "tot en met",
        "months": "januari februari maart april mei juni juli augustus september oktober november december",
        "language": "Taal",
        "rate": "Per 1.000 inwoners",
        "cut": "Er zijn meer regels dan deze. Kies een wijk, of haal alles op.",
        "downloads": "Haal deze cijfers op",
        "csv": "tabel (CSV)",
        "zip": "alles in één bestand (zip)",
        "json": "voor programma's (JSON)",
        "older": "alle perioden, tien jaar terug (CSV)",
        "releases": "elke keer dat we deze cijfers lieten zien (JSON)",
        "more": "Meer weten",
        "final": "Na een maand maken we de cijfers nog één keer beter: dan kloppen de weken, de wijken en de "
        "onderwerpen met elkaar. Wat we één keer hebben laten zien, verandert daarna niet meer. Wat te laat "
        "binnenkomt, telt mee in de volgende week.",
        "codes": "hoe de codes in de bestanden heten (JSON)",
        "openapi": "hoe een programma de cijfers ophaalt (OpenAPI)",
        "unknown": "Niet bekend",
        "other": "Anders",
        "1h": "binnen 1 uur",
        "4h": "binnen 4 uur",
        "24h": "binnen 1 dag",
        "72h": "binnen 3 dagen",
        "7d": "binnen 7 dagen",
        "later": "later, of niet",
        "ended": "Het team zegt zelf dat het klaar is. Meestal is het dan opgelost. Soms vond het team niets "
        "meer, of kon het er niets aan doen. Is een melding niet voor een team, dan gaat ze naar een ander "
        "team. Tot dat team klaar is, is de melding nog niet klaar.",
    },
    "en": {
        "name": "English",
        "title": "Figures about the neighbourhood",
        "about": "Here you see how many crimes the police counted, how many reports residents sent, and what "
        "came of them. We only show weeks and months that are over.",
        "noise": "No figure is exact. We make each figure a little higher or lower on purpose. So nobody can "
        "see whether one report is in it. Next to each figure are two numbers. The real number is nearly "
        "always between them: in 95 of 100 cases. A figure can also be below 0.",
        "area": "District",
        "all": "All districts",
        "show": "Show",
        "recorded-crime": "Crimes that the police counted",
        "reports": "Reports from residents",
        "answers": "What came of reports",
        "month": "by month",
        "week_part": "by week",
        "took": "how soon a team saw the report",
        "outcome": "how the report ended",
        "nothing": "There are no figures yet.",
        "withheld": "We show no figures for this period, because data is missing.",
        "category": "About",
        "value": "Number, about",
        "bounds": "Nearly always between",
        "and": "and",
        "up_to": "to",
        "to": "to",
        "months": "January February March April May June July August September October November December",
        "language": "Language",
        "rate": "Per 1,000 residents",
        "cut": "There are more rows than these. Choose a district, or download everything.",
        "downloads": "Download these figures",
        "csv": "table (CSV)",
        "zip": "everything in one file (zip)",
        "json": "for programs (JSON)",
        "older": "all periods, ten years back (CSV)",
        "releases": "each time that we showed these figures (JSON)",
        "more": "Know more",
        "final": "After a month we make the figures better once more: then weeks, districts and subjects add "
        "up. What we have shown once does not change after that. What comes too late counts in the next "
        "week.",
        "codes": "what the codes in the files are called (JSON)",
        "openapi": "how a program gets the figures (OpenAPI)",
        "unknown": "Not known",
        "other": "Other",
        "1h": "within 1 hour",
        "4h": "within 4 hours",
        "24h": "within 1 day",
        "72h": "within 3 days",
        "7d": "within 7 days",
        "later": "later, or not",
        "ended": "The team itself says that it is done. Mostly it is solved then. Sometimes the team found "
        "nothing any more, or could do nothing about it. If a report is not for a team, it goes to another "
        "team. Until that team is done, the report is not done yet.",
    },
}
_HTML: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}}
}


def add_page(app: FastAPI, desk: Desk) -> None:
    """Add the page and its style."""
    stylesheet = (Path(__file__).parent / "page.css").read_bytes()
    languages = tuple(one for one in desk.municipality.languages if one in TEXTS) or ("en",)

    @app.get("/page.css", include_in_schema=False)
    async def style() -> Response:
        return Response(stylesheet, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})

    @app.get("/", response_class=HTMLResponse, responses={**_HTML, **problems(503)})
    async def show_page(request: Request) -> Response:
        """What was released last. `language` and `area` choose; what is not known is not minded."""
        given = request.query_params
        accepted = request.headers.get("accept-language", "")
        language = choose_language(languages, given.get("language"), accepted)
        area = given.get("area", "")
        page = Page(desk, language, languages, area if area in desk.areas else "")
        async with connection(desk) as taken:
            newest = [await queries_public.newest(taken, view.released) for view in SHOWN]
        sections = [page.section(*one) for one in zip(SHOWN, newest, strict=True)]
        headers = {
            "Content-Security-Policy": POLICY,
            "Content-Language": language,
            "Vary": "Accept-Language",
            **A_WHILE,
        }
        return HTMLResponse(page.whole(sections), 200, headers)


class Page:
    """The page in one language, for one area or for all."""

    def __init__(self, desk: Desk, language: str, languages: Sequence[str], area: str) -> None:
        self._desk, self._language, self._languages, self._area = desk, language, languages, area
        self._says = TEXTS[language]
        town = desk.municipality
        self._names = {
            kind: {code: town.text(names, language) for code, names in named.items()}
            for kind, named in codes.codes_of(desk).items()
        }

    def _name(self, kind: str, code: str) -> str:
        """Of its kind: an area, a category of reports and one of recorded crime may have the same code."""
        return escape(self._names.get(kind, {}).get(code) or self._says.get(code) or code)

    def whole(self, sections: Sequence[str]) -> str:
        says, language = self._says, self._language
        town = escape(self._desk.municipality.text(self._desk.municipality.names, language))
        others = "".join(
            f'<a href="?language={one}&amp;area={self._area}" hreflang="{one}" lang="{one}">'
            f"{TEXTS[one]['name']}</a>"
            for one in self._languages
            if one != language
        )
        options = "".join(
            f'<option value="{code}"{" selected" if code == self._area else ""}>'
            f"{self._name('areas', code)}</option>"
            for code in self._desk.areas
        )
        title = f"{says['title']}, {town}"
        nav = f'<nav aria-label="{says["language"]}">{others}</nav>' if others else ""
        return (
            f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{title}</title><link rel="stylesheet" href="/page.css"></head><body>'
            f"{nav}<main><h1>{title}</h1>"
            f"<p>{says['about']}</p><p>{says['noise']}</p>"
            f'<form method="get"><input type="hidden" name="language" value="{language}">'
            f'<label for="area">{says["area"]}</label><select id="area" name="area">'
            f'<option value="">{says["all"]}</option>{options}</select>'
            f"<button>{says['show']}</button></form>{''.join(sections)}{self._more()}</main></body></html>"
        )

    def _more(self) -> str:
        says = self._says
        links = "".join(
            f'<li><a href="{path}">{says[name]}</a></li>'
            for name, path in (("codes", codes.URL), ("openapi", OPENAPI))
        )
        return f"<h2>{says['more']}</h2><p>{says['final']}</p><ul>{links}</ul>"

    def section(self, view: View, newest: Mapping[str, Any] | None) -> str:
        """What was released last of a table."""
        says = self._says
        head = f"<section><h2>{says[view.topic]}: {says[view.name]}</h2>"
        if newest is None:
            return f"{head}<p>{says['nothing']}</p></section>"
        period = self._period(view, newest["period"])
        label = f"{says[view.topic]}, {says[view.name]}, {period}"
        if newest["state"] == "withheld":
            links = self._downloads(view, newest, label)
            return f"{head}<p>{period}. {says['withheld']}</p>{links}</section>"
        wanted = {"area": [self._area]} if self._area and "area" in view.columns else {}
        release = figures.release_of(newest["content"])
        found = [
            one
            for one in figures.figures(release, wanted)
            if one.table == view.cells and figures.is_of(one, newest["period"])
        ]
        # The district that was chosen is not said in each row, unless it is all that a row is called by.
        columns = [one for one in view.columns if not (wanted and one == "area")] or list(view.columns)
        heads = [says[column] for column in columns] + [says["value"], says["bounds"]]
        heads += [says["rate"]] if "area" in view.columns else []
        titles = "".join(f'<th role="columnheader" scope="col">{one}</th>' for one in heads)
        rows = "".join(self._row(view, columns, heads, one) for one in found[:MANY_ROWS])
        cut = f"<p>{says['cut']}</p>" if len(found) > MANY_ROWS else ""
        cut += f"<p>{says['ended']}</p>" if "outcome" in view.columns else ""
        where = f"{self._name('areas', self._area)}, " if wanted else ""
        # The roles keep it a table for those who listen, where a narrow screen shows a row as a block.
        return (
            f'{head}<div class="wide" tabindex="0" role="region" aria-label="{label}"><table role="table">'
            f'<caption><span class="hidden">{says[view.topic]}, {says[view.name]}, </span>{where}{period}'
            f'</caption><thead role="rowgroup"><tr role="row">{titles}</tr></thead>'
            f'<tbody role="rowgroup">{rows}</tbody></table></div>'
            f"{cut}{self._downloads(view, newest, label)}</section>"
        )

    def _row(self, view: View, columns: Sequence[str], heads: Sequence[str], figure: Figure) -> str:
        kinds = {**_KINDS, "category": "crimes"} if view.topic == "recorded-crime" else _KINDS
        places = "".join(
            f'<th role="rowheader" scope="row">{self._name(kinds[column], figure.place[column])}</th>'
            for column in columns
        )
        told = [self._number(figure.value), self._bounds(figure, "and", 1)]
        if len(heads) > len(columns) + len(told):
            rate = figures.rate(figure, self._desk.inhabitants)
            told.append(
                f"{self._number(rate.value, 2)} ({self._bounds(rate, 'up_to', 2)})"
                if rate
                else self._says["unknown"]
            )
        cells = "".join(
            f'<td role="cell" data-label="{head}">{one}</td>'
            for head, one in zip(heads[len(columns) :], told, strict=True)
        )
        return f'<tr role="row">{places}{cells}</tr>'

    def _period(self, view: View, name: str) -> str:
        """Its days, in words."""
        one = periods.named(asked.GRAIN.get(view.name, "month"), name)
        first, last = one.begin, one.end - timedelta(days=1)
        months, to = self._says["months"].split(), f" {self._says['to']} "
        said = to.join(dict.fromkeys(months[day.month - 1] for day in (first, last)))
        days = to.join(dict.fromkeys(str(day.day) for day in (first, last)))
        return f"{days} {said} {first.year}" if one.grain == "week_part" else f"{said} {first.year}"

    def _bounds(self, figure: Figure | figures.Rate, word: str, digits: int) -> str:
        # Outwards: what is between the bounds as they are is between those that are shown.
        low, high = (
            away(round(bound * 10**digits, 6)) / 10**digits
            for away, bound in (
                (math.floor, figure.value - figure.margin),
                (math.ceil, figure.value + figure.margin),
            )
        )
        return f"{self._number(low, digits)} {self._says[word]} {self._number(high, digits)}"

    def _number(self, value: float, digits: int = 1) -> str:
        written = f"{value:.{digits}f}".removesuffix(".0").replace("-", "\u2212")
        return written.replace(".", ",") if self._language == "nl" else written

    def _downloads(self, view: View, newest: Mapping[str, Any], label: str) -> str:
        base = f"/v1/releases/{newest['digest']}"
        # Of what is withheld there are none, but what was released before it is still there.
        files = {} if newest["state"] == "withheld" else _FILES
        chosen = f"&amp;area={self._area}" if self._area and "area" in view.columns else ""
        addresses = {shape: f"{base}/{file}" for shape, file in files.items()} | {
            "older": f"{statistics.URL}/{view.topic}/{view.name}?format=csv{chosen}",
            "releases": f"{releases.URL}?table={view.released}",
        }
        links = "".join(
            f'<li><a href="{address}">{self._says[shape]}<span class="hidden">: {label}</span></a></li>'
            for shape, address in addresses.items()
        )
        return f"<h3>{self._says['downloads']}</h3><ul>{links}</ul>"
