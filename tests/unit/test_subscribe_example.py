"""The numbers of docs/examples/subscribe.py: whatever is sent again, compacted or lost, its issues are right,
or it raises the alarm."""

import importlib.util
import ssl
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from deploy.operator.certificates import new_authority
from deploy.operator.subscribers import bundle

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "subscribe.py"
NOW = 1_800_000_000.0
OLD = 8 * 86_400
MINUTE = 61


def example() -> Any:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("subscribe", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


subscribe = example()


def record(
    offset: int, number: int, key: str = "a", state: str | None = "x", age: float = 60
) -> ConsumerRecord[Any, Any]:
    """A record of partition 3; without a state a tombstone. `age` in seconds."""
    kind = "IssueGone" if state is None else "IssueChanged"
    headers = [("ce_sequence", str(number).encode()), ("ce_type", f"ibuurt.{kind}.v1".encode())]
    value = None if state is None else state.encode()
    time = int((NOW - age) * 1000)
    return ConsumerRecord(
        "ibuurt.issues.v1", 3, offset, time, 0, key.encode(), value, None, 1, len(state or ""), headers
    )


def taken(records: Sequence[Any], accept_gaps: bool = False) -> Any:
    """Issues that have read the records just now."""
    issues = subscribe.Issues(":memory:", accept_gaps)
    issues.take_all(records, NOW)
    return issues


def states(issues: Any) -> dict[str, str]:
    return dict(issues.db.execute("SELECT id, state FROM issue WHERE state IS NOT NULL"))


def last_number(issues: Any) -> int:
    return int(issues.positions()[3][0])


def test_a_repeat_is_counted_and_changes_nothing() -> None:
    """Also where a tombstone was in between."""
    log = [record(0, 1, state="x"), record(1, 2, state=None), record(2, 1, state="x")]
    issues = taken(log)
    assert (issues.applied, issues.repeats, states(issues)) == (2, 1, {})


def test_a_missing_number_that_comes_in_time_is_no_alarm() -> None:
    """The relay sends the whole batch again: 3 after 4 and 5, and then those once more."""
    issues = taken([record(n, n + 1) for n in range(2)] + [record(2, 4), record(3, 5)])
    assert last_number(issues) == 2
    issues.raise_alarm(NOW + 59)
    issues.take_all([record(4, 3), record(5, 4), record(6, 5)], NOW + 59)
    issues.raise_alarm(NOW + MINUTE)
    assert last_number(issues) == 5


def test_a_missing_number_that_does_not_come_is_named_and_nothing_behind_it_is_applied() -> None:
    """Where it was read up to is kept, so that a resend mends it; a person may go on without."""
    log = [record(0, 12), record(1, 16, state="y")]
    issues = taken(log)
    with pytest.raises(subscribe.GapError, match="partition 3: numbers 13 to 15 are missing"):
        issues.raise_alarm(NOW + MINUTE)
    assert (last_number(issues), states(issues)) == (12, {"a": "x"})
    accepted = taken(log, accept_gaps=True)
    accepted.raise_alarm(NOW + MINUTE)
    assert (last_number(accepted), states(accepted)) == (16, {"a": "y"})


def test_what_compaction_may_have_taken_is_told_and_passed(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers behind a record of more than 7 days ago; behind a younger one they are a gap."""
    issues = taken([record(0, 2, age=OLD), record(1, 9, age=OLD), record(2, 30), record(3, 31)])
    issues.raise_alarm(NOW + MINUTE)
    assert last_number(issues) == 31
    assert "numbers 3 to 8 are not there: compacted or lost" in capsys.readouterr().out
    issues.take_all([record(4, 33)], NOW)
    with pytest.raises(subscribe.GapError, match="32 to 32"):
        issues.raise_alarm(NOW + MINUTE)


def test_a_type_that_is_new_is_counted_and_passed_over() -> None:
    """A newer writer stops nobody."""
    newer = record(1, 2, key="b")
    newer.headers[1] = ("ce_type", b"ibuurt.IssuePraised.v1")
    issues = taken([record(0, 1), newer, record(2, 3, key="c")])
    assert last_number(issues) == 3
    assert set(states(issues)) == {"a", "c"}


@st.composite
def logs(draw: st.DrawFn, young: int = 0) -> tuple[dict[int, tuple[str, str | None]], list[int], int, int]:
    """What was written, by number: key and state; the numbers in the order of the topic, with batches that
    were sent in part and then whole, and whole ones sent again; up to which number they are older than 7
    days, all but the last `young` at most; and how many records of the topic's beginning were compacted."""
    changes = draw(
        st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=young + 1, max_size=24)
    )
    written = {n: (key, None if gone else f"state {n}") for n, (key, gone) in enumerate(changes, 1)}
    order: list[int] = []
    first = 1
    while first <= len(written):
        batch = list(range(first, min(first + draw(st.integers(1, 5)), len(written) + 1)))
        order += [number for number in batch if draw(st.booleans())]
        order += batch
        if draw(st.integers(0, 5)) == 0:
            order += range(draw(st.integers(1, batch[-1])), batch[-1] + 1)
        first = batch[-1] + 1
    old = draw(st.integers(0, len(written) - young))
    compactable = next((at for at, number in enumerate(order) if number > old), len(order))
    return written, order, old, draw(st.integers(0, compactable))


def topic(
    written: dict[int, tuple[str, str | None]], order: list[int], old: int, compacted: int
) -> list[ConsumerRecord[Any, Any]]:
    """The records that are there: of the compacted beginning only the last of each key."""
    last = {written[number][0]: at for at, number in enumerate(order[:compacted])}
    return [
        record(at, number, *written[number], age=OLD if number <= old else 60)
        for at, number in enumerate(order)
        if at >= compacted or last[written[number][0]] == at
    ]


@given(logs(), st.data())
def test_whatever_is_sent_again_or_compacted_the_issues_are_right(log: Any, data: st.DataObject) -> None:
    """From the beginning, in any batches, stopped and started anywhere: the last state of each issue, and no
    alarm."""
    written = log[0]
    records = topic(*log)
    issues = subscribe.Issues(":memory:")
    while records:
        size = data.draw(st.integers(1, len(records)))
        issues.take_all(records[:size], NOW)
        records = records[size:]
        if data.draw(st.booleans()):  # started anew: it reads on from where its database stands
            at = issues.positions().get(3, (0, 0, 0))[1]
            records = [one for one in topic(*log) if one.offset >= at]
            issues.waiting.clear()
            size = data.draw(st.integers(1, len(records) or 1))
            issues.take_all(records, NOW)
            records = []
    issues.raise_alarm(NOW + MINUTE)
    truth = dict(written.values())
    assert states(issues) == {key: state for key, state in truth.items() if state is not None}
    assert last_number(issues) == len(written)


# A batch of up to 5 that was sent in part may hide the first young ones.
@given(logs(young=7), st.data())
def test_a_change_of_the_last_days_that_is_lost_is_always_found(log: Any, data: st.DataObject) -> None:
    """Whichever it is, from the first record on that is younger than 7 days, once one behind it has come."""
    written, order, old, compacted = log
    first = next((number for number in order if number > old), len(written))
    lost = data.draw(st.integers(first + 1, len(written) - 1))
    issues = subscribe.Issues(":memory:")
    issues.take_all([one for one in topic(written, order, old, compacted) if number_of(one) != lost], NOW)
    with pytest.raises(subscribe.GapError, match=f"numbers {lost} to "):
        issues.raise_alarm(NOW + MINUTE)
    assert last_number(issues) == lost - 1


def number_of(one: ConsumerRecord[Any, Any]) -> int:
    return int(dict(one.headers)["ce_sequence"])


def test_it_takes_the_operators_files_wherever_it_is_started(tmp_path: Path) -> None:
    """The authority is looked for beside the settings; where it is not, one line says so."""
    _, authority = new_authority(datetime.now(UTC))
    for name, text in bundle("parks", "sword=fish", "kafka.example:9094", authority).items():
        (tmp_path / name).write_text(text)
    settings = subscribe.connection(tmp_path / "kcat.conf")
    context = settings.pop("ssl_context")
    assert (len(context.get_ca_certs()), context.verify_mode) == (1, ssl.CERT_REQUIRED)
    assert settings == {
        "bootstrap_servers": "kafka.example:9094",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "parks",
        "sasl_plain_password": "sword=fish",
    }
    (tmp_path / "ca.crt").unlink()
    command = [sys.executable, str(SOURCE), str(tmp_path / "kcat.conf"), str(tmp_path / "issues.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "kcat.conf and the ca.crt beside it come from the municipality's operator" in done.stderr
    assert "Traceback" not in done.stderr
