"""What docs/privacy.md says that follows from the program, each part between its two markers."""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from services.stats.closing import DRAW_AHEAD, KEEP
from services.stats.core.facts import DAY, facts
from services.stats.core.spec import spec_of
from shared import municipality
from shared.errors import Refusal
from shared.events import READABLE_DAYS, SUBSCRIPTIONS, TOPICS, Topic

ROOT = Path(__file__).parents[2]
TOWN = ROOT / "deploy" / "municipalities" / "ibuurt"
TESTS = ROOT / "tests" / "privacy"
_MARKED = re.compile(r"(<!-- (\w+): generated .*?-->\n)(.*?)(<!-- end -->)", re.DOTALL)
_DAY_MS = 86_400_000
# The attacks, by their numbers. What a test of one is called begins with `test_` and its number, of several
# with all of theirs: `test_3_and_13_`.
ATTACKS: Mapping[int, str] = {
    1: "Differencing: every combination of areas, weeks, months and categories",
    2: "Averaging: ask for one figure ten thousand times, in every way there is",
    3: "Look before and after one report in an open period",
    4: "Look before and after one report across a close",
    5: "Kill the program at every step, so that it draws again",
    6: "Have everything read again from the start, in another order, doubled",
    7: "Restore an old backup, so that it releases again",
    8: "Audit: the best guess that there is, thousands of times",
    9: "One report in an empty town",
    10: "Measure times: how long an answer or a release takes",
    11: "Noise that is not what it says",
    12: "A spec that spends more than it may",
    13: "Side channels: metrics, logs, ids, lag, texts of errors",
    14: "Bounds that do not hold",
    15: "A reporter's address, browser or place of a photo, stored anywhere",
}
# What tries them besides, from the repository's root.
ELSEWHERE: Mapping[int, tuple[str, ...]] = {
    5: ("tests/integration/test_stats_closing.py",),
    6: ("tests/integration/test_stats_apply.py",),
    7: ("tests/integration/test_stats_reading.py",),
    13: ("tests/unit/test_alarms.py",),
    15: ("tests/e2e/test_canary.py", "tests/integration/test_tips_privacy.py"),
}


def parts() -> dict[str, str]:
    """By marker, the text between."""
    spec = spec_of(municipality.read(TOWN))
    return {
        "spec": _lines(facts(spec)),
        "times": _lines(_times()),
        "flows": _lines(_flows()),
        "attacks": _lines(_attacks()),
    }


def rewritten(page: str, by_marker: Mapping[str, str]) -> str:
    """The page with these parts. Raises Refusal where a marker is missing, stands twice or is not known."""
    marked = [match[2] for match in _MARKED.finditer(page)]
    if sorted(marked) != sorted(by_marker):
        wanted = ", ".join(sorted(by_marker))
        raise Refusal(f"docs/privacy.md must have each marker once: {wanted}; it has {', '.join(marked)}")
    return _MARKED.sub(lambda match: match[1] + by_marker[match[2]] + match[4], page)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _times() -> list[str]:
    draw, keep = DRAW_AHEAD // DAY, KEEP // DAY
    lives = {
        "noise": f"from {draw} days before its period begins until {keep} days after the release",
        "frozen counts": f"from the freeze until {keep} days after the release",
        "what `stats` knows of one report": f"{READABLE_DAYS} days after its last event, and until all that "
        "counts it is released",
        "what `stats` knows of one incident": "the same; its id, and the week-part that it counted in, "
        "stay, so that a file that is read twice counts once",
        "a release, its signature and what it spent": "for ever",
    }
    return ["| what | how long |", "|---|---|", *(f"| {what} | {long} |" for what, long in lives.items())]


def _flows() -> list[str]:
    rows = []
    for topic in TOPICS.values():
        who = ", ".join(f"`{name}`" for name, read in SUBSCRIPTIONS.items() if topic in read)
        if topic.outsiders:
            who += " and whoever the operator lets in"
        rows.append(f"| `{topic.name}` | `{topic.writer}` | {who} | {_kept(topic)} |")
    return ["| topic | written by | read by | kept |", "|---|---|---|---|", *rows]


def _kept(topic: Topic) -> str:
    if topic.settings.get("cleanup.policy") == "compact":
        return "the newest state of each issue"
    milliseconds = int(topic.settings["retention.ms"])
    return "for ever" if milliseconds < 0 else f"{milliseconds // _DAY_MS} days"


def _attacks() -> list[str]:
    found: dict[int, list[Path]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            named = re.match(r"test_(\d+(?:_and_\d+)*)_", getattr(node, "name", ""))
            if named and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in named[1].split("_and_"):
                    found.setdefault(int(number), []).append(path)
    rows = []
    for number, attack in ATTACKS.items():
        tried = dict.fromkeys([*found.get(number, []), *(ROOT / path for path in ELSEWHERE.get(number, ()))])
        links = [f"[{path.stem}](../{path.relative_to(ROOT)})" for path in tried]
        rows.append(f"| {number} | {attack} | {', '.join(links) or 'no test yet'} |")
    return ["| no. | attack | tried in |", "|---|---|---|", *rows]
