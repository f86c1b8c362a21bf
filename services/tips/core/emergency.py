"""Whether a report says that somebody is in danger now: then the resident must call, not wait for a unit."""

from collections.abc import Iterable
from typing import Literal

from shared.municipality import Category, Wording

Matched = Literal["category", "words"]


def emergency(category: Category | None, texts: Iterable[str], wording: Wording) -> Matched | None:
    """What says that there is danger now, if anything: the category, where one is chosen, or words in one of
    the texts."""
    if category and category.danger:
        return "category"
    return "words" if any(wording.tells(text) for text in texts) else None
