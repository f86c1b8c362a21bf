"""The operator's command: it says that the three agree only when they do, and where to look when not."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import reconcile
from deploy.local.processes import free_port

TOKEN = "operator-" + "t" * 32
Answers = dict[str, tuple[int, Any]]


def balanced(reports: int = 7) -> dict[str, dict[str, Any]]:
    common = dict.fromkeys(("accepted", *reconcile.STEPS), reports) | {"digest": "00c0ffee00c0ffee"}
    return {
        "tips": common | {"waiting": 0},
        "notify": common | {"open_deliveries": 0, "waiting": 0},
        "stats": common | {"counted": reports},
    }


@given(st.integers(0, 10**9), st.integers(0, 50), st.integers(0, 50))
def test_equal_totals_agree_whatever_is_on_its_way(reports: int, waiting: int, deliveries: int) -> None:
    """A delivery that waits for its time, or an event not yet sent, is no fault while all know the same."""
    totals = balanced(reports)
    totals["tips"]["waiting"] = totals["notify"]["waiting"] = waiting
    totals["notify"]["open_deliveries"] = deliveries
    assert reconcile.reconcile(totals) == []


CHECKED = [
    (name, figure)
    for name, figures in reconcile.FIGURES.items()
    for figure in (*figures, "digest")
    if figure not in reconcile.ON_THE_WAY
]


@pytest.mark.parametrize(("name", "figure"), CHECKED)
@pytest.mark.parametrize("change", [1, -1])
def test_no_figure_can_be_off_by_one_unseen(name: str, figure: str, change: int) -> None:
    """One report lost or doubled, anywhere, is seen and named with who says what."""
    totals = balanced()
    totals[name][figure] = "ffffffffffffffff" if figure == "digest" else totals[name][figure] + change
    found = reconcile.reconcile(totals)
    assert found
    line = str(found[0])
    assert "\n" not in line
    assert str(totals[name][figure]) in line
    assert len(line.split("; ", 1)[1]) > 20


@given(st.data())
def test_totals_that_agree_hold_every_equation(data: st.DataObject) -> None:
    """No combination of mistakes cancels out: agreement means that every figure is one and the same."""
    totals = balanced(2)
    for name, figure in CHECKED:
        if figure != "digest":
            totals[name][figure] = data.draw(st.sampled_from([2, 2, 2, 3]))
    agreed = not reconcile.reconcile(totals)
    equal = (
        all(len({totals[name][figure] for name in totals}) == 1 for figure in ("accepted", *reconcile.STEPS))
        and totals["tips"]["accepted"] == totals["notify"]["routed"] == totals["stats"]["counted"]
    )
    assert agreed == equal


def test_who_is_behind_is_named_with_its_dead_letters_and_what_still_waits() -> None:
    """The line tells where to look first: the writer's relay, then the reader that lags."""
    totals = balanced()
    totals["stats"] |= {"accepted": 5, "counted": 5}
    totals["tips"]["waiting"] = 2
    [line] = [str(found) for found in reconcile.reconcile(totals)]
    assert line.startswith(
        "accepted reports: tips 7, notify 7, stats 5; 2 events wait in tips for its relay; "
    )
    assert "stats is behind" in line
    assert "ibuurt.reports.v1.dlt.stats" in line
    assert "notify is behind" not in line


def test_a_writer_with_less_than_its_readers_was_restored() -> None:
    """Events that others applied cannot have been unmade: the writer's database is the older one."""
    totals = balanced()
    totals["notify"]["delivered"] = 6
    [line] = [str(found) for found in reconcile.reconcile(totals)]
    assert "notify has fewer than it told others" in line
    assert "older backup" in line


def test_as_many_reports_but_others_disagree() -> None:
    """Numbers can be equal by chance: one lost and one doubled, or two deployments mixed."""
    totals = balanced()
    totals["stats"]["digest"] = "0123456789abcdef"
    [line] = [str(found) for found in reconcile.reconcile(totals)]
    assert line.startswith("as many accepted reports, but not the same ones: ")


class _Services:
    """Three addresses whose answers the test sets; each request's authorization and path are kept."""

    def __init__(self) -> None:
        self.answers: Answers = {name: (200, totals) for name, totals in balanced().items()}
        self.seen: list[tuple[str, str | None]] = []
        self.then: Callable[[], None] = lambda: None
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.split("/")[1]
                services.seen.append((self.path, self.headers["Authorization"]))
                status, body = services.answers[name]
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                if status == 302:
                    self.send_header("Location", "/elsewhere/totals")
                self.end_headers()
                self.wfile.write(content)
                services.then()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def arguments(self, *more: str) -> list[str]:
        return [word for name in reconcile.FIGURES for word in (f"--{name}", f"{self.url}/{name}")] + [*more]


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Services]:
    monkeypatch.setenv(reconcile.TOKEN, TOKEN)
    services = _Services()
    thread = threading.Thread(target=services.server.serve_forever, args=(0.02,))
    thread.start()
    yield services
    services.server.shutdown()
    thread.join()
    services.server.server_close()


def test_the_command_answers_0_with_a_table_when_all_agree(
    services: _Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """People read the table, scripts the exit code; the token goes to each service as a bearer."""
    assert reconcile.main(services.arguments()) == 0
    said = capsys.readouterr()
    assert "All three agree." in said.out
    assert said.err == ""
    assert {path for path, _ in services.seen} == {f"/{name}/totals" for name in reconcile.FIGURES}
    assert {authorization for _, authorization in services.seen} == {f"Bearer {TOKEN}"}
    header, *rows = said.out.splitlines()
    assert header.split() == ["tips", "notify", "stats"]
    assert rows[0].split() == ["accepted", "7", "7", "7"]


def test_a_proxy_of_the_environment_does_not_see_the_token(services: _Services) -> None:
    """Internal ports are reached directly; through this proxy nothing would arrive."""
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.reconcile", *services.arguments()],
        env=environment | {"http_proxy": f"http://127.0.0.1:{free_port()}"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "All three agree." in ended.stdout


def test_the_command_answers_1_and_names_each_disagreement_in_one_line(
    services: _Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two things are wrong: two lines."""
    services.answers["stats"][1].update(counted=6, acknowledged=6)
    assert reconcile.main(services.arguments()) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("disagree on ")]
    assert len(lines) == 2


def test_json_is_one_object_for_programs(services: _Services, capsys: pytest.CaptureFixture[str]) -> None:
    """The same facts, to be read by a program."""
    services.answers["stats"][1].update(counted=6)
    assert reconcile.main(services.arguments("--json")) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["agreed"] is False
    assert said["totals"]["tips"]["accepted"] == 7
    assert said["disagreements"][0]["values"] == {"accepted": 7, "counted": 6}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {}), "notify refuses the token (401); set IBUURT_OPERATOR_TOKEN"),
        ((503, {}), "notify failed (503); look at its log"),
        ((404, {}), "answers 404; give the address of notify's internal port"),
        # The token would follow it to wherever it points.
        ((302, {}), "answers 302; give the address of notify's internal port"),
        ((200, b"<html>"), "gives no totals of notify"),
        ((200, b"\xff"), "gives no totals of notify"),
        ((200, []), "gives no totals of notify"),
        ((200, {"accepted": 1}), "gives no totals of notify"),
        ((200, balanced()["notify"] | {"routed": "7"}), "gives no totals of notify"),
        ((200, balanced()["notify"] | {"routed": True}), "gives no totals of notify"),
    ],
)
def test_the_command_answers_2_with_one_line_when_a_service_gives_no_totals(
    services: _Services, capsys: pytest.CaptureFixture[str], answer: tuple[int, Any], words: str
) -> None:
    """Not knowing is not agreeing: the line names the service and the mend, and never the token."""
    services.answers["notify"] = answer
    assert reconcile.main(services.arguments()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1
    assert TOKEN not in said.err
    assert not any("elsewhere" in path for path, _ in services.seen)


def test_a_service_that_is_not_there_is_named(
    services: _Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing listens at that port."""
    arguments = services.arguments()
    arguments[-1] = f"http://127.0.0.1:{free_port()}"
    assert reconcile.main(arguments) == 2
    assert "stats cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "no\nheader", "naïve"])
def test_a_missing_or_unusable_token_is_refused_before_anybody_is_asked(
    services: _Services,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str,
) -> None:
    """Half of a header would otherwise be sent."""
    monkeypatch.setenv(reconcile.TOKEN, token)
    assert reconcile.main(services.arguments()) == 2
    assert capsys.readouterr().err.startswith("IBUURT_OPERATOR_TOKEN is missing or unreadable; set it")
    assert services.seen == []


@pytest.mark.parametrize(
    "change",
    [("--tips", "file:///etc/hostname"), ("--tips", "tips:9001"), ("--wait", "soon"), ("--wait", "nan")],
)
def test_an_argument_that_makes_no_sense_is_refused(
    services: _Services, capsys: pytest.CaptureFixture[str], change: tuple[str, str]
) -> None:
    """urllib would open a file; a wait of not-a-number would never end."""
    with pytest.raises(SystemExit) as ended:
        reconcile.main(services.arguments(*change))
    assert ended.value.code == 2
    assert "write " in capsys.readouterr().err


def test_waiting_ends_as_soon_as_they_agree_and_says_meanwhile_what_is_missing(
    services: _Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events are on their way for a moment after the last report: that is no fault yet."""
    good = services.answers["stats"]
    services.answers["stats"] = (503, {})

    def mend() -> None:
        if len(services.seen) >= 4:
            services.answers["stats"] = good

    services.then = mend
    assert reconcile.main(services.arguments("--wait", "20")) == 0
    said = capsys.readouterr()
    assert "waiting: stats failed (503)" in said.err
    assert "All three agree." in said.out


def test_waiting_ends_at_its_time_with_what_still_disagrees(
    services: _Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report that is lost never comes: the answer then is 1, not silence."""
    services.answers["stats"][1].update(counted=6)
    assert reconcile.main(services.arguments("--wait", "0.6")) == 1
    said = capsys.readouterr()
    assert said.err.count("waiting: ") == 1
    assert "disagree on " in said.out


def test_waiting_does_not_outwait_a_refused_token(services: _Services) -> None:
    """It will not be accepted later either."""
    services.answers["tips"] = (401, {})
    assert reconcile.main(services.arguments("--wait", "60")) == 2
    assert len(services.seen) == 1
