"""The files of docs/contract/: at once what the models write and the record of what was published.

A change that subscribers would not survive is never written. `published.sha256` says what was written last: a
search and replace through the repository, or a file that is gone, is seen without any history.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.contract.asyncapi import DEAD_LETTER, Document
from deploy.contract.compatibility import breaks
from shared.errors import Refusal

SUMS = "published.sha256"
DOCUMENT = "asyncapi.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def files(document: Document) -> dict[str, str]:
    """All files of the contract by name: the document, a schema for each version of an event, the sums."""
    topics = {name: topic for topic, channel in document["channels"].items() for name in channel["messages"]}
    written = {DOCUMENT: _text(document)}
    for name, message in document["components"]["messages"].items():
        if name == DEAD_LETTER:
            continue
        about = {"x-ibuurt-topic": topics[name], "x-ibuurt-key": message["x-ibuurt-key"]}
        written[f"{name}.json"] = _text({"$schema": DIALECT} | message["payload"] | about)
    sums = [
        f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(written.items())
    ]
    return written | {SUMS: "".join(sums)}


def write(folder: Path, document: Document) -> list[str]:
    """Bring the folder up to date; returns the names of the files that changed.

    Raises Refusal, and writes nothing, where a file is not what was written last, or where subscribers would
    not survive the change.
    """
    _hold_to_published(folder, document)
    return _put(folder, files(document))


def begin(folder: Path, document: Document) -> list[str]:
    """Write the first record. Raises Refusal where there is one."""
    if any(folder.glob("*.v*.json")) or (folder / DOCUMENT).exists() or (folder / SUMS).exists():
        raise Refusal(f"{folder} has a record already; `make contract` adds to it")
    return _put(folder, files(document))


def check(folder: Path, document: Document) -> None:
    """Raises Refusal where the folder is not what the models write, or subscribers would not survive them."""
    _hold_to_published(folder, document)
    stale = [name for name, text in files(document).items() if _read(folder / name) != text]
    if stale:
        raise Refusal(f"{folder} is not what the models write ({', '.join(stale)}): run `make contract`")


def _hold_to_published(folder: Path, document: Document) -> None:
    if found := breaks(_published(folder), document):
        lines = "\n".join(str(one) for one in found)
        raise Refusal(
            f"{lines}\nWhat was never on the main branch can be taken back: `git checkout main -- {folder}`, "
            "then `make contract`."
        )


def _published(folder: Path) -> Document:
    """The published document. Raises Refusal where a file of the record is missing or altered."""
    sums = _sums(_read(folder / SUMS) or "")
    if not sums:
        raise Refusal(f"{folder / SUMS} is missing or empty; {_mend(folder)}")
    for name, expected in sums.items():
        text = _read(folder / name)
        if text is None or hashlib.sha256(text.encode()).hexdigest() != expected:
            state = "missing" if text is None else "not as `make contract` wrote it"
            raise Refusal(f"{folder / name} is {state}; {_mend(folder)}")
    unknown = sorted(path.name for path in folder.glob("*.json") if path.name not in sums)
    if unknown or DOCUMENT not in sums:
        raise Refusal(f"{folder / SUMS} does not name {', '.join(unknown) or DOCUMENT}; {_mend(folder)}")
    published: Document = json.loads((folder / DOCUMENT).read_text("utf-8"))
    return published


def _mend(folder: Path) -> str:
    return f"it is the record of what was published: `git checkout main -- {folder}`, then `make contract`"


def _sums(text: str) -> dict[str, str]:
    pairs = [line.split("  ", 1) for line in text.splitlines()]
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _put(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    changed = [name for name, text in wanted.items() if _read(folder / name) != text]
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        (folder / name).write_text(wanted[name], "utf-8")
    return changed


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


def _text(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
