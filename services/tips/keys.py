"""The months' keys: three calls over a folder of files, which a KMS or Vault can stand behind later.

Blocking, but a file is read or written once per month and regime, and for each reading of words.
"""

import os
import re
import secrets
from pathlib import Path

from shared.errors import Refusal

KEY_BYTES = 32
_NAME = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-[a-z]{1,10}-[1-9][0-9]{0,4}", re.ASCII)


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
        if name not in self._made:
            path = self._path(name)
            self._check_not_destroyed(name)
            if not path.exists():
                self._create(path)
            self._made[name] = self.get(name)
        return self._made[name]

    def get(self, name: str) -> bytes:
        """The key of that name. Raises KeyDestroyed or KeyLost."""
        self._check_not_destroyed(name)
        try:
            key = self._path(name).read_bytes()
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
        self._path(name).unlink(missing_ok=True)
        self._sync_folder()

    def _create(self, path: Path) -> None:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            # A link is made whole or not at all, and only the first one is.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        # By whoever made it: a report must not be sealed with a key that a power cut takes away.
        self._sync_folder()

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _check_not_destroyed(self, name: str) -> None:
        if self._marker(name).exists():
            raise KeyDestroyed(name)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError("a key's name is YYYY-MM-regime-days")
        return self._folder / name

    def _marker(self, name: str) -> Path:
        path = self._path(name)
        return path.with_name(f"{path.name}.destroyed")
