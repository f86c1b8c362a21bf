"""Refusals that a resident can meet are in both languages."""

import ast
import string
from collections.abc import Iterator

import pytest

from services.tips.http.refusing import DUTCH
from tests.integration.followed import followed
from tests.integration.tips_server import ROOT, Tips, issue, tip

# Those that other services meet.
INSIDE = {"destination-unknown", "no-public-text", "not-authenticated", "not-public", "other-public-text"}
INSIDE |= {"other-words", "report-unknown", "report-withdrawn", "unknown-unit"}
# In the report's own language.
OF_THE_REPORT = {"on-hold", "emergency"}
# What is given the code of a problem as its first or second argument.
MAKERS = {"Problem", "_refused", "_not_allowed", "_too_large"}


def codes() -> Iterator[str]:
    """Every code of a problem that stands in the source of `tips` and of what answers for it."""
    for path in [*(ROOT / "services/tips").rglob("*.py"), ROOT / "shared/web.py"]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            given: list[ast.expr] = []
            if isinstance(node, ast.Call):
                given = node.args[:2] if getattr(node.func, "id", "") in MAKERS else []
                # The second argument of a problem is its code whatever it looks like.
                if getattr(node.func, "id", "") == "Problem" and isinstance(node.args[1], ast.Constant):
                    yield str(node.args[1].value)
                given = given + [one.value for one in node.keywords if one.arg == "code"]
            elif isinstance(node, ast.Tuple) and len(node.elts) == 3:  # looked up before it is raised
                given = node.elts[:1]
            elif isinstance(node, ast.arguments):
                given = [one for one in node.kw_defaults if one]
            for one in given:
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and "-" in one.value:
                    yield one.value


def test_every_refusal_that_a_resident_can_meet_has_a_dutch_text() -> None:
    """And none is there that is raised no more."""
    raised = set(codes())
    assert raised > INSIDE | OF_THE_REPORT
    # Without a hyphen, by which a code is known here: what Starlette refuses by itself.
    assert raised - INSIDE - OF_THE_REPORT == set(DUTCH) - {"refused"}


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("nl", "nl"),
        ("nl-BE,nl;q=0.9,en;q=0.8", "nl"),
        ("en-GB, nl;q=0.5", "en"),
        ("tr, nl;q=0.5", "nl"),
        ("tr", "en"),
        ("", "en"),
    ],
)
async def test_the_browser_says_which(accept: str, language: str, tips: Tips) -> None:
    """By Accept-Language, English without one; the code stays the same for programs."""
    mine, asked = await followed(tips, tip()), {"Accept-Language": accept}
    refused = [
        (await tips.get("/nothing", **asked), "not-found", "Hier is niets"),
        (await tips.post({}, **asked), "invalid-request", "Er klopt iets niet"),
        (await tips.post(issue(category="none"), **asked), "unknown-category", "Kies iets anders"),
        (await mine.mine("POST", "/reopening", {}, **asked), "not-possible-now", "Dat kan nu niet"),
    ]
    for answer, code, title in refused:
        assert (answer.code, answer.headers["Content-Language"]) == (code, language)
        assert answer.headers["Vary"] == "Accept-Language"
        assert (answer.body["title"] == title) == (language == "nl")


async def test_what_is_about_a_report_is_in_its_language(tips: Tips) -> None:
    """Whatever the browser says."""
    body = issue(description="Er wordt nu ingebroken", language="nl")
    answer = await tips.post(body, **{"Accept-Language": "en"})
    assert (answer.code, answer.headers["Content-Language"]) == ("emergency", "nl")


def test_each_text_is_filled_in_from_what_its_problem_has() -> None:
    """Nothing else would be there."""
    texts = [text for both in DUTCH.values() for text in both]
    named = {name for text in texts for _, name, _, _ in string.Formatter().parse(text)}
    assert named - {None} == {"limit_bytes", "limit_messages", "seconds"}
