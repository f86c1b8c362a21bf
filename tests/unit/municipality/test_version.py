"""Events carry the version of the folder that decided them."""

from pathlib import Path

import pytest

from shared.municipality import read
from tests.unit.municipality.edits import IBUURT, C, E, G, M, R, U, W, append, swap


@pytest.mark.parametrize("file", [M, C, U, R, W, G, E])
def test_the_version_changes_with_every_file_that_is_read(file: str, folder: Path) -> None:
    """Events carry the version, so two that carry the same one were decided by the same files."""
    before = read(folder).version
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content + b"\n")
    assert read(folder).version != before
    (folder / file).write_bytes(content)
    assert read(folder).version == before


def test_the_version_changes_when_a_line_moves_to_the_next_file(folder: Path) -> None:
    """The files are told apart, not only strung together."""
    append(W, "# moved\n")(folder)
    before = read(folder).version
    swap(W, "# moved\n", "")(folder)
    (folder / R).write_bytes(b"# moved\n" + (folder / R).read_bytes())
    assert read(folder).version != before


def test_the_version_does_not_change_with_files_that_are_not_read(folder: Path) -> None:
    """A README, a sample or a table for the import decides nothing."""
    before = read(folder).version
    for file in ("README.md", "types.toml", "sample.csv.gz", "unused.geojson"):
        (folder / file).write_bytes(b"anything")
    assert read(folder).version == before
    assert len(before) == 16
    assert int(before, 16) >= 0


def test_the_version_is_the_same_wherever_the_folder_stands(folder: Path) -> None:
    """Three services on three machines agree."""
    assert read(folder).version == read(IBUURT).version
