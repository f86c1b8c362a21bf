"""Wording that means danger now: lists of phrases, and the form in which words are compared.

Case, accents, apostrophes, punctuation, zero-width characters and the width of letters do not count, nor
whether it is "someone's" or "someone is".
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Annotated, Self

from pydantic import AfterValidator, Field

from shared.municipality.parts import Language, Part, Text, Texts, wrong

NUMBER = "{number}"
# In a phrase, up to so many other words: "ligt * bewusteloos".
GAP, GAP_WORDS = "*", 3
_APOSTROPHES = dict.fromkeys(map(ord, "'’‘ʼ`´＇"))
_UNSEEN = ("Mn", "Me", "Cf")
# English as it is spoken, once its apostrophe is gone.
_CONTRACTIONS = {
    **{f"{who}s": f"{who} is" for who in ("someone", "somebody", "there", "he", "she", "everyone", "anyone")},
    "im": "i am",
    "ive": "i have",
    "theyre": "they are",
    "theyve": "they have",
    "weve": "we have",
    "youre": "you are",
    "whos": "who is",
    "thats": "that is",
}
_WORD = re.compile(r"[^\W_]+")


def normalised(text: str) -> str:
    """The words of a text in one form, one blank between two. Doing it again changes nothing."""
    text = text.translate(_APOSTROPHES)
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
        text = "".join(char for char in text if unicodedata.category(char) not in _UNSEEN)
    return " ".join(_CONTRACTIONS.get(word, word) for word in _WORD.findall(text.casefold()))


def _form(phrase: str) -> str:
    """A phrase as it is compared; what stands on both sides of a gap by itself."""
    return GAP.join(normalised(part) for part in phrase.split(GAP))


def _says_something(phrase: str) -> str:
    if not all(_form(phrase).split(GAP)):
        raise wrong(
            "the phrase has no word, or none beside a gap", "write what a person in danger would write"
        )
    return phrase


def _without_gap(phrase: str) -> str:
    if GAP in phrase:
        raise wrong("a harmless phrase has no gaps", f"write it without {GAP}")
    return phrase


def _all_different(phrases: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[str] = set()
    for phrase in phrases:
        if (form := _form(phrase)) in seen:
            raise wrong(f"the phrase {form!r} stands in the list twice", "write each phrase once")
        seen.add(form)
    return phrases


def _with_number(texts: Mapping[str, str]) -> Mapping[str, str]:
    if any(NUMBER not in text for text in texts.values()):
        raise wrong(f"the text does not name {NUMBER}", f"write {NUMBER} where the emergency number stands")
    return texts


Phrase = Annotated[Text, AfterValidator(_says_something)]


# A phrase in its pieces: what stands between its gaps.
Pieces = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wording:
    """What means danger now and what is cut out before that is looked for: normalised phrases, each under its
    longest word. Of hundreds of phrases a text then has to be searched for a few."""

    danger: Mapping[str, tuple[Pieces, ...]]
    harmless: Mapping[str, tuple[Pieces, ...]]

    @classmethod
    def of(cls, danger: Iterable[str], harmless: Iterable[str]) -> Self:
        return cls(_by_word(danger), _by_word(harmless))

    def tells(self, text: str) -> bool:
        """Whether a text tells of danger now: a phrase, in whole words."""
        written = f" {normalised(text)} "
        words = frozenset(written.split())
        if self.danger.keys().isdisjoint(words):
            return False
        for (phrase,) in _possible(self.harmless, words):
            # A sign that no phrase has, so that what stood on both sides does not become a phrase.
            written = written.replace(f" {phrase} ", " | ")
        return any(
            all(f" {piece} " in written for piece in pieces)
            and (len(pieces) == 1 or _pattern(pieces).search(written) is not None)
            for pieces in _possible(self.danger, words)
        )


def _by_word(phrases: Iterable[str]) -> dict[str, tuple[Pieces, ...]]:
    found: dict[str, tuple[Pieces, ...]] = {}
    for form in sorted({_form(phrase) for phrase in phrases}):
        word = max(form.replace(GAP, " ").split(), key=len)
        found[word] = (*found.get(word, ()), tuple(form.split(GAP)))
    return found


def _possible(phrases: Mapping[str, tuple[Pieces, ...]], words: frozenset[str]) -> list[Pieces]:
    return [pieces for word in sorted(words & phrases.keys()) for pieces in phrases[word]]


@cache
def _pattern(pieces: Pieces) -> re.Pattern[str]:
    gap = rf" (?:[^ |]+ ){{0,{GAP_WORDS}}}"
    return re.compile(f" {gap.join(map(re.escape, pieces))} ")


class EmergencyFile(Part):
    """emergency.toml: what a person in danger now would write, and what is answered."""

    text: Annotated[Texts, AfterValidator(_with_number)] = Field(
        description=f'one text per language, such as {{nl = "Is er nu gevaar? Bel {NUMBER}."}}'
    )
    phrases: Mapping[
        Language, Annotated[tuple[Phrase, ...], Field(min_length=1), AfterValidator(_all_different)]
    ] = Field(description='a list of phrases per language: en = ["he has a gun", "lying * unconscious"]')
    # Cut out of what a resident wrote before the phrases are looked for.
    harmless: Mapping[
        Language,
        Annotated[
            tuple[Annotated[Phrase, AfterValidator(_without_gap)], ...], AfterValidator(_all_different)
        ],
    ] = Field(default_factory=dict, description='a list of phrases per language: en = ["fire hydrant"]')

    def wording(self) -> Wording:
        """The phrases of all languages together: people write in another one than they chose."""
        return Wording.of(chain(*self.phrases.values()), chain(*self.harmless.values()))
