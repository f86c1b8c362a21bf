"""The command that checks a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.municipality import read
from shared.municipality.__main__ import main
from tests.unit.municipality.edits import IBUURT, ROOT, C, M
from tests.unit.municipality.planted_entries import ENTRIES
from tests.unit.municipality.planted_files import FILES


def test_the_command_says_in_one_line_that_a_folder_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, with the version that events will carry."""
    assert main([str(IBUURT)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert read(IBUURT).version in line


def test_the_command_prints_one_line_per_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, so that a pipeline stops."""
    FILES["zone"].edit(folder)
    ENTRIES["public tip"].edit(folder)
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [[M, "zone"], [C, "categories[14].public"]]


def test_the_module_needs_no_geometry_library() -> None:
    """Two of the three services have neither shapely nor numpy."""
    code = "import sys, shared.municipality; sys.exit(bool({'shapely', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
