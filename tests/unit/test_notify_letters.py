"""What an e-mail to a unit says, and above all what it does not."""

import email
import email.policy
import uuid
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest

from services.notify.core.deliveries import Delivery
from services.notify.core.letters import Writer, delivery_of
from shared.municipality import Extent
from tests.unit.test_notify_routing import IBUURT

NOW = datetime(2026, 11, 26, 9, 5, 7, 123456, tzinfo=UTC)
LINK = "https://units.town.example/answer/abc.def"
WORDS: dict[str, Any] = {
    "description": "The lamp at the café is broken\n.\nsecond line",
    "location": {"address": "Havenstraat 14"},
    "happened": {"from": "2026-11-25T22:00", "to": "2026-11-25"},
    "answers": {"what_is_wrong": "flickers", "how_many": 3, "what": ["bags", "other"]},
    "contact": {"name": "Jansen", "email": None, "phone": "0612345678"},
    "photos": [{"id": "1"}],
    "not_an_emergency": True,
}
TALK: dict[str, Any] = {
    "messages": [
        {"number": 1, "sender": "unit", "text": "Which side?"},
        {"number": 2, "sender": "resident", "text": "The side of the canal"},
    ]
}
WRITER = Writer(IBUURT, "iBuurt <units@town.example>")


def delivery(category: str = "street_light", step: str = "route", channel: str = "email") -> Delivery:
    known = IBUURT.categories[category]
    return Delivery(
        id=uuid.UUID(int=7),
        report_id=uuid.UUID(int=5),
        unit="public_space",
        channel=channel,
        destination="@smtp",
        step=step,
        attempts=0,
        revived=0,
        due_at=NOW,
        leased_until=NOW,
        kind=known.kind,
        category=category,
        areas={"district": "oakwood"},
        language="nl",
        accepted_at=NOW,
        acknowledge_by=NOW,
        resolve_by=NOW,
    )


def written(one: Delivery, level: Extent, given: Any = None) -> tuple[EmailMessage, str]:
    """The e-mail as a reader's program has it, and its text."""
    raw = WRITER.write(one, "team@town.example", level, given or {}, LINK, NOW).as_bytes()
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed, str(parsed.get_content()).replace("\r\n", "\n")


def test_an_email_can_be_told_apart_and_is_not_answered() -> None:
    """The same delivery has the same Message-ID, by which a bounce finds it."""
    message, _ = written(delivery(), "codes")
    assert (message["From"], message["To"]) == ("iBuurt <units@town.example>", "team@town.example")
    assert message["Message-ID"] == f"<{uuid.UUID(int=7)}@town.example>"
    assert delivery_of(message["Message-ID"]) == uuid.UUID(int=7)
    assert message["Auto-Submitted"] == "auto-generated"
    assert written(delivery(), "codes")[0].as_bytes() == message.as_bytes()


def test_codes_of_an_issue_are_its_category_area_times_and_link() -> None:
    """And none of its words, which were not even fetched."""
    message, text = written(delivery(), "codes")
    assert message["Subject"] == "iBuurt: nieuwe melding (Straatverlichting kapot)"
    for part in (
        "Er is een melding voor Team Openbare Ruimte.",
        "Onderwerp: Straatverlichting kapot",
        f"Wijk: {IBUURT.area_sets['district'].areas['oakwood'].names['nl']}",
        "Bekijken voor: 26 november 2026, 10:05",
        "Oplossen voor: 26 november 2026, 10:05",
        LINK,
    ):
        assert part in text


def test_words_of_an_issue_are_all_of_it() -> None:
    """What was written, where, when, the answers by their names, and who it was."""
    _, text = written(delivery(), "words", WORDS)
    for part in (
        "The lamp at the café is broken\n.\nsecond line",
        "Adres: Havenstraat 14",
        "Wanneer het gebeurde: 2026-11-25T22:00 - 2026-11-25",
        "Wat is er met de lamp? De lamp knippert",
        "Hoeveel lampen zijn het? 3",
        "Contact: Jansen, 0612345678",
        "Foto's: 1.",
        "geen gevaar",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("why", "reason", "subject", "told"),
    [
        (
            "refused",
            "private_ground",
            "melding doorgegeven aan u",
            "Team Parkeren heeft deze melding niet aangenomen. De reden: Dit is grond van iemand anders.",
        ),
        ("handed_over", "gone_from_folder", "doorgegeven aan u", "De reden: gone_from_folder."),
        (
            "reopened",
            "done",
            "melding is niet opgelost",
            "De bewoner zegt dat deze melding niet is opgelost.",
        ),
    ],
)
def test_a_report_that_came_later_says_how_and_has_the_conversation(
    why: str, reason: str, subject: str, told: str
) -> None:
    """In its subject too, so that it is not taken for the first e-mail once more; the conversation only
    where words may leave."""
    before = {"before": {"why": why, "unit": "parking", "reason": reason}}
    message, text = written(delivery(step="route.2"), "codes", before)
    assert subject in message["Subject"]
    assert told in text
    assert "Team Openbare Ruimte heeft haar nu" in text
    _, text = written(delivery(step="route.2"), "words", WORDS | TALK | before)
    assert "The side of the canal" in text
    assert "Havenstraat 14" in text
    message, text = written(delivery("drug_dealing", "route.2"), "notice", before)
    assert "parking" not in text + message["Subject"]
    assert reason not in text


TIPS = [one for one in IBUURT.categories if IBUURT.categories[one].kind == "tip"]


@pytest.mark.parametrize("step", ["route", "route.3", "message.2", "withdrawn", "erased"])
@pytest.mark.parametrize("category", TIPS)
def test_a_notice_of_a_tip_says_only_that_there_is_something(category: str, step: str) -> None:
    """Nothing of its category, area, time or words, in headers or body; also where words were given in
    error."""
    message, text = written(delivery(category, step), IBUURT.categories[category].leaving("email"), WORDS)
    whole = " ".join(
        [text, *(f"{name}: {value}" for name, value in message.items() if name != "Date")]
    ).lower()
    names = IBUURT.categories[category].names
    area = IBUURT.area_sets["district"].areas["oakwood"]
    secrets = (
        category,
        *names.values(),
        "oakwood",
        *area.names.values(),
        "wijk:",
        "november",
        "2026",
        "10:05",
    )
    for secret in (*secrets, "lamp", "canal", "Havenstraat", "Jansen", "tip"):
        assert secret.lower() not in whole, secret


def test_a_notice_of_a_tip_and_of_an_issue_are_the_same() -> None:
    """Whoever sees one does not know of which kind it is."""
    assert written(delivery("fraud"), "notice")[0].as_bytes() == written(delivery(), "notice")[0].as_bytes()


def test_a_message_and_an_end_are_told_as_far_as_may_be() -> None:
    """The conversation where words may leave; else that there is one."""
    _, text = written(delivery(step="message.4"), "words", TALK)
    assert "Team: Which side?\nBewoner: The side of the canal" in text
    message, text = written(delivery(step="message.4"), "codes")
    assert "bericht over een melding" in message["Subject"]
    assert "canal" not in text
    message, text = written(delivery(step="erased"), "words")
    assert "Wis ook" in text
    assert str(uuid.UUID(int=5)) in text
    assert LINK not in text


def test_what_is_late_is_told_by_the_unit_that_has_it_and_its_number() -> None:
    """How many each has; of what no more than a notice may leave nothing else, of others the category."""
    one, other = uuid.uuid4(), uuid.uuid4()
    reports = [
        {"report_id": str(one), "unit": "parking", "needs": "soon"},
        {"report_id": str(other), "unit": "public_space", "needs": "soon", "category": "street_light"},
    ]
    given = {"counts": {"soon": 73}, "by_unit": {"parking": 72, "public_space": 1}, "reports": reports}
    message, text = written(delivery(step="notice"), "notice", given)
    assert message["Subject"] == "iBuurt: er staat iets voor u klaar"
    assert f"\n\nTeam Parkeren: 72\nNummer: {one}\n\n" in text
    assert f"\n\nTeam Openbare Ruimte: 1\nNummer: {other} (Straatverlichting kapot)\n\n" in text
    assert "aan de balie" in text
    for secret in ("soon", LINK, str(uuid.UUID(int=5)), "Wijk"):
        assert secret not in text


def test_a_digest_counts_what_it_does_not_list() -> None:
    """Its lists end at a hundred, its numbers do not."""
    totals = {"late": 130, "planned_today": 0, "places": 120}
    part = {"area": "oakwood", "open": 140, "totals": totals, "late": [{}] * 100, "places": [{}] * 100}
    _, text = written(delivery(step="digest"), "notice", {"areas": [part]})
    assert ": 140 open, 130 te laat of bijna, 120 plekken met meer meldingen" in text


def test_another_town_gets_its_language() -> None:
    """English where none of its languages is known here."""
    for languages, told in ((("en", "nl"), "There is a report"), (("de",), "There is a report")):
        town = IBUURT.model_copy(update={"languages": languages})
        names = {"names": {"en": "T", "de": "T", "nl": "T"}}
        town = town.model_copy(update=names | {"categories": {}, "units": {}, "area_sets": {}})
        raw = Writer(town, "a@b.example").write(delivery(), "c@d.example", "codes", {}, LINK, NOW)
        assert told in raw.get_content()


@pytest.mark.parametrize("text", ["", "<>", "<x@y>", "<@>", "x" * 10_000, "\0"])
def test_a_message_id_of_somebody_else_is_none_of_ours(text: str) -> None:
    """And no error."""
    assert delivery_of(text) is None
