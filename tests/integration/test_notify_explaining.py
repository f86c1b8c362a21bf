"""`explain` and `simulate`: why a report goes where it goes, and what changed rules would move."""

import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.cloudevents import Envelope
from shared.events import ReportErased
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import IBUURT, accepted, running_notify
from tests.integration.service_process import ask
from tests.integration.test_notify_service import environment

ANSWERS = """
[[rules]]
id = "guns"
unit = "parking"
reason = "front_desk_decides"
[rules.when]
category = ["weapons"]
[rules.when.answers]
what = ["firearm"]

"""
NOW = datetime(2026, 11, 12, 13, 37, 11, tzinfo=UTC)


async def test_the_rules_explain_themselves(database: MakeDatabase, tmp_path: Path) -> None:
    """Of a report that is here and of one that is described: each rule that did not take it says why, and
    the one that did what its resident reads."""
    dsn = await database()
    env = environment(dsn, "127.0.0.1:1", "http://127.0.0.1:9", IBUURT, tmp_path)
    async with running_notify(dsn, "http://127.0.0.1:9") as notify:
        noise = accepted("noise", now=NOW, areas={"district": "centre"})
        await notify.apply(noise)
        told = await ask("notify", env, "explain", str(noise.event.report_id))
        assert "police_north: no; category is noise, not burglary_suspicion or drug_dealing" in told
        assert "noise_in_the_centre: yes; to inspection (Toezicht en Handhaving)" in told
        assert "its resident reads (nl): " in told
        assert "it went to inspection by noise_in_the_centre of the rules" in told
        both = ("explain", str(noise.event.report_id), "--category", "weapons", "--source", "api")
        assert "leave out --category, --source, or the id" in await ask("notify", env, *both, code=1)
        described = ("explain", "--category", "bulky_waste", "--answer", "what=bags", "--area")
        told = await ask("notify", env, *described, "district=oakwood")
        assert "answers.what is bags, not chemicals" in told
        told = await ask("notify", env, "explain", "--category", "weapons")
        assert "police_north: no; area.district is not told, not meadow or oakwood" in told
        assert "police_without_area: yes; to neighbourhood_police_south" in told
        assert "there is no report" in await ask("notify", env, "explain", str(uuid.uuid4()), code=1)
        assert "there is no category lamps; they are street_light" in await ask(
            "notify", env, "explain", "--category", "lamps", code=1
        )
        for wrong, said in (
            (("--area", "region=oakwood"), "there is no area set region; they are district"),
            (
                ("--area", "district=two words"),
                "there is no area of district two words; they are station_quarter",
            ),
            (("--answer", "colour=red"), "there is no choice question of bulky_waste colour; they are what"),
            (("--answer", "what=a b"), "there is no answer to what a b; they are furniture"),
            (("--source", "pigeon"), "there is no source pigeon; they are api"),
            (("--language", "a b"), "a b is no language; write a code"),
        ):
            asked = ("explain", "--category", "bulky_waste", *wrong)
            assert said in await ask("notify", env, *asked, code=1)
        erased = ReportErased(report_id=noise.event.report_id, kind="issue", version=2, reason="resident")
        await notify.apply(Envelope.of(erased, id=uuid.uuid4(), source="/ibuurt/tips", now=NOW))
        assert "was erased" in await ask("notify", env, "explain", str(noise.event.report_id), code=1)


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("explain", "oakwood"), 2, "take a report's id from its unit's message"),
        (("explain", "--at", "tomorrow"), 2, "write a moment such as 2026-11-28T23:00"),
        (("explain", "--at", "0001-01-01"), 2, "write a moment such as"),
        (("simulate", "--from", "2026-11-31"), 2, "write a day such as 2026-11-28"),
        (("simulate", "--from", "2026-11-30", "--to", "9999-12-31"), 2, "write a day such as"),
        (
            ("explain", "--category", "noise", "--area", "district=centre", "--area", "district=oakwood"),
            1,
            "give --area once for each",
        ),
        (
            ("explain", "--category", "weapons", "--answer", "what=knife", "--answer", "what=firearm"),
            1,
            "what has one answer; give --answer what=OPTION once",
        ),
    ],
)
async def test_what_is_typed_wrongly_is_named_with_what_to_write(
    tmp_path: Path, typed: tuple[str, ...], code: int, said: str
) -> None:
    """And no rule is explained that was asked of something else."""
    env = environment("postgresql://127.0.0.1:1/none", "127.0.0.1:1", "http://127.0.0.1:9", IBUURT, tmp_path)
    told = await ask("notify", env, *typed, "--folder", str(IBUURT), code=code)
    assert said in told
    assert ": yes; to " not in told


async def test_changed_rules_are_tried_on_the_reports_of_a_period(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """What would move, from which rule to which; nothing is changed, and no tip is named."""
    dsn = await database()
    env = environment(dsn, "127.0.0.1:1", "http://127.0.0.1:9", IBUURT, tmp_path)
    changed = tmp_path / "changed"
    shutil.copytree(IBUURT, changed)
    rules = (changed / "routing.toml").read_text("utf-8")
    weekend = (
        '[[rules]]\nid = "evenings"\nunit = "parking"\nreason = "front_desk_decides"\n'
        '[rules.when]\ncategory = ["noise", "weapons"]\nhour = ["17-24"]\n\n'
    )
    (changed / "routing.toml").write_text(rules.replace("[[rules]]", weekend + "[[rules]]", 1), "utf-8")
    async with running_notify(dsn, "http://127.0.0.1:9") as notify:
        evening = NOW.replace(hour=18)
        moved = accepted("noise", now=evening, areas={"district": "centre"})
        tip = accepted("weapons", now=evening, areas={"district": "oakwood"})
        stays = accepted("noise", now=NOW, areas={"district": "centre"})
        earlier = accepted("noise", now=evening - timedelta(days=1), areas={"district": "centre"})
        await notify.apply(moved, tip, stays, earlier)
        before = await notify.rows("SELECT * FROM dispatch ORDER BY report_id")
        period = ("--from", "2026-11-12", "--to", "2026-11-12")
        told = await ask("notify", env, "simulate", *period, "--folder", str(changed))
        assert "3 reports; 2 would go to another unit" in told
        assert "1 another unit: noise_in_the_centre (inspection) -> evenings (parking" in told
        assert "1 another unit: police_north (neighbourhood_police_north) -> evenings (parking" in told
        assert f"{moved.event.report_id}: inspection -> parking" in told
        assert str(tip.event.report_id) not in told
        assert "no report: police_south" in told
        assert await notify.rows("SELECT * FROM dispatch ORDER BY report_id") == before
        told = await ask("notify", env, "simulate", *period, "--folder", str(IBUURT))
        assert "3 reports; 0 would go to another unit" in told
        with_answers = rules.replace("[[rules]]", ANSWERS + "[[rules]]", 1)
        (changed / "routing.toml").write_text(with_answers, "utf-8")
        told = await ask("notify", env, "simulate", *period, "--folder", str(changed))
        assert "3 reports; 0 would go to another unit" in told
        assert "cannot be said of 1 of weapons: the answers to what are announced once a rule" in told
        turned = ("simulate", "--from", "2026-11-13", "--to", "2026-11-12", "--folder", str(changed))
        assert "--from is 2026-11-13, after the last day, 2026-11-12; give" in await ask(
            "notify", env, *turned, code=1
        )
        (changed / "units.toml").unlink()
        assert "units.toml" in await ask("notify", env, "simulate", *period, "--folder", str(changed), code=1)
