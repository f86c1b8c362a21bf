"""Real reports go through: how Dutch residents wrote to Amsterdam and American ones to Newport."""

import asyncio
import csv
import gzip
import json
from collections import Counter
from typing import Any

import pytest

from services.tips.core.emergency import emergency
from shared import municipality
from tests.integration.tips_server import IBUURT, ROOT, Answer, Tips, issue

DATA = ROOT.parent / "shared" / "data"
AMSTERDAM = DATA / "amsterdam" / "meldingen_text_label.csv"
NEWPORT = DATA / "newport" / "newport_seeclickfix_2017.jsonl.gz"
AT_ONCE = 6
# The city's label, or the site's type, as a category of ours that asks nothing that must be answered.
CATEGORIES = {
    "Afval": "bulky_waste",
    "Wegen, verkeer, straatmeubilair": "road_damage",
    "Overlast in de openbare ruimte": "graffiti",
    "Overlast van en door personen of groepen": "youth_nuisance",
    "Overlast Bedrijven en Horeca": "noise",
    "Overlast van dieren": "trees_and_parks",
    "Roadway or Sidewalk Issue": "road_damage",
    "Pothole Issue": "road_damage",
    "Traffic Sign/Pavement Marking Issue": "dangerous_crossing",
    "Missed Trash or Bulky Waste Collection": "bulky_waste",
    "Tree or Vegetation Issue": "trees_and_parks",
    "Recreation Facility, Sports Field or Park Issue": "trees_and_parks",
    "Playground Issue": "trees_and_parks",
    "Cliff Walk Issue": "trees_and_parks",
    "Beach Issue": "trees_and_parks",
    "Graffiti Issue": "graffiti",
    "Street Light Issue": "street_light",
}


def amsterdam() -> list[dict[str, Any]]:
    """97 reports, as the callers' clerks and the residents wrote them."""
    if not AMSTERDAM.exists():
        pytest.skip("../shared/data/amsterdam is not here, and may not be copied into the project")
    with AMSTERDAM.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [report(row["Tekst"], row["Label"], "nl") for row in rows]


def newport() -> list[dict[str, Any]]:
    """1,031 reports; what has no description has its summary."""
    if not NEWPORT.exists():
        pytest.skip("../shared/data/newport is not here, and may not be copied into the project")
    with gzip.open(NEWPORT, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        report("\n".join(filter(None, (row["summary"], row["description"]))), row["request_type.title"], "en")
        for row in rows
    ]


def report(words: str, label: str | None, language: str) -> dict[str, Any]:
    category = CATEGORIES.get(label or "", "street_light")
    return issue(category=category, description=words, language=language, location=None)


@pytest.mark.parametrize(("reports", "count"), [(amsterdam, 97), (newport, 1031)])
async def test_every_real_report_is_taken_and_the_emergency_stop_stops_none(
    reports: Any, count: int, tips: Tips
) -> None:
    """None of them tells of danger now (docs/adr/0020), so every stop would be a false alarm."""
    bodies = reports()
    slots = asyncio.Semaphore(AT_ONCE)

    async def send(body: dict[str, Any]) -> Answer:
        async with slots:
            return await tips.post(body)

    answers = await asyncio.gather(*(send(body) for body in bodies))
    assert Counter((answer.status, answer.code) for answer in answers) == {(201, ""): count}
    rows = await tips.rows("SELECT report_id FROM report")
    read = [await tips.words(row["report_id"]) for row in rows]
    assert Counter(one.body["description"] for one in read) == Counter(
        body["description"].strip() for body in bodies
    )


def test_the_words_of_danger_stand_out_among_real_ones() -> None:
    """With a cry for help after it every real report is stopped: length and line breaks hide nothing."""
    town = municipality.read(IBUURT)
    for body, cry in [(one, "Help, er wordt nu ingebroken!") for one in amsterdam()] + [
        (one, "He's got a gun!") for one in newport()
    ]:
        text = f"{body['description']}\n{cry}"
        assert emergency(town.categories[body["category"]], [text], town.emergency_wording) == "words"
