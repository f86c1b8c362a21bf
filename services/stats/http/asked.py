"""What is asked for in an address, held against what there is. Every refusal names what would do."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from fastapi import Request

from services.stats.core.periods import Grain, begin_of, named, period
from shared.web import ANYWHERE, Problem

FORMATS = ("json", "csv")
MAX_DAYS = 3_670
TEN_YEARS = timedelta(days=3_652)
LAST = "9999"
GRAIN: Mapping[str, Grain] = {"week_part": "week_part", "took": "quarter", "outcome": "quarter"}
PATTERNS: Mapping[Grain, str] = {
    "month": r"^[12][0-9]{3}-(0[1-9]|1[0-2])$",
    "quarter": r"^[12][0-9]{3}-Q[1-4]$",
    "week_part": r"^[12][0-9]{3}-W[0-9]{2}-[0-9]{4}-[0-9]{2}$",
}
EXAMPLES: Mapping[Grain, str] = {"month": "2026-10", "quarter": "2026-Q4", "week_part": "2026-W41-2026-10"}


class Span(NamedTuple):
    """From one period to another, by their names."""

    since: str
    until: str


def unknown(status: int, what: str, allowed: Sequence[str], pointer: str, **more: Any) -> Problem:
    """The refusal of a value that there is not."""
    return Problem(
        status,
        f"unknown-{what}",
        "Not one of those that are possible",
        "Choose one of those in `allowed`.",
        errors=[(pointer, f"there is no such {what}")],
        headers=ANYWHERE,
        allowed=list(allowed),
        **more,
    )


def query(request: Request, names: Sequence[str]) -> dict[str, str]:
    """The query's values by their names. Raises Problem 422 for another name, and one that stands twice."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if not names:
            raise Problem(
                422,
                "unknown-parameter",
                "No parameter is possible",
                "Ask for this address without a query.",
                errors=[("/query", "this file has no parameters")],
                headers=ANYWHERE,
            )
        if name not in names:
            raise unknown(422, "parameter", names, "/query")
        if name in found:
            raise Problem(
                422,
                "parameter-twice",
                "A parameter stands twice",
                "Send each parameter once.",
                errors=[(f"/query/{name}", "this stands twice")],
                headers=ANYWHERE,
            )
        found[name] = value
    return found


def chosen(
    given: Mapping[str, str], name: str, allowed: Sequence[str], otherwise: str | None = None
) -> str | None:
    """One of those that are allowed. Raises Problem 422."""
    value = given.get(name)
    if value is None:
        return otherwise
    if value not in allowed:
        raise unknown(422, name, allowed, f"/query/{name}")
    return value


def span(given: Mapping[str, str], grain: Grain, today: date) -> Span:
    """From `from` to `until`, or the one `period`. Without `until` to the newest, without `from` ten years.
    Raises Problem 422 for what is no period of this grain, one before the other, and more than ten years."""
    one, since, until = (_period(given, name, grain) for name in ("period", "from", "until"))
    if one and (since or until):
        raise _range("period-or-range", "Ask for one `period`, or for those from `from` to `until`.")
    if one:
        return Span(one, one)
    if since and until and since > until:
        raise _range("reversed-range", "`until` is before `from`: exchange them.")
    last = until or max(since or "", period(grain, today).name)
    since = since or period(grain, begin_of(last) - TEN_YEARS).name
    if (begin_of(last) - begin_of(since)).days > MAX_DAYS:
        raise _range(
            "range-too-long",
            "Ask for ten years at most, by `from` and `until`, or take the releases one by one.",
        )
    return Span(since, until or LAST)


def _range(code: str, detail: str) -> Problem:
    return Problem(
        422,
        code,
        "Not such a range",
        detail,
        errors=[("/query/until", "this does not go with `from`")],
        headers=ANYWHERE,
    )


def _period(given: Mapping[str, str], name: str, grain: Grain) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not _is_period(value, grain):
        example = f"a {grain.replace('_', ' ')}, such as {EXAMPLES[grain]}"
        raise unknown(422, "period", [example], f"/query/{name}", pattern=PATTERNS[grain])
    return value


def _is_period(value: str, grain: Grain) -> bool:
    try:
        return bool(re.fullmatch(PATTERNS[grain], value)) and named(grain, value).name == value
    except (ValueError, OverflowError):
        return False


def number(given: Mapping[str, str], name: str, otherwise: int, low: int, high: int) -> int:
    """A whole number. Raises Problem 422."""
    value = given.get(name)
    if value is None:
        return otherwise
    if not re.fullmatch(r"[0-9]{1,12}", value) or not low <= int(value) <= high:
        raise unknown(422, name, [f"a whole number from {low} to {high}"], f"/query/{name}")
    return int(value)


def parameter(name: str, where: str = "query", says: str = "", **schema: Any) -> dict[str, Any]:
    """How the OpenAPI document says it."""
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": says,
        "schema": {"type": "string", **schema},
    }
