"""The OpenAPI documents, held against the services as they are deployed: schemathesis asks for all that they
allow and much that they do not, with every check on. No fault, and no answer that is not documented.

What stands in openapi_by_design.py is let off. IBUURT_TEST_LONG=1 asks for far more, and for something else
each time.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.local.town import webhook_secrets
from services.tips.limits import ALLOWANCES
from shared import postgres
from shared.cloudevents import Envelope
from shared.events import Event
from shared.service import INTERNAL_OPENAPI
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration import service_process, test_notify_service, test_tips_service
from tests.integration.notify_harness import DESK_TOKEN, accepted, reports_of
from tests.integration.notify_harness import MIGRATIONS as NOTIFY_MIGRATIONS
from tests.integration.openapi_by_design import EXCUSES
from tests.integration.openapi_seed import Known, seed
from tests.integration.service_process import ROOT, ended, running_process
from tests.integration.tips_server import IBUURT, MIGRATIONS, ibuurt, running_tips

LONG = os.environ.get("IBUURT_TEST_LONG") == "1"
EXAMPLES = 300 if LONG else 10
# An answer that takes so long hangs.
CONFIG = "request-timeout = 60\n[checks]\nmax_response_time = 60\n"
OPENAPI = "/v1/openapi.json"
# Nobody listens there: the e-mails wait.
MAIL = {
    "SMTP_HOST": "127.0.0.1",
    "SMTP_PORT": "9",
    "SMTP_TLS": "none",
    "EMAIL_FROM": "Town <town@town.example>",
}


@dataclass
class Run:
    """What schemathesis found with one document."""

    name: str
    report: dict[str, Any]
    said: str
    checks: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)

    def print(self) -> None:
        """A line of figures, and one of what was let off."""
        cases, operations = self.report["test_cases"]["generated"], self.report["operations"]["tested"]
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
        print(
            f"{self.name}, {self.report['running_time']:.0f} s: {operations} operations, {cases} requests,"
            f" {self.checks['success']} checks passed, {self.checks['failure']} failed,"
            f" {self.excused.total()} let off; {answers}"
        )
        if self.excused:
            print(f"let off: {dict(sorted(self.excused.items()))}")

    def hold(self) -> None:
        """Every operation was asked for, every check passed, and nothing went wrong with the asking."""
        self.print()
        found = [self.report[what] for what in ("failures", "errors")]
        assert (self.report["exit_code"], found) == (0, [[], []]), self.said
        assert self.report["operations"]["tested"] == self.report["operations"]["selected"] > 0
        assert self.report["complete"]


async def asked(folder: Path, name: str, known: Known, document: str, *options: str) -> Run:
    """Run schemathesis on the document at that address, in a folder of its own."""
    folder = folder / name.replace(" ", "-")
    folder.mkdir()
    (folder / "schemathesis.toml").write_text(CONFIG)
    (folder / "known.json").write_text(json.dumps(asdict(known)))
    seeded = ("--seed", str(secrets.randbelow(2**32))) if LONG else ("--generation-deterministic",)
    command = [sys.executable, "-m", "schemathesis.cli", "run", document, "--checks", "all", *seeded]
    command += ["--no-color", "--continue-on-failure", "--max-examples", str(EXAMPLES)]
    command += ["--report", "json,ndjson", "--report-json-path", "report.json"]
    command += ["--report-ndjson-path", "events.ndjson", *options]
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.integration.openapi_hooks",
        "IBUURT_OPENAPI_KNOWN": str(folder / "known.json"),
        "IBUURT_OPENAPI_EXCUSED": str(folder / "excused.json"),
    }
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    run = Run(name, json.loads((folder / "report.json").read_text()), done.stdout)
    for recorder in _recorders(folder / "events.ndjson"):
        run.checks.update(one["status"] for checks in recorder["checks"].values() for one in checks)
        answers = (one.get("response") for one in recorder["interactions"].values())
        run.answers.update(answer["status_code"] for answer in answers if answer)
    for place, count in json.loads((folder / "excused.json").read_text()).items():
        run.excused[EXCUSES[int(place)].code] += count
    return run


def _recorders(events: Path) -> Iterator[dict[str, Any]]:
    with events.open() as lines:
        for line in lines:
            recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
            if "checks" in recorder:
                yield recorder


async def test_tips_answers_as_its_documents_say(
    database: MakeDatabase, infrastructure: Infrastructure, fresh_topics: None, tmp_path: Path
) -> None:
    """The residents' document and the internal one, with real receipts, tokens and ids, wrong and missing
    ones; then the residents' again where one network has its limits."""
    dsn, keys = await database(), tmp_path / "keys"
    keys.mkdir()
    await postgres.migrate(dsn, MIGRATIONS)
    env = test_tips_service.environment(dsn, infrastructure.bootstrap, keys)
    env |= {f"IBUURT_{name}": value for name, value in MAIL.items()}
    unlimited = env | {"IBUURT_UNLIMITED_NETWORKS": "127.0.0.0/8"}
    runs = []
    async with running_process("tips", unlimited, tmp_path / "log") as tips:
        known = await seed(tips, dsn, infrastructure.bootstrap)
        runs.append(await asked(tmp_path, "tips public", known, tips.url + OPENAPI))
        runs.append(await asked(tmp_path, "tips internal", known, tips.internal_url + INTERNAL_OPENAPI))
    async with running_process("tips", env, tmp_path / "limited.log") as tips:
        few = ("--phases", "coverage", "--include-path-regex", "/(reports|supporters|email)$")
        runs.append(await asked(tmp_path, "tips limited", known, tips.url + OPENAPI, *few))
    for run in runs:
        run.hold()
    limited = runs[-1].answers
    assert limited[429] > 100
    assert limited[201] <= 3 * max(one.at_once for one in ALLOWANCES.values())
    needed = {code for run in runs for code in run.excused}
    print(f"excuses that nothing needed: {sorted({one.code for one in EXCUSES} - needed) or 'none'}")


@pytest.mark.parametrize("service", ["notify", "stats"])
async def test_the_other_services_answer_on_their_internal_port_as_their_documents_say(
    service: str, database: MakeDatabase, infrastructure: Infrastructure, fresh_topics: None, tmp_path: Path
) -> None:
    """Probes, figures and totals; what residents and units see of them are pages, which no document
    describes."""
    dsn, reports = await database(), list[str]()
    if service == "notify":
        webhook_secrets(IBUURT, tmp_path / "secrets")
        await postgres.migrate(dsn, NOTIFY_MIGRATIONS)
        env = test_notify_service.environment(
            dsn, infrastructure.bootstrap, "http://127.0.0.1:9", IBUURT, tmp_path / "secrets"
        )
        env["IBUURT_DESK_TOKEN"] = DESK_TOKEN
        reports = await _routed(dsn)
    else:
        env = service_process.environment(dsn, infrastructure.bootstrap, IBUURT, signing_key="k" * 32)
        assert (await asyncio.to_thread(ended, service, env, "migrate")).returncode == 0
    (tmp_path / "keys").mkdir()
    async with (
        running_tips(await database("tips"), tmp_path / "keys") as tips,
        running_process(service, env | {"IBUURT_TIPS_URL": tips.internal_url}, tmp_path / "log") as process,
    ):
        known = Known(process.url, process.internal_url, reports=reports)
        known.tokens["/internal/"] = DESK_TOKEN
        run = await asked(tmp_path, service, known, process.internal_url + INTERNAL_OPENAPI)
    run.hold()


async def _routed(dsn: str) -> list[str]:
    """Reports that are with their unit."""
    now = datetime.now(UTC)
    envelopes: list[Envelope[Event]] = [accepted(now=now) for _ in range(60)]  # type: ignore[misc] # read alone
    reports = reports_of(ibuurt(), lambda: now)
    connection = await postgres.connect(dsn, "test")
    async with connection.transaction():
        await reports.apply(connection, envelopes)
    await connection.close()
    return [one.event.key for one in envelopes]
