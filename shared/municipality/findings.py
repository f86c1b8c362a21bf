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
    "model_attributes_type": "this is no table",
    "union_tag_not_found": "the key is missing",
    "union_tag_invalid": "this is none of the words that are possible",
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
        context = details.get("ctx", {})
        loc = tuple(part for part in details["loc"] if part != "[key]")
        if "discriminator" in context:
            # Of which kind the table is: that is said by one of its keys.
            loc = (*loc, context["discriminator"].strip("'"))
        place, description, _ = _described(model, loc)
        where = join(path, *(keys.get(str(part), part) for part in place))
        if details["type"] == "extra_forbidden":
            self.unknown(file, where, str(place[-1]), _described(model, loc[:-1])[2])
            return
        problem = PROBLEMS.get(details["type"], details["msg"])
        if details["type"] not in ("missing", "union_tag_not_found", "wrong", "too_short", "too_long"):
            problem = f"{problem}: {reprlib.repr(context.get('tag', details['input']))}"
        mend = context.get("mend", f"write {description}")
        self.add(file, where or WHOLE_FILE, problem, mend)


def _follows(details: ErrorDetails) -> bool:
    """Whether another mistake, which is named by itself, is behind it: a list counts only right entries."""
    if details["type"] == "too_short":
        return bool(details["input"])
    return details["type"] == "default_factory_not_called"


def _described(
    model: type[BaseModel], loc: tuple[int | str, ...]
) -> tuple[tuple[int | str, ...], str, list[str]]:
    """The place in the file that pydantic's `loc` stands for; what stands there: the description of its
    field, and the keys of its table."""
    description = f"a table with {listed(model.model_fields)}"
    inner: list[type[BaseModel]] = [model]
    place: list[int | str] = []
    for part in loc:
        if len(inner) > 1 and (of_kind := [one for one in inner if part in _kinds(one)]):
            # pydantic's name of the kind, which is no key of the file.
            inner = of_kind
            continue
        place.append(part)
        fields = [one.model_fields[str(part)] for one in inner if str(part) in one.model_fields]
        if fields:
            told = dict.fromkeys(field.description for field in fields if field.description)
            description = " or ".join(told) or description
            inner = [one for field in fields for one in _models_in(field.annotation)]
    return tuple(place), description, list(dict.fromkeys(key for one in inner for key in one.model_fields))


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """The models that a field may hold: in `tuple[Question, ...]`, `When | None` and `Webhook | Email` as
    well."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
