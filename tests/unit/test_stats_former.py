"""Former versions that a municipality's folder keeps: as they were printed, or what is wrong with a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.stats import former
from services.stats.core.spec import Spec, spec_of
from shared.errors import Refusal
from shared.municipality import read
from tests.integration.service_process import ended, environment
from tests.stats_town import SPEC

ROOT = Path(__file__).parents[2]
TOWN = "deploy/municipalities/ibuurt"
CURRENT = SPEC.model_copy(update={"id": "town-11"})


def keep(folder: Path, name: str, content: str) -> None:
    (folder / former.FOLDER).mkdir(exist_ok=True)
    (folder / former.FOLDER / name).write_text(content, "utf-8")


def version(number: int) -> Spec:
    return SPEC.model_copy(update={"id": f"town-{number}"})


def test_they_are_read_oldest_first(tmp_path: Path) -> None:
    """By their number; a folder that keeps none has none. The current one may be printed already."""
    assert former.read(tmp_path, CURRENT) == []
    for number in (9, 10, 11, 2):
        keep(tmp_path, f"town-{number}.json", version(number).model_dump_json())
    assert former.read(tmp_path, CURRENT) == [version(2), version(9), version(10)]


def _without_noise(spec: dict[str, Any]) -> None:
    spec["tables"][0]["scale"] = 0


WRONG: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "another name": (
        "town-2.json",
        lambda spec: None,
        "holds town-1: a file there is named by what it holds",
    ),
    "another current version": (
        "town-11.json",
        lambda spec: spec.update(id="town-11", zone="Europe/Brussels"),
        "is another town-11 than statistics.toml, areas and categories ask for: put them back",
    ),
    "a later version": ("town-12.json", lambda spec: spec.update(id="town-12"), "a version before town-11"),
    "another town": ("city-1.json", lambda spec: spec.update(id="city-1"), "holds city-1: a file there"),
    "no version": ("town-.json", lambda spec: spec.update(id="town-"), "holds town-: a file there"),
    "no noise": (
        "town-1.json",
        _without_noise,
        "`stats spec` prints: table reports.week_part has the scale 0",
    ),
    "no tables": ("town-1.json", lambda spec: spec.pop("tables"), "prints: tables: Field required; print it"),
    "no such zone": ("town-1.json", lambda spec: spec.update(zone="Mars/Base"), "no time zone 'Mars/Base'"),
    "no zone": ("town-1.json", lambda spec: spec.update(zone="../x"), "is not what `stats spec` prints: "),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_a_file_that_is_none_is_named(tmp_path: Path, what: str) -> None:
    """With what is wrong, and what to do."""
    name, change, said = WRONG[what]
    spec = json.loads(version(1).model_dump_json())
    change(spec)
    keep(tmp_path, name, json.dumps(spec))
    with pytest.raises(Refusal) as refused:
        former.read(tmp_path, CURRENT)
    assert str(refused.value).startswith(f"statistics-former/{name} ")
    assert said in str(refused.value)


@pytest.mark.parametrize("content", ["", "{", "null", '"town-1"', "[" * 100_000])
def test_what_is_no_spec_at_all_is_named(tmp_path: Path, content: str) -> None:
    keep(tmp_path, "town-1.json", content)
    with pytest.raises(Refusal, match=r"statistics-former/town-1\.json is not what `stats spec` prints: "):
        former.read(tmp_path, CURRENT)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / former.FOLDER / "town-1.json").mkdir(parents=True)
    with pytest.raises(Refusal, match=r"prints: .*Is a directory"):
        former.read(tmp_path, CURRENT)


@pytest.mark.parametrize("how", [[], ["--folder", TOWN]])
def test_what_the_command_prints_is_read(tmp_path: Path, how: list[str]) -> None:
    """Of the folder in use, or of the one that is named."""
    used = Path("deploy/municipalities/nowhere" if how else TOWN)
    env = environment("postgresql://nobody@127.0.0.1:1/none", "127.0.0.1:1", used, signing_key="k" * 32)
    printed = ended("stats", env, "spec", *how)
    assert printed.returncode == 0, printed.stderr
    keep(tmp_path, "ibuurt-1.json", printed.stdout)
    shipped = spec_of(read(ROOT / TOWN))
    assert former.read(tmp_path, shipped.model_copy(update={"id": "ibuurt-2"})) == [shipped]
