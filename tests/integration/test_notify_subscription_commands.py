"""`subscriptions …`, as an operator runs them: beside the running service and without Kafka."""

import json
import re
import uuid
from pathlib import Path

import pytest

from services.notify.core.subscriptions import secret
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import IBUURT, plain
from tests.integration.service_process import ask
from tests.integration.subscription_harness import MASTER, changed, running_subscriptions
from tests.integration.test_notify_service import environment
from tests.spine import until


def told_by(tmp_path: Path, dsn: str) -> dict[str, str]:
    env = environment(dsn, "127.0.0.1:1", "http://127.0.0.1:9", IBUURT, tmp_path)
    return env | {"IBUURT_SUBSCRIPTION_SECRET": MASTER}


async def test_an_operator_adds_rotates_disables_enables_and_removes(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """The secret that is printed verifies what comes; the list says how each stands; the journal who did it,
    without address or contact; a dry run changes nothing and shows no secret."""
    dsn = await database()
    env = told_by(tmp_path, dsn)

    async def run(*arguments: str, code: int = 0) -> str:
        return await ask("notify", env, "subscriptions", *arguments, code=code)

    async with running_subscriptions(dsn) as subs:
        assert "there are no subscriptions" in await run("list")
        url = f"http://127.0.0.1:{subs.port}/hooks/parks"
        order: tuple[str, ...] = ("add", "--name", "parks", "--contact", "gis@parks.example", "--url", url)
        order += ("--type", "IssueChanged", "--category", "street_light", "--area", "district=oakwood")
        tried = await run(*order, "--area", "district=centre", "--status", "routed", "--dry-run")
        assert "parks is told of IssueChanged category=street_light district=centre district=oakwood" in tried
        assert "whsec_" not in tried
        assert "there are no subscriptions" in await run("list")

        made = await run(*order, "--by", "jansen")
        (shown,) = re.findall(r"^secret  (\S+)$", made, re.MULTILINE)
        (found,) = re.findall(r"^id      (\S+)$", made, re.MULTILINE)
        subs.ids["parks"] = uuid.UUID(found)
        assert shown == secret(MASTER, subs.ids["parks"], 1)
        assert "there is a subscription parks; give another --name" in await run(*order, "--by", "x", code=1)
        stored = await subs.rows("SELECT s::text AS row FROM subscription s")
        assert shown not in stored[0]["row"]

        again = await run("rotate", found, "--by", "jansen")
        assert f"secret  {secret(MASTER, subs.ids['parks'], 2)}" in again
        assert "was given another secret already" in await run("rotate", "parks", "--by", "x", code=1)
        subs.work()
        await subs.apply(changed(uuid.UUID(int=1)))
        (call,) = await subs.seen(1)
        assert call.signed_by == (1, 2)
        await run("rotate", "parks", "--previous-days", "0", "--by", "jansen")
        await subs.apply(changed(uuid.UUID(int=1), 2))
        assert (await subs.seen(2))[1].signed_by == (3,)

        subs.answers["parks"] = plain(503)
        await subs.apply(changed(uuid.UUID(int=1), 3))
        await until(lambda: subs.metric("subscription_deliveries_total", result="open") > 0)
        assert re.search(r"failing since .* last failure http_503", await run("list"))
        assert "is called no more" in await run("disable", "parks", "--by", "jansen")
        assert "is disabled already" in await run("disable", "parks", "--by", "x", code=1)
        said = await run("list")
        assert re.search(r"DISABLED since .* by command, .*`subscriptions enable parks`", said)
        assert re.search(r"1 waiting, the oldest since .*\(http_503\)", said)
        assert f"to {url}, contact gis@parks.example" in said
        subs.answers["parks"] = plain()
        assert "1 waiting events go, in order" in await run("enable", "parks", "--by", "jansen")
        await subs.settled()
        assert "is enabled already" in await run("enable", "parks", "--by", "x", code=1)

        assert "there is no subscription roads; they are parks" in await run(
            "remove", "roads", "--by", "x", code=1
        )
        assert "dry run: nothing was changed" in await run("remove", found.upper(), "--dry-run")
        assert "parks is removed" in await run("remove", "parks", "--by", "jansen")
        assert await subs.rows("SELECT FROM subscription") == []
        journal = await subs.rows("SELECT who, command, detail FROM mending ORDER BY id")
        assert [row["command"].removeprefix("subscriptions ") for row in journal] == [
            *("add", "rotate", "rotate", "disable", "enable", "remove"),
        ]
        assert {row["who"] for row in journal} == {"jansen"}
        assert json.loads(journal[0]["detail"]) == {"id": found, "name": "parks", "type": "IssueChanged"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--name": "Parks GIS"}, "a subscription's name is 2 to 31 of a-z"),
        ({"--contact": "somebody"}, "a subscription's contact is one e-mail address"),
        (
            {"--url": "http://parks.example/hook"},
            "--url cannot be called: .* without encryption; write https://",
        ),
        ({"--url": "ftp://parks.example"}, "--url cannot be called: this is no http or https address"),
        ({"--url": "https://me:secret@parks.example"}, "--url cannot be called: .* user name or a password"),
        ({"--category": "weapons"}, "there is no public category weapons; they are street_light"),
        ({"--area": "ward=centre"}, "there is no area set ward; they are district"),
        ({"--area": "district=atlantis"}, "there is no area atlantis in district; they are "),
        ({"--type": "StatisticsReleased", "--status": "routed"}, "has no --category, --area or --status"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, dict) else "",
)
async def test_what_would_never_work_is_refused_with_its_mend(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    """Exit code 1 and a line that says what to give instead; no secret of an address is repeated."""
    given = {
        "--name": "parks",
        "--contact": "gis@parks.example",
        "--url": "https://parks.example/hook",
        "--type": "IssueChanged",
    } | changes
    arguments = [word for pair in given.items() for word in pair]
    env = told_by(tmp_path, "postgresql://nobody@127.0.0.1:9/none")
    answer = await ask("notify", env, "subscriptions", "add", *arguments, "--by", "x", code=1)
    assert re.search(said, answer), answer
    assert "me:secret" not in answer


async def test_a_status_or_type_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path: Path,
) -> None:
    """By the command line itself, with exit code 2; and help names every command."""
    env = told_by(tmp_path, "postgresql://nobody@127.0.0.1:9/none")
    wrong = ("subscriptions", "add", "--name", "parks", "--contact", "a@b.cd", "--url", "https://b.cd")
    answer = await ask("notify", env, *wrong, "--type", "ReportAccepted", "--by", "x", code=2)
    assert "choose from 'IssueChanged', 'StatisticsReleased'" in answer
    said = await ask("notify", env, "subscriptions", "--help")
    assert all(name in said for name in ("add", "list", "rotate", "disable", "enable", "remove"))
