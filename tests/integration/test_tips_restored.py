"""A backup is restored by the steps of docs/operating.md: what is gone stays gone, by every way."""

import asyncio
import re
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from deploy.local.postgres import _wheel
from services.tips.photos.moving import move
from services.tips.photos.store import PhotoStore
from shared import postgres
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration import service_process
from tests.integration.service_process import OPERATOR_TOKEN, running_process
from tests.integration.test_tips_service import environment
from tests.integration.tips_server import MIGRATIONS, NOTIFY_TOKEN, SECRET_WORDS, new_key, tip
from tests.photos import encoded, picture
from tests.spine import until

BIN = _wheel() / "bin"
READING = {"purpose": "follow_up", "reader": "officer:k.jansen"}
MESSAGE = "It was there again last night"


@dataclass(frozen=True)
class Told:
    status: int
    code: str
    body: Any


@dataclass(frozen=True)
class Sent:
    receipt: str
    report_id: uuid.UUID
    photo: str


@dataclass
class People:
    """Residents and `notify`, at one process."""

    session: aiohttp.ClientSession
    url: str
    internal_url: str

    async def ask(self, method: str, url: str, body: Any = None, **headers: str) -> Told:
        given: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.session.request(method, url, headers=headers, **given) as answer:
            read = await answer.json(content_type=None) if "json" in answer.content_type else {}
            return Told(answer.status, read.get("type", "").rpartition(":")[2], read)

    async def mine(self, sent: Sent, method: str, path: str = "", body: Any = None, **more: str) -> Told:
        url = f"{self.url}/v1/reports/mine{path}"
        return await self.ask(method, url, body, Authorization=f"Receipt {sent.receipt}", **more)

    async def inside(self, sent: Sent, method: str, path: str, body: Any = None) -> Told:
        url = f"{self.internal_url}/internal/v1/reports/{sent.report_id}{path}"
        return await self.ask(method, url, body, Authorization=f"Bearer {NOTIFY_TOKEN}")

    async def send(self, category: str, pool: Any) -> Sent:
        """A tip with a photo and a message."""
        photo = await self.ask("POST", f"{self.url}/v1/photos", encoded(picture()))
        body = tip(category=category, photos=[photo.body["photo"]])
        answer = await self.ask("POST", f"{self.url}/v1/reports", body, **{"Idempotency-Key": new_key()})
        assert answer.status == 201, answer
        report_id = await pool.fetchval(
            "SELECT report_id FROM photo WHERE photo_id = $1", uuid.UUID(photo.body["photo"])
        )
        sent = Sent(answer.body["receipt"], report_id, photo.body["photo"])
        key = {"Idempotency-Key": new_key()}
        assert (await self.mine(sent, "POST", "/messages", {"text": MESSAGE}, **key)).status == 201
        return sent

    async def readings(self, sent: Sent) -> list[Told]:
        """Every way by which somebody reads what was written, but the export."""
        query = "&".join(f"{name}={value}" for name, value in READING.items())
        return [
            await self.mine(sent, "GET", "/messages"),
            await self.mine(sent, "GET", f"/photos/{sent.photo}"),
            await self.inside(sent, "POST", "/words", READING),
            await self.inside(sent, "GET", f"/messages?{query}"),
            await self.inside(sent, "GET", f"/photos/{sent.photo}?{query}"),
        ]


@dataclass(frozen=True)
class Deployment:
    """What an operator has: the settings of `tips`, and its commands."""

    env: dict[str, str]
    log: Path

    async def run(self, *arguments: str, code: int = 0) -> str:
        ended = await asyncio.to_thread(service_process.ended, "tips", self.env, *arguments)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    async def heads(self) -> list[str]:
        """What `disclosures verify` says to note down, as the arguments that it takes."""
        return re.findall(r"--head|\w+:[0-9]+:[0-9a-f]{64}", await self.run("disclosures", "verify"))

    async def nothing_waits(self, people: People) -> None:
        async def sent() -> bool:
            url = f"{people.internal_url}/totals"
            totals = await people.ask("GET", url, Authorization=f"Bearer {OPERATOR_TOKEN}")
            return bool(totals.body["waiting"] == 0)

        await until(sent)


async def test_what_was_erased_and_a_month_that_was_destroyed_stay_gone_in_a_restored_backup(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, tmp_path: Path
) -> None:
    """A dump of before, the photos of before, the keys of today, `outbox recover`, and the service runs
    again: neither receipt nor unit reads words, messages or photos of the two; the resident is told that they
    are erased. What was neither stays readable. The log is whole up to the backup, and says what it lacks."""
    keys, photos = tmp_path / "keys", tmp_path / "keys" / "photos"
    keys.mkdir()
    dsn, restored = await database(), await database()
    await postgres.migrate(dsn, MIGRATIONS)
    before = Deployment(environment(dsn, infrastructure.bootstrap, keys), tmp_path / "before.log")
    after = Deployment(environment(restored, infrastructure.bootstrap, keys), tmp_path / "after.log")
    pool = await postgres.open_pool(dsn, "test")
    async with aiohttp.ClientSession() as session:
        async with running_process("tips", before.env, before.log) as process:
            people = People(session, process.url, process.internal_url)
            erased, kept = [await people.send("drug_dealing", pool) for _ in range(2)]
            ended = await people.send("worry_about_someone", pool)
            await move(pool, PhotoStore(str(photos)), datetime.now(UTC) + timedelta(hours=1))
            noted = await before.heads()
            await _command(f"{BIN}/pg_dump", "-Fc", "-f", str(tmp_path / "tips.dump"), dsn)
            shutil.copytree(photos, tmp_path / "photos.backup")

            certificate = (await people.mine(erased, "DELETE")).body
            month = f"{datetime.now(UTC):%Y-%m}-gdpr-180"
            said = await before.run("keys", "destroy", month, "--even-so", "--by", "jansen")
            assert f"{month}: 1 reports are erased" in said
            lost = await people.send("drug_dealing", pool)
            await before.nothing_waits(people)
            noted_later = await before.heads()
        await pool.close()

        await _command(
            f"{BIN}/pg_restore", "--no-owner", "--exit-on-error", "-d", restored, f"{tmp_path}/tips.dump"
        )
        shutil.copytree(tmp_path / "photos.backup", photos, dirs_exist_ok=True)
        there = {path.name for path in photos.iterdir()}
        for name in ("--dry-run",), ("--by", "jansen"):
            said = await after.run("outbox", "recover", *name)
            assert "2 reports were erased after the backup; they are erased again" in said
            assert f"lost: tip {lost.report_id}" in said
        async with running_process("tips", after.env, after.log) as process:
            people = People(session, process.url, process.internal_url)
            for gone, reason in (erased, "resident"), (ended, "retention"):
                await _is_gone(people, gone, reason)
            again = (await people.mine(erased, "DELETE")).body["certificate"]
            assert (
                again["destroyed"]
                == certificate["certificate"]["destroyed"]
                == {
                    "words": 1,
                    "messages": 1,
                    "photos": 1,
                    "ratings": 0,
                    "email_addresses": 0,
                    "public_texts": 0,
                }
            )
            # The dump that was just restored can still be opened, and where the key is destroyed with a copy.
            assert again["backups_until"] == certificate["certificate"]["backups_until"] > again["erased_at"]
            destroyed = (await people.mine(ended, "GET", "/certificate")).body["certificate"]
            copies = datetime.fromisoformat(destroyed["backups_until"]) - datetime.now(UTC)
            assert timedelta(days=61) < copies < timedelta(days=63)
            await _is_kept(people, kept)
            unknown = await people.mine(lost, "GET")
            assert (unknown.status, unknown.code) == (404, "receipt-unknown")
            # Only the photo of the one that is kept, of those of the backup.
            await until(lambda: len(there & {path.name for path in photos.iterdir()}) == 1)
            restored_pool = await postgres.open_pool(restored, "test")
            await people.send("worry_about_someone", restored_pool)
            assert (
                await restored_pool.fetchval("SELECT count(*) FROM report WHERE key_name = $1", f"{month}.2")
                == 1
            )
            await restored_pool.close()
            await after.nothing_waits(people)
        assert "is whole" in await after.run("disclosures", "verify", *noted)
        said = await after.run("disclosures", "verify", *noted_later, code=1)
        # It has gone on since, with what was erased anew and read.
        assert re.search(r"chain tip: written anew: [0-9]+ has another hash than was noted", said)
        assert '"refused"' not in after.log.read_text()


async def _is_gone(people: People, gone: Sent, reason: str) -> None:
    for reading in await people.readings(gone):
        assert (reading.status, reading.code) == (410, "report-erased")
    assert (await people.mine(gone, "GET")).body["report"]["status"] == "erased"
    export = (await people.mine(gone, "GET", "/export")).body["export"]
    assert (export["words"], export["messages"]) == (None, [])
    certificate = (await people.mine(gone, "GET", "/certificate")).body["certificate"]
    assert certificate["reason"] == reason
    assert export["certificate"] == certificate


async def _is_kept(people: People, kept: Sent) -> None:
    assert {reading.status for reading in await people.readings(kept)} == {200}
    words = await people.inside(kept, "POST", "/words", READING)
    assert words.body["description"] == SECRET_WORDS
    (message,) = (await people.mine(kept, "GET", "/messages")).body["messages"]
    assert message["text"] == MESSAGE


async def _command(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(*arguments)
    assert await process.wait() == 0
