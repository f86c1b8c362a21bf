"""Ways to break a copy of ibuurt's folder, and what must then be found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shared.errors import Mistake, MunicipalityError
from shared.municipality import read

ROOT = Path(__file__).parents[3]
FOLDERS = ROOT / "deploy" / "municipalities"
IBUURT = FOLDERS / "ibuurt"

M, C, U, R, W, G, E, S = (
    "municipality.toml",
    "categories.toml",
    "units.toml",
    "routing.toml",
    "reasons.toml",
    "districts.geojson",
    "emergency.toml",
    "statistics.toml",
)
LAMP = 'id = "street_light"\nkind = "issue"'
CENTRE = "area = { district = ["
URL = "https://units.ibuurt.example/front-desk"

Edit = Callable[[Path], None]


class Planted(NamedTuple):
    """A mistake that `edit` makes: the file and the place in it, and part of the problem and of the mend."""

    edit: Edit
    file: str
    path: str
    problem: str
    mend: str


def mistakes_of(folder: Path) -> tuple[Mistake, ...]:
    with pytest.raises(MunicipalityError) as caught:
        read(folder)
    return caught.value.mistakes


def swap(name: str, old: str, new: str) -> Edit:
    """Replaces the first place where `old` stands; fails where it does not stand."""

    def edit(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def swap_all(name: str, old: str, new: str) -> Edit:
    """Replaces every place where `old` stands; fails where it does not stand."""

    def edit(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return edit


def append(name: str, text: str) -> Edit:
    def edit(folder: Path) -> None:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)

    return edit


def write(name: str, content: bytes) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return edit


def remove(name: str, then_a_folder: bool = False) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).unlink()
        if then_a_folder:
            (folder / name).mkdir()

    return edit


def areas(change: Callable[[Any], None]) -> Edit:
    """Changes the parsed GeoJSON."""

    def edit(folder: Path) -> None:
        path = folder / "districts.geojson"
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        path.write_text(json.dumps(value), encoding="utf-8")

    return edit


def feature(number: int, **parts: object) -> Edit:
    return areas(lambda value: value["features"][number].update(parts))


def ring(number: int, change: Callable[[list[Any]], None]) -> Edit:
    return areas(lambda value: change(value["features"][number]["geometry"]["coordinates"][0]))


def polygon(*positions: list[float]) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": [list(positions)]}


def turn(positions: list[Any]) -> None:
    positions[:] = [[latitude, longitude] for longitude, latitude in positions]
