"""One deployment for the faults of one broker, with disks that can be full; made after the others went."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.compose.deployment import workspace
from tests.compose.faults.trial import Trial


@contextlib.contextmanager
def deployed(factory: pytest.TempPathFactory, *files: str) -> Iterator[Trial]:
    """A trial on a deployment from nothing, of which nothing is left afterwards. Skips without an engine."""
    trial = Trial(workspace(factory, "faults"), *files)
    try:
        print(f"\nup in {_up(trial):.0f} s")
        yield trial
    finally:
        trial.deployment.down()
        assert trial.deployment.left() == []


def _up(trial: Trial) -> float:
    """Seconds until all is healthy, tried again: that one command is enough where the machine is not busy is
    for test_deployment.py to hold."""
    for _ in range(2):
        with contextlib.suppress(AssertionError):
            return trial.deployment.up()
    return trial.deployment.up()


@pytest.fixture(scope="package")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with deployed(tmp_path_factory, "tests/compose/faults/disks.yml") as made:
        yield made
