"""A service leaves nothing of its memory on the disk, however it dies."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.searching import Searcher, of_text

ROOT = Path(__file__).parents[2]
DIES = """
import os, resource, sys
sys.path.insert(0, {root!r})
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from shared import cores
if {leaves_none}:
    cores.leave_none()
registry = CollectorRegistry()
ProcessCollector(registry=registry)
assert b"process_open_fds" in generate_latest(registry)
words = "the words of " + "somebody"
os.abort()
"""


def _died(folder: Path, *, leaves_none: bool) -> list[Path]:
    script = DIES.format(root=str(ROOT), leaves_none=leaves_none)
    ended = subprocess.run(
        ["sh", "-c", f'ulimit -S -c "$(ulimit -H -c)"; exec {sys.executable} -c "$0"', script],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -6, ended.stderr
    return [path for path in folder.iterdir() if path.name.startswith("core")]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux' /proc and core files")
def test_a_service_that_is_aborted_leaves_no_core_file(tmp_path: Path) -> None:
    """Where another program leaves one, with its words in it; its own metrics can be read all the same."""
    assert _died(tmp_path, leaves_none=True) == []
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core":
        pytest.skip("this system hands cores to a program: whether others leave one cannot be seen here")
    if not (left := _died(tmp_path, leaves_none=False)):
        pytest.skip("no process may leave a core file here (ulimit -H -c)")
    assert Searcher(of_text("words", "the words of somebody")).look(left[0].read_bytes())
