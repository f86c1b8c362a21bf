"""The published contract: it says what is written on Kafka, and its record cannot be lost unnoticed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from deploy.contract import record
from deploy.contract.asyncapi import DEAD_LETTER, WHY_DEAD, document
from deploy.contract.schemas import header_schema, name_of, value_schema
from shared.dead_letters import dead_letter_headers
from shared.errors import Poison, Refusal
from shared.events import EVENT_TYPES, ISSUES, SUBSCRIPTIONS, TOPICS, Event, IssueChanged, all_topics
from tests.golden.samples import SAMPLES

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "docs" / "contract"
PUBLISHED = json.loads((CONTRACT / "asyncapi.json").read_text("utf-8"))
TYPES = sorted(EVENT_TYPES.values(), key=name_of)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of docs/contract."""
    return Path(shutil.copytree(CONTRACT, tmp_path / "contract"))


def test_every_topic_is_told_as_the_deployment_makes_it() -> None:
    """Partitions, settings, writer and who may read; the topics job makes them from the same list."""
    assert PUBLISHED["channels"].keys() == {topic.name for topic in all_topics()}
    for topic in all_topics():
        channel = PUBLISHED["channels"][topic.name]
        binding = channel["bindings"]["kafka"]
        told = {
            name: ",".join(value) if isinstance(value, list) else str(value)
            for name, value in binding["topicConfiguration"].items()
        }
        assert told == {"cleanup.policy": "delete"} | dict(topic.settings)
        assert binding["partitions"] == topic.partitions
        assert channel["x-ibuurt-writer"] == topic.writer
        assert ({"$ref": "#/servers/outside"} in channel["servers"]) == topic.outsiders


def test_outsiders_read_two_topics_and_no_other() -> None:
    """What the outside listener lets through is decided here; more would be more than residents were told."""
    assert [topic.name for topic in TOPICS.values() if topic.outsiders] == [
        "ibuurt.issues.v1",
        "ibuurt.statistics.v1",
    ]


def test_each_server_is_told_as_kafka_listens() -> None:
    """TLS and SCRAM on both listeners, by the brokers' own properties."""
    lines = (ROOT / "deploy/kafka/server.properties").read_text("utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    listeners = dict(one.split(":") for one in settings["listener.security.protocol.map"].split(","))
    protocols = {"SASL_SSL": "kafka-secure", "SASL_PLAINTEXT": "kafka"}
    told = {name.upper(): server["protocol"] for name, server in PUBLISHED["servers"].items()}
    assert told == {name: protocols[listeners[name]] for name in ("OUTSIDE", "INSIDE")}
    assert settings["sasl.enabled.mechanisms"] == "SCRAM-SHA-512"
    assert PUBLISHED["components"]["securitySchemes"] == {"scram": {"type": "scramSha512"}}


def test_every_group_and_writer_has_its_operation() -> None:
    """Who reads what and who writes what, dead-letter topics included."""
    operations = {
        (name.split(".")[0], one["action"], one["channel"]["$ref"].removeprefix("#/channels/"))
        for name, one in PUBLISHED["operations"].items()
    }
    reads = {(group, "receive", topic.name) for group, topics in SUBSCRIPTIONS.items() for topic in topics}
    assert operations == {(topic.writer, "send", topic.name) for topic in all_topics()} | reads


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_headers_are_told_as_they_are_written(name: str) -> None:
    """Every header of a record is in its schema, and the other way round."""
    event = EVENT_TYPES[f"ibuurt.{name}"]
    assert header_schema(event)["properties"].keys() == SAMPLES[name]["headers"].keys()
    assert PUBLISHED["components"]["messages"][name]["examples"] == [
        {"headers": SAMPLES[name]["headers"], "payload": SAMPLES[name]["value"]}
    ]


def test_headers_of_dead_letters_are_told_as_they_are_written() -> None:
    """The names that `dead_letter_headers` adds."""
    bare = ConsumerRecord(ISSUES.name, 0, 0, 0, 0, None, None, None, 0, 0, ())
    assert [name for name, _ in dead_letter_headers(bare, Poison("bad_value"), "notify")] == list(WHY_DEAD)
    assert DEAD_LETTER in PUBLISHED["channels"]["ibuurt.reports.v1.dlt.notify"]["messages"]


@pytest.mark.parametrize("event", TYPES, ids=name_of)
def test_a_schema_is_open_for_fields_to_come_and_names_the_key(event: type[Event]) -> None:
    """A reader that validates must not break on an optional field that is added."""
    schema = value_schema(event)
    assert "additionalProperties" not in schema
    assert "$ref" not in json.dumps(schema)
    assert event.keyed_by in event.model_fields
    published = json.loads((CONTRACT / f"{name_of(event)}.json").read_text("utf-8"))
    assert published == published | schema
    assert (published["x-ibuurt-topic"], published["x-ibuurt-key"]) == (event.topic.name, event.keyed_by)


def test_the_same_models_write_the_same_bytes(tmp_path: Path) -> None:
    """Another process, another hash seed: not one file differs from what is committed."""
    record.begin(tmp_path, document())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in CONTRACT.iterdir() if path.suffix != ".md"
    }


def test_the_sums_are_what_sha256sum_reads() -> None:
    """`sha256sum -c` checks the record without a line of ours."""
    for line in (CONTRACT / record.SUMS).read_text().splitlines():
        assert re.fullmatch(r"[0-9a-f]{64}  [A-Za-z0-9.]+\.json", line)


def test_every_release_tells_subscribers_what_changed() -> None:
    """A heading for the version that the document has, if only to say that nothing did."""
    assert f"\n## {PUBLISHED['info']['version']}\n" in (CONTRACT / "CHANGES.md").read_text("utf-8")


class Wider(IssueChanged):
    """The same, with an optional field."""

    photos: int | None = None


WIDER = document([Wider if event is IssueChanged else event for event in EVENT_TYPES.values()])


def test_a_stale_folder_fails_with_the_command_that_mends_it(folder: Path) -> None:
    """One line; after `make contract` there is nothing to say, and nothing to write a second time."""
    record.check(folder, document())
    with pytest.raises(Refusal) as refused:
        record.check(folder, WIDER)
    assert str(refused.value).endswith(": run `make contract`")
    assert "IssueChanged.v1.json" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sorted(record.write(folder, WIDER)) == ["IssueChanged.v1.json", "asyncapi.json", record.SUMS]
    record.check(folder, WIDER)
    assert record.write(folder, WIDER) == []


def test_what_is_published_cannot_be_taken_back_by_writing_again(folder: Path) -> None:
    """An optional field that was written once is held like all others; the folder is left as it was."""
    record.write(folder, WIDER)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for attempt in (record.write, record.check):
        with pytest.raises(
            Refusal, match=r"IssueChanged\.v1: field `photos` is gone; leave .*IssueChanged\.v2"
        ):
            attempt(folder, document())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["IssueChanged.v1.json", "asyncapi.json", record.SUMS])
@pytest.mark.parametrize("fate", ["gone", "edited"])
def test_a_lost_or_edited_record_is_no_way_round(folder: Path, name: str, fate: str) -> None:
    """Neither checks nor writes: what was published is unknown then, and the mend is named."""
    if fate == "gone":
        (folder / name).unlink()
    else:
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("IssueChanged", "IssueAltered"))
    for attempt in (record.write, record.check):
        with pytest.raises(Refusal, match="git checkout main -- "):
            attempt(folder, document())
    with pytest.raises(Refusal, match="has a record already"):
        record.begin(folder, document())


def test_a_folder_that_is_gone_is_no_way_round(tmp_path: Path) -> None:
    """An empty folder is not taken for a first record."""
    for attempt in (record.write, record.check):
        with pytest.raises(Refusal, match="git checkout main -- "):
            attempt(tmp_path, document())
    assert list(tmp_path.iterdir()) == []


def test_a_search_and_replace_through_the_whole_repository_is_found(tmp_path: Path) -> None:
    """It renames a field in models, samples and published files alike; `make contract` does not bless it."""
    ignored = shutil.ignore_patterns("__pycache__", "local", "municipalities")
    for part in ("shared", "deploy", "docs/contract", "tests/golden"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "deploy.contract", command]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("check").returncode == 0
    for path in [*tmp_path.rglob("*.py"), *tmp_path.rglob("*.json")]:
        path.write_text(path.read_text("utf-8").replace("took", "duration"), "utf-8")
    for command in ("write", "check"):
        done = run(command)
        assert done.returncode == 1
        assert "ReportAcknowledged.v1.json is not as `make contract` wrote it" in done.stderr
    # With the record brought back, the renaming itself is what is told.
    shutil.copytree(CONTRACT, tmp_path / "docs" / "contract", dirs_exist_ok=True)
    assert "ReportAcknowledged.v1: field `took` is gone (renamed `duration`?)" in run("write").stderr
