"""The README's trace leads to the lines that it names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKS = re.findall(r"\[`(\w+)`\]\(([\w/.]+)#L(\d+)\)", (ROOT / "README.md").read_text("utf-8"))
DEFINES = r"^\s*(async def|def|class) {}\b"


@pytest.mark.parametrize(("name", "path", "line"), LINKS)
def test_a_link_of_the_trace_points_to_the_definition_it_names(name: str, path: str, line: str) -> None:
    """Otherwise the failure says which line it is."""
    lines = (ROOT / path).read_text("utf-8").splitlines()
    found = [number for number, text in enumerate(lines, 1) if re.match(DEFINES.format(name), text)]
    assert [int(line)] == found[:1], f"{name} is at {path}#L{found[0] if found else '?'}"


def test_the_trace_has_its_seven_stops() -> None:
    """At least one link a stop."""
    assert len(LINKS) >= 7


def test_every_other_link_leads_somewhere() -> None:
    """A folder or file of this tree."""
    text = (ROOT / "README.md").read_text("utf-8")
    for path in re.findall(r"\]\((?!http)([\w/.]+)\)", text):
        assert (ROOT / path).exists(), path
