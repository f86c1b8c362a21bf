"""Services whose wall clock can be set: libfaketime, with its offset in a file. The monotonic one stays."""

import contextlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from deploy.local.units import Units
from shared.errors import Refusal
from shared.municipality import read
from tests.chaos.trial import BOSTON, Trial, trial_stack

FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
LIBRARY = "faketime/libfaketimeMT.so.1"


def library() -> Path:
    """libfaketime for programs with threads. Refusal where it is not installed."""
    for folder in map(Path, FOLDERS):
        for found in (folder / LIBRARY, *folder.glob(f"*/{LIBRARY}")):
            if found.exists():
                return found
    raise Refusal("steps of the clock need libfaketime, which runs on Linux; `apt install faketime`")


class Clock:
    """The services' wall clock: so many seconds before or behind the right one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: int) -> None:
        """Step it; the processes see that within a second."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.rename(self._file)

    def environment(self) -> dict[str, str]:
        """What lets a process have this clock."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


class UnitsOfAnyTime(Units):
    """Units that take a signature whatever its time: their clock is not what is tried here."""

    def verify(self, signer: Webhook, body: bytes, headers: dict[str, str]) -> None:
        sent = {name.lower(): value for name, value in headers.items()}
        at = datetime.fromtimestamp(int(sent["webhook-timestamp"]), UTC)
        made = signer.sign(sent["webhook-id"], at, body.decode())
        if not any(hmac.compare_digest(made, one) for one in sent["webhook-signature"].split(" ")):
            raise WebhookVerificationError


@contextlib.contextmanager
def trial_with_clock() -> Iterator[tuple[Trial, Clock]]:
    """A trial's stack whose three services have one clock that can be set. Raises Refusal without
    libfaketime."""
    library()
    units = UnitsOfAnyTime(read(BOSTON).units, refused_share=0.05)
    with trial_stack(units) as trial:
        clock = Clock(trial.stack.folder / "clock")
        for service in trial.stack.services.values():
            service.child.stop()
            service.child.env = {**(service.child.env or {}), **clock.environment()}
            service.start()
        yield trial, clock
