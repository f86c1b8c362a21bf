"""What the contact of a webhook subscription is told when it was disabled, or events of it were set aside.
Level B1.

Of its address only the host: what stands behind it may be a secret.
"""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.message import EmailMessage
from typing import NamedTuple
from urllib.parse import urlsplit

from services.notify.core.letters import Writer

TEXTS: Mapping[str, Mapping[str, str]] = {
    "nl": {
        "subject": "{town}: wij sturen niets meer naar uw systeem ({name})",
        "what": "Uw systeem krijgt berichten van {town} via {host}. Bij ons heet dat abonnement {name}.",
        "failing": "Sinds {since} nam uw systeem geen enkel bericht meer aan. De code van de laatste poging:"
        " {failure}.",
        "stopped": "Daarom sturen wij sinds {disabled} niets meer.",
        "kept": "U mist niets: wij bewaren wat er gebeurt, en sturen het later in de goede volgorde.",
        "do": "Wat kunt u doen?",
        "mend": "- Zorg dat uw systeem onze berichten weer aanneemt: het antwoordt op tijd met 200.",
        "ask": "- Vraag daarna de beheerder bij {town} om {name} weer aan te zetten.",
        "leave": "- Hebt u de berichten niet meer nodig? Vraag de beheerder dan om {name} weg te halen.",
        "end": "Op deze e-mail kunt u niet antwoorden.",
        "subject_aside": "{town}: uw systeem weigert berichten ({name})",
        "refused": "Uw systeem blijft berichten weigeren ({count}), en neemt andere wel aan. De code van het"
        " antwoord: {failure}.",
        "aside": "Deze berichten sturen wij niet meer, sinds {aside}. Wat daarna gebeurt, krijgt u wel.",
        "kept_aside": "Wij bewaren ze. Als wij ze later sturen, komen ze na berichten die nieuwer zijn.",
        "mend_aside": "- Zoek uit waarom uw systeem deze berichten weigert, en verhelp dat.",
        "ask_aside": "- Vraag daarna de beheerder bij {town} om ze opnieuw te sturen.",
    },
    "en": {
        "subject": "{town}: we send nothing more to your system ({name})",
        "what": "Your system gets messages from {town} at {host}. We call that subscription {name}.",
        "failing": "Since {since} your system has not taken a single message. The code of the last try:"
        " {failure}.",
        "stopped": "That is why we send nothing more since {disabled}.",
        "kept": "You miss nothing: we keep what happens, and send it later in the right order.",
        "do": "What can you do?",
        "mend": "- See to it that your system takes our messages again: it answers in time with 200.",
        "ask": "- Then ask the operator at {town} to switch {name} on again.",
        "leave": "- Do you not need the messages any more? Then ask the operator to remove {name}.",
        "end": "You cannot reply to this e-mail.",
        "subject_aside": "{town}: your system refuses messages ({name})",
        "refused": "Your system goes on refusing messages ({count}), and takes others. The code of its"
        " answer: {failure}.",
        "aside": "We send these messages no more since {aside}. What happens after them you do get.",
        "kept_aside": "We keep them. If we send them later, they come after messages that are newer.",
        "mend_aside": "- Find out why your system refuses these messages, and mend that.",
        "ask_aside": "- Then ask the operator at {town} to send them again.",
    },
}


# The lines of each letter, by what it is about.
_DISABLED = ("what", "failing", "stopped", "kept", "", "do", "mend", "ask", "leave", "", "end")
_ASIDE = ("what", "refused", "aside", "kept_aside", "", "do", "mend_aside", "ask_aside", "", "end")


class Trouble(NamedTuple):
    """What the contact of a subscription is told of: where it is disabled, that it did nothing but fail since
    `failing_since` and is called no more; else that `set_aside` of its events are not sent since
    `set_aside_since`, which its system refused with `refusal`."""

    id: uuid.UUID
    name: str
    contact: str
    url: str
    failing_since: datetime | None
    last_failure: str | None
    disabled_at: datetime | None
    set_aside: int
    set_aside_since: datetime | None
    refusal: str | None

    @property
    def since(self) -> datetime | None:
        """Since when it is so."""
        return self.disabled_at or self.set_aside_since


def letter(one: Trouble, writer: Writer, now: datetime) -> EmailMessage:
    """The e-mail to its contact, under one Message-ID however often it is tried."""
    texts = TEXTS[writer.language]
    named = {"town": writer.town, "name": one.name}
    about = "disabled" if one.disabled_at else "set aside"
    name = uuid.uuid5(one.id, f"{about}/{one.since.isoformat() if one.since else ''}")
    subject = texts["subject" if one.disabled_at else "subject_aside"].format(**named)
    return writer.letter(name, one.contact, subject, _lines(one, writer), now)


def _lines(one: Trouble, writer: Writer) -> Iterator[str]:
    texts = TEXTS[writer.language]
    said = {
        "town": writer.town,
        "name": one.name,
        "host": urlsplit(one.url).hostname or "",
        "since": writer.time(one.failing_since) if one.failing_since else "",
        "failure": (one.last_failure if one.disabled_at else one.refusal) or "-",
        "disabled": writer.time(one.disabled_at) if one.disabled_at else "",
        "count": one.set_aside,
        "aside": writer.time(one.set_aside_since) if one.set_aside_since else "",
    }
    for part in _DISABLED if one.disabled_at else _ASIDE:
        yield texts[part].format(**said) if part else ""
