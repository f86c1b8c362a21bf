"""What the tests of a municipality's folder share."""

import shutil
from pathlib import Path

import pytest

from tests.unit.municipality.edits import IBUURT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of ibuurt that a test may break."""
    return Path(shutil.copytree(IBUURT, tmp_path / "ibuurt"))
