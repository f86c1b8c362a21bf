"""Do the three services agree? `python -m deploy.reconcile --tips URL --notify URL --stats URL`.

Asks each service's internal port for its totals and holds them against one another: every accepted report
is routed and counted once, and each step that a report has reached is known to all three.
"""

import argparse
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.errors import Refusal
from shared.events import DISPATCHES, REPORTS, Topic

TOKEN = "IBUURT_OPERATOR_TOKEN"  # noqa: S105 - the variable's name, not a token
TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.5
MAX_ANSWER_BYTES = 65_536
AGREED, DISAGREED, NO_ANSWER = 0, 1, 2

STEPS = ("routed", "delivered", "acknowledged")
ON_THE_WAY = ("waiting", "open_deliveries")
FIGURES: Mapping[str, tuple[str, ...]] = {
    "tips": ("accepted", *STEPS, "waiting"),
    "notify": ("accepted", *STEPS, "open_deliveries", "waiting"),
    "stats": ("accepted", *STEPS, "counted"),
}
RESTORED = "its database may be restored from an older backup; its relay's log names the mend"

Totals = Mapping[str, Mapping[str, Any]]


class Disagreement(NamedTuple):
    """One thing that the totals disagree on: who says what, and what to look at."""

    what: str
    values: Mapping[str, Any]
    look_at: str

    def __str__(self) -> str:
        said = ", ".join(f"{who} {value}" for who, value in self.values.items())
        return f"{self.what}: {said}; {self.look_at}"


class Away(Exception):  # noqa: N818 - a state that may pass, not a fault of this program
    """A service gives no totals now. The message is one line with its mend."""


def reconcile(totals: Totals) -> list[Disagreement]:
    """What the totals of `tips`, `notify` and `stats` disagree on; empty when they agree. Pure.

    Each has a `digest` and the figures of FIGURES. What is on its way is no disagreement in itself. Digests
    are compared where the numbers of reports are equal: where those differ, they must differ too.
    """
    accepted = _across(totals, "accepted", REPORTS)
    return [
        *accepted,
        *([] if accepted else _digests(totals)),
        *_within(
            totals["notify"],
            ("accepted", "routed"),
            "notify has not routed what it received once",
            "look at notify's log and its dead letters for categories that its folder does not have",
        ),
        *(found for step in STEPS for found in _across(totals, step, DISPATCHES)),
        *_within(
            totals["stats"],
            ("accepted", "counted"),
            "stats has not counted what it received once",
            "rows and counts commit together, so its tables were changed by hand: restore stats' database",
        ),
    ]


def _across(totals: Totals, figure: str, topic: Topic) -> list[Disagreement]:
    """Whether all three have the same figure, and who is behind the writer of the events that make it."""
    numbers = {name: totals[name][figure] for name in FIGURES}
    if len(set(numbers.values())) == 1:
        return []
    written = numbers[topic.writer]
    look_at = [
        f"{name} is behind: look at its consumer_lag_records, consumer_gap and dead letters "
        f"({topic.dead_letters(name)})"
        for name, number in numbers.items()
        if number < written
    ]
    if look_at and totals[topic.writer]["waiting"]:
        look_at.insert(0, f"{totals[topic.writer]['waiting']} events wait in {topic.writer} for its relay")
    if any(number > written for number in numbers.values()):
        look_at.append(f"{topic.writer} has fewer than it told others: {RESTORED}")
    return [Disagreement(f"{figure} reports", numbers, "; ".join(look_at))]


def _digests(totals: Totals) -> list[Disagreement]:
    digests = {name: totals[name]["digest"] for name in FIGURES}
    if len(set(digests.values())) == 1:
        return []
    look_at = (
        "look at the IBUURT_DATABASE_URL and IBUURT_KAFKA_BOOTSTRAP of each: they may be of two deployments"
    )
    return [Disagreement("as many accepted reports, but not the same ones", digests, look_at)]


def _within(
    totals: Mapping[str, Any], figures: tuple[str, ...], what: str, look_at: str
) -> list[Disagreement]:
    values = {figure: totals[figure] for figure in figures}
    return [Disagreement(what, values, look_at)] if len(set(values.values())) > 1 else []


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the address that the operator named and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


# An internal port is reached directly: a proxy of the environment would see the token.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def fetch(name: str, url: str, token: str) -> dict[str, Any]:
    """The totals of a service whose internal port is at `url`. Raises Away, or Refusal where waiting is no
    use: the token is refused, or there are no totals at that address."""
    option = f"--{name} {url}"
    request = urllib.request.Request(
        f"{url.rstrip('/')}/totals", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return _checked(name, option, answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise Refusal(
                f"{name} refuses the token ({error.code}); set {TOKEN} to the one that {name} runs with"
            ) from None
        if error.code >= 500:
            raise Away(f"{name} failed ({error.code}); look at its log: is its database away?") from None
        raise Refusal(f"{option} answers {error.code}; give the address of {name}'s internal port") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise Away(
            f"{name} cannot be reached at {url} ({reason}); is it running, and is that its port?"
        ) from None


def _checked(name: str, option: str, body: bytes) -> dict[str, Any]:
    try:
        totals = json.loads(body)
    except ValueError:
        totals = None
    if not (
        isinstance(totals, dict)
        and all(type(totals.get(figure)) is int for figure in FIGURES[name])
        and isinstance(totals.get("digest"), str)
    ):
        raise Refusal(f"{option} gives no totals of {name}; give the address of its internal port")
    return totals


def _token() -> str:
    token = os.environ.get(TOKEN, "")
    if not (token and token.isascii() and token.isprintable()):
        raise Refusal(f"{TOKEN} is missing or unreadable; set it to the token that the services run with")
    return token


def table(totals: Totals) -> str:
    """The totals as a table for people: a row per figure, a column per service."""
    figures = list(dict.fromkeys(figure for listed in FIGURES.values() for figure in listed))
    figures = [figure for figure in figures if figure not in ON_THE_WAY]
    lines = [f"{'':16}" + "".join(f"{name:>18}" for name in FIGURES)]
    for figure in [*figures, "digest", *ON_THE_WAY]:
        cells = [totals[name].get(figure, "-") for name in FIGURES]
        lines.append(f"{figure:16}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def _look(urls: Mapping[str, str], token: str) -> tuple[Totals, list[Disagreement]]:
    totals = {name: fetch(name, url, token) for name, url in urls.items()}
    return totals, reconcile(totals)


def watch(urls: Mapping[str, str], token: str, wait: float) -> tuple[Totals, list[Disagreement]]:
    """Look until the services agree, or `wait` seconds are over. Raises Refusal, or Away when it still is."""
    deadline = time.monotonic() + wait
    said = ""
    while True:
        last = time.monotonic() >= deadline
        try:
            totals, disagreements = _look(urls, token)
            if last or not disagreements:
                return totals, disagreements
            news = str(disagreements[0])
        except Away as away:
            if last:
                raise
            news = str(away)
        if news != said:
            print(f"waiting: {news}", file=sys.stderr, flush=True)
            said = news
        time.sleep(max(0.0, min(POLL_SECONDS, deadline - time.monotonic())))


def _show(totals: Totals, disagreements: list[Disagreement], as_json: bool) -> None:
    if as_json:
        listed = [found._asdict() for found in disagreements]
        print(json.dumps({"agreed": not disagreements, "totals": totals, "disagreements": listed}))
        return
    print(table(totals))
    under_way = sum(totals[name].get(figure, 0) for name in FIGURES for figure in ON_THE_WAY)
    print()
    for found in disagreements:
        print(f"disagree on {found}")
    if not disagreements:
        print(
            "All three agree." + (f" {under_way} events or deliveries are on their way." if under_way else "")
        )


def _address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is no address; write one such as http://127.0.0.1:9001")
    return text


def seconds(text: str) -> float:
    """A time to wait, of the command line."""
    try:
        given = float(text)
    except ValueError:
        given = -1
    if not 0 <= given <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write seconds, 0 to 86400")
    return given


def main(arguments: list[str] | None = None) -> int:
    """The command line. 0: the three agree; 1: they do not; 2: a service gave no totals."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.reconcile",
        description="Do tips, notify and stats agree? Exit code 0: yes; 1: no; 2: one gave no totals.",
        epilog=f"{TOKEN}: the operator token of the services.",
    )
    for name in FIGURES:
        parser.add_argument(
            f"--{name}", required=True, type=_address, metavar="URL", help=f"{name}'s internal port"
        )
    parser.add_argument(
        "--wait", type=seconds, default=0.0, metavar="SECONDS", help="look again until they agree, so long"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    urls = {name: getattr(options, name) for name in FIGURES}
    try:
        token = _token()
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return NO_ANSWER
    return report(urls, token, options.wait, as_json=options.json)


def report(urls: Mapping[str, str], token: str, wait: float, *, as_json: bool = False) -> int:
    """Print whether the services at `urls` agree, looking again for `wait` seconds until they do.

    Returns AGREED, DISAGREED, or NO_ANSWER where one gave no totals.
    """
    try:
        totals, disagreements = watch(urls, token, wait)
    except (Refusal, Away) as fault:
        print(fault, file=sys.stderr)
        return NO_ANSWER
    _show(totals, disagreements, as_json)
    return DISAGREED if disagreements else AGREED


if __name__ == "__main__":
    sys.exit(main())
