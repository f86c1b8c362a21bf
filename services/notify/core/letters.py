"""What an e-mail to a unit says. Level B1.

By its subject nobody learns anything of a tip. Which of the texts is used follows from how much may leave: a
notice says only that there is something, with a link.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import urlencode

from services.notify.core.deliveries import Delivery, about_of
from shared.municipality import Extent, Municipality, Texts

# One entry per language; a municipality whose languages are none of these gets English.
TEXTS: Mapping[str, Mapping[str, str]] = {
    "nl": {
        "subject": "{town}: er staat iets voor u klaar",
        "subject_route": "{town}: nieuwe melding ({category})",
        "subject_reopened": "{town}: melding is niet opgelost ({category})",
        "subject_moved": "{town}: melding doorgegeven aan u ({category})",
        "subject_message": "{town}: bericht over een melding ({category})",
        "subject_over": "{town}: een melding is vervallen",
        "subject_digest": "{town}: vandaag voor {unit}",
        "digest": "Wat er vandaag is voor {unit}.",
        "area": "{area}: {open} open, {late} te laat of bijna, {places} plekken met meer meldingen",
        "nowhere": "Plaats niet bekend",
        "print": "Open deze link om alles te zien en te printen. De links werken twee dagen:",
        "notice": "Er staat iets klaar voor {unit}. Open deze link om het te bekijken:",
        "route": "Er is een melding voor {unit}.",
        "reopened": "De bewoner zegt dat deze melding niet is opgelost. {unit} heeft haar nu weer.",
        "refused": "{before} heeft deze melding niet aangenomen. De reden: {reason} {unit} heeft haar nu.",
        "handed_over": "{before} heeft deze melding doorgegeven. De reden: {reason} {unit} heeft haar nu.",
        "message": "De bewoner heeft iets geschreven bij een melding die bij {unit} is.",
        "withdrawn": "De bewoner heeft een melding bij {unit} ingetrokken. U hoeft niets meer te doen.",
        "erased": "Een melding bij {unit} is gewist. Wis ook de e-mails en notities die u erover hebt.",
        "late": "Dit is te laat of bijna te laat, of kon niet naar het team worden gestuurd.",
        "late_of": "{unit}: {count}",
        "late_where": "U vindt het aan de balie, in de lijst van uw team of met het nummer.",
        "number": "Nummer",
        "category": "Onderwerp",
        "acknowledge_by": "Bekijken voor",
        "resolve_by": "Oplossen voor",
        "words": "Wat de bewoner schreef",
        "messages": "Het gesprek",
        "address": "Adres",
        "point": "Plaats op de kaart",
        "happened": "Wanneer het gebeurde",
        "contact": "Contact",
        "photos": "Foto's: {count}. U ziet ze in uw eigen systeem of aan de balie.",
        "not_an_emergency": "De bewoner zag het alarmnummer en schreef dat er nu geen gevaar is.",
        "resident": "Bewoner",
        "unit": "Team",
        "link": "Open deze link om te laten weten wat u ermee doet:",
        "end": "Stuur de link aan niemand door. Op deze e-mail kunt u niet antwoorden.",
        "time": "{day} {month} {year}, {clock}",
        "months": "januari februari maart april mei juni juli augustus september oktober november december",
    },
    "en": {
        "subject": "{town}: there is something for you",
        "subject_route": "{town}: new report ({category})",
        "subject_reopened": "{town}: report is not solved ({category})",
        "subject_moved": "{town}: report passed on to you ({category})",
        "subject_message": "{town}: message about a report ({category})",
        "subject_over": "{town}: a report is no longer there",
        "subject_digest": "{town}: today for {unit}",
        "digest": "What there is today for {unit}.",
        "area": "{area}: {open} open, {late} late or nearly, {places} places with several reports",
        "nowhere": "Place not known",
        "print": "Open this link to see and print all of it. The links work for two days:",
        "notice": "There is something for {unit}. Open this link to look at it:",
        "route": "There is a report for {unit}.",
        "reopened": "The resident says that this report is not solved. It is with {unit} again.",
        "refused": "{before} did not take this report. The reason: {reason} It is with {unit} now.",
        "handed_over": "{before} passed this report on. The reason: {reason} It is with {unit} now.",
        "message": "The resident has written about a report that is with {unit}.",
        "withdrawn": "The resident has withdrawn a report with {unit}. You have nothing more to do.",
        "erased": "A report with {unit} has been erased. Erase your e-mails and notes about it too.",
        "late": "This is late or nearly late, or could not be sent to the team.",
        "late_of": "{unit}: {count}",
        "late_where": "You find it at the desk, in the list of your team or by its number.",
        "number": "Number",
        "category": "About",
        "acknowledge_by": "See it before",
        "resolve_by": "Solve it before",
        "words": "What the resident wrote",
        "messages": "The conversation",
        "address": "Address",
        "point": "Place on the map",
        "happened": "When it happened",
        "contact": "Contact",
        "photos": "Photos: {count}. You see them in your own system or at the desk.",
        "not_an_emergency": "The resident saw the emergency number and wrote that there is no danger now.",
        "resident": "Resident",
        "unit": "Team",
        "link": "Open this link to say what you do with it:",
        "end": "Do not pass the link on to anybody. You cannot reply to this e-mail.",
        "time": "{day} {month} {year}, {clock}",
        "months": "January February March April May June July August September October November December",
    },
}
_SUBJECTS = {
    "reopened": "subject_reopened",
    "refused": "subject_moved",
    "handed_over": "subject_moved",
}
# Long lines stay whole, so that a link does; encoded words in the headers.
_POLICY = SMTP.clone(max_line_length=900, cte_type="7bit")


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes for one municipality; `sender` is whose e-mail it is."""

    municipality: Municipality
    sender: str

    @property
    def language(self) -> str:
        """The first of the municipality's languages that there is."""
        return next((one for one in self.municipality.languages if one in TEXTS), "en")

    @property
    def texts(self) -> Mapping[str, str]:
        """In that language."""
        return TEXTS[self.language]

    def write(
        self, delivery: Delivery, to: str, level: Extent, given: Mapping[str, Any], link: str, now: datetime
    ) -> EmailMessage:
        """The e-mail of a delivery. `given` is what `tips` gave, nothing unless `level` is words. The same
        delivery has the same Message-ID, by which a repeat is recognised and a bounce finds it."""
        lines = [*self._lines(delivery, level, given, link), "", self.texts["end"]]
        return self.letter(delivery.id, to, self._subject(delivery, level, given), lines, now)

    def letter(
        self, name: uuid.UUID, to: str, subject: str, lines: Iterable[str], now: datetime
    ) -> EmailMessage:
        """An e-mail of these lines; `name` tells it from every other one."""
        message = EmailMessage(policy=_POLICY)
        message["From"] = self.sender
        message["To"] = to
        message["Subject"] = subject
        message["Message-ID"] = f"<{name}@{self._domain}>"
        message["Date"] = format_datetime(now)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("\n".join(lines) + "\n")
        return message

    def _subject(self, delivery: Delivery, level: Extent, given: Mapping[str, Any]) -> str:
        about, which = about_of(delivery.step), "subject"
        if about == "digest":
            which = "subject_digest"
        elif delivery.kind == "issue" and about in ("withdrawn", "erased"):
            which = "subject_over"
        elif delivery.kind == "issue" and level != "notice":
            why = self._why(given)
            which = f"subject_{about}" if why is None else _SUBJECTS[why]
        return self.texts[which].format(
            town=self.town, category=self._category(delivery), unit=self._unit(delivery)
        )

    def _lines(self, delivery: Delivery, level: Extent, given: Mapping[str, Any], link: str) -> Iterator[str]:
        texts, about = self.texts, about_of(delivery.step)
        if about == "notice":
            yield from self._late(given)
            return
        if about == "digest":
            yield from self._digest(delivery, given, link)
            return
        if about in ("withdrawn", "erased"):
            # Whoever has to erase it must find it, and its number says nothing.
            yield texts[about].format(unit=self._unit(delivery))
            yield ""
            yield f"{texts['number']}: {delivery.report_id}"
            return
        if level == "notice":
            yield texts["notice"].format(unit=self._unit(delivery))
            yield link
            return
        yield texts[self._why(given) or about].format(unit=self._unit(delivery), **self._before(given))
        yield ""
        yield from self._codes(delivery)
        if level == "words" and about == "route":
            yield ""
            yield from self._words(delivery, given)
        if level == "words" and given.get("messages"):
            yield ""
            yield from self._conversation(given)
        yield ""
        yield texts["link"]
        yield link

    def _why(self, given: Mapping[str, Any]) -> str | None:
        """Why a report came that another unit had, or this one before; None for every other e-mail."""
        why: str | None = given.get("before", {}).get("why")
        return why

    def _before(self, given: Mapping[str, Any]) -> Mapping[str, str]:
        before = given.get("before")
        if not before:
            return {}
        reason = self.municipality.refusals.get(before["reason"])
        return {
            "before": self._unit_named(before["unit"]),
            "reason": self._named(reason) if reason else f"{before['reason']}.",
        }

    def _late(self, given: Mapping[str, Any]) -> Iterator[str]:
        """By the unit that has them; of each the number alone, and its category where codes may leave."""
        texts = self.texts
        yield texts["late"]
        for unit, count in given["by_unit"].items():
            yield ""
            yield texts["late_of"].format(unit=self._unit_named(unit), count=count)
            for one in given["reports"]:
                if one["unit"] == unit:
                    about = f" ({self._category_named(one['category'])})" if "category" in one else ""
                    yield f"{texts['number']}: {one['report_id']}{about}"
        yield ""
        yield texts["late_where"]

    def _digest(self, delivery: Delivery, digest: Mapping[str, Any], link: str) -> Iterator[str]:
        texts, areas = self.texts, self.municipality.area_sets[self.municipality.primary_area_set].areas
        yield texts["digest"].format(unit=self._unit(delivery))
        yield ""
        for part in digest["areas"]:
            area = areas.get(part["area"])
            yield texts["area"].format(
                area=self._named(area.names) if area else texts["nowhere"],
                open=part["open"],
                late=part["totals"]["late"],
                places=part["totals"]["places"],
            )
            if area:
                yield f"{link}?{urlencode({'area': part['area']})}"
        yield ""
        yield texts["print"]
        yield link

    def _codes(self, delivery: Delivery) -> Iterator[str]:
        texts = self.texts
        yield f"{texts['number']}: {delivery.report_id}"
        yield f"{texts['category']}: {self._category(delivery)}"
        for set_id, area_id in delivery.areas.items():
            areas = self.municipality.area_sets.get(set_id)
            area = areas.areas.get(area_id) if areas else None
            if areas and area:
                yield f"{self._named(areas.names)}: {self._named(area.names)}"
        yield f"{texts['acknowledge_by']}: {self.time(delivery.acknowledge_by)}"
        yield f"{texts['resolve_by']}: {self.time(delivery.resolve_by)}"

    def _words(self, delivery: Delivery, words: Mapping[str, Any]) -> Iterator[str]:
        texts = self.texts
        yield f"{texts['words']}:"
        yield str(words.get("description") or "-")
        place = words.get("location") or {}
        if address := place.get("address"):
            yield f"{texts['address']}: {address}"
        if point := place.get("point"):
            yield f"{texts['point']}: {point.get('latitude')}, {point.get('longitude')}"
        if happened := words.get("happened"):
            when = " - ".join(str(happened[key]) for key in ("from", "to") if happened.get(key))
            yield f"{texts['happened']}: {when}"
        yield from self._answers(delivery, words.get("answers") or {})
        if contact := words.get("contact"):
            yield f"{texts['contact']}: {', '.join(str(one) for one in contact.values() if one)}"
        if photos := words.get("photos"):
            yield texts["photos"].format(count=len(photos))
        if words.get("not_an_emergency"):
            yield texts["not_an_emergency"]

    def _answers(self, delivery: Delivery, answers: Mapping[str, Any]) -> Iterator[str]:
        category = self.municipality.categories.get(delivery.category)
        asked = {one.id: one for one in category.questions} if category else {}
        for question_id, answer in answers.items():
            question = asked.get(question_id)
            names = {one.id: self._named(one.names) for one in question.options} if question else {}
            told = answer if isinstance(answer, list) else [answer]
            name = self._named(question.names) if question else question_id
            yield f"{name} {', '.join(names.get(str(one), str(one)) for one in told)}"

    def _conversation(self, given: Mapping[str, Any]) -> Iterator[str]:
        yield f"{self.texts['messages']}:"
        for message in given.get("messages", ()):
            sender = "unit" if message.get("sender") == "unit" else "resident"
            yield f"{self.texts[sender]}: {message.get('text', '')}"

    @property
    def _domain(self) -> str:
        return parseaddr(self.sender)[1].rpartition("@")[2]

    @property
    def town(self) -> str:
        """Its name, in its first language."""
        return self._named(self.municipality.names)

    def _unit(self, delivery: Delivery) -> str:
        return self._unit_named(delivery.unit)

    def _unit_named(self, unit_id: str) -> str:
        unit = self.municipality.units.get(unit_id)
        return self._named(unit.names) if unit else unit_id

    def _category(self, delivery: Delivery) -> str:
        return self._category_named(delivery.category)

    def _category_named(self, category_id: str) -> str:
        category = self.municipality.categories.get(category_id)
        return self._named(category.names) if category else category_id

    def _named(self, texts: Texts) -> str:
        return self.municipality.text(texts, self.municipality.languages[0])

    def time(self, moment: datetime) -> str:
        """A moment as people of the municipality write it."""
        local = moment.astimezone(self.municipality.tz)
        month = self.texts["months"].split()[local.month - 1]
        return self.texts["time"].format(day=local.day, month=month, year=local.year, clock=f"{local:%H:%M}")


def delivery_of(message_id: str) -> uuid.UUID | None:
    """The delivery whose e-mail has a Message-ID; None where it is none of ours."""
    try:
        return uuid.UUID(message_id.strip().lstrip("<").partition("@")[0])
    except ValueError:
        return None
