"""Photos in an object store: a real S3 server takes them, gives them back, and goes away."""

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.tips.photos import moving
from services.tips.photos.store import PhotoStore, StoreAway
from shared.errors import Refusal
from tests.integration.test_tips_photos import uploaded
from tests.integration.tips_server import Tips, tip
from tests.s3 import BUCKET, S3, SECRET, s3_server

URL = f"s3://{BUCKET}/photos"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, and the environment that leads there."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


async def test_an_object_is_put_over_given_back_and_deleted(s3: S3) -> None:
    """As with a folder: what is not there is None, deleting twice is no error."""
    store, name = PhotoStore(URL), uuid.uuid4()
    large = os.urandom(3 * 2**20)
    assert await store.get(name) is None
    await store.put(name, b"first")
    await store.put(name, large)
    assert await store.get(name) == large
    assert s3.objects() == {f"photos/{name}": large}
    await store.delete(name)
    await store.delete(name)
    assert await store.get(name) is None
    await store.probe()
    assert s3.objects() == {}


async def test_photos_move_there_when_their_hour_is_over_and_go_with_their_report(tips: Tips, s3: S3) -> None:
    """Sealed, under random names; after the erasure none is left."""
    photos = [str(await uploaded(tips)) for _ in range(2)]
    receipt = (await tips.post(tip(photos=photos))).body["receipt"]
    (before,) = {
        row["size"]
        for row in await tips.rows(
            "SELECT sum(length(sealed))::integer AS size FROM photo_part GROUP BY photo_id"
        )
    }
    store, later = PhotoStore(URL), tips.clock.now + timedelta(hours=1)
    await moving.move(tips.pool, store, later)
    rows = await tips.rows("SELECT object_name, here FROM photo")
    assert [row["here"] for row in rows] == [False, False]
    held = s3.objects()
    assert set(held) == {f"photos/{row['object_name']}" for row in rows}
    assert {len(sealed) for sealed in held.values()} == {before}
    erased = await tips.request("DELETE", "/v1/reports/mine", None, {"Authorization": f"Receipt {receipt}"})
    assert erased.status == 200
    await moving.clear(tips.pool, store, later)
    assert s3.objects() == {}


async def test_a_store_that_goes_away_is_said_and_found_again(s3: S3, tmp_path: Path) -> None:
    """While it is away nothing is thought to be put, got or deleted; the probe finds it once it is back."""
    store, name = PhotoStore(URL), uuid.uuid4()
    await store.put(name, b"kept")
    s3.child.kill()
    for call in (store.put(name, b"other"), store.get(name), store.delete(name), store.probe()):
        with pytest.raises(StoreAway):
            await call
        assert store.away
    s3.start()
    await store.probe()
    assert not store.away
    assert await store.get(name) == b"kept"
    await store.delete(name)


async def test_a_key_that_has_ended_is_away_and_not_empty(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server refuses is never taken for an object that is not there."""
    name = uuid.uuid4()
    await PhotoStore(URL).put(name, b"kept")
    for variable, value in s3.environment("another secret").items():
        monkeypatch.setenv(variable, value)
    refused = PhotoStore(URL)
    with pytest.raises(StoreAway):
        await refused.get(name)
    with pytest.raises(StoreAway):
        await refused.put(name, b"other")
    assert s3.objects() == {f"photos/{name}": b"kept"}


async def test_the_secret_key_may_come_from_the_settings(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the deployment; it goes before what the environment may say."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another secret")
    await PhotoStore(URL, SECRET).probe()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    await PhotoStore(URL, SECRET).probe()
    with pytest.raises(Refusal, match="IBUURT_PHOTO_STORE_SECRET_KEY"):
        PhotoStore(URL)
