"""docs/operating.md, Back up, Restore, Upgrade, Scale out: the page's own commands, with reports before,
between and after; in the end the three services agree."""

import re
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from tests.compose.deployment import PAGE, ROOT, SERVICES, Deployment, long, typed
from tests.compose.town import Town

pytestmark = long
RESTORE = (
    "docker compose exec -T postgres pg_restore -U postgres -d postgres --clean --if-exists --create "
    "--exit-on-error < stats.dump"
)
UP = "docker compose up -d --wait"
UPGRADE = f"{ROOT}/deploy/upgrade"


@pytest.fixture(scope="module", autouse=True)
def backup(deployment: Deployment, town: Town) -> list[str]:
    """All that the page backs up; the receipts of before."""
    receipts = [town.report() for _ in range(3)]
    deployment.agree()
    (block,) = re.findall(r"^## Back up\n.*?^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        deployment.typed(line)
    return receipts


@pytest.fixture(autouse=True)
def balanced(deployment: Deployment, town: Town, backup: list[str]) -> Iterator[None]:
    """Two reports before and one after; nothing is on its way in the end, by the page's own command too, and
    the oldest receipts still find their reports."""
    for _ in range(2):
        town.report()
    deployment.agree()
    yield
    deployment.healthy([*SERVICES, "kafka", "postgres"], 300)
    receipt = town.report()
    deployment.agree()
    typed(deployment, "docker compose run --rm --no-deps operator reconcile --wait 60")
    for one in (*backup, receipt):
        assert town.status(one) == "acknowledged"


def test_the_database_of_stats(deployment: Deployment) -> None:
    """It reads on from where the dump stood."""
    typed(deployment, "docker compose stop stats")
    typed(deployment, RESTORE)
    typed(deployment, UP)


@pytest.mark.parametrize("service", ["notify", "tips"])
def test_the_database_of_a_writer(deployment: Deployment, service: str) -> None:
    """It takes back what its topics know."""
    typed(deployment, "docker compose stop stats", stats=service)
    typed(deployment, RESTORE, stats=service)
    for command in ("outbox recover --dry-run", "outbox recover --by NAME"):
        typed(deployment, f"docker compose run --rm --no-deps notify {command}", notify=service)
    typed(deployment, UP)


def test_the_keys(deployment: Deployment) -> None:
    """Their volume was emptied."""
    deployment.shell("tips", "rm -f /state/keys/*")
    (command,) = re.findall(r"^docker compose run .*< keys\.tar$", PAGE, re.MULTILINE)
    typed(deployment, command)
    typed(deployment, "docker compose restart NAME", NAME="tips")


def _lose(deployment: Deployment, *volumes: str) -> None:
    """Take it down and remove these volumes."""
    typed(deployment, "docker compose down")
    for volume in volumes:
        deployment.typed(f"docker volume rm {deployment.name}_{volume}")


def test_the_secrets(deployment: Deployment) -> None:
    """With all that was handed out."""
    handed = [f"secrets-{name}{part}" for name in SERVICES for part in ("", "-owner")]
    _lose(deployment, "secrets", "secrets-kafka", "secrets-postgres", *handed)
    (command,) = re.findall(r"^docker compose run .*< secrets\.tar$", PAGE, re.MULTILINE)
    typed(deployment, command)
    typed(deployment, UP)


def test_kafkas_volume(deployment: Deployment, town: Town) -> None:
    """Topics, rights and users are made anew; what was sent is sent again. Reports are taken meanwhile."""
    _lose(deployment, "kafka")
    typed(deployment, "docker compose up -d")
    deployment.healthy(["tips"], 300)
    town.report()
    for service in ("tips", "notify"):
        for command in (
            "docker compose run --rm --no-deps tips outbox resend --dry-run",
            "docker compose stop tips",
            "docker compose run --rm --no-deps tips outbox resend --by NAME",
            "docker compose up -d --wait tips",
        ):
            typed(deployment, command, tips=service)


def test_an_upgrade_while_reports_come(deployment: Deployment, town: Town) -> None:
    """Other images; what was accepted meanwhile is as well delivered and counted."""
    done, accepted = threading.Event(), 0

    def report() -> None:
        nonlocal accepted
        while not done.wait(0.3):
            try:
                town.report()
            except OSError:
                continue
            accepted += 1

    before = deployment.agree()["tips"]["accepted"]
    reporting = threading.Thread(target=report)
    reporting.start()
    try:
        deployment.typed(UPGRADE)
    finally:
        done.set()
        reporting.join()
    assert accepted > 5
    assert deployment.agree()["tips"]["accepted"] >= before + accepted


PSQL = "docker compose exec -T postgres psql -qU postgres -d stats -c"
LATER = "INSERT INTO migration (name, digest) VALUES ('stats/9999_later.sql', 'x')"
FORGOTTEN = "DELETE FROM migration WHERE name = 'stats/9999_later.sql'"


@pytest.mark.parametrize(
    ("spoil", "mend", "job"),
    [
        (f'{PSQL} "{LATER}"', f'{PSQL} "{FORGOTTEN}"', "migrate-stats"),
        ("docker compose stop kafka", "docker compose start kafka", "topics"),
    ],
)
def test_an_upgrade_that_a_job_refuses(
    deployment: Deployment, town: Town, spoil: str, mend: str, job: str
) -> None:
    """What runs goes on running as it was: the same containers, and reports are taken."""
    before = deployment.run("ps", "--quiet", *SERVICES)
    deployment.typed(spoil)
    told = deployment.typed(UPGRADE, check=False)
    assert f"upgrade: the job {job} refuses" in told
    assert deployment.run("ps", "--quiet", *SERVICES) == before
    town.report()
    deployment.typed(mend)
    deployment.healthy(["kafka", "postgres"], 300)
    deployment.typed(UPGRADE)


def test_two_of_stats(deployment: Deployment, town: Town) -> None:
    """They share the partitions; one of them suffices. Each answers the public on a port of its own."""
    ports = deployment.two_of_stats()
    for _ in range(10):
        town.report()
    deployment.agree()
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/releases", timeout=60) as answer:
            assert answer.status == 200
    typed(deployment, UP)


def test_all_is_gone(deployment: Deployment) -> None:
    """Kafka's volume and the databases': the page's block brings back what the dumps of one backup hold. Last
    here, since what came after them is lost."""
    section = PAGE.partition("**All is gone**")[2].partition("What happened after the dumps")[0]
    blocks = re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    _lose(deployment, "kafka", "postgres")
    for line in "".join(blocks).splitlines():
        deployment.typed(re.sub(r"\bNAME\b", "jansen", line))
