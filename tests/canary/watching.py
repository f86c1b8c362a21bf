"""What is only there for a moment is looked at again and again, while everything happens."""

import asyncio
import os
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import psutil

from deploy.local.processes import Child
from deploy.local.stack import Stack
from tests.canary.places import Piece, read

SAMPLE_SECONDS = 0.1
METRICS_SECONDS = 1.0
# Once could be too early: a process has not begun its program yet.
LOOKS = 3


class Watching:
    """Sees the metrics, the statements that run, every process' command line and environment, and the files
    that ours may write to, wherever they are. `decoders` are the environments of the photos' decoders."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._seen: dict[tuple[str, str], set[bytes]] = {}
        self._written: set[Path] = set()
        self.decoders: set[bytes] = set()
        self._looks: Counter[int] = Counter()
        self._ended = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        threads = [threading.Thread(target=run) for run in (self._processes, self._metrics, self._statements)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
            self._ended.clear()

    def pieces(self) -> Iterator[Piece]:
        """All that was seen."""
        for (place, name), seen in self._seen.items():
            yield Piece(place, name, b"\n".join(sorted(seen)))
        for path in self._written:
            with suppress(OSError):
                yield Piece("files elsewhere", str(path), read(path))

    def _note(self, place: str, name: str, data: bytes) -> None:
        self._seen.setdefault((place, name), set()).add(data)

    def _metrics(self) -> None:
        while not self._ended.wait(METRICS_SECONDS):
            for name, service in self._stack.services.items():
                with suppress(OSError), urllib.request.urlopen(f"{service.internal_url}/metrics") as answer:
                    self._note("metrics", name, answer.read())

    def _processes(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            ours = {one.pid for child in self._stack.processes().values() for one in _tree(child)}
            for pid in psutil.pids():
                if self._looks[pid] < LOOKS:
                    self._looks[pid] += 1
                    self._note_process(pid, pid in ours)
            for pid in ours:
                self._note_files(pid)

    def _note_process(self, pid: int, ours: bool) -> None:
        read = {}
        for name in ("cmdline", "environ"):
            # Gone, or nobody's to read: of a service its own account's neither.
            with suppress(OSError):
                read[name] = Path(f"/proc/{pid}/{name}").read_bytes()
                self._note("processes", name, read[name])
        if ours and b"services.tips.photos.decoding" in read.get("cmdline", b"") and "environ" in read:
            self.decoders.add(read["environ"])

    def _note_files(self, pid: int) -> None:
        """Those that it may write to."""
        with suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    told = Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text()
                    flags = next(line.split()[1] for line in told.splitlines() if line.startswith("flags"))
                    if int(flags, 8) & (os.O_WRONLY | os.O_RDWR):
                        self._note_file(descriptor, descriptor.readlink())

    def _note_file(self, descriptor: Path, path: Path) -> None:
        # What has no name any more is read while it is there.
        if path.name.endswith(" (deleted)"):
            self._note("files elsewhere", str(path), read(descriptor))
        elif path.is_absolute() and not path.is_relative_to(self._stack.folder) and path.parts[1] != "dev":
            self._written.add(path)

    def _statements(self) -> None:
        asyncio.run(self._read_statements())

    async def _read_statements(self) -> None:
        connection = await asyncpg.connect(self._stack.infrastructure.admin_dsn)
        while not self._ended.is_set():
            for (query,) in await connection.fetch("SELECT query FROM pg_stat_activity"):
                self._note("statements", "pg_stat_activity", (query or "").encode())
            await asyncio.sleep(SAMPLE_SECONDS / 4)
        await connection.close()


def _tree(child: Child) -> Iterable[psutil.Process]:
    with suppress(psutil.Error):
        if child.running:
            process = psutil.Process(child.pid)
            return [process, *process.children(recursive=True)]
    return []
