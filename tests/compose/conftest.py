"""One deployment for the whole suite; a test that breaks it mends it again."""

from collections.abc import Iterator

import pytest

from tests.compose.deployment import Deployment
from tests.containers import docker


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """docker-compose.yml, up from nothing; nothing is left afterwards."""
    try:
        docker()
    except LookupError as why:
        pytest.skip(str(why))
    folder = tmp_path_factory.mktemp("compose")
    # Containers read the municipality under their own account.
    folder.chmod(0o755)
    made = Deployment(folder)
    try:
        print(f"\nup in {made.up():.0f} s")
        yield made
    finally:
        made.down()
        assert made.left() == []
