"""What the contact of a webhook subscription is told when it was disabled. Level B1.

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
    },
}


class Disabled(NamedTuple):
    """A subscription that did nothing but fail since `failing_since`, and is called no more."""

    id: uuid.UUID
    name: str
    contact: str
    url: str
    failing_since: datetime
    last_failure: str | None
    disabled_at: datetime


def letter(one: Disabled, writer: Writer, now: datetime) -> EmailMessage:
    """The e-mail to its contact, under one Message-ID however often it is tried."""
    texts = TEXTS[writer.language]
    named = {"town": writer.town, "name": one.name}
    name = uuid.uuid5(one.id, f"disabled/{one.disabled_at.isoformat()}")
    return writer.letter(name, one.contact, texts["subject"].format(**named), _lines(one, writer), now)


def _lines(one: Disabled, writer: Writer) -> Iterator[str]:
    texts = TEXTS[writer.language]
    said = {
        "town": writer.town,
        "name": one.name,
        "host": urlsplit(one.url).hostname or "",
        "since": writer.time(one.failing_since),
        "failure": one.last_failure or "-",
        "disabled": writer.time(one.disabled_at),
    }
    for part in ("what", "failing", "stopped", "kept", "", "do", "mend", "ask", "leave", "", "end"):
        yield texts[part].format(**said) if part else ""
