"""docs/examples/receive.py, called by a real worker: run as the page says."""

import asyncio
import shlex
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.local.processes import free_port
from services.notify.core.subscriptions import secret
from tests.conftest import MakeDatabase
from tests.integration.subscription_harness import (
    MASTER,
    changed,
    gone,
    released,
    running_subscriptions,
)
from tests.integration.test_subscribing import DOCS, of
from tests.spine import until

A = uuid.UUID(int=1)


@asynccontextmanager
async def receiving(port: int, shared: str, folder: Path) -> AsyncIterator[None]:
    """The example, by the page's own command on another port; what it prints goes to the folder's `log`."""
    (command,) = [one for one in of("python") if "receive.py" in one]
    words = [sys.executable, *shlex.split(command.replace("8080", str(port)))[1:]]
    (folder / words[-1]).write_text(f"{shared}\n")
    shutil.copy(DOCS / "examples/receive.py", folder)
    child = await asyncio.to_thread(_started, words, folder)
    try:
        await until(lambda: _listens(port), 20)
        yield
    finally:
        child.terminate()
        await asyncio.to_thread(child.wait, 10)


def _started(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as output:
        return subprocess.Popen(words, cwd=folder, stdout=output, stderr=output)


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


async def test_the_example_takes_what_is_signed_and_nothing_else(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """With another secret it refuses, and nothing is lost; with its own it prints each event, in order."""
    port = free_port()

    def printed() -> str:
        return (tmp_path / "log").read_text()

    async with running_subscriptions(await database("notify")) as subs:
        ids = [await subs.subscribe("parks", port=port)]
        ids.append(await subs.subscribe("open-data", "StatisticsReleased", port=port))
        await subs.apply(changed(A, 1), changed(A, 2), released(1))
        async with receiving(port, secret(MASTER, uuid.uuid4(), 1), tmp_path):
            subs.work()
            await until(lambda: subs.metric("subscription_deliveries_total", result="open") >= 3)
            assert {row["last_failure"] for row in await subs.waiting()} == {"http_401", None}
            assert len(await subs.waiting()) == 3
            await subs.stop()
        assert "ibuurt." not in printed()
        async with receiving(port, secret(MASTER, ids[0], 1), tmp_path):
            subs.work()
            await subs.settled("parks")
            await subs.apply(gone(A))
            await subs.settled("parks")
        told = [line for line in printed().splitlines() if line.startswith("ibuurt.")]
        assert [line.split()[0] for line in told] == [
            *["ibuurt.IssueChanged.v1"] * 2,
            "ibuurt.IssueGone.v1",
        ]
        assert [f"'version': {number}" in told[number - 1] for number in (1, 2)] == [True, True]
        async with receiving(port, secret(MASTER, ids[1], 1), tmp_path):
            await subs.settled("open-data")
        assert "ibuurt.StatisticsReleased.v1" in printed()
