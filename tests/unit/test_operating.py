"""docs/operating.md: every command that it names exists, and every refusal has its mend there. Commands of
docs/importing.md too."""

import argparse
import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.operator.__main__ import _parser as operator_parser
from services.notify.__main__ import PROGRAM as NOTIFY
from services.stats.__main__ import PROGRAM as STATS
from services.tips.__main__ import PROGRAM as TIPS
from services.tips.keys import KeyDestroyed, KeyFolder, KeyLost
from shared.command import _parser as service_parser

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operating.md").read_text("utf-8")
IMPORTING = (ROOT / "docs/importing.md").read_text("utf-8")
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
PARSERS = {program.name: service_parser(program) for program in (TIPS, NOTIFY, STATS)}
PARSERS["operator"] = operator_parser()
# What an operator meets; the others are a developer's.
SOURCES = [
    *(ROOT / "shared").rglob("*.py"),
    *(ROOT / "services").rglob("*.py"),
    *(ROOT / "deploy/operator").rglob("*.py"),
    ROOT / "deploy/reconcile.py",
]


def code() -> Iterator[str]:
    """What the pages set as code: lines of blocks and spans."""
    for page in (PAGE, IMPORTING):
        for block in re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
            yield from block.splitlines()
        rest = re.sub(r"^```\n.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
        yield from re.findall(r"`([^`\n]+)`", rest)


def runs() -> list[tuple[str, list[str]]]:
    """What is run in a container of a service, with the arguments that its program gets."""
    found = []
    for line in code():
        for command in re.findall(r"docker compose run .*", line):
            words = shlex.split(command.split(" < ")[0].split(" > ")[0])[3:]
            other = "--entrypoint" in words
            while words[0].startswith("-"):
                del words[: 2 if words[0] in ("--entrypoint", "-v", "-e") else 1]
            if not other:
                found.append((words[0], words[1:]))
        if match := re.match(r"(?:operator|deploy/kafka/(subscriber)) (\w[^#]*)", line):
            found.append(("operator", [*filter(None, [match[1]]), *shlex.split(match[2])]))
    return found


@pytest.mark.parametrize(("service", "arguments"), runs(), ids=lambda given: str(given)[:60])
def test_a_command_in_a_container_is_one_of_its_program(service: str, arguments: list[str]) -> None:
    """With these options; a job has its command from compose."""
    assert re.search(rf"^  {service}:$", COMPOSE, re.MULTILINE)
    if service == "topics":
        service = "operator"
    if service in PARSERS:
        assert _accepts(PARSERS[service], arguments), (service, arguments)
    else:
        assert arguments == []


def _accepts(parser: argparse.ArgumentParser, arguments: list[str]) -> bool:
    try:
        parser.parse_args(arguments)
    except SystemExit as ended:
        return ended.code == 0
    return True


def test_the_page_names_commands() -> None:
    """So that the test above has something to do."""
    named = {" ".join(arguments[:2]) for _, arguments in runs()}
    assert {"outbox resend", "consumer accept-gap", "dead-letters replay"} <= named
    assert len(runs()) > 15


@pytest.mark.parametrize(
    "name",
    sorted(set(re.findall(r"docker compose (?:stop|restart|up -d (?:--no-deps )?--wait) (\w+)", PAGE))),
)
def test_what_is_stopped_or_started_is_a_service(name: str) -> None:
    """Or a place for a name."""
    assert name == "NAME" or re.search(rf"^  {name}:", COMPOSE, re.MULTILINE)


def test_a_destroyed_key_does_not_come_back_with_the_keys_that_are_restored(tmp_path: Path) -> None:
    """The page's own command, on a copy that is older than the destruction: over the folder of today, and in
    an empty one with today's copy after it. What was lost comes back."""
    (script,) = re.findall(r"-c '(cd /state/keys [^']+)' < keys.tar", PAGE)
    folder = tmp_path / "keys"
    folder.mkdir()

    def packed(name: str) -> Path:
        copy = tmp_path / name
        subprocess.run(["tar", "-C", folder, "-c", "-f", copy, "."], check=True)
        return copy

    def restore(copy: Path) -> KeyFolder:
        with copy.open("rb") as given:
            command = ["sh", "-c", script.replace("/state/keys", shlex.quote(str(folder)))]
            subprocess.run(command, stdin=given, check=True)
        return KeyFolder(folder)

    keys = KeyFolder(folder)
    keys.make("2026-10-led-365")
    kept = keys.make("2026-11-led-365")
    old = packed("old.tar")
    keys.destroy("2026-10-led-365")
    new = packed("new.tar")
    (folder / "2026-11-led-365").unlink()
    with pytest.raises(KeyLost):
        KeyFolder(folder).get("2026-11-led-365")
    for copies in ([old], [old, new]):
        if len(copies) > 1:
            for file in folder.iterdir():
                file.unlink()
        for copy in copies:
            restored = restore(copy)
        assert restored.get("2026-11-led-365") == kept
        with pytest.raises(KeyDestroyed):
            restored.get("2026-10-led-365")
        assert not (folder / "2026-10-led-365").exists()


def refusals() -> Iterator[tuple[str, str]]:
    """Where each refusal is made, and its text with a line break for what is filled in."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") in {"Refusal", "Stuck", "_say_no"}
                and node.args
            ):
                text = _literal(node.args[-1])
                if len(text) > 20:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def _literal(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_literal(part) for part in parts)
        case ast.FormattedValue():
            return "\n"
        case _:
            return ""


def named_commands() -> Iterator[tuple[str, str]]:
    """Where a mend names a command of a container, and the command, with a word for what is filled in."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "typed":
                yield f"{path.relative_to(ROOT)}:{node.lineno}", _literal(node.args[1]).replace("\n", "1")


@pytest.mark.parametrize(
    ("where", "command"), list(named_commands()), ids=[one for one, _ in named_commands()]
)
def test_a_command_that_a_mend_names_is_one(where: str, command: str) -> None:
    """Of a service or of the operator's."""
    words = shlex.split(command)
    options = [] if {"--by", "--dry-run"} & set(words) else ["--dry-run"]
    assert any(_accepts(parser, [*words, *more]) for parser in PARSERS.values() for more in ([], options)), (
        where
    )


def test_each_fault_of_a_release_has_its_row() -> None:
    """By the reason that its dead letter has, in the table of what should not stand on a topic."""
    (table,) = re.findall(r"^\| on the topic \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"dead letter `([a-z_]+)`", table))
    reasons = {
        part.value
        for path in ("services/stats/reading.py", "services/stats/core/release.py")
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
        if isinstance(node, ast.Return) and node.value
        for part in ast.walk(node.value)
        if isinstance(part, ast.Constant) and re.fullmatch(r"[a-z]+(_[a-z]+)+", str(part.value))
    }
    assert reasons
    assert reasons == told


def test_no_text_names_a_program_that_an_operator_does_not_have() -> None:
    """What runs in a container is named by its container; a usage line says what the program is."""
    for path in SOURCES:
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        spared = {
            id(part)
            for node in nodes
            if isinstance(node, ast.Expr) or (isinstance(node, ast.keyword) and node.arg == "prog")
            for part in ast.walk(node)
        }
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in spared]
        assert not [text for text in texts if "python -m" in str(text)], path


def mends() -> list[re.Pattern[str]]:
    """What the table says that a refusal says; capitals and … stand for what is filled in."""
    (table,) = re.findall(r"^## What each refusal means\n(.*)", PAGE, re.MULTILINE | re.DOTALL)
    said = [
        span
        for row in table.splitlines()
        if row.startswith("| `")
        for span in re.findall(r"`([^`]+)`", row.split(" | ")[0])
    ]
    filled = r"\b(?:NAME|HOST|SETTING|PATH|[A-Z])\b|…"
    return [re.compile(".+?".join(map(re.escape, re.split(filled, one))), re.DOTALL) for one in said]


@pytest.mark.parametrize(("where", "text"), list(refusals()), ids=[where for where, _ in refusals()])
def test_every_refusal_has_its_mend_on_the_page(where: str, text: str) -> None:
    """In the last table, by words that it says."""
    assert any(mend.search(text) for mend in mends()), f"{where}: {text}"
