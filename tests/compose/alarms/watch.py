"""Alarms as Prometheus has them, with rules in which time runs faster; and the table of what raised each."""

import json
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.compose.deployment import ROOT, Deployment, typed

FASTER = 20
# Waits that a busy machine needs too.
SOON, LONG = 240.0, 600.0
_UNITS = {"s": 1, "m": 60, "h": 3_600}


def faster(rules: str, by: int = FASTER) -> str:
    """The rules with every duration, and every threshold of more than a minute, divided by `by`; names,
    expressions and labels stay."""

    def duration(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, int(found[2]) * _UNITS[found[3]] // by)}s"

    rules = re.sub(r"(\bfor: |\[|\boffset )(\d+)([smh])\b", duration, rules)
    return re.sub(
        r"(_seconds\)? > )(\d{3,})\b", lambda found: f"{found[1]}{max(1, int(found[2]) // by)}", rules
    )


def make_faster(folder: Path) -> Path:
    """Copy deploy/prometheus into `folder` with faster rules, looked at every second; the copy."""
    copy = folder / "prometheus"
    shutil.copytree(ROOT / "deploy/prometheus", copy)
    settings = copy / "prometheus.yml"
    settings.write_text(settings.read_text("utf-8").replace(" 10s", " 1s"), "utf-8")
    for rules in (copy / "rules").glob("*.yml"):
        rules.write_text(faster(rules.read_text("utf-8")), "utf-8")
    return copy


@dataclass
class Row:
    """One alarm's: its fault, its mend, and the seconds that each took to show."""

    alarm: str
    fault: str
    labels: Mapping[str, str]
    watch: "Watch"
    began: float = field(default_factory=time.monotonic)
    mend: str = ""
    mended: float = 0.0
    fired_after: float | None = None
    quiet_after: float | None = None

    def fires(self, seconds: float) -> None:
        """Wait until it fires."""
        self.fired_after = self.watch.wait(self, self.began, True, seconds) - self.began

    def now(self) -> bool:
        """Whether it fires now."""
        return self.watch.firing(self)

    def mends(self, *commands: str, **filled: str) -> None:
        """Type what the page says, with its placeholders filled in; the clock of `quiets` runs from the end
        of the last command on."""
        self.mend = "; ".join(typed(self.watch.deployment, command, **filled)[0] for command in commands)
        self.mended = time.monotonic()

    def ends(self, how: str) -> None:
        """It was mended elsewhere, by `how`, or ends by itself."""
        self.mend, self.mended = how, time.monotonic()

    def like(self, other: "Row") -> None:
        """What mended another mended this."""
        self.mend, self.mended = other.mend, other.mended

    def quiets(self, seconds: float) -> None:
        """Wait until it is quiet."""
        self.quiet_after = self.watch.wait(self, self.mended, False, seconds) - self.mended


class Watch:
    """Looks at Prometheus' alerts twice a second and remembers since when each fires."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.rows: list[Row] = []
        self._firing: list[Mapping[str, str]] = []
        self._seen = threading.Condition()
        self._looked = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_for_ever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def fault(self, alarm: str, fault: str, **labels: str) -> Row:
        """The begin of a fault; the alarm must be quiet."""
        row = Row(alarm, fault, labels, self)
        self.wait(row, time.monotonic(), False, 240)
        row.began = time.monotonic()
        self.rows.append(row)
        return row

    def wait(self, row: Row, after: float, fires: bool, seconds: float) -> float:
        """When a look after `after` (monotonic) found the row's alarm firing, or quiet."""
        end = time.monotonic() + seconds
        with self._seen:
            while not (self._looked > after and self.firing(row) == fires):
                left = end - time.monotonic()
                says = "does not fire" if fires else "does not become quiet"
                assert left > 0, f"{row.alarm} {says} within {seconds:.0f} s; firing: {self._firing}"
                self._seen.wait(left)
            return self._looked

    def firing(self, row: Row) -> bool:
        """Whether the last look found it."""
        wanted = {"alertname": row.alarm, **row.labels}.items()
        return any(wanted <= found.items() for found in self._firing)

    def get(self, path: str) -> object:
        """What Prometheus' API answers."""
        url = f"http://127.0.0.1:{self.deployment.prometheus_port}/api/v1/{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def _look_for_ever(self) -> None:
        while not self._end.wait(0.5):
            began = time.monotonic()
            try:
                found = self.get("alerts")
            except OSError:
                continue
            assert isinstance(found, dict)
            with self._seen:
                self._firing = [one["labels"] for one in found["alerts"] if one["state"] == "firing"]
                self._looked = began
                self._seen.notify_all()

    def table(self) -> list[str]:
        """A line per alarm that was raised."""
        lines = ["| alarm | fault | fired after | mend | quiet after |", "|---|---|---|---|---|"]
        for row in self.rows:
            times = [f"{one:.0f} s" if one is not None else "-" for one in (row.fired_after, row.quiet_after)]
            lines.append(f"| {row.alarm} | {row.fault} | {times[0]} | {row.mend} | {times[1]} |")
        return lines
