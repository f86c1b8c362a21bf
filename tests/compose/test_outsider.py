"""docs/subscribing.md on a deployment: a stranger with the page, its examples and the folder that the
operator sends, over TLS. tests/integration/test_subscribing.py holds what each command prints."""

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import kafka_jars
from deploy.local.kafka import prepare
from tests.compose.deployment import Deployment
from tests.compose.test_deployment import subscriber
from tests.integration.test_subscribing import DOCS, issues_in, of, printed, run

# Older ones cannot sign in to Kafka 4 by SCRAM.
LIBRDKAFKA = (2, 6, 1)
# As tips publishes: through its outbox, with its own rights.
PUBLISH = """
import asyncio, pathlib, uuid
from datetime import UTC, datetime
import asyncpg
from shared.cloudevents import Envelope
from shared.events import IssueChanged, IssueGone
from shared.outbox import append
async def main():
    connection = await asyncpg.connect(pathlib.Path("/run/secrets/ibuurt_database_url").read_text().strip())
    events = [IssueChanged(issue_id=uuid.UUID(key), version=version, category="street_light",
                           areas={{"district": "oakwood"}}, status="routed", page="https://ibuurt.example/1")
              for key, version in {changed!r}]
    events.append(IssueGone(issue_id=uuid.UUID({gone!r})))
    now = datetime.now(UTC)
    async with connection.transaction():
        await append(connection, [Envelope.of(event, id=uuid.uuid4(), source="/test/tips", now=now)
                                  for event in events])
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def public(deployment: Deployment) -> dict[str, int | None]:
    """Issues that are public: by id the version, None for one that is gone again."""
    one, other, gone = (str(uuid.uuid4()) for _ in range(3))
    changed = [(one, 1), (other, 1), (gone, 1), (one, 2)]
    deployment.shell("tips", f"python - <<'END'\n{PUBLISH.format(changed=changed, gone=gone)}\nEND")
    return {one: 2, other: 1, gone: None}


@pytest.fixture(scope="module")
def stranger(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the operator sends, with what the page says that one puts there besides."""
    folder = tmp_path_factory.mktemp("stranger") / "roads"
    subscriber(deployment, "add", "roads", "--contact", "maps@roads.example", str(folder))
    for example in (DOCS / "examples").iterdir():
        if example.is_file():
            shutil.copy(example, folder)
    (folder / "kafka").mkdir()
    prepare()
    (folder / "kafka" / "libs").symlink_to(kafka_jars.jars())
    yield folder
    subscriber(deployment, "remove", "roads")


@pytest.fixture
def kcat() -> str:
    """What runs kcat; a test without one that can sign in is skipped."""
    found = shutil.which("kcat")
    said = subprocess.run([found, "-V"], capture_output=True, text=True, check=False).stdout if found else ""
    version = re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", said)
    if not version or tuple(map(int, version.groups())) < LIBRDKAFKA:
        has = f"librdkafka {'.'.join(version.groups())}" if version else "none"
        pytest.skip(
            f"NOT run: kcat with librdkafka 2.6.1 or newer; here is {has}; Debian 13 and Homebrew have it"
        )
    return "kcat -F kcat.conf -m 50"


def test_the_python_example_keeps_what_is_public(public: dict[str, int | None], stranger: Path) -> None:
    """Signed in, over TLS; the second time there is nothing new."""
    command = of("python")[0]
    printed(command, stranger)
    assert issues_in(stranger).items() >= public.items()
    assert printed(command, stranger)[-1].startswith("0 applied, 0 repeats")


def test_the_java_example_prints_what_is_public(public: dict[str, int | None], stranger: Path) -> None:
    """With client.properties; of a topic that is not open it says so in a line."""
    (command,) = of("java")
    lines = printed(command, stranger)
    assert all(any(key in line for line in lines) for key in public)
    refused = run(command.replace("ibuurt.issues.v1", "ibuurt.reports.v1"), stranger)
    assert refused.returncode == 1
    assert refused.stderr.strip() == "Not authorized to access topics: [ibuurt.reports.v1]"


def test_kcat_prints_what_is_public(public: dict[str, int | None], stranger: Path, kcat: str) -> None:
    """Each of the page's commands."""
    as_json, statistics, as_line = (command.replace("kcat -F kcat.conf", kcat) for command in of("kcat"))
    found = {json.loads(line)["key"] for line in printed(as_json, stranger)}
    assert found >= public.keys()
    printed(statistics, stranger)
    lines = printed(as_line, stranger)
    assert all(any(key in line for line in lines) for key in public)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-C -t ibuurt.reports.v1 -o beginning -e", "Topic authorization failed"),
        ("-C -t ibuurt.dispatches.v1 -o beginning -e", "Topic authorization failed"),
        ("-C -t ibuurt.reports.v1.dlt.notify -o beginning -e", "Topic authorization failed"),
        ("-P -t ibuurt.issues.v1", "Topic authorization failed"),
        ("-P -t ibuurt.statistics.v1", "Topic authorization failed"),
        ("-P -t ibuurt.incidents.v1", "Topic authorization failed"),
        ("-P -t ibuurt.reports.v1", "Topic authorization failed"),
        ("-P -t made-by-a-stranger", "Topic authorization failed"),
        ("-G notify ibuurt.issues.v1", "Group authorization failed"),
        ("-G parks.map ibuurt.issues.v1", "Group authorization failed"),
        ("-G roads ibuurt.issues.v1", "Group authorization failed"),
    ],
)
def test_everything_else_is_refused_in_the_pages_words(
    stranger: Path, kcat: str, arguments: str, said: str
) -> None:
    """Another topic, any writing, another's group."""
    page = (DOCS / "subscribing.md").read_text("utf-8")
    refused = run(f"echo x | {kcat} {arguments}", stranger)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert f"`{said}`" in page
