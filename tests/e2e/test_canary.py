"""The canary: people whose every word, address and header is marked send to the whole system as it is run.

Then all that it keeps is searched for the marks in any form, and for the minute in which a tip was sent:
tables, files, logs, records, photos, keys, metrics, temporary and working folders, command lines. The tables
in tests/canary/evidence.py say what may be where. Not seen: swap, other machines' disks, the network.
"""

import asyncio
import os
import resource
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from deploy.local.stack import ROOT, Stack, local_stack
from shared.municipality import read
from tests.canary import life
from tests.canary.evidence import APPROVED, Evidence, gathered
from tests.canary.life import Lived
from tests.canary.outside import Listening, Mailbox
from tests.canary.places import Piece, everything, known, written_down
from tests.canary.planting import Planted, plant, planted
from tests.canary.sending import Town
from tests.canary.watching import Watching
from tests.e2e.target import IBUURT
from tests.searching import Searcher

PLACES = {
    "tables of tips",
    "tables of notify",
    "tables of stats",
    "files of tips",
    "files of notify",
    "files of stats",
    "write-ahead log",
    "PostgreSQL's own files",
    "records",
    "Kafka's files",
    "Kafka's own files",
    "logs",
    "servers' logs",
    "photos",
    "metrics",
    "processes",
    "statements",
    "sent to units",
    "sent by mail",
    "public pages",
}
PUBLIC = ("/v1/issues", "/v1/issues.geojson", "/v1/issues.atom", "/v1/form", "/v1/openapi.json")


@dataclass
class Seen:
    """What happened, what was found, and what was found once marks were planted."""

    lived: Lived
    found: Evidence
    answers: dict[str, list[bytes]]
    decoders: set[bytes]
    settings: dict[str, str]
    cores: list[Path]
    plants: Planted
    replanted: Evidence


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    if os.environ.get("IBUURT_E2E_TIPS_URL"):
        pytest.skip("looks at the files of the local stack, and the environment names another deployment")
    if sys.platform != "linux":
        pytest.skip("looks at processes through Linux' /proc")
    temporary = tmp_path_factory.mktemp("canary")
    units, mailbox, token = Listening(read(IBUURT).units), Mailbox(), secrets.token_urlsafe(32)
    environment = {
        "TMPDIR": str(temporary),
        # As behind a proxy: it says who it is, and everybody has limits.
        "IBUURT_TRUSTED_PROXIES": "127.0.0.1/32",
        "IBUURT_UNLIMITED_NETWORKS": "192.0.2.0/24",
        "IBUURT_NOTIFY_TOKEN": token,
        "IBUURT_TIPS_TOKEN": token,
        "IBUURT_SMTP_HOST": "127.0.0.1",
        "IBUURT_SMTP_PORT": str(mailbox.port),
        "IBUURT_SMTP_TLS": "none",
        "IBUURT_EMAIL_FROM": "iBuurt <news@ibuurt.example>",
    }
    with (
        mailbox.open(),
        _cores_allowed(),
        local_stack(IBUURT, units.ports, tips_wait=False, environment=environment) as stack,
    ):
        units.secrets = stack.webhook_secrets
        yield asyncio.run(_all(stack, units, mailbox, token, temporary))


@contextmanager
def _cores_allowed() -> Iterator[None]:
    """Whatever dies from here on may leave a core file, if it does not see to it itself."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


async def _all(stack: Stack, units: Listening, mailbox: Mailbox, token: str, temporary: Path) -> Seen:
    await written_down(stack)
    before, since = known(stack.folder), time.time()
    await units.open_all()
    tips, watching = stack.services["tips"], Watching(stack)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        town = Town(session, tips.url, tips.internal_url, token)
        with watching.watching():
            lived = await life.live(stack, town, units, mailbox)
        outside = [Piece("sent to units", "", data) for _, data in units.taken]
        outside += [Piece("sent by mail", "", letter) for letter in mailbox.letters]
        outside += [Piece("public pages", path, await _page(town, path)) for path in PUBLIC]
    await units.close_all()
    needles = [needle for person in lived.people for needle in person.needles]
    pieces = everything(stack, before, since, temporary)
    found = await gathered(pieces, [*watching.pieces(), *outside], needles, lived.tip)
    _tell(found, len(needles), len({needle.found.mark for needle in needles}))
    cores = list(ROOT.glob("core*"))
    plants = Planted()
    with watching.watching(), planted(stack, temporary, lived.tip, plants):
        await plant(stack, lived.tip, plants)
        pieces = everything(stack, before, since, temporary)
        again = await gathered(pieces, watching.pieces(), plants.needles, lived.tip)
    settings = await _settings(stack)
    return Seen(lived, found, town.answers, watching.decoders, settings, cores, plants, again)


async def _page(town: Town, path: str) -> bytes:
    async with town.session.get(town.url + path) as answer:
        assert answer.status == 200, path
        return await answer.read()


async def _settings(stack: Stack) -> dict[str, str]:
    connection = await asyncpg.connect(stack.infrastructure.admin_dsn)
    try:
        return {row["name"]: row["setting"] for row in await connection.fetch("SELECT * FROM pg_settings")}
    finally:
        await connection.close()


def _tell(found: Evidence, needles: int, marks: int) -> None:
    pieces, size = sum(found.pieces.values()), sum(found.sizes.values())
    print(f"{marks} marks in {needles} forms, looked for in {pieces} pieces of {size / 2**20:.1f} MiB:")
    for place in sorted(found.sizes):
        print(f"  {place}: {found.pieces[place]} of {found.sizes[place] / 2**20:.2f} MiB")


def test_no_mark_is_anywhere_but_where_it_may_be(seen: Seen) -> None:
    """Of a tip nothing is anywhere; of an issue only what was approved, and where the public reads it."""
    assert set(seen.found.sizes) >= PLACES
    # Made ahead: no file there tells when somebody sent something.
    assert "keys" not in seen.found.sizes
    assert seen.found.leaks() == []


def test_what_may_be_outside_is_there(seen: Seen) -> None:
    """So that the search above has looked at the right things: words at units, an address at the mail server,
    the approved words in the database and on the public pages."""
    assert seen.found.where(APPROVED) == {
        "tables of tips",
        "files of tips",
        "write-ahead log",
        "public pages",
        "sent to units",
    }
    for who in ("issue", "tip", "erased tip"):
        assert seen.found.where(f"{who}: words") == {"sent to units"}
    # What is written by and to the resident is there by the call of the reopening, too.
    for what in ("name", "contact", "phone", "answer", "place", "why it is not solved", "what was added"):
        assert seen.found.where(f"issue: {what}") == {"sent to units"}
    assert seen.found.where("issue: address for news") == {"sent by mail"}


def test_a_refusal_repeats_nothing_of_what_was_sent(seen: Seen) -> None:
    """Whoever looks over a shoulder, or at a proxy's errors, learns nothing from it, but the name of a field
    where that is a word without spaces: whoever writes a program must see which one is meant."""
    (person,) = [one for one in seen.lived.people if one.who == "refused"]
    searcher = Searcher(person.needles)
    found = {found.mark for answer in seen.answers["refused"] for found in searcher.look(answer)}
    assert found <= {"refused: refused, name of a field"}


def test_a_tips_minute_is_nowhere(seen: Seen) -> None:
    """All that a tip brings about, in a stretch of time in which nothing else happens: no row, record, id,
    line of a service's log, metric or file of a photo or key has a moment of it."""
    assert seen.found.told(seen.lived.earlier) == []


def test_what_is_planted_is_found(seen: Seen) -> None:
    """In each kind of place, once: a search that cannot fail says nothing."""
    places = {needle.found.mark.partition(": ")[2] for needle in seen.plants.needles}
    missed = [place for place in places if place not in seen.replanted.where(f"planted: {place}")]
    assert missed == []
    assert len(places) >= 13
    told = {place for place, *_ in seen.replanted.told()}
    assert told >= {"tables of tips", "files of tips", "records", "Kafka's files", "logs", "keys"}


def test_who_dies_leaves_nothing(seen: Seen) -> None:
    """Decoders and services were killed and aborted where cores are allowed: there is none, and no file in
    the folder for temporary ones."""
    assert seen.cores == []
    assert "temporary folder" not in seen.found.pieces


def test_decoders_know_nothing_but_where_python_is(seen: Seen) -> None:
    """What decodes a hostile photo has none of the service's secrets in its environment."""
    names = {part.partition(b"=")[0] for one in seen.decoders for part in one.split(b"\0") if part}
    assert names == {b"PYTHONPATH", b"MALLOC_ARENA_MAX"}


def test_postgresql_keeps_no_more_than_this_test_can_read(seen: Seen) -> None:
    """No moments of commits beside its log, no statements of the past, nothing compressed in a way of its
    own."""
    wanted: dict[str, Any] = {
        "track_commit_timestamp": "off",
        "shared_preload_libraries": "",
        "wal_compression": "off",
        "default_toast_compression": "pglz",
        "log_statement": "none",
        "log_min_duration_statement": "-1",
        "log_min_error_statement": "panic",
    }
    assert {name: seen.settings[name] for name in wanted} == wanted
