"""The answer page's texts are whole in every language."""

from services.notify.http.page import TEXTS, Page, spoken
from tests.unit.test_notify_routing import IBUURT


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
