"""Real reports go through: how Dutch residents wrote to Amsterdam and American ones to Newport."""

import asyncio
import csv
import gzip
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.tips.core.emergency import emergency
from shared import municipality
from shared.municipality.model import Area, AreaSet
from tests.conftest import MakeDatabase
from tests.integration.tips_server import IBUURT, ROOT, Answer, Tips, issue, running_tips

DATA = Path(os.environ.get("IBUURT_TEST_DATA", ROOT.parent / "shared" / "data"))
AMSTERDAM = DATA / "amsterdam" / "meldingen_text_label.csv"
POINTS = DATA / "amsterdam" / "meldingen_text_label_point_time.csv"
QUARTERS = DATA / "amsterdam" / "amsterdam_wijken.geojson"
NEWPORT = DATA / "newport" / "newport_seeclickfix_2017.jsonl.gz"
AT_ONCE = 6
# Of the points; eleven lie in none of the quarters.
TAKEN = {(201, ""): 86, (422, "outside-municipality"): 11}
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


def town_of_amsterdam() -> municipality.Municipality:
    """IBuurt with the quarters of Amsterdam as its areas."""
    features = json.loads(QUARTERS.read_text("utf-8"))["features"]
    areas = {}
    for feature in features:
        name = feature["properties"]["name"]
        area_id = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        areas[area_id] = Area(id=area_id, names={"nl": name, "en": name}, geometry=feature["geometry"])
    names = {"nl": "Wijk", "en": "Quarter"}
    found = AreaSet(id="district", names=names, file="quarters.geojson", areas=areas)
    return municipality.read(IBUURT).model_copy(update={"area_sets": {"district": found}})


async def test_real_reports_are_found_in_the_quarters_of_their_points(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """By the city's own quarters; what is public of them lies in the same place to a rounding, and a point
    outside all quarters is refused by name."""
    if not POINTS.exists():
        pytest.skip("../shared/data/amsterdam is not here, and may not be copied into the project")
    with POINTS.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    async with running_tips(await database("tips"), tmp_path, town_of_amsterdam()) as tips:
        answers = []
        for row in rows:
            # The file has the two the wrong way round.
            point = {"latitude": float(row["lng"]), "longitude": float(row["lat"])}
            body = report(row["text"], row["label"], "nl") | {"location": {"point": point}}
            answers.append((await tips.post(body), body))
        assert Counter((answer.status, answer.code) for answer, _ in answers) == TAKEN
        areas = await tips.rows("SELECT areas FROM report")
        assert all(json.loads(row["areas"]).get("district") for row in areas)
        assert len({row["areas"] for row in areas}) > 20
        shown = await tips.rows("SELECT latitude, longitude FROM issue")
        assert len(shown) > 50
        assert all(52.2 < row["latitude"] < 52.5 and 4.7 < row["longitude"] < 5.1 for row in shown)
