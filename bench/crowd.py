"""`python -m bench.crowd URL PHOTO COUNT`: residents with photos on their way, until standard input ends.

Each uploads the photo again and again; every answer's status is then a line of standard output.
"""

import http.client
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE_SECONDS = 120.0


def upload(url: str, photo: Path) -> int:
    """Upload a photo; the status of the answer. Blocking."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", "/v1/photos", photo.read_bytes(), {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def main(url: str, photo: Path, count: int) -> None:
    """Upload until standard input ends, and say what came of it. Blocking."""
    os.nice(19)
    over = threading.Event()

    def resident(_number: int) -> list[int]:
        statuses = []
        while not over.is_set():
            statuses.append(upload(url, photo))
        return statuses

    with ThreadPoolExecutor(count) as threads:
        residents = [threads.submit(resident, number) for number in range(count)]
        sys.stdin.read()
        over.set()
    for one in residents:
        sys.stdout.writelines(f"{status}\n" for status in one.result())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
