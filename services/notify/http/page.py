"""The answer page's words and HTML. Level B1; works without JavaScript; nothing of the report's own words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from html import escape

from fastapi.responses import HTMLResponse, Response

from services.notify.core.acts import Action, possible
from services.notify.core.deliveries import level_of
from services.notify.core.steps import Dispatch
from shared.municipality import Municipality

POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

# One entry per language that the page speaks; a municipality's other languages get the first of these.
TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "name": "English",
        "title": "Answer a report",
        "about": "This report is with your team. Read the report itself in your own system or at the desk.",
        "about_email": "This report is with your team. You can read the report itself in the e-mail.",
        "about_asked": "This report is with your team. Ask the municipality what is in it: give its number.",
        "number": "Number",
        "category": "About",
        "unit": "Team",
        "acknowledge_by": "See it before",
        "resolve_by": "Solve it before",
        "day": "Day of the work",
        "status": "Where it stands",
        "routed": "On its way to your team",
        "delivered": "Your team has received it",
        "acknowledged": "Your team has seen it",
        "planned": "A day is set for the work",
        "resolved": "Done",
        "withdrawn": "The resident has withdrawn the report",
        "erased": "The report has been erased",
        "acknowledge": "We have seen it",
        "plan": "We will do it on this day",
        "plan_day": "Day of the work",
        "resolve": "We are done",
        "resolve_outcome": "What came of it",
        "refuse": "It is not for us",
        "refuse_reason": "Why not",
        "refuse_to_unit": "For whom it is",
        "refuse_anybody": "I do not know",
        "consequence": "The resident can see your answer at once. You cannot take it back here.",
        "did_acknowledge": "Thank you. The resident can now see that your team has seen the report.",
        "did_plan": "Thank you. The resident can now see the day.",
        "did_resolve": "Thank you. The resident can now see what came of it.",
        "did_refuse": "Thank you. Another team has the report now. The resident can see that, and why.",
        "already": "That was done before. You do not have to do anything.",
        "over": "You do not have to do anything more.",
        "unreadable": "This link does not work",
        "unreadable_mend": "The address is not complete or not right. Copy the whole link from your system.",
        "expired": "This link is too old",
        "expired_mend": "Is the report still open? Answer at the desk, or ask the municipality to do it.",
        "digest_expired": "This link is too old",
        "digest_expired_mend": "This link works for two days. Use the link in the newest e-mail.",
        "moved": "This report is no longer with your team",
        "moved_mend": "You do not have to do anything. Ask the municipality if you think that this is wrong.",
        "unclear": "We do not know what you want to answer",
        "unclear_mend": "Go back to the page, choose from the list, and press the button below it.",
        "unclear_day": "We do not know on which day",
        "unclear_day_mend": "Go back to the page and choose a day from today on.",
        "impossible": "That cannot be done any more",
        "impossible_mend": "Nothing was changed. Open the link again: the page shows what you can do now.",
        "used_up": "This link was used too often",
        "used_up_mend": "Nothing was stored. Answer in your own system, or ask the municipality to do it.",
        "later": "It does not work right now",
        "later_mend": "Nothing was stored. Try again in a few minutes.",
        "months": "January February March April May June July August September October November December",
    },
    "nl": {
        "name": "Nederlands",
        "title": "Antwoord op een melding",
        "about": "Deze melding is bij uw team. De melding zelf leest u in uw eigen systeem of aan de balie.",
        "about_email": "Deze melding is bij uw team. De melding zelf leest u in de e-mail.",
        "about_asked": "Deze melding is bij uw team. Vraag de gemeente wat erin staat: geef het nummer.",
        "number": "Nummer",
        "category": "Onderwerp",
        "unit": "Team",
        "acknowledge_by": "Bekijken voor",
        "resolve_by": "Oplossen voor",
        "day": "Dag van het werk",
        "status": "Stand van zaken",
        "routed": "Onderweg naar uw team",
        "delivered": "Uw team heeft de melding ontvangen",
        "acknowledged": "Uw team heeft de melding gezien",
        "planned": "Er is een dag voor het werk",
        "resolved": "Klaar",
        "withdrawn": "De bewoner heeft de melding ingetrokken",
        "erased": "De melding is gewist",
        "acknowledge": "Wij hebben de melding gezien",
        "plan": "Wij doen het op deze dag",
        "plan_day": "Dag van het werk",
        "resolve": "Wij zijn klaar",
        "resolve_outcome": "Wat eruit kwam",
        "refuse": "De melding is niet voor ons",
        "refuse_reason": "Waarom niet",
        "refuse_to_unit": "Voor wie wel",
        "refuse_anybody": "Dat weet ik niet",
        "consequence": "De bewoner ziet uw antwoord meteen. U kunt het hier niet terugnemen.",
        "did_acknowledge": "Dank u wel. De bewoner ziet nu dat uw team de melding heeft gezien.",
        "did_plan": "Dank u wel. De bewoner ziet nu de dag.",
        "did_resolve": "Dank u wel. De bewoner ziet nu wat eruit kwam.",
        "did_refuse": "Dank u wel. Een ander team heeft de melding nu. De bewoner ziet dat, en waarom.",
        "already": "Dat was al gedaan. U hoeft niets te doen.",
        "over": "U hoeft niets meer te doen.",
        "unreadable": "Deze link werkt niet",
        "unreadable_mend": "Het adres is niet volledig of niet juist. Kopieer de hele link uit uw systeem.",
        "expired": "Deze link is te oud",
        "expired_mend": "Is de melding nog open? Antwoord dan aan de balie, of vraag het de gemeente.",
        "digest_expired": "Deze link is te oud",
        "digest_expired_mend": "Deze link werkt twee dagen. Gebruik de link in de nieuwste e-mail.",
        "moved": "Deze melding is niet meer bij uw team",
        "moved_mend": "U hoeft niets te doen. Vraag het de gemeente als u denkt dat dit niet klopt.",
        "unclear": "Wij weten niet wat u wilt antwoorden",
        "unclear_mend": "Ga terug naar de pagina, kies uit de lijst en druk op de knop eronder.",
        "unclear_day": "Wij weten niet op welke dag",
        "unclear_day_mend": "Ga terug naar de pagina en kies een dag vanaf vandaag.",
        "impossible": "Dat kan niet meer",
        "impossible_mend": "Er is niets veranderd. Open de link opnieuw: daar staat wat u nu kunt doen.",
        "used_up": "Deze link is te vaak gebruikt",
        "used_up_mend": "Er is niets opgeslagen. Antwoord in uw eigen systeem, of vraag het de gemeente.",
        "later": "Het lukt nu niet",
        "later_mend": "Er is niets opgeslagen. Probeer het over een paar minuten opnieuw.",
        "months": "januari februari maart april mei juni juli augustus september oktober november december",
    },
}
_FACTS = ("number", "category", "unit", "acknowledge_by", "resolve_by", "day", "status")
# Of a category of which nothing leaves by e-mail: whoever reads a mailbox opens the links in it.
_LEAST = ("number", "unit", "day", "status")


@dataclass(frozen=True, slots=True)
class Page:
    """Writes pages in one language; `stylesheet` is its address as seen from the page."""

    municipality: Municipality
    language: str
    languages: tuple[str, ...]
    stylesheet: str = "../answer.css"

    def report(self, dispatch: Dispatch, today: date, opened: str, message: str | None = None) -> str:
        """Where the report stands, what was just done, and a form for each thing that can be done; `opened`
        tells this opening of the page from every other."""
        texts = TEXTS[self.language]
        unit = self.municipality.units.get(dispatch.unit)
        category = self.municipality.categories.get(dispatch.category)
        values = {
            "number": str(dispatch.report_id),
            "category": self._named(category.names if category else None, dispatch.category),
            "unit": self._named(unit.names if unit else None, dispatch.unit),
            "acknowledge_by": self._time(dispatch.acknowledge_by),
            "resolve_by": self._time(dispatch.resolve_by),
            "day": self._date(dispatch.day) if dispatch.day else None,
            "status": escape(texts[dispatch.status]),
        }
        shown = _LEAST if level_of(category, dispatch.kind, "email") == "notice" else _FACTS
        facts = "".join(
            f"<dt>{escape(texts[fact])}</dt><dd>{values[fact]}</dd>" for fact in shown if values[fact]
        )
        forms = "".join(self._form(action, dispatch, today, opened) for action in possible(dispatch.status))
        said = f'<p role="status">{escape(texts[message])}</p>' if message else ""
        rest = escape(texts["consequence" if forms else "over"])
        about = f"<p>{escape(texts[self._about(dispatch)])}</p>" if forms else ""
        return self._html("title", f"{said}{about}<dl>{facts}</dl>{forms}<p>{rest}</p>")

    def _about(self, dispatch: Dispatch) -> str:
        """Which text says where the report itself is to be read."""
        unit = self.municipality.units.get(dispatch.unit)
        if unit and any(one.kind != "email" for one in (*unit.channels, *unit.fallback)):
            return "about"
        category = self.municipality.categories.get(dispatch.category)
        return "about_email" if level_of(category, dispatch.kind, "email") == "words" else "about_asked"

    def gone(self, message: str | None) -> str:
        """What was just done, after which the report is with another unit."""
        texts = TEXTS[self.language]
        said = f'<p role="status">{escape(texts[message])}</p>' if message else ""
        return self._html("title", f"{said}<p>{escape(texts['over'])}</p>")

    def _form(self, action: Action, dispatch: Dispatch, today: date, opened: str) -> str:
        """The form of an action; none for those that need more than a page without a sign-in gives."""
        town = self.municipality
        if action == "acknowledge":
            fields = ""
        elif action == "plan":
            day = dispatch.day or today
            fields = self._field(
                "plan",
                "day",
                f'<input type="date" id="plan_day" name="day" value="{day}" min="{today}" required>',
            )
        elif action == "resolve":
            fields = self._choice("resolve", "outcome", town.outcomes)
        elif action == "refuse":
            units = {one.id: one.names for one in town.units.values() if one.id != dispatch.unit}
            anybody = None if dispatch.unit == town.rules[-1].unit else "refuse_anybody"
            fields = self._choice("refuse", "reason", town.refusals)
            fields += self._choice("refuse", "to_unit", units, anybody)
        else:
            return ""
        fields += f'<input type="hidden" name="opened" value="{opened}">'
        text = escape(TEXTS[self.language][action])
        return f'<form method="post">{fields}<button name="action" value="{action}">{text}</button></form>'

    def _choice(
        self, action: str, name: str, codes: Mapping[str, Mapping[str, str]], nothing: str | None = None
    ) -> str:
        texts = TEXTS[self.language]
        first = f'<option value="">{escape(texts[nothing])}</option>' if nothing else ""
        options = "".join(
            f'<option value="{code}">{escape(self.municipality.text(names, self.language))}</option>'
            for code, names in codes.items()
        )
        return self._field(
            action, name, f'<select id="{action}_{name}" name="{name}">{first}{options}</select>'
        )

    def _field(self, action: str, name: str, field: str) -> str:
        label = escape(TEXTS[self.language][f"{action}_{name}"])
        return f'<p><label for="{action}_{name}">{label}</label>{field}</p>'

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
        return document(self.language, texts[title], f"{body}<p>{town}</p>", self.stylesheet, navigation)

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
        written = f"{self._written(local)}, {local:%H:%M}"
        return f'<time datetime="{local.isoformat(timespec="minutes")}">{written}</time>'

    def _date(self, day: date) -> str:
        return f'<time datetime="{day}">{self._written(day)}</time>'

    def _written(self, day: date) -> str:
        return f"{day.day} {TEXTS[self.language]['months'].split()[day.month - 1]} {day.year}"


def document(language: str, title: str, body: str, stylesheet: str, navigation: str = "") -> str:
    """A whole page, in a language; `title` is plain text, `body` and `navigation` are HTML."""
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex"><title>{escape(title)}</title>'
        f'<link rel="stylesheet" href="{stylesheet}"></head><body>{navigation}'
        f"<main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def html(content: str, status: int, language: str) -> Response:
    """A page as it is answered: it loads its own style alone, and nobody keeps it."""
    headers = {"Content-Security-Policy": POLICY, "Content-Language": language, "Vary": "Accept-Language"}
    return HTMLResponse(content, status, headers)


def spoken(municipality: Municipality) -> tuple[str, ...]:
    """The municipality's languages that the page speaks, its default first; English where there is none."""
    return tuple(language for language in municipality.languages if language in TEXTS) or ("en",)
