"""Public issues as JSON, as GeoJSON (RFC 7946) and as Atom (RFC 4287). Nothing of a resident but the
text that a unit has approved."""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from services.tips.core.lifecycle import Step, in_order
from services.tips.core.public import Issue, TextBy
from services.tips.core.view import Words, ends_wait, givers, utc
from shared.municipality import Municipality

# The steps that the public sees: who is responsible, what is planned, what came of it. What is between unit
# and resident (a question, an answer), between the services and among the units is not.
PUBLIC_STEPS = frozenset(
    ("routed", "acknowledged", "planned", "refused", "handed_over", "resolved", "withdrawn", "reopened")
)
STATUS_NAMES: Mapping[str, Mapping[str, str]] = {
    "accepted": {"nl": "ontvangen", "en": "received"},
    "routed": {"nl": "bij een team", "en": "with a team"},
    "acknowledged": {"nl": "gezien", "en": "seen"},
    "planned": {"nl": "ingepland", "en": "planned"},
    "resolved": {"nl": "opgelost", "en": "solved"},
    "refused": {"nl": "niet in behandeling", "en": "not taken up"},
    "withdrawn": {"nl": "ingetrokken door de melder", "en": "taken back by the sender"},
    "handed_over": {"nl": "naar een ander team", "en": "passed on to another team"},
    "reopened": {"nl": "niet opgelost volgens de melder", "en": "not solved, says the sender"},
}
ATOM = "http://www.w3.org/2005/Atom"
GEORSS = "http://www.georss.org/georss"
# A feed must say when it was changed, and an empty one never was.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Shown:
    """An issue with what is public of it besides the topic."""

    issue: Issue
    text: str | None
    text_by: TextBy | None
    supporters: int


@dataclass(frozen=True, slots=True)
class Feed:
    """Where a feed is, what it shows, and where the next part of it is."""

    self_url: str
    site_url: str
    next_url: str | None = None


def as_json(shown: Shown) -> dict[str, Any]:
    """One issue. `text` is null until a unit has given or approved one."""
    issue = shown.issue
    place = issue.place
    return {
        "id": str(issue.issue_id),
        "category": issue.category,
        "areas": dict(issue.areas),
        "place": {"latitude": place.latitude, "longitude": place.longitude} if place else None,
        "status": issue.status,
        "version": issue.version,
        "page": issue.page,
        "accepted_at": utc(issue.accepted_at),
        "changed_at": utc(issue.changed_at),
        "text": shown.text,
        "text_by": shown.text_by,
        "supporters": shown.supporters,
    }


def as_feature(shown: Shown) -> dict[str, Any]:
    """One issue as a GeoJSON feature; its geometry is null where its place is not public."""
    properties = as_json(shown)
    place = properties.pop("place")
    point = {"type": "Point", "coordinates": [place["longitude"], place["latitude"]]} if place else None
    return {"type": "Feature", "id": properties.pop("id"), "geometry": point, "properties": properties}


def timeline(
    issue: Issue, steps: Iterable[Step], municipality: Municipality, language: str
) -> list[dict[str, Any]]:
    """The public steps in order, with names and reasons in a language of the municipality."""
    words = Words(municipality, language)
    accepted = {"status": "accepted", "at": utc(issue.accepted_at), "unit": None, "reason": None}
    ordered = in_order(steps)
    told = zip(ordered, givers(ordered), ends_wait(ordered), strict=True)
    shown = (words.entry(step, giver) for step, giver, out in told if step.step in PUBLIC_STEPS and not out)
    return [accepted, *shown]


def issues_feed(shown: Sequence[Shown], feed: Feed, municipality: Municipality, language: str) -> bytes:
    """Issues as an Atom feed, an entry each."""
    updated = max((one.issue.changed_at for one in shown), default=NEVER)
    root = _feed(feed, _town(municipality, language), updated, municipality, language)
    for one in shown:
        issue = one.issue
        title = f"{_category(issue.category, municipality, language)}: {_status(issue.status, language)}"
        entry = _entry(root, f"urn:uuid:{issue.issue_id}", title, issue.changed_at, issue.page)
        _add(entry, "published", text=utc(issue.accepted_at))
        _add(entry, "category", term=issue.category)
        _add(entry, "category", term=issue.status, scheme="urn:ibuurt:status")
        if one.text:
            _add(entry, "summary", text=one.text)
        if issue.place:
            point = ET.SubElement(entry, f"{{{GEORSS}}}point")
            point.text = f"{issue.place.latitude} {issue.place.longitude}"
    return _written(root)


def issue_feed(
    shown: Shown, steps: Iterable[Step], feed: Feed, municipality: Municipality, language: str
) -> bytes:
    """One issue as an Atom feed, an entry for each public step, the newest first."""
    issue = shown.issue
    title = f"{_category(issue.category, municipality, language)} – {_town(municipality, language)}"
    root = _feed(feed, title, issue.changed_at, municipality, language)
    entries = timeline(issue, steps, municipality, language)
    for number, step in reversed(list(enumerate(entries))):
        # An entry's id tells nothing of the event behind it.
        entry_id = uuid.uuid5(issue.issue_id, f"{step['at']} {step['status']} {number}")
        at = datetime.fromisoformat(step["at"])
        unit = f" – {step['unit']['name']}" if step["unit"] else ""
        title = f"{_status(step['status'], language)}{unit}"
        entry = _entry(root, f"urn:uuid:{entry_id}", title, at, issue.page)
        if step["reason"] and step["reason"]["text"]:
            _add(entry, "summary", text=step["reason"]["text"])
    return _written(root)


def _feed(feed: Feed, title: str, updated: datetime, municipality: Municipality, language: str) -> ET.Element:
    root = ET.Element(f"{{{ATOM}}}feed", {"{http://www.w3.org/XML/1998/namespace}lang": language})
    _add(root, "id", text=feed.self_url)
    _add(root, "title", text=title)
    _add(root, "updated", text=utc(updated))
    _add(_add(root, "author"), "name", text=_town(municipality, language))
    _add(root, "link", rel="self", type="application/atom+xml", href=feed.self_url)
    _add(root, "link", rel="alternate", href=feed.site_url)
    if feed.next_url:
        _add(root, "link", rel="next", type="application/atom+xml", href=feed.next_url)
    return root


def _entry(root: ET.Element, entry_id: str, title: str, updated: datetime, page: str) -> ET.Element:
    entry = _add(root, "entry")
    _add(entry, "id", text=entry_id)
    _add(entry, "title", text=title)
    _add(entry, "updated", text=utc(updated))
    _add(entry, "link", rel="alternate", href=page)
    return entry


def _add(parent: ET.Element, name: str, *, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
    element.text = _NOT_XML.sub("", text) if text else None
    return element


def _written(root: ET.Element) -> bytes:
    ET.register_namespace("", ATOM)
    ET.register_namespace("georss", GEORSS)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _town(municipality: Municipality, language: str) -> str:
    return municipality.text(municipality.names, language)


def _category(category_id: str, municipality: Municipality, language: str) -> str:
    category = municipality.categories.get(category_id)
    return municipality.text(category.names, language) if category else category_id


def _status(status: str, language: str) -> str:
    names = STATUS_NAMES[status]
    return names.get(language, names["en"])
