"""Any text in any field: refused with a problem that names the field, or read back as it was sent."""

import asyncio
import io
import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.tips_server import Tips, issue, new_key, tip

# U+0000; what turns, hides or joins letters; and other languages' code.
NASTY = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ufeffa",
    "a\u200bb\u200c\u200d\u2060",
    "\u202egnirts\u202c",
    "\u2066a\u2069 \u061c\u200f",
    "שלום עולם",
    "مرحبا بالعالم",
    "e\u0301é",
    "👩‍👩‍👧‍👦🇳🇱",
    "\U0010ffff\ufffe",
    "a\r\nb\tc\x1b[31m\x7f\x85\u2028",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>&amp;&lt;",
    "'; DROP TABLE report; --",
    '" OR 1=1 /*',
    "${7*7} {{7*7}} {% raw %} <%= 7*7 %> #{7*7} %s %n {0.__class__}",
    "../../etc/passwd",
    "\\u0000\\ud800",
    "=cmd|' /C calc'!A0",
    "null",
    "NaN",
    "1e999",
)
# Unicode's White_Space at both ends: it is cut off where a text stands by itself.
_BLANK = r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
BLANK_ENDS = re.compile(rf"\A{_BLANK}|{_BLANK}\Z")
TEXTS = (
    st.sampled_from(NASTY) | st.text(max_size=60) | st.lists(st.sampled_from(NASTY), max_size=4).map("".join)
)


@dataclass(frozen=True)
class Field:
    """A place for a text: how it is put into a body, its refusals' pointers, and how it is read back."""

    put: Callable[[str], dict[str, Any]]
    pointers: tuple[str, ...]
    get: Callable[[Mapping[str, Any]], Any]
    stripped: bool = False


def field(
    body: Callable[..., dict[str, Any]], path: str, stripped: bool = False, more: tuple[str, ...] = ()
) -> Field:
    names = path.strip("/").split("/")

    def put(text: str) -> dict[str, Any]:
        value: Any = text
        for name in reversed(names[1:]):
            value = {name: value}
        return body(**{names[0]: value})

    def get(words: Mapping[str, Any]) -> Any:
        found: Any = words
        for name in names:
            found = found[name]
        return found

    return Field(put, (path, *more), get, stripped)


FIELDS: dict[str, Field] = {
    "description": field(issue, "/description", stripped=True, more=("/not_an_emergency",)),
    "description of a tip": field(tip, "/description", stripped=True, more=("/not_an_emergency",)),
    "address": field(issue, "/location/address", stripped=True),
    "area": field(issue, "/location/area/district"),
    "from": field(issue, "/happened/from"),
    "text answer": field(issue, "/answers/post_number", more=("/not_an_emergency",)),
    "number answer": field(issue, "/answers/how_many"),
    "choice answer": field(issue, "/answers/what_is_wrong"),
    "name": field(issue, "/contact/name", stripped=True),
    "email": field(issue, "/contact/email", stripped=True),
    "phone": field(issue, "/contact/phone", stripped=True),
    "language": field(issue, "/language"),
    "category": field(issue, "/category"),
    "kind": field(issue, "/kind"),
    "not an emergency": field(issue, "/not_an_emergency"),
}


async def outcome(tips: Tips, body: dict[str, Any], field: Field, text: str) -> None:
    """Fails unless one of the two happened."""
    answer = await tips.post(json.dumps(body).encode())
    if answer.status == 201:
        (row,) = await tips.rows("DELETE FROM submission RETURNING report_id")
        words = await tips.words(row["report_id"])
        read = field.get(words.body)
        assert read == (BLANK_ENDS.sub("", text) if field.stripped else text)
        return
    assert 400 <= answer.status < 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status == 422
    assert {error["pointer"] for error in answer.body["errors"]} <= set(field.pointers)


@pytest.mark.parametrize("name", FIELDS)
async def test_any_text_in_a_field_is_refused_by_name_or_kept_as_it_is(name: str, tips: Tips) -> None:
    """Every nasty text, then many that hypothesis makes of them; never a fault."""
    field = FIELDS[name]
    for text in NASTY:
        await outcome(tips, field.put(text), field, text)
    await tried(TEXTS, lambda text: outcome(tips, field.put(text), field, text), max_examples=40)


async def tried(
    values: st.SearchStrategy[Any], check: Callable[[Any], Coroutine[Any, Any, None]], *, max_examples: int
) -> None:
    """Check so many of the values, one after another, in this loop."""
    loop = asyncio.get_running_loop()

    @settings(max_examples=max_examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def each(value: Any) -> None:
        asyncio.run_coroutine_threadsafe(check(value), loop).result(60)

    await asyncio.to_thread(each)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", ["location", "happened", "answers", "contact", "not_an_emergency"])
async def test_any_json_in_a_field_is_taken_or_refused_and_never_a_fault(name: str, tips: Tips) -> None:
    """Whatever stands there: NaN and numbers of many digits, lists in lists, keys that are words."""

    async def send(value: Any) -> None:
        answer = await tips.post(json.dumps(issue(**{name: value})).encode())
        assert answer.status in (201, 400, 422)
        for error in answer.body.get("errors", []):
            assert error["pointer"].startswith(f"/{name}")

    await tried(VALUES | st.just(10**4000) | st.just({"how_many": 10**4000}), send, max_examples=80)


async def test_nothing_of_10_megabytes_is_read(tips: Tips) -> None:
    """In whichever field it stands, also as a key, and however it is spelled: 413 with the limit."""
    large = "x" * 10_000_000
    bodies = [field.put(large) for field in FIELDS.values()]
    bodies += [issue(answers={large: 1}), issue(**{large: 1}), issue(answers={"post_number": [large]})]
    for body in bodies:
        headers = {"Content-Type": "application/json", "Idempotency-Key": new_key()}
        sent = io.BytesIO(json.dumps(body).encode())
        async with tips.session.post(f"{tips.url}/v1/reports", data=sent, headers=headers) as answer:
            problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["limit_bytes"]) == (413, 65_536)
    assert await tips.stored() == 0


async def test_a_field_at_its_limit_is_named_with_the_limit(tips: Tips) -> None:
    """Within the body's limit, beyond the field's."""
    for name, limit in (
        ("description", 10_000),
        ("address", 300),
        ("name", 100),
        ("email", 254),
        ("phone", 30),
    ):
        field = FIELDS[name]
        answer = await tips.post(field.put("1" * (limit + 1)))
        assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, field.pointers[0])
        assert str(limit) in answer.body["errors"][0]["detail"]
