"""Whether a report can be taken: its category, language and place, held against the municipality.

Every refusal names what is possible instead, and repeats nothing of what was sent.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from services.tips import receipts
from services.tips.areas import Areas
from services.tips.body import Contact, Happened, Location, NewReport, Point, moment_of
from services.tips.core import texts
from services.tips.core.emergency import emergency
from shared.municipality import Category, Municipality
from shared.web import Problem

# Clocks differ, and a day that has begun elsewhere is no mistake.
FUTURE = timedelta(days=1)
_MINT = "mint it from 128 random bits, such as 22 characters of base64url, once for each"


def check_key(sent: Iterable[str], what: str = "report") -> str:
    """The one idempotency key of a request that sends a `what`. Raises Problem 400."""
    keys = list(sent)
    if not keys:
        raise Problem(
            400,
            "idempotency-key-missing",
            "No Idempotency-Key",
            f"Send the header Idempotency-Key: {_MINT} {what}.",
        )
    if len(keys) > 1 or not receipts.is_strong_key(keys[0]):
        raise Problem(
            400,
            "idempotency-key-weak",
            "Not a strong Idempotency-Key",
            f"Send one Idempotency-Key of 22 to 128 characters of A-Z a-z 0-9 _ -, at least"
            f" {receipts.KEY_DIFFERENT_CHARACTERS} of them different; {_MINT} {what}, and tell it"
            " nobody: that of a report leads to it.",
        )
    return keys[0]


def check_category(body: NewReport, municipality: Municipality) -> Category:
    """The category that a report has. Raises Problem 422."""
    category = municipality.categories.get(body.category)
    if category is None or category.kind != body.kind:
        allowed = [one.id for one in municipality.categories.values() if one.kind == body.kind]
        article = "an issue" if body.kind == "issue" else "a tip"
        raise _not_allowed("unknown-category", "/category", f"no category of {article}", allowed)
    return category


def check_language(body: NewReport, municipality: Municipality) -> str:
    """The language that a report is in. Raises Problem 422."""
    language = body.language or municipality.languages[0]
    if language not in municipality.languages:
        raise _not_allowed("unknown-language", "/language", "no language here", municipality.languages)
    return language


def check_emergency(
    written: Iterable[str],
    language: str,
    municipality: Municipality,
    *,
    insists: bool,
    category: Category | None = None,
) -> None:
    """Raises Problem 422 where what a resident wrote, or the category that was chosen for it, tells of danger
    now and the sender does not insist that there is none: nothing of it is kept. It is told in `language`,
    and in `texts` in every language: people in danger write in their own."""
    if insists:
        return
    matched = emergency(category, written, municipality.emergency_wording)
    if matched is None:
        return
    spoken = texts.chosen(texts.DANGER, language)
    raise Problem(
        422,
        "emergency",
        texts.DANGER[spoken],
        municipality.danger_text(language),
        errors=[("/not_an_emergency", texts.NO_DANGER[spoken])],
        emergency_number=municipality.emergency_number,
        matched=matched,
        language=language,
        texts={one: municipality.danger_text(one) for one in municipality.languages},
    )


def check_contact(contact: Contact | None, category: Category) -> None:
    """Whether a category takes contact data. Raises Problem 422."""
    if contact is None or category.contact:
        return
    why = "a tip is anonymous" if category.kind == "tip" else "this category takes no contact data"
    raise Problem(
        422,
        "contact-not-possible",
        "No contact data here",
        f"Send the report without contact: {why}.",
        errors=[("/contact", f"{why}: leave out contact")],
    )


def check_happened(happened: Happened | None, zone: ZoneInfo, now: datetime) -> None:
    """Whether it can have happened. Raises Problem 422 for what is later than a day from `now` (UTC)."""
    if happened is None:
        return
    latest = (now + FUTURE).astimezone(zone).replace(tzinfo=None)
    faults = [
        (f"/happened/{name}", "this is more than a day ahead: give when it happened, or leave it out")
        for name, text in (("from", happened.begin), ("to", happened.end))
        if text and (moment := moment_of(text)) and moment > latest
    ]
    if faults:
        raise Problem(422, "not-yet", "Not happened yet", "Mend the times named in `errors`.", errors=faults)


def check_place(location: Location | None, municipality: Municipality, areas: Areas) -> dict[str, str]:
    """The area per area set that a place lies in, as far as it is known. Raises Problem 422."""
    if location is None:
        return {}
    if location.point:
        return _areas_of(location.point, municipality, areas)
    if location.area:
        return _named_areas(location.area, municipality)
    return {}


def _areas_of(point: Point, municipality: Municipality, areas: Areas) -> dict[str, str]:
    primary = municipality.primary_area_set
    found = areas.find(point.latitude, point.longitude)
    if primary in found:
        return found
    name = municipality.text(municipality.names, municipality.languages[0])
    if primary in areas.find(point.longitude, point.latitude):
        raise Problem(
            422,
            "coordinates-swapped",
            "Latitude and longitude are swapped",
            f"The point is outside {name}, and inside when its two numbers change places: swap them.",
            errors=[("/location/point", "swap latitude and longitude")],
        )
    raise Problem(
        422,
        "outside-municipality",
        "Outside the municipality",
        f"The point lies outside {name}. Choose another point, or give an address or an area instead.",
        errors=[("/location/point", f"this is outside {name}")],
    )


def _named_areas(named: Mapping[str, str], municipality: Municipality) -> dict[str, str]:
    for set_id, area_id in named.items():
        area_set = municipality.area_sets.get(set_id)
        if area_set is None:
            raise _not_allowed(
                "unknown-area-set", "/location/area", "no area set here", municipality.area_sets
            )
        if area_id not in area_set.areas:
            pointer = f"/location/area/{area_set.id}"
            raise _not_allowed("unknown-area", pointer, "no area of this set", area_set.areas)
    return dict(named)


def _not_allowed(code: str, pointer: str, what: str, allowed: Iterable[str]) -> Problem:
    return Problem(
        422,
        code,
        "Not one of those that are possible",
        "Choose one of those in `allowed`.",
        errors=[(pointer, f"this is {what}")],
        allowed=list(allowed),
    )
