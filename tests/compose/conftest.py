"""One deployment for the whole suite; a test that breaks it mends it again."""

from collections.abc import Iterator

import pytest

from tests.compose.deployment import Deployment, workspace


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """docker-compose.yml, up from nothing; nothing is left afterwards."""
    made = Deployment(workspace(tmp_path_factory, "compose"))
    try:
        print(f"\nup in {made.up():.0f} s")
        yield made
    finally:
        made.down()
        assert made.left() == []
