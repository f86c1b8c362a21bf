"""Releases: hashed, chained and signed so that a subscriber can check them from the topic alone."""

import base64
import hashlib
import json
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stats.core.release import (
    NOTHING_BEFORE,
    Link,
    canonical,
    check_size,
    digest,
    fault,
    noisy,
    unsigned,
)
from services.stats.core.spec import Spec, Table
from services.stats.signing import Signer, is_signed
from shared.cloudevents import attributes, from_record, to_value
from shared.errors import Refusal
from shared.events import ReleasedCell, StatisticsReleased
from tests.stats_town import SPEC

TABLE = SPEC.table("reports.week_part")
SIGNER = Signer("s" * 32)
START = Link(0, NOTHING_BEFORE)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
UNHASHED = ("digest", "signing_key", "signature")


def released(after: Link = START, period: str = "2026-W40-2026-10") -> StatisticsReleased:
    cells = noisy(TABLE, [3, 0, 7], [-4, 2, 0])
    return SIGNER.sign(unsigned(SPEC, TABLE, period, after, cells, margins={TABLE.id: 150}))


def test_a_release_is_counts_with_noise_in_the_specs_order() -> None:
    """Not cut at 0."""
    assert [(cell.cell, cell.value) for cell in released().cells] == [
        (("oakwood",), -1),
        (("harbour",), 2),
        (("unknown",), 7),
    ]


def sized(areas: int, categories: int) -> Spec:
    codes = {
        "area": tuple(f"neighbourhood_{number:03d}" for number in range(areas)),
        "category": tuple(f"category_{number:02d}" for number in range(categories)),
    }

    def large(table: Table) -> Table:
        values = (codes.get(column, own) for column, own in zip(table.columns, table.codes, strict=True))
        return table.model_copy(update={"codes": tuple(values)})

    return SPEC.model_copy(update={"tables": tuple(map(large, SPEC.tables))})


def test_a_spec_of_which_a_release_would_be_too_large_is_refused_before_anything_is_released() -> None:
    """It would stop all releases when its first month closes. The largest that is taken is no smaller than a
    large city: its final edition with the most figures that there can be fits in a record."""
    check_size(sized(140, 20))
    check_size(sized(140, 35))
    for areas, categories in ((140, 100), (250, 50), (9_000, 1)):
        with pytest.raises(Refusal, match="and the topic takes 900000: count by fewer areas or categories"):
            check_size(sized(areas, categories))


def test_the_same_release_has_one_id_whoever_makes_it() -> None:
    """A period's second edition, another period and another table have others."""
    first = released()
    assert released(Link(5, "a" * 64)).release_id == first.release_id
    final = unsigned(SPEC, TABLE, first.period, START, (), edition="final")
    month = unsigned(SPEC, SPEC.table("reports.month"), first.period, START, ())
    assert len({one.release_id for one in (first, released(period="x"), final, month)}) == 4


def test_what_is_hashed_is_what_any_reader_can_write_from_the_value() -> None:
    """By jq where it is there, as docs/subscribing.md says, and by Python's own json."""
    release = released()
    value = to_value(release) or b""
    told = json.loads(value)
    for name in UNHASHED:
        del told[name]
    written = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    assert written == canonical(release)
    assert hashlib.sha256(written).hexdigest() == release.digest
    if shutil.which("jq"):
        command = ["jq", "-acSj", "del(.digest, .signing_key, .signature)"]
        assert subprocess.run(command, input=value, stdout=subprocess.PIPE, check=True).stdout == written


def test_a_release_of_another_version_keeps_its_digest() -> None:
    """A reader of today hashes a member that it does not know, also of a cell, and adds none that the writer
    had not; what it writes on is as it was read, and nothing in it can be changed unseen."""
    release = released()
    value = json.loads(to_value(release) or b"")
    del value["reason"], value["edition"]
    value |= {"quality": "é", "rounds": [{"b": None, "a": 1}]}
    value["cells"][0]["weight"] = 3

    def signed() -> bytes:
        """As a writer of that version does."""
        told = {name: held for name, held in value.items() if name not in UNHASHED}
        bare = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
        value["digest"] = hashlib.sha256(bare).hexdigest()
        value["signature"] = base64.b64encode(SIGNER._key.sign(bare)).decode()
        return json.dumps(value).encode()

    def read(written: bytes) -> StatisticsReleased:
        named = attributes(release.release_id, "/town/stats", release.type, NOW, release.key.encode())
        event = from_record(release.topic.name, release.key.encode(), written, named).event
        assert isinstance(event, StatisticsReleased)
        return event

    other = read(signed())
    assert fault(other, START, [SIGNER.public], [], signed=is_signed(other)) is None
    assert json.loads(to_value(other) or b"") == value
    value["cells"][0]["weight"] = 4
    changed = read(json.dumps(value).encode())
    assert fault(changed, START, [SIGNER.public], [], signed=is_signed(changed)) == "broken_digest"


FIELDS: dict[str, object] = {
    "release_id": SIGNER.sign(released(period="x")).release_id,
    "number": 2,
    "spec": "town-2",
    "period": "2026-W41-2026-10",
    "state": "withheld",
    "cells": (ReleasedCell(table=TABLE.id, cell=("oakwood",), value=0),),
    "previous": "b" * 64,
    "table": "reports.month",
    "edition": "final",
    "reason": "incomplete",
    "margins": {TABLE.id: 140},
    "scale": 50,
}


@pytest.mark.parametrize("field", sorted(set(StatisticsReleased.model_fields) - {"digest", "signing_key"}))
def test_nothing_of_a_release_can_be_changed_unseen(field: str) -> None:
    """Neither under the old digest, nor with a new one, which the signature does not cover."""
    release = released()
    if field == "signature":
        changed = release.model_copy(update={field: SIGNER.sign(released(period="x")).signature})
        assert not is_signed(changed)
        return
    changed = release.model_copy(update={field: FIELDS[field]})
    assert digest(changed) != release.digest
    assert fault(changed, START, [SIGNER.public], [], signed=is_signed(changed)) == "broken_digest"
    anew = changed.model_copy(update={"digest": digest(changed)})
    assert fault(anew, START, [SIGNER.public], [], signed=is_signed(anew)) == "forged_release"


def test_only_the_next_release_of_a_known_key_follows() -> None:
    """Each thing that may be wrong has its name."""
    known = [SIGNER.public]
    first = released()
    second = released(Link(1, first.digest), "2026-W41-2026-10")
    assert fault(first, START, known, [], signed=is_signed(first)) is None
    assert fault(second, Link(1, first.digest), known, [], signed=is_signed(second)) is None
    assert fault(second, START, known, [], signed=True) == "broken_chain"
    assert fault(second, Link(1, "c" * 64), known, [], signed=True) == "broken_chain"
    assert fault(first, START, ["d" * 64], [], signed=True) == "unknown_signing_key"
    assert fault(second, START, ["d" * 64], [], signed=True) == "broken_chain"
    assert fault(first, START, known, known, signed=True) == "retired_signing_key"


@given(st.text(min_size=1, max_size=40))
def test_a_key_follows_from_its_secret_alone(secret: str) -> None:
    """So that nothing but the secret must be kept; it is no secret's hash."""
    assert Signer(secret).public == Signer(secret).public
    assert Signer(secret).public != Signer(secret + "x").public
    assert Signer(secret).public != hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize("key", ["", "none", "zz" * 32, "ab" * 31, "ab" * 33])
def test_a_key_or_signature_that_is_none_signs_nothing(key: str) -> None:
    """Whatever stands there."""
    assert not is_signed(released().model_copy(update={"signing_key": key}))
    assert not is_signed(released().model_copy(update={"signature": key * 2}))
