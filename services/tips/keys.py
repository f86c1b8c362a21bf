"""The months' keys: calls over a folder of files, which a KMS or Vault can stand behind later.

Blocking, but a file is read or written once per month and regime, and for each reading of words.
"""

import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from services.tips.core.keeping import KEY_NAME, generation
from shared.errors import Refusal

KEY_BYTES = 32


class KeyDestroyed(Exception):  # noqa: N818 - an outcome
    """The key's time has ended: what it wrapped is erased for good."""


class KeyLost(Exception):  # noqa: N818 - an outcome
    """The key is neither there nor destroyed: the folder is not the one that the reports were sealed with."""


class KeyFolder:
    """A file per key, mode 600, and an empty `.destroyed` file for each that was destroyed.

    Raises Refusal where the folder is missing or cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise Refusal(
                f"IBUURT_KEY_FOLDER: there is no folder {folder}; make it (mkdir -m 700), or restore it from"
                " its backup if this service has run before: without it no report can be read"
            )
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise Refusal(
                f"IBUURT_KEY_FOLDER: {folder} cannot be read and written; give it to this service's account"
            )
        self._folder = folder
        self._made: dict[str, bytes] = {}

    def make(self, name: str) -> bytes:
        """The key of that name, made if there is none; two processes that make it get the same.

        Raises KeyDestroyed.
        """
        # Each time: another process may have destroyed it since.
        self._check_not_destroyed(name)
        if name not in self._made:
            path = Path(self._path(name))
            if not path.exists():
                self._create(path)
            self._made[name] = self.get(name)
        return self._made[name]

    def newest(self, base: str) -> str:
        """The name of the generation that a key is in: a key that is rotated is followed by the next."""
        number = 1
        while self._destroyed(name := generation(base, number)) or self._known(generation(base, number + 1)):
            number += 1
        return name

    def names(self) -> set[str]:
        """All keys that there are, and that there were."""
        return {
            name
            for file in self._folder.iterdir()
            if KEY_NAME.fullmatch(name := file.name.removesuffix(".destroyed"))
        }

    def state(self, name: str) -> Literal["there", "destroyed", "missing"]:
        """What has become of a key."""
        if self._destroyed(name):
            return "destroyed"
        return "there" if _is_there(self._path(name)) else "missing"

    def made_at(self, name: str) -> datetime | None:
        """The hour (UTC) in which a key was made that is there."""
        path = Path(self._path(name))
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) if path.exists() else None

    def destroyed_at(self, name: str) -> datetime | None:
        """The end of the hour (UTC) in which a key was destroyed; None for one that was not."""
        marker = Path(self._marker(name))
        if not marker.exists():
            return None
        hours = int(marker.stat().st_mtime) // 3600 + 1
        return datetime.fromtimestamp(hours * 3600, UTC)

    def get(self, name: str) -> bytes:
        """The key of that name. Raises KeyDestroyed or KeyLost."""
        self._check_not_destroyed(name)
        try:
            key = Path(self._path(name)).read_bytes()
        except FileNotFoundError:
            raise KeyLost(f"key {name} is missing; restore the key folder from its backup") from None
        if len(key) != KEY_BYTES:
            raise KeyLost(f"key {name} has not {KEY_BYTES} bytes; restore it from the key folder's backup")
        return key

    def destroy(self, name: str) -> None:
        """Destroy the key: everything that it wrapped is unreadable. Repeating it does nothing."""
        self._made.pop(name, None)
        marker = os.open(self._marker(name), os.O_CREAT | os.O_WRONLY, 0o600)
        os.close(marker)
        self._sync_folder()
        self.tidy()

    def tidy(self) -> None:
        """Remove what a process that died has left of keys: those that are marked as destroyed, and copies of
        those that were made."""
        for file in self._folder.iterdir():
            name = file.name
            if name.startswith("."):
                made = name[1:].rpartition(".")[0]
                if KEY_NAME.fullmatch(made) and self._known(made):
                    file.unlink(missing_ok=True)
            elif KEY_NAME.fullmatch(name) and self._destroyed(name):
                file.unlink(missing_ok=True)
        self._sync_folder()

    def _create(self, path: Path) -> None:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                # Made by the first report of a month, which may be a tip: no finer than the hour.
                hour = int(time.time()) // 3600 * 3600
                os.utime(descriptor, (hour, hour))
                os.fsync(file.fileno())
            # A link is made whole or not at all, and only the first one is.
            os.link(draft, path)
        except (FileExistsError, FileNotFoundError):
            pass  # another was first, and its `tidy` may have taken the draft away
        finally:
            draft.unlink(missing_ok=True)
        # By whoever made it: a report must not be sealed with a key that a power cut takes away.
        self._sync_folder()

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _check_not_destroyed(self, name: str) -> None:
        if self._destroyed(name):
            raise KeyDestroyed(name)

    def _destroyed(self, name: str) -> bool:
        return _is_there(self._marker(name))

    def _known(self, name: str) -> bool:
        return _is_there(self._path(name)) or self._destroyed(name)

    def _path(self, name: str) -> str:
        # Strings, since each report asks for several: a Path takes ten times as long to make.
        if not KEY_NAME.fullmatch(name):
            raise ValueError("a key's name is YYYY-MM-regime-days or hold-ID, and .N from the second on")
        return f"{self._folder}/{name}"

    def _marker(self, name: str) -> str:
        return f"{self._path(name)}.destroyed"


def _is_there(path: str) -> bool:
    return os.access(path, os.F_OK)
