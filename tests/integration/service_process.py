"""A service as it is deployed: `python -m services.NAME`, in a process of its own."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from deploy.local.processes import free_port

ROOT = Path(__file__).parents[2]
OPERATOR_TOKEN = "operator-token-" + "o" * 32


@dataclass
class Process:
    """A running service."""

    child: subprocess.Popen[bytes]
    url: str
    internal_url: str
    seconds_to_ready: float


def environment(dsn: str, bootstrap: str, municipality: Path, **own: str) -> dict[str, str]:
    """What every service is told, on free ports, and `own`: settings by their names in lower case."""
    settings = {
        "municipality": str(municipality),
        "database_url": dsn,
        "kafka_bootstrap": bootstrap,
        "http_port": str(free_port()),
        "internal_port": str(free_port()),
        "operator_token": OPERATOR_TOKEN,
    } | own
    others = {name: value for name, value in os.environ.items() if not name.startswith("IBUURT_")}
    return others | {f"IBUURT_{name.upper()}": value for name, value in settings.items()}


def ended(service: str, env: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The service's command line, at its end; it is given a minute."""
    return subprocess.run(
        _command(f"services.{service}", *arguments),
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def ask(service: str, env: dict[str, str], *arguments: str, code: int = 0) -> str:
    """What a command of the service says, which must end with that code."""
    done = await asyncio.to_thread(ended, service, env, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@asynccontextmanager
async def running_process(
    service: str, env: dict[str, str], log: Path, module: str | None = None
) -> AsyncIterator[Process]:
    """The service, ready; stopped after the block. Its output goes to `log`. `module` is run in its place."""
    url, internal_url = (f"http://127.0.0.1:{env[f'IBUURT_{port}_PORT']}" for port in ("HTTP", "INTERNAL"))
    started = time.monotonic()
    child = _started(module or f"services.{service}", env, log)
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            while not await is_ready(session, internal_url):
                assert child.poll() is None
                await asyncio.sleep(0.05)
        yield Process(child, url, internal_url, time.monotonic() - started)
    finally:
        child.send_signal(signal.SIGTERM)
        await asyncio.to_thread(child.wait, 25)


async def is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def _command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _started(module: str, env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(_command(module), cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
