"""The files of a folder: bytes in, tables out, and the version that they have together."""

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from shared.municipality.findings import WHOLE_FILE, Findings

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Files:
    """What it has read is what the version is of: no file is read for the one and again for the other."""

    def __init__(self, folder: Path, findings: Findings) -> None:
        self._folder = folder
        self._findings = findings
        self._contents: dict[str, bytes] = {}

    def toml(self, name: str) -> dict[str, Any] | None:
        """The table of a TOML file, or None after adding the mistake."""
        text = self._text(name)
        if text is None:
            return None
        try:
            return tomllib.loads(text)
        except RecursionError:
            self._findings.add(name, WHOLE_FILE, "lists are nested too deep", "write them flat")
        except ValueError as error:
            problem, line = _located(str(error), text)
            self._findings.add(
                name,
                f"line {line}",
                f"this is no TOML: {problem}",
                "mend the line; strings are quoted in TOML",
            )
        return None

    def geojson(self, name: str) -> object:
        """What a JSON file holds, or None after adding the mistake."""
        text = self._text(name)
        if text is None:
            return None
        try:
            value: object = json.loads(text, parse_constant=_no_number)
        except RecursionError:
            self._findings.add(name, WHOLE_FILE, "lists are nested too deep", "export the areas again")
        except json.JSONDecodeError as error:
            self._findings.add(
                name, f"line {error.lineno}", f"this is no JSON: {error.msg}", "export the areas again"
            )
        except ValueError as error:
            self._findings.add(name, WHOLE_FILE, f"this is no JSON: {error}", "export the areas again")
        else:
            if value is None:
                self._findings.add(name, WHOLE_FILE, "the file holds null", "export the areas again")
            return value
        return None

    def version(self) -> str:
        """The first 16 hex characters of the SHA-256 of every file that was read, names included."""
        digest = hashlib.sha256()
        for name, content in sorted(self._contents.items()):
            digest.update(f"{name}\n{len(content)}\n".encode())
            digest.update(content)
        return digest.hexdigest()[:16]

    def _text(self, name: str) -> str | None:
        add = self._findings.add
        try:
            content = self._contents[name] = (self._folder / name).read_bytes()
        except FileNotFoundError:
            add(
                name,
                WHOLE_FILE,
                "the file is missing",
                "add it; copy the one of municipalities/ibuurt to begin",
            )
            return None
        except OSError as error:
            add(name, WHOLE_FILE, f"the file cannot be read: {error.strerror}", "make it a readable file")
            return None
        if content.startswith(BYTE_ORDER_MARK):
            add(name, "line 1", "the file begins with a byte order mark", "save it as UTF-8 without BOM")
            return None
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            add(name, f"line {line}", "the file is not UTF-8", "save it as UTF-8 without BOM")
            return None


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number in JSON")


def _located(message: str, text: str) -> tuple[str, int]:
    """tomllib (Python 3.11) tells the line in its message only."""
    found = re.fullmatch(r"(?s)(.*) \(at (?:line (\d+), column \d+|end of document)\)", message)
    if found is None:
        return message.splitlines()[0], 1
    line = int(found[2]) if found[2] else text.count("\n") + 1
    return found[1].replace("\n", " "), line
