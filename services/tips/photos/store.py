"""Where sealed photos are: a folder, or an object store such as S3's, through obstore.

obstore's calls run in threads: its own asyncio futures sometimes abort a process that ends just after one.
"""

import asyncio
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from shared.errors import Refusal

# Long before the list of objects to delete forgets a name (photos/moving.py) any call has ended.
CALL_TIMEOUT = timedelta(seconds=30)
RETRY_TIMEOUT = timedelta(seconds=60)
MAX_RETRIES = 2
URLS = ("s3://", "gs://", "az://")
# No photo's name: those are random, of version 4.
PROBE = uuid.UUID(int=0)


class StoreAway(Exception):  # noqa: N818 - an outcome
    """The store does not answer, or not as it should: worth another try later."""


class PhotoStore:
    """Sealed photos under random names. What is put there is on disk, or with the store, once `put` returns.
    `away` says whether the last call failed.

    `where` is a folder that is there, or a URL such as s3://bucket/photos, with the access that obstore reads
    from the environment (AWS_ACCESS_KEY_ID and so on); `secret_key`, where it is given, is S3's. Raises
    Refusal where it cannot be used.
    """

    def __init__(self, where: str, secret_key: str = "") -> None:
        self.away = False
        self._folder = None if "://" in where else Path(where)
        if self._folder is None:
            if not where.startswith(URLS):
                raise Refusal(
                    f"IBUURT_PHOTO_STORE: this URL cannot be used; give a folder, or one of {', '.join(URLS)}"
                )
            # One at a time, as every server knows it: obstore's own way, a list of those to delete, is
            # answered with 501 by some.
            s3: Any = {"disable_bulk_delete": True}
            if secret_key:
                s3["secret_access_key"] = secret_key
            try:
                self._store = from_url(
                    where,
                    config=s3 if where.startswith("s3://") else None,
                    client_options={
                        "timeout": CALL_TIMEOUT,
                        "connect_timeout": CALL_TIMEOUT,
                        # Options that are given here are all that there are: the environment's are not read.
                        "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
                    },
                    retry_config={"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT},
                )
            except (BaseError, ValueError) as error:
                raise Refusal(
                    f"IBUURT_PHOTO_STORE: this URL cannot be used ({type(error).__name__}); give one such as"
                    " s3://bucket/photos, with AWS_ACCESS_KEY_ID and IBUURT_PHOTO_STORE_SECRET_KEY"
                ) from None
        elif not self._folder.is_dir() or not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise Refusal(
                f"IBUURT_PHOTO_STORE: there is no folder {where} that can be read and written; make it"
                " (mkdir -m 700) for this service's account, or restore it from its backup"
            )
        else:
            self._store = LocalStore(self._folder)

    async def put(self, name: uuid.UUID, sealed: bytes) -> None:
        """Put an object, in the place of the one that is there. Raises StoreAway."""
        await self._answered(self._put, str(name), sealed)

    async def get(self, name: uuid.UUID) -> bytes | None:
        """An object, None where there is none. Raises StoreAway."""
        found: bytes | None = await self._answered(self._get, str(name))
        return found

    async def delete(self, name: uuid.UUID) -> None:
        """Delete an object, and what is left of a put of it that was cut off. Raises StoreAway."""
        await self._answered(self._delete, str(name))

    async def probe(self) -> None:
        """Put something small under a name of its own and delete it again. Raises StoreAway."""
        await self.put(PROBE, b"")
        await self.delete(PROBE)

    async def _answered(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            answer = await asyncio.to_thread(call, *arguments)
        except (BaseError, OSError) as error:
            self.away = True
            raise StoreAway(type(error).__name__) from None
        self.away = False
        return answer

    def _get(self, name: str) -> bytes | None:
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None

    def _put(self, name: str, sealed: bytes) -> None:
        obstore.put(self._store, name, sealed, use_multipart=False)
        if self._folder:
            # obstore leaves that to the system: a power cut could take away what the database has let go.
            _sync(self._folder / name)
            self._clear_drafts(self._folder, name)
            _sync(self._folder)

    def _delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            obstore.delete(self._store, name)
        if self._folder:
            self._clear_drafts(self._folder, name)
            _sync(self._folder)

    @staticmethod
    def _clear_drafts(folder: Path, name: str) -> None:
        """obstore writes `name#1` and renames it; a process that is killed between leaves that behind."""
        for draft in folder.glob(f"{name}#*"):
            draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
