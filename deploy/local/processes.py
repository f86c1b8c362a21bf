"""Child processes that never outlive this one, and ports that no other run takes."""

import atexit
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from deploy.local import guard

# Below what Linux and macOS hand out to outgoing connections, so that none of them sits on a server's port
# while the server restarts.
PORTS = range(20000, 30000)
DEAD_SECONDS = 30.0
# Niceness of what nobody sits in front of: what people wait for goes first where the processor is too small
# (docs/adr/0025).
BEHIND = 10


class ChildFailed(Exception):  # noqa: N818 - reads as what happened
    """A child process ended, or did not get ready in time; the message has the tail of its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free, and that no other call on this machine returns while this
    process lives."""
    for _ in range(200):
        port = PORTS[secrets.randbelow(len(PORTS))]
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            # The claim is the UDP port of the same number: it is held against other runs, leaves the TCP
            # port to the server, and the kernel drops it when this process ends.
            claim.bind(("127.0.0.1", port))
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        claim.detach()
        return port
    raise ChildFailed(f"no free port found between {PORTS.start} and {PORTS.stop}; end other local stacks")


class Child:
    """One child process in a session of its own, so that a terminal's Ctrl-C reaches only the parent, which
    ends its children in order. It dies with this process, even when this process is killed.

    `polite` is the signal that asks it to end. `user` is an account to run as, which only root may give.
    `niceness`, of 0 to 19, is how far it stands behind others where the processor is too small for all.
    Standard output and error are appended to `log`. Not for use by several threads at once.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        polite: int = signal.SIGTERM,
        niceness: int = 0,
    ) -> None:
        self.name = name
        nice = ["nice", "-n", str(niceness)] if niceness else []
        self.argv = [*nice, *(str(argument) for argument in argv)]
        self.log = log
        self.env = dict(env) if env is not None else None
        self.cwd = cwd
        self.user = user
        self.polite = polite
        self.niceness = niceness
        self._process: subprocess.Popen[bytes] | None = None
        self._watched = False
        self._paused = False

    @property
    def pid(self) -> int:
        """The process id; an error before the first start."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether it is alive (also when paused)."""
        if self._process is None or self._process.poll() is None:
            return self._process is not None
        self._forget()
        return False

    def start(self) -> None:
        """Start it; does not wait until it is ready. Starting what runs is an error."""
        if self.running:
            raise ChildFailed(f"{self.name} runs already as process {self.pid}; stop it first")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        group = pwd.getpwnam(self.user).pw_gid if self.user else None
        guardian = _Guardian.get()
        self.log.touch(mode=0o600)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user,
                group=group,
                extra_groups=[] if self.user else None,
            )
        self._watched, self._paused = True, False
        stand_behind(self.pid, self.niceness)
        try:
            guardian.tell(f"watch {self.pid} {int(self.polite)}")
        except BrokenPipeError:
            self.kill()
            raise ChildFailed(
                "the guard process has ended, so that children could stay; start again"
            ) from None

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Poll `ready` every 20 ms. ChildFailed, with the child killed, when it ends or `timeout` seconds
        pass."""
        end = time.monotonic() + timeout
        while not ready():
            if not self.running or time.monotonic() > end:
                fate = f"not ready after {timeout:g} s" if self.running else f"ended with {self.wait()}"
                self.kill()
                raise ChildFailed(f"{self.name}: {fate}; the end of its log:\n{self.log_tail()}")
            time.sleep(0.02)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status (negative: the signal), when it has ended; subprocess.TimeoutExpired otherwise."""
        status = self._started().wait(timeout)
        self._forget()
        return status

    def run(self, timeout: float) -> int:
        """Start it and wait for its end: its exit status. ChildFailed when it has not ended after `timeout`
        seconds; it is killed then, and also when the waiting is interrupted."""
        self.start()
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ChildFailed(
                f"{self.name}: not done after {timeout:g} s; the end of its log:\n{self.log_tail()}"
            ) from None
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to it and all its descendants, at once; returns when all are dead. Nothing to kill is no
        error."""
        if self._process is None:
            return
        processes = guard.kill_tree(self.pid) if self.running else []
        self.wait(DEAD_SECONDS)
        if not guard.wait_dead(processes, DEAD_SECONDS):
            raise ChildFailed(f"{self.name}: processes are left {DEAD_SECONDS:g} s after SIGKILL")

    def pause(self) -> None:
        """SIGSTOP to it and all its descendants: connections stay open and nothing answers."""
        if self.running:
            guard.freeze_tree(self.pid)
            self._paused = True

    def resume(self) -> None:
        """SIGCONT after `pause`; without a pause it does nothing."""
        if self.running and self._paused:
            guard.signal_all(guard.tree(self.pid), signal.SIGCONT)
        self._paused = False

    def stop(self, timeout: float = 10.0) -> None:
        """Ask it to end (`polite`), and kill it when it has not after `timeout` seconds."""
        if self.running:
            self.resume()
            self._started().send_signal(self.polite)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(timeout)
        self.kill()

    def rss_bytes(self) -> int:
        """Resident memory of it and its descendants now, in bytes; 0 when it does not run. Memory that they
        share is counted in each."""
        total = 0
        for process in guard.tree(self.pid) if self.running else []:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log; empty when there is none."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _forget(self) -> None:
        # Once only: the number may already belong to another child.
        if self._watched:
            self._watched = False
            with contextlib.suppress(BrokenPipeError):
                _Guardian.get().tell(f"forget {self.pid}")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ChildFailed(f"{self.name} was never started; call start() first")
        return self._process


def stand_behind(pid: int, niceness: int) -> None:
    """Give a process' session the weight of its niceness: Linux weighs sessions against each other, where it
    does, and niceness only within one of them."""
    if niceness:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness), "ascii")


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent` (the system's temporary folder), removed at the end of the block, or when
    this process dies."""
    folder = Path(tempfile.mkdtemp(prefix="ibuurt-", dir=parent))
    _Guardian.get().tell(f"folder {folder}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(BrokenPipeError):
            _Guardian.get().tell(f"keep {folder}")


class _Guardian:
    """This process' end of its guard (guard.py); one per process, started with the first child."""

    _current: "_Guardian | None" = None

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, guard.__file__, str(self.owner)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        atexit.register(self.close)

    @classmethod
    def get(cls) -> "_Guardian":
        if cls._current is None or cls._current.owner != os.getpid():
            cls._current = cls()
        return cls._current

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - Popen was asked for a pipe
        # One write of less than PIPE_BUF bytes is whole, whatever other threads write.
        self.process.stdin.write(os.fsencode(line) + b"\n")

    def close(self) -> None:
        if self.owner == os.getpid() and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()
