"""The answer page's texts are whole in every language."""

from datetime import date
from typing import Any

import pytest

from services.notify.http.page import TEXTS, Page, spoken
from shared.municipality import Channel, Desk, Email, Extent, Webhook
from shared.municipality.channels import Leaves
from tests.unit.test_notify_routing import IBUURT
from tests.unit.test_notify_steps import dispatch

MAIL = Email(kind="email", address="team@town.example")
HOOK = Webhook(kind="webhook", url="https://town.example/hook")


def test_every_language_has_every_text() -> None:
    """And twelve months."""
    keys = set(TEXTS["en"])
    for language, texts in TEXTS.items():
        assert set(texts) == keys, language
        assert all(texts.values())
        assert len(texts["months"].split()) == 12


def test_a_municipality_whose_languages_the_page_does_not_speak_gets_english() -> None:
    """Its own names are marked with the language they are in."""
    town = IBUURT.model_copy(update={"languages": ("fr",), "names": {"fr": "Ville <d'ici>"}})
    assert spoken(town) == ("en",)
    content = Page(town, "en", spoken(town)).refusal("expired")
    assert '<html lang="en">' in content
    assert '<span lang="fr">Ville &lt;d&#x27;ici&gt;</span>' in content
    assert "<nav>" not in content


@pytest.mark.parametrize(
    ("channels", "fallback", "category", "email", "told"),
    [
        ((HOOK,), (), "street_light", "codes", "about"),
        ((MAIL,), (Desk(kind="desk"),), "street_light", "codes", "about"),
        ((MAIL,), (), "street_light", "codes", "about_asked"),
        ((MAIL,), (), "street_light", "words", "about_email"),
        ((MAIL,), (), "fraud", "notice", "about_asked"),
        ((MAIL,), (), "left_the_folder", "words", "about_asked"),
    ],
)
def test_the_page_says_where_the_report_itself_is_to_be_read(
    channels: tuple[Channel, ...], fallback: tuple[Channel, ...], category: str, email: Extent, told: str
) -> None:
    """A unit with e-mail alone has no system, and what was written only where the folder lets it out; whoever
    asks for it has the number."""
    unit = IBUURT.units["parking"].model_copy(update={"channels": channels, "fallback": fallback})
    known: dict[str, Any] = dict(IBUURT.categories)
    for name in {category} & set(known):
        known[name] = known[name].model_copy(update={"leaves": Leaves(email=email)})
    town = IBUURT.model_copy(update={"units": {"parking": unit}, "categories": known})
    one = dispatch()._replace(unit="parking", category=category)
    content = Page(town, "en", ("en",)).report(one, date(2026, 11, 27), "opened")
    assert [name for name in TEXTS["en"] if name.startswith("about") and TEXTS["en"][name] in content] == [
        told
    ]
    assert str(one.report_id) in content
    facts = [TEXTS["en"][name] for name in ("category", "acknowledge_by", "resolve_by")]
    assert [fact in content for fact in facts] == [email != "notice" and category in known] * 3
