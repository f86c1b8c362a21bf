"""What logs promise: the place of a fault, and never the words that it carries."""

import json
import subprocess
import sys

PROGRAM = """
import asyncio, gc, logging
import structlog
from shared import logs

logs.configure("test")

async def fails():
    raise ValueError("secret words")

async def main():
    lost = asyncio.create_task(fails())
    await asyncio.sleep(0)
    del lost
    gc.collect()
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.01)
    try:
        await fails()
    except ValueError as error:
        structlog.get_logger().error("ours", exc_info=error)
        logging.getLogger("theirs").exception("theirs")

asyncio.run(main())
"""


def test_no_line_carries_what_an_exception_says() -> None:
    """Neither ours nor a library's, nor asyncio's own about a task that nobody waits for."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["event"] for line in lines if line.get("exception") == "ValueError"] == [
        "Task exception was never retrieved",
        "ours",
        "theirs",
    ]
    assert [line["exception"] for line in lines].count("ZeroDivisionError") == 1
    assert "secret" not in ended.stdout + ended.stderr


REPEATING = """
import logging
from shared import logs

logs.configure("test")
client = logging.getLogger("aiokafka.client")
for seconds in range(25):
    for node in range(40):
        record = client.makeRecord(client.name, logging.ERROR, "", 0, "no connection to %s", (node,), None)
        record.created = 1_000.0 + seconds
        client.handle(record)
        logging.getLogger("theirs").error("every time")
client.error("another fault")
"""


def test_what_the_kafka_client_repeats_is_said_once_in_ten_seconds() -> None:
    """Whatever values it names; other faults of it, and other programs, are heard each time."""
    ended = subprocess.run([sys.executable, "-c", REPEATING], capture_output=True, text=True, check=True)
    lines = [json.loads(line)["event"] for line in ended.stdout.splitlines()]
    assert [line for line in lines if "connection" in line] == ["no connection to 0"] * 3
    assert (lines.count("every time"), lines.count("another fault")) == (1_000, 1)
