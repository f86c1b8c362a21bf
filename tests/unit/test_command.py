"""The command line that all services have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.service_process import environment

ROOT = Path(__file__).parents[2]


def test_a_command_whose_reader_has_gone_ends_quietly() -> None:
    """As before `head`: no fault of a database, and no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        said = subprocess.run(
            [sys.executable, "-m", "services.stats", "privacy"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            timeout=60,
            check=False,
            env=environment(
                "postgresql://nobody@127.0.0.1:1/none",
                "127.0.0.1:1",
                ROOT / "deploy/municipalities/ibuurt",
                signing_key="k" * 32,
            ),
        )
    assert (said.stderr, said.returncode) == ("", 141)


@pytest.mark.parametrize("name", ["", " ", "jan\nsen"])
def test_nobody_mends_anything(name: str) -> None:
    """As `--by "$USER"` where that is not set: the journal would say that it was nobody."""
    said = subprocess.run(
        [sys.executable, "-m", "services.notify", "subscriptions", "remove", "parks", "--by", name],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert "write who does it, such as --by jansen" in said.stderr
    assert said.returncode == 2
