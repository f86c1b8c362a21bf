"""What breaks the contract is poison, with its reason, whatever bytes a record holds."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cloudevents import from_record, number_of
from shared.errors import Poison
from shared.events import EVENT_TYPES, MAX_VALUE_BYTES, TOPICS, IssueGone
from tests.golden.expected import EXPECTED
from tests.golden.samples import SAMPLES, parts_of, topic_of

KEY = str(EXPECTED["ReportRouted.v1"].event.key)


def routed(**changes: Any) -> dict[str, Any]:
    """A good record of ReportRouted, as arguments of from_record, with headers or value changed."""
    sample = SAMPLES["ReportRouted.v1"]
    headers = {name: content.encode() for name, content in sample["headers"].items()}
    headers |= changes.pop("headers", {})
    value = sample["value"] | changes.pop("fields", {})
    record: dict[str, Any] = {
        "topic": topic_of(sample),
        "key": KEY.encode(),
        "value": json.dumps(value).encode(),
        "headers": [(name, content) for name, content in headers.items() if content != "absent"],
    }
    return record | changes


CE_READ = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject")
POISON: list[tuple[str, str, dict[str, Any]]] = [
    ("no headers", "bad_headers", {"headers": dict.fromkeys(CE_READ, "absent")}),
    *((f"no {name}", "bad_headers", {"headers": {name: "absent"}}) for name in CE_READ[:-1]),
    *((f"null {name}", "bad_headers", {"headers": {name: None}}) for name in ("ce_id", "ce_time")),
    *((f"{name} not UTF-8", "bad_headers", {"headers": {name: b"\xff"}}) for name in CE_READ),
    ("an id that is no uuid", "bad_headers", {"headers": {"ce_id": b"17"}}),
    ("another CloudEvents", "bad_headers", {"headers": {"ce_specversion": b"0.3"}}),
    ("a time without zone", "bad_headers", {"headers": {"ce_time": b"2026-11-05T14:00:00"}}),
    ("a time that is none", "bad_headers", {"headers": {"ce_time": b"yesterday"}}),
    ("a time before all", "bad_headers", {"headers": {"ce_time": b"0001-01-01T00:00:00+05:00"}}),
    ("a null type", "unknown_type", {"headers": {"ce_type": None}}),
    ("another's type", "unknown_type", {"headers": {"ce_type": b"nl.example.Moved.v1"}}),
    ("a type of ours not known", "unknown_type", {"headers": {"ce_type": b"ibuurt.ReportSung.v1"}}),
    ("a type without version", "unknown_type", {"headers": {"ce_type": b"ibuurt.ReportRouted"}}),
    ("a newer version", "unknown_version", {"headers": {"ce_type": b"ibuurt.ReportRouted.v2"}}),
    ("another topic", "wrong_topic", {"topic": "ibuurt.reports.v1"}),
    ("no value", "tombstone", {"value": None}),
    ("no JSON", "bad_value", {"value": b"{"}),
    ("no object", "bad_value", {"value": b"[]"}),
    ("an empty value", "bad_value", {"value": b""}),
    ("JSON not UTF-8", "bad_value", {"value": b'{"unit": "\xff"}'}),
    ("JSON nested deep", "bad_value", {"value": b"[" * 10_000}),
    ("a field missing", "bad_value", {"value": json.dumps({"report_id": KEY}).encode()}),
    ("a field of another type", "bad_value", {"fields": {"version": "1"}}),
    ("a version below 1", "bad_value", {"fields": {"version": 0}}),
    ("a code with a space", "bad_value", {"fields": {"unit": "Jan de Vries"}}),
    ("a code with a line break", "bad_value", {"fields": {"unit": "parks\n"}}),
    ("a code too long", "bad_value", {"fields": {"unit": "a" * 65}}),
    ("a due time without zone", "bad_value", {"fields": {"resolve_by": "2026-11-10T14:41:07"}}),
    ("a due time after all", "bad_value", {"fields": {"resolve_by": "9999-12-31T23:00:00-05:00"}}),
    ("too many bytes", "bad_value", {"fields": {"newer": "x" * MAX_VALUE_BYTES}}),
    ("another key", "wrong_key", {"key": b"0b7d1a52-6c3e-4f0a-9d8e-2f4c5b6a7d81"}),
    ("the key in capitals", "wrong_key", {"key": KEY.upper().encode()}),
    ("no key", "wrong_key", {"key": None}),
    ("no subject", "wrong_key", {"headers": {"ce_subject": "absent"}}),
    ("another subject", "wrong_key", {"headers": {"ce_subject": b"x"}}),
]


@pytest.mark.parametrize(
    ("reason", "changes"), [row[1:] for row in POISON], ids=[row[0].replace(" ", "_") for row in POISON]
)
def test_what_breaks_the_contract_is_poison_with_its_reason(reason: str, changes: dict[str, Any]) -> None:
    """Whatever stands in a record, reading it ends in an envelope or in Poison, and in nothing else."""
    from_record(**routed())
    with pytest.raises(Poison) as poison:
        from_record(**routed(**changes))
    assert poison.value.reason == reason


def test_the_table_of_poison_has_every_reason() -> None:
    """A reason that from_record can give and no row reaches would be one that nobody has seen work."""
    documented = {"bad_headers", "unknown_type", "unknown_version", "wrong_topic", "tombstone", "bad_value"}
    assert {reason for _, reason, _ in POISON} == documented | {"wrong_key"}


def test_a_tombstone_means_that_a_public_issue_is_gone_and_nothing_else() -> None:
    """Only the topic of public issues has them, and their key must be an issue's id."""
    key, value, headers = parts_of(SAMPLES["IssueGone.v1"])
    assert value is None
    assert isinstance(from_record("ibuurt.issues.v1", key, None, headers).event, IssueGone)
    for bad in (b"not-an-id", b"\xff", None):
        with pytest.raises(Poison, match="wrong_key"):
            from_record("ibuurt.issues.v1", bad, None, headers)


@given(
    st.binary(max_size=60),
    st.none() | st.binary(max_size=60) | st.just(b"{}"),
    st.lists(
        st.tuples(
            st.sampled_from([*CE_READ, "ce_sequence", "other"]),
            st.none()
            | st.binary(max_size=40)
            | st.sampled_from(
                [b"1.0", KEY.encode(), b"2026-11-05T14:00:00Z", *(name.encode() for name in EVENT_TYPES)]
            ),
        )
    ),
    st.sampled_from(sorted(TOPICS)),
)
def test_no_bytes_break_the_reader(
    key: bytes, value: bytes | None, headers: list[tuple[str, bytes | None]], topic: str
) -> None:
    """Another exception than Poison would stop the consumer for one record."""
    with contextlib.suppress(Poison):
        from_record(topic, key, value, headers)
    with contextlib.suppress(Poison):
        number_of(headers)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("ce_id", KEY.encode())],
        [("ce_sequence", b"1")],
        [("ce_sequence", b"1"), ("ce_id", b"17")],
        [("ce_sequence", b"1"), ("ce_id", None)],
        [("ce_sequence", None), ("ce_id", KEY.encode())],
        [("ce_sequence", b"1"), ("ce_id", f"{{{KEY}}}".encode())],
        [("ce_sequence", b"1"), ("ce_id", f"urn:uuid:{KEY}".encode())],
        [("ce_sequence", b"1"), ("ce_id", KEY.replace("-", "").encode())],
        *(
            [("ce_sequence", number), ("ce_id", KEY.encode())]
            for number in (
                b"1_0",
                b"+1",
                b" 1",
                b"01",
                b"1\n",
                b"",
                b"0",
                b"-1",
                b"1.5",
                b"one",
                b"\xff",
                "٣".encode(),
                b"9" * 19,
                b"9" * 5000,
            )
        ),
    ],
)
def test_a_record_without_a_readable_number_and_id_is_unnumbered(headers: list[tuple[str, bytes]]) -> None:
    """The fence never moves over a number that is not there, or by one that it could not store."""
    with pytest.raises(Poison) as poison:
        number_of(headers)
    assert poison.value.reason == "unnumbered"


def test_a_number_and_id_are_read_without_the_rest() -> None:
    """A record whose value is poison still moves the fence."""
    headers = [("ce_sequence", str(2**63 - 1).encode()), ("ce_id", KEY.encode()), ("ce_time", b"\xff")]
    assert number_of(headers)[0] == 2**63 - 1


def test_poison_never_repeats_what_stood_in_the_record() -> None:
    """Its text reaches dead-letter headers and logs, where nothing that somebody wrote may be."""
    words = "Jan de Vries, Dorpsstraat 5"
    accepted = SAMPLES["ReportAccepted.v1"]
    for field in ({"areas": {words: "x"}}, {"areas": {"district": words}}, {"category": words}, {words: 1}):
        sample = accepted | {"value": {**accepted["value"], **field, "version": 0}}
        with pytest.raises(Poison) as poison:
            from_record(topic_of(sample), *parts_of(sample))
        assert "Vries" not in str(poison.value)
