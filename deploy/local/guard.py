"""A small process beside the one that starts children: when that one dies, however it dies, the guard
ends the children and removes the temporary folders. Orderly ends are the parent's own work.

The kernel's parent-death signal would not do: it fires when the *thread* that forked ends, it is lost when
a child changes its user, it does not reach grandchildren, and macOS has none.

Lines on standard input, from the parent: `watch PID SIGNAL` (the signal that is tried first), `forget PID`,
`folder PATH`, `keep PATH`. End of input, or another parent process, means that the parent is gone.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time

import psutil

POLITE_SECONDS = 3.0
DEAD_SECONDS = 10.0


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants that are alive now, parents first; empty when there is none."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def signal_all(processes: list[psutil.Process], number: int) -> None:
    """Send the signal to each; those that have ended meanwhile are no error."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def freeze_tree(pid: int) -> list[psutil.Process]:
    """Stop (SIGSTOP) the process and every descendant; returns them. Nothing can fork meanwhile: parents
    are stopped first, and the tree is read again until it no longer grows."""
    frozen: list[psutil.Process] = []
    while grown := [process for process in tree(pid) if process not in frozen]:
        signal_all(grown, signal.SIGSTOP)
        frozen += grown
    return frozen


def kill_tree(pid: int) -> list[psutil.Process]:
    """Kill (SIGKILL) the process and every descendant; returns them. Does not wait for their end."""
    processes = freeze_tree(pid)
    signal_all(processes, signal.SIGKILL)
    return processes


def wait_dead(processes: list[psutil.Process], timeout: float) -> bool:
    """Wait up to `timeout` seconds until none runs any more; True when so. A zombie counts as dead."""
    end = time.monotonic() + timeout
    # psutil's own waiting would wait for zombies too, until the machine's first process reaps them.
    while not all(_dead(process) for process in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _dead(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class Guard:
    def __init__(self) -> None:
        self.children: dict[int, int] = {}
        self.folders: set[str] = set()

    def note(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        if verb == "watch":
            pid, _, number = rest.partition(" ")
            self.children[int(pid)] = int(number)
        elif verb == "forget":
            self.children.pop(int(rest), None)
        elif verb == "folder":
            self.folders.add(rest)
        elif verb == "keep":
            self.folders.discard(rest)

    def clear(self) -> None:
        """End every child that is left, then remove every folder that is left."""
        known: list[psutil.Process] = []
        for pid, number in self.children.items():
            processes = tree(pid)
            known += processes
            signal_all(processes, signal.SIGCONT)
            signal_all(processes[:1], number)
        wait_dead(known, POLITE_SECONDS if known else 0)
        for pid in self.children:
            known += kill_tree(pid)
        signal_all(known, signal.SIGKILL)
        wait_dead(known, DEAD_SECONDS if known else 0)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Listen until the parent is gone, then clear up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent, guard, rest = int(sys.argv[1]), Guard(), b""
    # A forked copy of the parent may hold the pipe open, so the parent's number is looked at as well.
    while os.getppid() == parent:
        if not select.select([sys.stdin], [], [], 0.5)[0]:
            continue
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            guard.note(os.fsdecode(line))
    guard.clear()


if __name__ == "__main__":
    main()
