"""A police export goes to the topic of incidents: each line once, however often it is read."""

import asyncio
import gzip
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.stats import importing
from services.stats.core.export import ExportMapping, read_mapping
from services.stats.importing import import_file
from shared.cloudevents import from_record
from shared.errors import Refusal
from shared.events import INCIDENTS
from shared.municipality import Municipality, read
from tests.conftest import Infrastructure
from tests.integration.service_process import ROOT, ask, environment
from tests.spine import read_topic, until

BOSTON = ROOT / "deploy/municipalities/boston"
MAPPING = BOSTON / "incidents.toml"
HEADER = "INCIDENT_NUMBER,OFFENSE_CODE,OFFENSE_CODE_GROUP,DISTRICT,OCCURRED_ON_DATE,Lat,Long\n"


def line(number: int, **changes: str) -> str:
    row = {"number": f"I{number:06d}", "code": "617", "group": "Larceny", "district": "D4"} | changes
    when = changes.get("when", "2018-09-02 13:00:00")
    return f"{row['number']},{row['code']},{row['group']},{row['district']},{when},42.35,-71.08\n"


@pytest.fixture
def by() -> ExportMapping:
    return read_mapping(MAPPING.read_text("utf-8"))


@pytest.fixture(scope="module")
def town() -> Municipality:
    return read(BOSTON)


async def published(infrastructure: Infrastructure) -> Counter[bytes | None]:
    """How often each incident stands on the topic."""
    records = await read_topic(infrastructure.bootstrap, INCIDENTS.name)
    return Counter(one.key for partition in records.values() for one in partition)


async def test_every_line_is_published_once_and_the_next_run_goes_on(
    infrastructure: Infrastructure, fresh_topics: None, tmp_path: Path, by: ExportMapping, town: Municipality
) -> None:
    """Good lines beside bad ones, a second run without news, and one after the file has grown."""
    export = tmp_path / "crimes.csv"
    bad = [line(9_001, group="Piracy"), line(9_002, district="Z9"), line(9_003, when="yesterday"), "half,a\n"]
    export.write_text(HEADER + "".join(map(line, range(300))) + "".join(bad), "utf-8")
    fates = await import_file(infrastructure.bootstrap, export, by, town)
    assert fates["published"] == 300
    rejected = (tmp_path / "crimes.csv.rejects").read_text("utf-8").splitlines()
    assert [one.partition(",")[0] for one in rejected] == ["302", "303", "304", "305"]
    again = await import_file(infrastructure.bootstrap, export, by, town)
    assert again["published"] == 0
    with export.open("a", encoding="utf-8") as more:
        more.write("".join(map(line, range(300, 350))))
    assert (await import_file(infrastructure.bootstrap, export, by, town))["published"] == 50
    ids = await published(infrastructure)
    assert (len(ids), set(ids.values())) == (350, {1})


async def test_a_run_that_dies_before_it_noted_how_far_it_was_sends_the_same_ids_again(
    infrastructure: Infrastructure,
    fresh_topics: None,
    tmp_path: Path,
    by: ExportMapping,
    town: Municipality,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is applied once by its id, whatever is sent twice; nothing is lost."""
    export = tmp_path / "crimes.csv"
    export.write_text(HEADER + "".join(map(line, range(120))), "utf-8")
    monkeypatch.setattr(importing, "CHUNK", 50)
    saved, save = 0, importing.Reading.save

    def dies(*arguments: Any) -> None:
        nonlocal saved
        saved += 1
        if saved == 2:
            raise RuntimeError("killed")
        save(*arguments)

    monkeypatch.setattr(importing.Reading, "save", dies)
    with pytest.raises(RuntimeError):
        await import_file(infrastructure.bootstrap, export, by, town)
    await import_file(infrastructure.bootstrap, export, by, town)
    ids = await published(infrastructure)
    assert len(ids) == 120
    assert sorted(ids.values()) == [1] * 70 + [2] * 50


async def test_the_command_says_what_became_of_the_lines(
    infrastructure: Infrastructure, fresh_topics: None, tmp_path: Path
) -> None:
    """And what is wrong with a file or a mapping, with what to do."""
    export = tmp_path / "crimes.csv"
    export.write_text(HEADER + line(1) + line(2, group="Piracy"), "utf-8")
    env = environment("postgresql://nobody@127.0.0.1:1/none", infrastructure.bootstrap, BOSTON)
    said = await ask("stats", env, "import-incidents", str(export), "--mapping", str(MAPPING))
    assert "1 published" in said
    assert "1 unknown offence code 'Piracy'" in said
    bad = tmp_path / "bad.csv"
    bad.write_text(HEADER + line(2, group="Piracy"), "utf-8")
    said = await ask("stats", env, "import-incidents", str(bad), "--mapping", str(MAPPING), code=1)
    assert "every row was rejected, most as \"unknown offence code 'Piracy'\": see bad.csv.rejects" in said
    export.write_text(HEADER, "utf-8")
    said = await ask("stats", env, "import-incidents", str(export), "--mapping", str(MAPPING), code=1)
    assert "crimes.csv does not begin with what was imported of it" in said
    broken = tmp_path / "mapping.toml"
    await asyncio.to_thread(broken.write_text, "source = 1", "utf-8")
    said = await ask("stats", env, "import-incidents", str(export), "--mapping", str(broken), code=1)
    assert "the mapping cannot be used" in said
    other = {**env, "IBUURT_MUNICIPALITY": str(BOSTON.parent / "ibuurt")}
    said = await ask("stats", other, "import-incidents", str(export), "--mapping", str(MAPPING), code=1)
    assert "the mapping does not fit ibuurt: " in said
    nowhere = str(tmp_path / "none.csv")
    said = await ask("stats", env, "import-incidents", nowhere, "--mapping", str(MAPPING), code=1)
    assert "a file cannot be used" in said


async def test_a_killed_import_goes_on_and_every_incident_is_there(
    infrastructure: Infrastructure, fresh_topics: None, tmp_path: Path
) -> None:
    """kill -9 in the middle: what was noted is not sent again, of the rest at most what was under way."""
    export, rows = tmp_path / "crimes.csv", 30_000
    export.write_text(HEADER + line(rows, group="Piracy") + "".join(map(line, range(rows))), "utf-8")
    env = environment("postgresql://nobody@127.0.0.1:1/none", infrastructure.bootstrap, BOSTON)
    arguments = ["import-incidents", str(export), "--mapping", str(MAPPING)]
    program = (sys.executable, "-m", "services.stats", *arguments)
    child = await asyncio.create_subprocess_exec(*program, cwd=ROOT, env=env)
    await until((tmp_path / "crimes.csv.progress").exists)
    child.send_signal(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    said = await ask("stats", env, *arguments)
    assert f"{rows} published" not in said
    assert (tmp_path / "crimes.csv.rejects").read_text("utf-8").startswith("2,")
    ids = await published(infrastructure)
    assert len(ids) == rows
    assert set(ids.values()) <= {1, 2}
    assert sum(ids.values()) - rows <= importing.CHUNK


async def test_a_packed_export_is_read_as_it_is_and_a_part_of_one_up_to_where_it_breaks(
    infrastructure: Infrastructure, fresh_topics: None, tmp_path: Path, by: ExportMapping, town: Municipality
) -> None:
    """Then the whole of it goes on from there. Its events name the police of that municipality."""
    export = tmp_path / "crimes.csv.gz"
    packed = gzip.compress((HEADER + "".join(map(line, range(6_000)))).encode(), mtime=0)
    export.write_bytes(packed[: -len(packed) // 20])
    with pytest.raises(Refusal, match=r"crimes\.csv\.gz is packed wrongly, or only a part of it is here"):
        await import_file(infrastructure.bootstrap, export, by, town)
    export.write_bytes(packed)
    assert (await import_file(infrastructure.bootstrap, export, by, town))["published"] == 1_000
    records = await read_topic(infrastructure.bootstrap, INCIDENTS.name)
    told = [from_record(r.topic, r.key, r.value, r.headers) for one in records.values() for r in one]
    assert len({one.event.key for one in told}) == len(told) == 6_000
    assert {one.source for one in told} == {"/boston/police"}
