"""Whether an issue may have a public text, and which. No text is public before somebody of a unit says so."""

import hashlib
import hmac
from dataclasses import dataclass

from services.tips.core.public import TextBy
from services.tips.core.report import Report
from shared.municipality import Category


class NoPublicText(Exception):  # noqa: N818 - an outcome
    """This report has none, and never will: its kind or its category says so."""


class OtherText(Exception):  # noqa: N818 - an outcome
    """The category has public texts, of the other sort. `wanted` is "summary" or "words"."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


class OtherWords(Exception):  # noqa: N818 - an outcome
    """The words are not those that were approved."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the unit wrote; None takes a public text back."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Approval:
    """The words with this digest may be public; None takes a public text back."""

    digest: str | None


def digest_of(words: str) -> str:
    """What stands for exactly these words: SHA-256 of them in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(words.encode()).hexdigest()


def check(report: Report, category: Category | None, wanted: Summary | Approval) -> None:
    """Raises NoPublicText or OtherText where such a text is not for this report.

    `category` is the report's, None where the municipality has it no more. An issue's text may be taken
    back whatever the category says by now.
    """
    if report.kind != "issue":
        raise NoPublicText
    if wanted in (Summary(None), Approval(None)):
        return
    if category is None or not category.public or category.public_text == "none":
        raise NoPublicText
    if category.public_text != ("summary" if isinstance(wanted, Summary) else "words"):
        raise OtherText(category.public_text)


def decided(wanted: Summary | Approval, words: str) -> tuple[str | None, TextBy | None]:
    """The public text and who it is by. `words` are the resident's, as they are now. Raises OtherWords."""
    if isinstance(wanted, Summary):
        return (wanted.text, "unit") if wanted.text else (None, None)
    if wanted.digest is None:
        return None, None
    if not hmac.compare_digest(wanted.digest, digest_of(words)):
        raise OtherWords
    return words, "resident"
