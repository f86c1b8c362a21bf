"""Others' programs in Node.js, with what tests/contract/package-lock.json names installed beside them."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "contract"
INSTALL = (
    "get both: `apt install nodejs npm`, `dnf install nodejs-npm` or `brew install node` (Node 20 or newer)"
)


def node_or_skip(what: str) -> str:
    """The path of Node.js, its packages installed once; skips, saying that `what` is not done, without it."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        pytest.skip(f"{what}, there is no {'npm' if found else 'node'} in PATH; {INSTALL}")
    wanted = hashlib.sha256((TOOLS / "package-lock.json").read_bytes()).hexdigest()
    stamp = TOOLS / "node_modules" / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        run = subprocess.run([npm, "ci"], cwd=TOOLS, capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, (
            f"`npm ci` in {TOOLS}; name your mirror in ~/.npmrc:\n{run.stderr[-2000:]}"
        )
        stamp.write_text(wanted)
    return found
