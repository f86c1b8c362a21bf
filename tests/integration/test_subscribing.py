"""docs/subscribing.md: every command on the page and both examples, run as a stranger runs them, on the real
Kafka. Here it is unsecured, so the two settings files hold the address alone. What receives webhooks is in
test_receiving.py."""

import importlib.util
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deploy.local import kafka_jars
from shared.cloudevents import Envelope
from shared.events import Event, IssueChanged, IssueGone, StatisticsReleased
from tests.conftest import Infrastructure
from tests.golden.expected import EXPECTED
from tests.spine import NOW, Database, key_in, relaying, running, writing
from tests.unit.test_subscribe_example import subscribe

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "subscribing.md").read_text("utf-8")
COMMANDS = [
    line.strip()
    for block in re.findall(r"^ *```sh\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.strip()
]
PARTITION = 3


def changed(issue_id: uuid.UUID, version: int) -> Envelope[Event]:
    """The state of an issue at that version."""
    event = IssueChanged(
        issue_id=issue_id,
        version=version,
        category="street_light",
        areas={"district": "oakwood"},
        status="routed",
        page=f"https://ibuurt.example/issues/{issue_id}",
    )
    return Envelope.of(event, id=uuid.uuid4(), source="/test/tips", now=NOW)


def gone(issue_id: uuid.UUID) -> Envelope[Event]:
    return Envelope.of(IssueGone(issue_id=issue_id), id=uuid.uuid4(), source="/test/tips", now=NOW)


async def publish(bootstrap: str, spine: Database, *envelopes: Envelope[Event]) -> None:
    """As `tips` does: through its outbox and relay."""
    relay, _ = relaying(bootstrap, spine.dsn)
    async with running(relay.run()):
        await spine.append(*envelopes)
        await spine.sent()


@pytest_asyncio.fixture
async def public(infrastructure: Infrastructure, spine: Database) -> list[Envelope[Event]]:
    """What is public: five issues, one of them changed and one gone again, and a release."""
    keys = [uuid.uuid4() for _ in range(5)]
    sent = [*(changed(key, 1) for key in keys), changed(keys[0], 2), gone(keys[1])]
    await publish(infrastructure.bootstrap, spine, *sent)
    release = EXPECTED["StatisticsReleased.v1"].event
    assert isinstance(release, StatisticsReleased)
    async with writing(infrastructure.bootstrap) as writer:
        given = Envelope.of(release, id=uuid.uuid4(), source="/test/stats", now=NOW)
        await writer.event(0, 1, given)
    return sent


@pytest.fixture
def stranger(infrastructure: Infrastructure, tmp_path: Path) -> Path:
    """The folder of somebody who has the page, the examples, an unpacked Kafka, and the operator's files."""
    for example in (DOCS / "examples").iterdir():
        if example.is_file():
            shutil.copy(example, tmp_path)
    for name in ("kcat.conf", "client.properties"):
        (tmp_path / name).write_text(f"bootstrap.servers={infrastructure.bootstrap}\n")
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "libs").symlink_to(kafka_jars.jars())
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the page; skips, saying what to install, where its program is missing."""
    program = shlex.split(command)[0]
    missing = {
        "kcat": "`apt install kcat`, or `brew install kcat`",
        "java": "a JDK, which compiles: `apt install openjdk-17-jdk-headless`, or `brew install openjdk`",
    }
    needed = "javac" if program == "java" else program
    if program in missing and shutil.which(needed) is None:
        pytest.skip(f"NOT run: {command!r}; there is no {needed} in PATH; get {missing[program]}")
    if program == "python":
        command = command.replace("python", sys.executable, 1)
    return subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def issues_in(folder: Path) -> dict[str, Any]:
    """What subscribe.py has kept: by id the version, None where it is gone."""
    database = sqlite3.connect(folder / "issues.db")
    found = dict(database.execute("SELECT id, state FROM issue"))
    database.close()
    return {key: state and json.loads(state)["version"] for key, state in found.items()}


def expected(sent: list[Envelope[Event]]) -> dict[str, int | None]:
    return {given.event.key: getattr(given.event, "version", None) for given in sent}


def of(program: str) -> list[str]:
    return [command for command in COMMANDS if shlex.split(command)[0] == program]


def printed(command: str, folder: Path) -> list[str]:
    """The lines that a command of the page prints; it must succeed."""
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def holds_each(lines: list[str], public: list[Envelope[Event]]) -> bool:
    """Whether there is a line for every record, one of them the tombstone's."""
    return (
        len(lines) == len(public)
        and all(any(given.event.key in line for line in lines) for given in public)
        and sum(line.endswith((" NULL", " null")) for line in lines) == 1
    )


def test_kcat_prints_what_is_public(public: list[Envelope[Event]], stranger: Path) -> None:
    """Every record with its number, as JSON or as a line."""
    as_json, statistics, as_line = of("kcat")
    records = [json.loads(line) for line in printed(as_json, stranger)]
    assert {one["key"] for one in records} == expected(public).keys()
    records += [json.loads(line) for line in printed(statistics, stranger)]
    assert len(records) == len(public) + 1
    for one in records:
        headers = dict(zip(one["headers"][::2], one["headers"][1::2], strict=True))
        assert int(headers["ce_sequence"]) >= 1
    assert holds_each(printed(as_line, stranger), public)


@pytest.mark.parametrize("command", [command for command in of("python") if "subscribe.py" in command])
def test_the_python_example_keeps_the_last_state_of_each_issue(
    public: list[Envelope[Event]], stranger: Path, command: str
) -> None:
    """Each command of the page by itself, on an empty database."""
    assert printed(command, stranger)[-1].startswith(f"{len(public)} applied, 0 repeats, up to ")
    assert issues_in(stranger) == expected(public)


def test_the_java_example_prints_every_change(public: list[Envelope[Event]], stranger: Path) -> None:
    """It is compiled from its source and run."""
    (command,) = of("java")
    assert holds_each(printed(command, stranger), public)


def test_the_page_shows_each_way_and_its_links_lead_somewhere() -> None:
    """Every command on the page is one that is run here; and every file that it names is there."""
    assert len(COMMANDS) == sum(len(of(program)) for program in ("kcat", "pip", "python", "java"))
    assert of("pip") == ["pip install aiokafka", "pip install standardwebhooks"]
    assert importlib.util.find_spec("aiokafka")
    assert importlib.util.find_spec("standardwebhooks")
    for path in re.findall(r"\]\((?!http|#)([\w./-]+)", PAGE):
        assert (DOCS / path).exists(), path


async def test_it_goes_on_where_it_stopped_and_takes_a_repeat_once(
    infrastructure: Infrastructure, spine: Database, public: list[Envelope[Event]], stranger: Path
) -> None:
    """A change and a tombstone more; and looking again from the beginning, everything is a repeat."""
    command = "python subscribe.py kcat.conf issues.db --once"
    assert run(command, stranger).returncode == 0
    keys = [uuid.UUID(key) for key in expected(public)]
    more = [changed(keys[2], 2), gone(keys[3])]
    await publish(infrastructure.bootstrap, spine, *more)
    done = run(command, stranger)
    assert done.stdout.startswith("2 applied, 0 repeats"), done.stdout + done.stderr
    assert issues_in(stranger) == expected([*public, *more])
    again = run(f"{command} --again", stranger)
    assert again.stdout.startswith(f"0 applied, {len(public) + 2} repeats"), again.stdout
    assert issues_in(stranger) == expected([*public, *more])


async def test_a_gap_stops_it_with_the_numbers_and_a_resend_mends_it(
    infrastructure: Infrastructure, fresh_topics: None, stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers 1, 2 and 4 are there; then, as `outbox resend` does it, 3 and 4 once more."""
    monkeypatch.setattr(subscribe, "PATIENCE_SECONDS", 1)
    sent = [changed(key_in(PARTITION), 1) for _ in range(4)]
    settings = subscribe.connection(stranger / "kcat.conf")
    path = stranger / "issues.db"
    async with writing(infrastructure.bootstrap) as writer:
        for number in (1, 2, 4):
            await writer.event(PARTITION, number, sent[number - 1])
        with pytest.raises(subscribe.GapError, match="partition 3: numbers 3 to 3 are missing"):
            await subscribe.follow(settings, subscribe.Issues(path), once=True)
        assert issues_in(stranger) == expected(sent[:2])
        for number in (3, 4):
            await writer.event(PARTITION, number, sent[number - 1])
    issues = subscribe.Issues(path)
    await subscribe.follow(settings, issues, once=True)
    assert (issues.applied, issues_in(stranger)) == (2, expected(sent))


async def test_java_tells_repeats_and_missing_numbers(
    infrastructure: Infrastructure, fresh_topics: None, stranger: Path
) -> None:
    """1, 2, 2 and 5 in one partition."""
    async with writing(infrastructure.bootstrap) as writer:
        for number in (1, 2, 2, 5):
            await writer.event(PARTITION, number, changed(key_in(PARTITION), 1))
    done = run(of("java")[0], stranger)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["1", "2", "5"]
    assert "partition 3: 2 is a repeat" in done.stderr
    assert "partition 3: 3 to 4 are not there" in done.stderr
