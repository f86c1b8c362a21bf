"""`python -m bench.crowd URL PHOTO COUNT`: residents with photos on their way, until standard input ends.

Each uploads the photo again and again; every answer's status is then a line of standard output.
"""

import http.client
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.processes import stand_behind

PATIENCE_SECONDS = 120.0
NICENESS = 19
# 24 Mbit/s.
PIECE_BYTES, BYTES_PER_SECOND = 32_768, 3_000_000


def upload(url: str, photo: Path, *, slowly: bool = False) -> int:
    """Upload a photo, `slowly` as a good mobile connection does; the status of the answer. Blocking."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_SECONDS)
    try:
        content = photo.read_bytes()
        headers = {"Content-Type": "image/jpeg", "Content-Length": str(len(content))}
        connection.request("POST", "/v1/photos", _paced(content) if slowly else content, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _paced(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]
        time.sleep(PIECE_BYTES / BYTES_PER_SECOND)


def main(url: str, photo: Path, count: int) -> None:
    """Upload until standard input ends, and say what came of it. Blocking."""
    # In a session of its own, behind all others.
    os.setsid()
    os.nice(NICENESS)
    stand_behind(os.getpid(), NICENESS)
    over = threading.Event()

    def resident(_number: int) -> list[int]:
        statuses = []
        while not over.is_set():
            statuses.append(upload(url, photo, slowly=True))
        return statuses

    with ThreadPoolExecutor(count) as threads:
        residents = [threads.submit(resident, number) for number in range(count)]
        sys.stdin.read()
        over.set()
    for one in residents:
        sys.stdout.writelines(f"{status}\n" for status in one.result())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
