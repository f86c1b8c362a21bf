"""tests/containers.py: what the tests start and remove is never somebody's deployment."""

import pytest
from testcontainers.compose import DockerCompose

from tests.containers import name_project


def test_a_projects_name_is_never_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose takes COMPOSE_PROJECT_NAME before a file's or an env file's; the argument comes first."""
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "somebodys")
    compose = DockerCompose(".", "compose.json", docker_command_path="docker")
    name_project(compose, "ours")
    for _ in range(2):
        assert compose.docker_compose_command()[:4] == ["docker", "compose", "--project-name", "ours"]
