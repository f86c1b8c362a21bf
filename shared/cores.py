"""What a process holds in memory stays there: no core file, and no debugger of the same account."""

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def leave_none() -> None:
    """From now on this process leaves no core file however it dies, also where the system hands cores to a
    program, which the limit alone does not stop. A program that it starts may leave one again."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
