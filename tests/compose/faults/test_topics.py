"""A topic is deleted under load, made anew, and filled again by the commands of docs/operating.md."""

import asyncio
import os
import re
import subprocess
import sys
import time

import pytest

from shared import kafka
from shared.events import DISPATCHES, ISSUES, REPORTS, Topic
from shared.standing import numbers
from tests.compose.deployment import ROOT
from tests.compose.faults.trial import Trial

PAGE = ROOT / "docs" / "operating.md"


@pytest.mark.parametrize("topic", [REPORTS, DISPATCHES, ISSUES], ids=lambda topic: topic.name)
async def test_a_topic_deleted_under_load_is_made_anew_and_filled_again(trial: Trial, topic: Topic) -> None:
    """`docker compose up -d`, then `outbox resend` as the page has it: nothing is lost or done twice,
    the topic holds every number (it is younger than what compaction takes), and the page's own command says
    that the three services agree."""
    async with trial.open_units():
        async with trial.load():
            await asyncio.sleep(5)
            began = time.monotonic()
            async with kafka.admin(await asyncio.to_thread(lambda: trial.kafka)) as client:
                await client.delete_topics([topic.name])
            await asyncio.sleep(5)
            said = await asyncio.to_thread(_mend, trial, topic.writer)
            took = time.monotonic() - began
            await asyncio.sleep(5)
        book = await trial.settled()
        agreed = await asyncio.to_thread(_reconciled, trial)
    print(f"ledger of {topic.name} gone and mended within {took:.0f} s: {said}; {book.line()}")
    assert book.balanced, book.faults
    assert "All three agree." in agreed
    missing = {place: numbers for place, numbers in (await _numbers(trial, topic)).items() if _holes(numbers)}
    assert not missing, missing


async def _numbers(trial: Trial, topic: Topic) -> dict[int, set[int]]:
    """The numbers that each partition holds."""
    reader = kafka.reader(await asyncio.to_thread(lambda: trial.kafka), "trial-numbers")
    await reader.start()
    try:
        return {
            place[1]: {number async for _, number, _ in numbers(reader, place, 0, end)}
            for place, end in (await kafka.ends(reader, [topic])).items()
        }
    finally:
        await reader.stop()


def _holes(found: set[int]) -> bool:
    return found != set(range(1, max(found, default=0) + 1))


def _mend(trial: Trial, writer: str) -> str:
    """What the page says under TopicsWrong and `outbox resend`, with this service's name."""
    said = ""
    for line in ["docker compose up -d", *_commands(writer)]:
        _, _, *arguments = line.split()
        # Only the services that are not for commands alone, and without a terminal.
        arguments += trial.deployment.ordinary if line.endswith("up -d") else []
        arguments[1:1] = ["--no-TTY"] if arguments[0] == "run" else []
        said = trial.deployment.run(*[word.replace("NAME", "somebody") for word in arguments]) or said
    return said.splitlines()[-1]


def _commands(writer: str) -> list[str]:
    """The page's block of commands of `outbox resend`, for this service."""
    found = re.search(
        r"^\*\*`outbox resend`\*\*.*?```\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found
    return [re.sub(r"\btips\b", writer, line) for line in found.group(1).splitlines()]


def _reconciled(trial: Trial) -> str:
    """What the page's command says that holds the services' totals against one another."""
    urls = [word for name, url in trial.urls().items() for word in (f"--{name}", url)]
    done = subprocess.run(
        [sys.executable, "-m", "deploy.reconcile", *urls, "--wait", "60"],
        cwd=ROOT,
        env=os.environ | {"IBUURT_OPERATOR_TOKEN": trial.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
