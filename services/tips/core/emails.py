"""What an e-mail to a resident says: that there is news and where to read it, never a word of the report.

Level B1. The links carry a token that opens these two things alone: to confirm, and to end.
"""

import hashlib
import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

# Texts per language; a municipality's other languages get its default one's, or English.
TEXTS: Mapping[str, Mapping[str, str]] = {
    "nl": {
        "confirm_subject": "{town}: wilt u e-mail over uw melding?",
        "confirm": "Iemand wil op dit adres e-mail krijgen over een melding in {town}.\n\n"
        "Was u dat? Open dan deze link en druk op de knop:\n{confirm}\n\n"
        "Was u dat niet? Doe dan niets. U krijgt geen e-mail meer van ons, en na twee dagen wissen wij uw"
        " adres.\n",
        "news_subject": "{town}: nieuws over uw melding",
        "news": "Er is nieuws over uw melding in {town}: {status}\n\n"
        "Wilt u alles lezen? Ga naar {home} en vul uw code in. De code kreeg u toen u de melding deed.\n\n"
        "Wilt u geen e-mail meer? Open deze link en druk op de knop:\n{end}\n",
        "title_confirm": "E-mail over uw melding",
        "ask_confirm": "Wilt u e-mail krijgen als er nieuws is over uw melding?",
        "press_confirm": "Ja, stuur mij e-mail",
        "did_confirm": "U krijgt e-mail als er nieuws is over uw melding.",
        "title_end": "Geen e-mail meer",
        "ask_end": "Wilt u geen e-mail meer krijgen over uw melding?",
        "press_end": "Stop met e-mail",
        "did_end": "U krijgt geen e-mail meer over deze melding. Wij hebben uw adres gewist.",
        "title_gone": "Deze link werkt niet meer",
        "gone": "De link is te oud, of u krijgt al geen e-mail meer. U hoeft niets te doen.",
        "routed": "een team gaat ermee aan de slag.",
        "acknowledged": "het team heeft uw melding gelezen.",
        "planned": "er is een dag gekozen voor het werk.",
        "refused": "het team kan dit niet voor u doen. U leest waarom.",
        "resolved": "het team is klaar. Is het niet opgelost? Laat het ons weten.",
        "spam": "wij zien uw melding als spam of misbruik. U leest wat u kunt doen als dat niet klopt.",
        "answer_asked": "het team heeft een vraag aan u.",
        "message": "het team heeft u een bericht gestuurd.",
    },
    "en": {
        "confirm_subject": "{town}: do you want e-mail about your report?",
        "confirm": "Somebody wants to get e-mail at this address about a report in {town}.\n\n"
        "Was it you? Then open this link and press the button:\n{confirm}\n\n"
        "Was it not you? Then do nothing. You get no more e-mail from us, and after two days we erase your"
        " address.\n",
        "news_subject": "{town}: news about your report",
        "news": "There is news about your report in {town}: {status}\n\n"
        "Do you want to read it all? Go to {home} and type in your receipt. You got it when you sent the"
        " report.\n\nDo you want no more e-mail? Open this link and press the button:\n{end}\n",
        "title_confirm": "E-mail about your report",
        "ask_confirm": "Do you want e-mail when there is news about your report?",
        "press_confirm": "Yes, send me e-mail",
        "did_confirm": "You will get e-mail when there is news about your report.",
        "title_end": "No more e-mail",
        "ask_end": "Do you want no more e-mail about your report?",
        "press_end": "Stop e-mail",
        "did_end": "You get no more e-mail about this report. We have erased your address.",
        "title_gone": "This link no longer works",
        "gone": "The link is too old, or you get no e-mail any more. You do not have to do anything.",
        "routed": "a team is going to work on it.",
        "acknowledged": "the team has read your report.",
        "planned": "a day is set for the work.",
        "refused": "the team cannot do this for you. You can read why.",
        "resolved": "the team has finished. Is it not solved? Let us know.",
        "spam": "we take your report for spam or abuse. You can read what to do if that is wrong.",
        "answer_asked": "the team has a question for you.",
        "message": "the team has sent you a message.",
    },
}
CONFIRM = "confirm"
# A link in a header is on one line: folded, it would be encoded, and no mail program would know it again.
_POLICY = SMTP.clone(max_line_length=998)
# The steps that a resident is told by e-mail; the others are on the report's page. What a unit writes is told
# when it is written.
NEWS = frozenset({"routed", "acknowledged", "planned", "refused", "resolved"})


@dataclass(frozen=True)
class Sender:
    """Whose e-mail it is, and where its links lead: the addresses that people reach, without a slash at the
    end."""

    town: str
    address: str
    public_url: str

    @property
    def domain(self) -> str:
        """The part of the address behind the @."""
        return self.address.rpartition("@")[2].rstrip(">")


def texts(language: str, languages: tuple[str, ...]) -> Mapping[str, str]:
    """The texts in a language, or in the first of the municipality's that there is."""
    return TEXTS[next((one for one in (language, *languages) if one in TEXTS), "en")]


def token(subscription_id: uuid.UUID, secret: bytes) -> str:
    """What a link must carry to act on a subscription: 128 bits of HMAC-SHA-256, hexadecimal."""
    return hmac.digest(secret, b"ibuurt email 1\0" + subscription_id.bytes, hashlib.sha256)[:16].hex()


def is_token(given: str, subscription_id: uuid.UUID, secret: bytes) -> bool:
    """Whether the link's token is the subscription's."""
    return hmac.compare_digest(given.encode(), token(subscription_id, secret).encode())


def email_id(cause: uuid.UUID) -> uuid.UUID:
    """The id of the e-mail about something that has an id: whoever hears of it twice adds one e-mail."""
    return uuid.uuid5(cause, "email")


def message_name(email: uuid.UUID, secret: bytes) -> str:
    """The part of the Message-ID before the @: the same each time that an e-mail is sent, and not to be
    computed from the event that it is about, whose id is on a topic."""
    return hmac.digest(secret, b"ibuurt message-id 1\0" + email.bytes, hashlib.sha256)[:16].hex()


def told(status: str) -> str:
    """What an e-mail says of a status: that the unit's system has it is nothing more than whose it is."""
    return "routed" if status == "delivered" else status


def about_message(*, asks: bool) -> str:
    """What an e-mail says of a unit's message: that there is one."""
    return "answer_asked" if asks else "message"


def compose(
    about: str,
    to: str,
    name: str,
    link: str,
    sender: Sender,
    said: Mapping[str, str],
    now: datetime,
) -> EmailMessage:
    """The e-mail; `link` is the subscription's path. Sent again it has the same `name`, by which a receiver
    may drop the repeat."""
    message = EmailMessage(policy=_POLICY)
    base = f"{sender.public_url}{link}"
    which = CONFIRM if about == CONFIRM else "news"
    message["From"] = sender.address
    message["To"] = to
    message["Subject"] = said[f"{which}_subject"].format(town=sender.town)
    message["Message-ID"] = f"<{name}@{sender.domain}>"
    message["Date"] = format_datetime(now)
    message["Auto-Submitted"] = "auto-generated"
    if which == "news":
        # One click, RFC 8058.
        message["List-Unsubscribe"] = f"<{base}/end>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(
        said[which].format(
            town=sender.town,
            confirm=f"{base}/confirm",
            end=f"{base}/end",
            home=sender.public_url,
            status=said.get(about, ""),
        )
    )
    return message
