"""The digest as a page to print and take along. Level B1, no scripts; public categories alone, no words."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from html import escape
from urllib.parse import urlencode

from services.notify.core.digest import LISTED_MOST, AreaDigest, Digest, Place
from services.notify.core.steps import Dispatch
from services.notify.http.page import TEXTS as PAGE_TEXTS
from services.notify.http.page import document
from shared.municipality import Municipality

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Today in your area",
        "nothing": "There is nothing open today.",
        "nowhere": "Place not known",
        "only": "Only {area}",
        "all": "All areas",
        "open": "Open reports",
        "late": "Late, or nearly",
        "planned": "To be done today",
        "places": "Places with several reports",
        "category": "About",
        "by": "Solve it before",
        "needs": "Why it is here",
        "number": "Number",
        "reports": "reports",
        "resolve_overdue": "should be solved by now",
        "answer_overdue": "the resident waits for an answer",
        "acknowledge_overdue": "nobody has seen it yet",
        "not_delivered": "it could not be sent to the team",
        "soon": "its time is nearly over",
        "more": "And {count} more: see the list of your team.",
        "more_places": "And {count} more places.",
        "note": "Places are rounded: look around within about 50 metres.",
    },
    "nl": {
        "title": "Vandaag in uw wijk",
        "nothing": "Er staat vandaag niets open.",
        "nowhere": "Plaats niet bekend",
        "only": "Alleen {area}",
        "all": "Alle wijken",
        "open": "Open meldingen",
        "late": "Te laat, of bijna",
        "planned": "Vandaag te doen",
        "places": "Plekken met meer meldingen",
        "category": "Onderwerp",
        "by": "Oplossen voor",
        "needs": "Waarom het hier staat",
        "number": "Nummer",
        "reports": "meldingen",
        "resolve_overdue": "had opgelost moeten zijn",
        "answer_overdue": "de bewoner wacht op antwoord",
        "acknowledge_overdue": "nog niemand heeft het gezien",
        "not_delivered": "het kon niet naar het team worden gestuurd",
        "soon": "de tijd is bijna om",
        "more": "En nog {count}: zie de lijst van uw team.",
        "more_places": "En nog {count} plekken.",
        "note": "Plekken zijn afgerond: kijk rond binnen ongeveer 50 meter.",
    },
}


def digest_page(
    found: Digest, municipality: Municipality, language: str, stylesheet: str, only: str | None = None
) -> str:
    """The page of a digest, in one of the languages of TEXTS; `only` is the area that it was asked of."""
    return _Writer(municipality, language).page(found, stylesheet, only)


class _Writer:
    def __init__(self, municipality: Municipality, language: str) -> None:
        self._town = municipality
        self._language = language
        self._texts = TEXTS[language]

    def page(self, found: Digest, stylesheet: str, only: str | None) -> str:
        unit = self._town.units.get(found.unit)
        who = self._name(unit.names if unit else None, found.unit)
        body = "".join(self._area(one) for one in found.areas) or f"<p>{escape(self._texts['nothing'])}</p>"
        note = f"<p>{escape(self._texts['note'])}</p>" if any(one.places for one in found.areas) else ""
        where = f"{self._area_name(only)}, " if only else ""
        head = f"<p>{where}{who}, {self._day(found.day)}</p>"
        links = self._links(found, only)
        return document(self._language, self._texts["title"], f"{head}{body}{note}", stylesheet, links)

    def _links(self, found: Digest, only: str | None) -> str:
        """To each area alone, and back to all of them; they are not printed."""
        if only:
            return f'<nav><a href="?{urlencode({"language": self._language})}">{self._texts["all"]}</a></nav>'
        links = "".join(
            f'<a href="?{escape(urlencode({"language": self._language, "area": one.area}))}">'
            f"{escape(self._texts['only']).format(area=self._area_name(one.area))}</a>"
            for one in found.areas
            if one.area
        )
        return f"<nav>{links}</nav>" if links else ""

    def _area(self, one: AreaDigest) -> str:
        counts = ", ".join(
            f"{self._category(category)} {number}" for category, number in one.open.most_common()
        )
        said = f"{escape(self._texts['open'])}: {one.open.total()}. {counts}"
        parts = (f"<p>{said}</p>" if one.open else "", self._late(one), self._planned(one), self._places(one))
        return f"<section><h2>{self._area_name(one.area)}</h2>{''.join(parts)}</section>"

    def _late(self, one: AreaDigest) -> str:
        rows = [
            (
                self._category(entry.dispatch.category),
                self._time(entry.dispatch.resolve_by),
                escape(self._texts[entry.needs]),
                self._number(entry.dispatch),
            )
            for entry in one.late
        ]
        return self._table("late", ("category", "by", "needs", "number"), rows)

    def _planned(self, one: AreaDigest) -> str:
        rows = [(self._category(dispatch.category), self._number(dispatch)) for dispatch in one.planned_today]
        return self._table("planned", ("category", "number"), rows)

    def _table(self, caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        if not rows:
            return ""
        labels = [escape(self._texts[one]) for one in heads]
        head = "".join(f'<th role="columnheader" scope="col">{one}</th>' for one in labels)
        body = "".join(self._row(labels, row) for row in rows[:LISTED_MOST])
        # With roles: on a narrow screen the rows are stacked, which takes a table's own away.
        return (
            f'<table role="table"><caption>{escape(self._texts[caption])}</caption>'
            f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
            f'<tbody role="rowgroup">{body}</tbody></table>{self._more(rows)}'
        )

    def _row(self, labels: Sequence[str], row: Sequence[str]) -> str:
        cells = "".join(
            f'<td role="cell" data-label="{label}">{cell}</td>'
            for label, cell in zip(labels, row, strict=True)
        )
        return f'<tr role="row">{cells}</tr>'

    def _number(self, dispatch: Dispatch) -> str:
        """Whole: so the desk takes it."""
        return f'<span class="number">{dispatch.report_id}</span>'

    def _more(self, listed: Sequence[object], text: str = "more") -> str:
        left = len(listed) - LISTED_MOST
        return f"<p>{escape(self._texts[text].format(count=left))}</p>" if left > 0 else ""

    def _places(self, one: AreaDigest) -> str:
        items = "".join(self._place(place) for place in one.places[:LISTED_MOST])
        more = self._more(one.places, "more_places")
        return f"<h3>{escape(self._texts['places'])}</h3><ul>{items}</ul>{more}" if items else ""

    def _place(self, place: Place) -> str:
        where = f"{place.latitude:.4f}, {place.longitude:.4f}"
        about = ", ".join(map(self._category, place.categories))
        # The address itself: on paper a link is nothing.
        links = "".join(f' <a href="{escape(one)}">{escape(one)}</a>' for one in place.pages)
        many = f"{len(place.pages)} {escape(self._texts['reports'])}"
        return f"<li>{where}: {many} ({about}){links}</li>"

    def _area_name(self, area: str) -> str:
        known = self._town.area_sets[self._town.primary_area_set].areas.get(area)
        return self._name(known.names, area) if known else escape(self._texts["nowhere"])

    def _category(self, category: str) -> str:
        known = self._town.categories.get(category)
        return self._name(known.names if known else None, category)

    def _name(self, names: Mapping[str, str] | None, otherwise: str) -> str:
        return escape(self._town.text(names, self._language) if names else otherwise)

    def _day(self, day: date) -> str:
        month = PAGE_TEXTS[self._language]["months"].split()[day.month - 1]
        return f'<time datetime="{day.isoformat()}">{day.day} {month} {day.year}</time>'

    def _time(self, moment: datetime) -> str:
        local = moment.astimezone(self._town.tz)
        return f"{self._day(local.date())} {local:%H:%M}"
