"""A deployment whose alarms come sooner, what its Prometheus says, and the town around it."""

from collections.abc import Iterator

import pytest

from tests.compose.alarms.faults import MAIL_PORT
from tests.compose.alarms.watch import Watch, make_faster
from tests.compose.deployment import Deployment, workspace
from tests.compose.town import Town

TABLE = pytest.StashKey[list[str]]()
FILES = ("tests/compose/alarms/override.yml",)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of alarms."""
    for line in config.stash.get(TABLE, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="package")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = workspace(tmp_path_factory, "alarms")
    settings = {
        "IBUURT_TEST_PROMETHEUS": make_faster(folder),
        "IBUURT_SMTP_HOST": "localhost",
        "IBUURT_SMTP_PORT": MAIL_PORT,
        "IBUURT_SMTP_TLS": "none",
        "IBUURT_EMAIL_FROM": "meldingen@ibuurt.example",
        # Half a minute.
        "IBUURT_SUBSCRIPTION_DISABLE_DAYS": "0.0003",
    }
    made = Deployment(folder, FILES, settings=settings)
    try:
        made.up()
        yield made
    finally:
        made.down()
        assert made.left() == []


@pytest.fixture(scope="package")
def watch(deployment: Deployment, pytestconfig: pytest.Config) -> Iterator[Watch]:
    made = Watch(deployment)
    yield made
    made.close()
    pytestconfig.stash[TABLE] = made.table()


@pytest.fixture(scope="package")
def town(deployment: Deployment) -> Iterator[Town]:
    made = Town(deployment)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def mended(deployment: Deployment) -> Iterator[None]:
    """After each test all is up, mended or not."""
    yield
    if set(deployment.states().values()) - {"running healthy", "exited 0"}:
        deployment.typed("docker compose up -d --wait")
