"""Mistakes are gathered, never raised one by one, so that one reading names them all."""

import difflib
import json
import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.errors import Mistake

WHOLE_FILE = "(whole file)"

M = TypeVar("M", bound=BaseModel)

# What pydantic calls it -> what the reader is told.
PROBLEMS = {
    "missing": "the key is missing",
    "string_type": "this is no text",
    "bool_type": "this is neither true nor false",
    "float_type": "this is no number",
    "int_type": "this is no whole number",
    "finite_number": "this is no finite number",
    "tuple_type": "this is no list",
    "dict_type": "this is no table",
    "model_type": "this is no table",
    "too_short": "this is empty",
    "too_long": "there are too many",
    "string_pattern_mismatch": "this is not written in the form that is needed",
    "literal_error": "this is none of the words that are possible",
    "greater_than": "the number is too small",
    "greater_than_equal": "the number is too small",
    "less_than_equal": "the number is too large",
}


def join(*parts: int | str) -> str:
    """The path inside a file: join("categories", 3, "targets") is `categories[3].targets`."""
    path = ""
    for part in (part for part in parts if part != ""):
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_\[\].-]+", part) else json.dumps(part)
            path += f".{name}" if path else name
    return path


def _printable(text: str) -> str:
    """Keys and ids are quoted as they stand in a file: a line break there must not break the line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"? ` where a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {json.dumps(near[0])}? " if near else ""


def listed(words: Iterable[str]) -> str:
    """The words for a message; a long list is cut."""
    words = list(words)
    return ", ".join(words[:30]) + (f" and {len(words) - 30} more" if len(words) > 30 else "")


class Findings:
    """The mistakes found so far, one per place: what follows from a mistake is not told beside it."""

    def __init__(self) -> None:
        self._mistakes: dict[tuple[str, str], Mistake] = {}

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """In the order in which they were found."""
        return tuple(self._mistakes.values())

    def add(self, file: str, path: str, problem: str, mend: str) -> None:
        """One mistake. Neither problem nor mend ends with a full stop."""
        mistake = Mistake(*map(_printable, (file, path, problem, mend)))
        self._mistakes.setdefault((file, path), mistake)

    def unknown(self, file: str, path: str, key: str, allowed: Iterable[str], what: str = "key") -> None:
        """A key, or an id that is referred to, which does not exist."""
        allowed = list(allowed)
        mend = f"{nearest(key, allowed)}allowed: {listed(allowed)}"
        self.add(file, path, f"unknown {what} {json.dumps(key)}", mend)

    def table(self, file: str, path: str, value: object, allowed: Iterable[str]) -> dict[str, Any]:
        """The value as a table without unknown keys; an empty one where it is none."""
        if not isinstance(value, dict):
            self.add(file, path or WHOLE_FILE, "this is no table", f"write a table with {listed(allowed)}")
            return {}
        for key in sorted(value.keys() - set(allowed)):
            self.unknown(file, join(path, key), key, allowed)
        return value

    def model(
        self, file: str, path: str, model: type[M], value: object, keys: Mapping[str, str] | None = None
    ) -> M | None:
        """The value as a `model`, or None after adding every mistake in it.

        `keys` gives the names that the file has for fields of the model, where they differ.
        """
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                if not _follows(details):
                    self._invalid(file, path, model, details, keys or {})
            return None

    def _invalid(
        self, file: str, path: str, model: type[BaseModel], details: ErrorDetails, keys: Mapping[str, str]
    ) -> None:
        place = tuple(part for part in details["loc"] if part != "[key]")
        where = join(path, *(keys.get(str(part), part) for part in place))
        if details["type"] == "extra_forbidden":
            self.unknown(file, where, str(place[-1]), _described(model, place[:-1])[1])
            return
        context = details.get("ctx", {})
        problem = PROBLEMS.get(details["type"], details["msg"])
        if details["type"] not in ("missing", "wrong", "too_short", "too_long"):
            problem = f"{problem}: {reprlib.repr(details['input'])}"
        mend = context.get("mend", f"write {_described(model, place)[0]}")
        self.add(file, where or WHOLE_FILE, problem, mend)


def _follows(details: ErrorDetails) -> bool:
    """Whether another mistake, which is named by itself, is behind it: a list counts only right entries."""
    if details["type"] == "too_short":
        return bool(details["input"])
    return details["type"] == "default_factory_not_called"


def _described(model: type[BaseModel], place: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """What stands at a place: the description of its field, and the keys of its table."""
    description = f"a table with {listed(model.model_fields)}"
    inner: type[BaseModel] | None = model
    for part in place:
        field = inner.model_fields.get(str(part)) if inner else None
        if field is not None:
            description = field.description or description
            inner = _model_in(field.annotation)
    return description, list(inner.model_fields) if inner else []


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds: in `tuple[Webhook, ...]` and `When | None` as well."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
