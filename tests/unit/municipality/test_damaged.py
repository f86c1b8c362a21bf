"""Whatever stands in the files, reading answers with the municipality or with its mistakes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import MunicipalityError
from shared.municipality import read
from tests.unit.municipality.edits import IBUURT, C, E, G, M, R, S, U, W


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("scratch") / "ibuurt"
    shutil.copytree(IBUURT, path)
    yield path
    shutil.rmtree(path)


def answer_of(folder: Path) -> None:
    """Fails unless read() answers in one of its two ways, the second printable and a line per mistake."""
    lines = 0
    try:
        municipality = read(folder)
    except MunicipalityError as error:
        lines = len(str(error).encode().decode().split("\n")) - len(error.mistakes)
    else:
        assert municipality.slug
    assert lines == 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from([M, C, U, R, W, G, E, S]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    kept=st.floats(0, 1) | st.just(1.0),
)
def test_a_damaged_file_is_a_mistake_or_none_and_never_a_crash(
    file: str, flips: list[tuple[float, int]], kept: float, scratch: Path
) -> None:
    """Bytes changed and cut off: read() answers with the municipality or with its mistakes."""
    content = bytearray((IBUURT / file).read_bytes())
    for place, byte in flips:
        content[int(place * len(content))] = byte
    (scratch / file).write_bytes(content[: int(kept * len(content))])
    try:
        answer_of(scratch)
    finally:
        shutil.copyfile(IBUURT / file, scratch / file)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(
        [(), ("features",), ("features", 0), ("features", 0, "geometry"), ("features", 0, "properties")]
        + [("features", 0, "geometry", "coordinates", *[0] * depth) for depth in range(4)]
        + [("features", 0, "properties", "id"), ("features", 0, "properties", "names")]
    ),
    value=VALUES,
)
def test_any_json_in_the_place_of_an_area_is_a_mistake_or_none(
    place: tuple[int | str, ...], value: object, scratch: Path
) -> None:
    """Whatever stands in the GeoJSON, read() answers with the municipality or with its mistakes."""
    holder: Any = [json.loads((IBUURT / G).read_text(encoding="utf-8"))]
    inner = holder
    for step in (0, *place)[:-1]:
        inner = inner[step]
    inner[(0, *place)[-1]] = value
    (scratch / G).write_text(json.dumps(holder[0], allow_nan=True), encoding="utf-8")
    try:
        answer_of(scratch)
    finally:
        shutil.copyfile(IBUURT / G, scratch / G)
