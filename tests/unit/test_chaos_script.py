"""tests/chaos.sh: what was skipped is not said to have passed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "chaos.sh"
PASSES = 'def test_one():\n    print("ledger of one: balanced")\n'
SKIPS = 'import pytest\n\n\ndef test_two():\n    pytest.skip("there is no go in PATH")\n'
FAILS = "def test_three():\n    assert False\n"


@pytest.mark.parametrize(
    ("parts", "code", "said"),
    [
        ({"kills": PASSES}, 0, ""),
        ({"network": PASSES + SKIPS, "kills": PASSES}, 1, "which is no pass: network"),
        ({"network": SKIPS}, 1, "which is no pass: network"),
        ({"network": SKIPS, "kills": FAILS}, 1, "failed: kills"),
    ],
)
def test_a_part_that_is_skipped_has_not_passed(
    tmp_path: Path, parts: dict[str, str], code: int, said: str
) -> None:
    """It is named, with why, and the run fails; the ledgers of the others are said."""
    folder = tmp_path / "tests/chaos"
    folder.mkdir(parents=True)
    for part, text in parts.items():
        (folder / f"test_{part}.py").write_text(text)
    done = subprocess.run(
        ["sh", SCRIPT, *parts],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout
    assert said in done.stdout
    assert ("no pass" in done.stdout) == (SKIPS in "".join(parts.values()))
    assert ("there is no go in PATH" in done.stdout) == (SKIPS in "".join(parts.values()))
    assert done.stdout.count("ledger of one") >= 2 * (PASSES in "".join(parts.values()))
