"""The answer page's words and HTML. Level B1; works without JavaScript; nothing of the report's own words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape

from services.notify.core.steps import Dispatch
from shared.municipality import Municipality

POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

# One entry per language that the page speaks; a municipality's other languages get the first of these.
TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "name": "English",
        "title": "Answer a report",
        "about": "This report is with your team. You can read the report itself in your own system.",
        "category": "About",
        "unit": "Team",
        "acknowledge_by": "See it before",
        "resolve_by": "Solve it before",
        "status": "Where it stands",
        "routed": "On its way to your team",
        "delivered": "Your team has received it",
        "acknowledged": "Your team has seen it",
        "resolved": "Solved",
        "withdrawn": "The resident has withdrawn the report",
        "erased": "The report has been erased",
        "acknowledge": "We have seen it",
        "resolve": "It is solved",
        "consequence": "The resident can see your answer at once. You cannot take it back here.",
        "did_acknowledge": "Thank you. The resident can now see that your team has seen the report.",
        "did_resolve": "Thank you. The resident can now see that the report is solved.",
        "already": "That was done before. You do not have to do anything.",
        "over": "You do not have to do anything more.",
        "unreadable": "This link does not work",
        "unreadable_mend": "The address is not complete or not right. Copy the whole link from your system.",
        "expired": "This link is too old",
        "expired_mend": "A link works for 30 days. Ask the municipality to send the report again.",
        "moved": "This report is no longer with your team",
        "moved_mend": "You do not have to do anything. Ask the municipality if you think that this is wrong.",
        "unclear": "We do not know what you want to answer",
        "unclear_mend": "Go back to the page and press one of the two buttons.",
        "later": "It does not work right now",
        "later_mend": "Nothing was stored. Try again in a few minutes.",
        "months": "January February March April May June July August September October November December",
    },
    "nl": {
        "name": "Nederlands",
        "title": "Antwoord op een melding",
        "about": "Deze melding is bij uw team. De melding zelf leest u in uw eigen systeem.",
        "category": "Onderwerp",
        "unit": "Team",
        "acknowledge_by": "Bekijken voor",
        "resolve_by": "Oplossen voor",
        "status": "Stand van zaken",
        "routed": "Onderweg naar uw team",
        "delivered": "Uw team heeft de melding ontvangen",
        "acknowledged": "Uw team heeft de melding gezien",
        "resolved": "Opgelost",
        "withdrawn": "De bewoner heeft de melding ingetrokken",
        "erased": "De melding is gewist",
        "acknowledge": "Wij hebben de melding gezien",
        "resolve": "De melding is opgelost",
        "consequence": "De bewoner ziet uw antwoord meteen. U kunt het hier niet terugnemen.",
        "did_acknowledge": "Dank u wel. De bewoner ziet nu dat uw team de melding heeft gezien.",
        "did_resolve": "Dank u wel. De bewoner ziet nu dat de melding is opgelost.",
        "already": "Dat was al gedaan. U hoeft niets te doen.",
        "over": "U hoeft niets meer te doen.",
        "unreadable": "Deze link werkt niet",
        "unreadable_mend": "Het adres is niet volledig of niet juist. Kopieer de hele link uit uw systeem.",
        "expired": "Deze link is te oud",
        "expired_mend": "Een link werkt 30 dagen. Vraag de gemeente om de melding opnieuw te sturen.",
        "moved": "Deze melding is niet meer bij uw team",
        "moved_mend": "U hoeft niets te doen. Vraag het de gemeente als u denkt dat dit niet klopt.",
        "unclear": "Wij weten niet wat u wilt antwoorden",
        "unclear_mend": "Ga terug naar de pagina en druk op een van de twee knoppen.",
        "later": "Het lukt nu niet",
        "later_mend": "Er is niets opgeslagen. Probeer het over een paar minuten opnieuw.",
        "months": "januari februari maart april mei juni juli augustus september oktober november december",
    },
}
_FACTS = ("category", "unit", "acknowledge_by", "resolve_by", "status")
_BUTTONS = {
    "routed": ("acknowledge", "resolve"),
    "delivered": ("acknowledge", "resolve"),
    "acknowledged": ("resolve",),
}


@dataclass(frozen=True, slots=True)
class Page:
    """Writes pages in one language; `stylesheet` is its address as seen from the page."""

    municipality: Municipality
    language: str
    languages: tuple[str, ...]
    stylesheet: str = "../answer.css"

    def report(self, dispatch: Dispatch, message: str | None = None) -> str:
        """Where the report stands, what was just done, and the buttons for what can be done."""
        texts = TEXTS[self.language]
        unit = self.municipality.units.get(dispatch.unit)
        category = self.municipality.categories.get(dispatch.category)
        values = {
            "category": self._named(category.names if category else None, dispatch.category),
            "unit": self._named(unit.names if unit else None, dispatch.unit),
            "acknowledge_by": self._time(dispatch.acknowledge_by),
            "resolve_by": self._time(dispatch.resolve_by),
            "status": escape(texts[dispatch.status]),
        }
        facts = "".join(f"<dt>{escape(texts[fact])}</dt><dd>{values[fact]}</dd>" for fact in _FACTS)
        buttons = "".join(
            f'<button name="action" value="{action}">{escape(texts[action])}</button>'
            for action in _BUTTONS.get(dispatch.status, ())
        )
        said = f'<p role="status">{escape(texts[message])}</p>' if message else ""
        form = (
            f'<form method="post">{buttons}</form><p>{escape(texts["consequence"])}</p>'
            if buttons
            else f"<p>{escape(texts['over'])}</p>"
        )
        about = f"<p>{escape(texts['about'])}</p>" if buttons else ""
        return self._html("title", f"{said}{about}<dl>{facts}</dl>{form}")

    def refusal(self, code: str) -> str:
        """Why there is nothing to press here, and what to do instead."""
        return self._html(code, f"<p>{escape(TEXTS[self.language][f'{code}_mend'])}</p>")

    def _html(self, title: str, body: str) -> str:
        texts = TEXTS[self.language]
        town = self._named(self.municipality.names, "")
        others = "".join(
            f'<a href="?language={other}" hreflang="{other}" lang="{other}">{TEXTS[other]["name"]}</a>'
            for other in self.languages
            if other != self.language
        )
        navigation = f"<nav>{others}</nav>" if others else ""
        return (
            f'<!doctype html><html lang="{self.language}"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="robots" content="noindex"><title>{escape(texts[title])}</title>'
            f'<link rel="stylesheet" href="{self.stylesheet}"></head><body>{navigation}'
            f"<main><h1>{escape(texts[title])}</h1>{body}<p>{town}</p></main></body></html>"
        )

    def _named(self, names: Mapping[str, str] | None, otherwise: str) -> str:
        """A name of the municipality's folder, marked where it is in another language than the page."""
        if names is None:
            return escape(otherwise)
        name = escape(self.municipality.text(names, self.language))
        if self.language in names:
            return name
        return f'<span lang="{self.municipality.languages[0]}">{name}</span>'

    def _time(self, moment: datetime) -> str:
        local = moment.astimezone(self.municipality.tz)
        month = TEXTS[self.language]["months"].split()[local.month - 1]
        return (
            f'<time datetime="{local.isoformat(timespec="minutes")}">'
            f"{local.day} {month} {local.year}, {local:%H:%M}</time>"
        )


def spoken(municipality: Municipality) -> tuple[str, ...]:
    """The municipality's languages that the page speaks, its default first; English where there is none."""
    return tuple(language for language in municipality.languages if language in TEXTS) or ("en",)
