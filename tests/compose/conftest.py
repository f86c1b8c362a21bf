"""One deployment for the whole suite; a test that breaks it mends it again."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.compose.deployment import Deployment, workspace
from tests.compose.town import Town


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """docker-compose.yml, up from nothing; nothing is left afterwards."""
    made = Deployment(workspace(tmp_path_factory, "compose"))
    try:
        print(f"\nup in {made.up():.0f} s; {made.sizes()}")
        yield made
    finally:
        made.down()
        assert made.left() == []


@pytest.fixture(scope="module")
def town(deployment: Deployment) -> Iterator[Town]:
    """The town around it."""
    made = Town(deployment)
    yield made
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside what failed, what the containers said last."""
    report = yield
    if report.failed:
        fixtures: dict[str, Any] = getattr(item, "funcargs", {})
        for given in fixtures.values():
            deployment = getattr(given, "deployment", given)
            if isinstance(deployment, Deployment):
                said = deployment.tried("logs", "--tail", "15", "--timestamps").stdout
                report.sections.append((f"what the containers of {deployment.name} said", said))
                break
    return report
