"""docs/operating.md, Install: photos in an object store; its secret key is a file."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.deployment import Deployment, typed
from tests.compose.town import Town
from tests.photos import encoded, picture
from tests.s3 import BUCKET, S3, SECRET, s3_server

SETTINGS = ("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_ENDPOINT", "AWS_ALLOW_HTTP")
HAND_OUT = "docker compose run --rm secrets"
UP = "docker compose up -d --wait"
# `tips` moves no photo in the first five minutes of an hour, and looks once a minute.
MOVE_SECONDS = 420.0


@pytest.fixture
def s3(deployment: Deployment, tmp_path: Path) -> Iterator[S3]:
    """A server on this machine, which the deployment is told of; afterwards it has its folder again."""
    settings = deployment.folder / "compose.env"
    before = settings.read_text("utf-8")
    secret_key = deployment.given / "photo_store_secret_key"
    try:
        with s3_server(tmp_path, deployment.gateway()) as server:
            told = {name: server.environment()[name] for name in SETTINGS}
            told["IBUURT_PHOTO_STORE"] = f"s3://{BUCKET}/photos"
            settings.write_text(before + "".join(f"{name}={value}\n" for name, value in told.items()))
            secret_key.write_text(f"{SECRET}\n")
            typed(deployment, HAND_OUT)
            typed(deployment, UP)
            yield server
    finally:
        settings.write_text(before)
        secret_key.unlink(missing_ok=True)
        typed(deployment, HAND_OUT)
        typed(deployment, UP)


def test_a_photo_moves_to_the_store_and_the_secret_key_is_nowhere_on_show(
    deployment: Deployment, s3: S3
) -> None:
    """By the running service, with what compose and the job `secrets` gave it."""
    town = Town(deployment)
    try:
        town.report(photos=[_uploaded(deployment)])
    finally:
        town.close()
    earlier = "UPDATE photo SET taken_in = taken_in - interval '1 hour' WHERE report_id IS NOT NULL"
    psql = ["psql", "-U", "postgres", "-d", "tips", "-v", "ON_ERROR_STOP=1", "-c", earlier]
    deployment.run("exec", "-T", "postgres", *psql)
    # It looks at once when it starts.
    deployment.run("restart", "--no-deps", "tips")
    _wait(s3)
    container = deployment.engine("inspect", deployment.container("tips"))
    assert SECRET not in deployment.run("config") + container + deployment.run("logs", "tips")


def _uploaded(deployment: Deployment) -> str:
    url = f"http://127.0.0.1:{deployment.tips_port}/v1/photos"
    request = urllib.request.Request(url, encoded(picture()), {"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        photo: str = json.load(answer)["photo"]
        return photo


def _wait(s3: S3) -> None:
    """Until an object is there that is more than the probe."""
    end = time.monotonic() + MOVE_SECONDS
    while not any(len(sealed) > 1_000 for sealed in s3.objects().values()):
        assert time.monotonic() < end, "no photo is in the store"
        time.sleep(1)
