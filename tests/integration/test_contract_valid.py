"""The published contract, judged by others' programs: npm's @asyncapi/parser, and ajv for the schemas."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.contract.schemas import name_of
from shared.cloudevents import Envelope, to_record
from shared.events import EVENT_TYPES, IssueGone
from tests.golden.samples import SAMPLES
from tests.integration.node import TOOLS, node_or_skip
from tests.unit.strategies import MOMENTS, events_of

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "docs" / "contract"
ERROR, WARNING = 0, 1


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, with the validators."""
    return node_or_skip("the contract is NOT validated")


def judged(node: str, folder: Path, samples: list[dict[str, Any]], scratch: Path) -> dict[str, Any]:
    """What tests/contract/validate.mjs says."""
    (scratch / "samples.json").write_text(json.dumps(samples))
    argv = [node, str(TOOLS / "validate.mjs"), str(folder), str(scratch / "samples.json")]
    run = subprocess.run(argv, cwd=TOOLS, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    said: dict[str, Any] = json.loads(run.stdout)
    return said


def of_value(name: str, schema: str, value: Any) -> dict[str, Any]:
    return {"name": name, "schema": f"{schema}.json", "value": value}


def of_headers(name: str, schema: str, headers: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "schema": f"/components/messages/{schema}/headers", "value": headers}


def test_the_document_is_asyncapi_and_every_golden_sample_is_as_its_schema_says(
    node: str, tmp_path: Path
) -> None:
    """The parser finds no error and no warning; and both judges do judge: planted mistakes are found."""
    samples = [of_value(name, name, sample["value"]) for name, sample in SAMPLES.items()]
    samples += [of_headers(name, name, sample["headers"]) for name, sample in SAMPLES.items()]
    said = judged(node, CONTRACT, samples, tmp_path)
    assert [one for one in said["diagnostics"] if one["severity"] <= WARNING] == []
    assert said["invalid"] == []

    planted = tmp_path / "planted"
    shutil.copytree(CONTRACT, planted)
    document = json.loads((planted / "asyncapi.json").read_text())
    document["operations"]["tips.writes.ibuurt.issues.v1"]["channel"]["$ref"] = "#/channels/nowhere"
    (planted / "asyncapi.json").write_text(json.dumps(document))
    wrong = SAMPLES["IssueChanged.v1"]["value"] | {"status": "lost"}
    said = judged(node, planted, [of_value("wrong", "IssueChanged.v1", wrong)], tmp_path)
    assert [one for one in said["diagnostics"] if one["severity"] == ERROR]
    assert [one["name"] for one in said["invalid"]] == ["wrong"]


def test_whatever_a_writer_can_write_is_as_the_schema_says(node: str, tmp_path: Path) -> None:
    """A reader that validates against the published schemas refuses no record of ours."""
    samples: list[dict[str, Any]] = []

    @settings(max_examples=400, database=None, deadline=None)
    @given(st.sampled_from(list(EVENT_TYPES.values())).flatmap(events_of), st.uuids(), MOMENTS)
    def write(event: Any, event_id: Any, now: Any) -> None:
        envelope = Envelope.of(event, id=event_id, source="/ibuurt/tips", now=now)
        try:
            record = to_record(envelope)
        except ValueError:  # above the limit of bytes
            return
        name = name_of(type(event))
        headers = {header: content.decode() for header, content in record.headers}
        if event.topic.numbered:
            headers["ce_sequence"] = "1"
        value = None if isinstance(event, IssueGone) else json.loads(record.value or b"")
        samples.append(of_value(repr(event), name, value))
        samples.append(of_headers(repr(envelope), name, headers))

    write()
    assert len({sample["schema"] for sample in samples}) > len(EVENT_TYPES)
    assert judged(node, CONTRACT, samples, tmp_path)["invalid"] == []


def test_the_lock_file_names_no_registry() -> None:
    """Whoever installs has a registry of their own; the hashes say that it is the same."""
    lock = json.loads((TOOLS / "package-lock.json").read_text())
    installed = {name: package for name, package in lock["packages"].items() if name}
    assert installed
    assert all("integrity" in package for package in installed.values())
    assert [name for name, package in installed.items() if "resolved" in package] == []
