"""What is public of an issue: its status, its place, its cursor, its text."""

import contextlib
import math
import uuid
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tips.core import asked, duplicates, grid, lifecycle, moderation, public
from services.tips.core.certificate import PUBLIC_TEXT, Reading, destinations
from services.tips.core.grid import GRID_DEGREES, METRES_PER_DEGREE, Place
from services.tips.core.moderation import Approval, Summary
from services.tips.core.public_view import PUBLIC_STEPS, STATUS_NAMES, Shown
from services.tips.core.report import Report
from shared.events import Status
from shared.municipality import Category, read
from tests.integration.tips_server import IBUURT

NOW = datetime(2026, 11, 12, 13, 37, 11, 123456, tzinfo=UTC)
TOWN = read(IBUURT)
LIGHT = TOWN.categories["street_light"]
latitudes, longitudes = st.floats(-80, 80), st.floats(-179, 179)


def report(**changes: object) -> Report:
    given: dict[str, object] = {
        "report_id": uuid.uuid4(),
        "kind": "issue",
        "category": "street_light",
        "areas": {"district": "oakwood"},
        "language": "nl",
        "accepted_at": NOW,
        "status": "accepted",
        "version": 1,
    }
    return Report(**(given | changes))  # type: ignore[arg-type]


def issue(place: Place | None = None) -> public.Issue:
    found = public.first(uuid.uuid4(), report(), LIGHT, place, "https://reports.example/")
    assert found
    return found


def test_every_status_of_a_report_has_a_public_one() -> None:
    """Whatever a report can become, the public sees a status of the contract, or nothing."""
    reached = {"accepted", "withdrawn", "erased"} | {one.after for one in lifecycle.TRANSITIONS}
    assert reached <= public.PUBLIC_STATUS.keys()
    assert {status for status in public.PUBLIC_STATUS.values() if status} == set(get_args(Status))
    assert public.PUBLIC_STATUS["erased"] is None
    assert set(public.OPEN) < set(get_args(Status))


def test_every_public_status_and_step_has_a_name_in_dutch_and_english() -> None:
    """A feed shows no code in place of a word."""
    for step in {*get_args(Status), *PUBLIC_STEPS}:
        assert STATUS_NAMES[step].keys() == {"nl", "en"}


@pytest.mark.parametrize("category", TOWN.categories.values(), ids=lambda one: one.id)
def test_only_issues_of_public_categories_are_public(category: Category) -> None:
    """And the page is the issue's, not the report's."""
    sent = report(kind=category.kind, category=category.id)
    found = public.first(uuid.uuid4(), sent, category, None, "https://reports.example/")
    assert (found is not None) == (category.kind == "issue" and category.public)
    if found:
        assert found.page == f"https://reports.example/issues/{found.issue_id}"
        assert str(sent.report_id) not in str(found.event())


def test_a_tip_is_not_public_whatever_its_category_has_become() -> None:
    """The folder may have changed since."""
    assert public.first(uuid.uuid4(), report(kind="tip"), LIGHT, None, "https://x") is None


def test_what_is_the_same_is_not_said_again() -> None:
    """No version, no time, no event: the very same."""
    one = issue()
    assert public.after(one, "accepted", one.category, one.page, NOW + timedelta(hours=1)) is one
    routed = public.after(one, "routed", one.category, one.page, NOW)
    assert routed
    assert (routed.status, routed.version) == ("routed", 2)
    assert public.after(routed, "delivered", one.category, one.page, NOW) is routed
    assert public.after(one, "erased", one.category, one.page, NOW) is None


@given(st.lists(st.sampled_from(sorted(public.PUBLIC_STATUS)), max_size=20))
def test_versions_rise_with_every_change_and_with_nothing_else(statuses: list[str]) -> None:
    """And no change is dated before the one before it."""
    now = issue()
    for number, status in enumerate(statuses):
        then = public.after(now, status, now.category, now.page, NOW - timedelta(minutes=number))
        if then is None:
            assert status == "erased"
            return
        assert (then.version - now.version) == (then.status != now.status)
        assert then.changed_at >= now.changed_at
        now = then


@given(latitudes, longitudes)
def test_a_public_place_has_three_decimals_and_is_near(latitude: float, longitude: float) -> None:
    """At most half a cell away, and rounding it again changes nothing."""
    place = grid.rounded(latitude, longitude)
    assert len(f"{place.latitude!r}".partition(".")[2]) <= 3
    assert len(f"{place.longitude!r}".partition(".")[2]) <= 3
    assert abs(place.latitude - latitude) <= GRID_DEGREES / 2 + 1e-9
    assert abs(place.longitude - longitude) <= GRID_DEGREES / 2 + 1e-9
    assert grid.rounded(*place) == place


near_by = st.floats(-0.01, 0.01)


@given(latitudes, longitudes, near_by, near_by)
def test_the_true_distance_lies_between_the_least_and_the_most(
    latitude: float, longitude: float, north: float, east: float
) -> None:
    """Of two exact places, known by their rounded ones alone."""
    one, other = Place(latitude, longitude), Place(latitude + north, longitude + east)
    far = grid.apart(grid.rounded(*one), grid.rounded(*other))
    true = _metres(one, other)
    # The breadth of a degree is taken in the middle of the rounded places.
    assert far.least * 0.999 - 0.01 <= true <= far.most * 1.001 + 0.01


@given(latitudes, longitudes, near_by, near_by, st.integers(1, 1000))
def test_no_issue_within_the_distance_is_left_out(
    latitude: float, longitude: float, north: float, east: float, metres: int
) -> None:
    """Neither by the box that is searched, nor by the comparison."""
    here, there = Place(latitude, longitude), Place(latitude + north, longitude + east)
    # A thousandth is what the flat earth costs.
    if _metres(here, there) > metres * 0.998:
        return
    place, other = grid.rounded(*here), grid.rounded(*there)
    south_west, north_east = grid.around(place, metres)
    assert south_west.latitude <= other.latitude <= north_east.latitude
    assert south_west.longitude <= other.longitude <= north_east.longitude
    (found,) = duplicates.near(place, metres, [Shown(issue(other), None, None, 0)])
    assert found[1].least <= metres


def test_the_nearest_come_first_and_not_more_than_a_few() -> None:
    """What is two cells away is not within 50 m, whatever was rounded."""
    here = Place(52.050, 5.600)
    places = [Place(52.050, 5.600 + number / 1000) for number in (2, 1, 0)]
    shown = [Shown(issue(place), None, None, 0) for place in places]
    found = duplicates.near(here, 50, [*shown, Shown(issue(), None, None, 0)])
    assert [one.issue.place for one, _ in found] == [places[2], places[1]]
    assert len(duplicates.near(here, 50, shown[2:] * 30)) == duplicates.NEAR_ISSUES


def _metres(one: Place, other: Place) -> float:
    middle = math.radians((one.latitude + other.latitude) / 2)
    north = (one.latitude - other.latitude) * METRES_PER_DEGREE
    east = (one.longitude - other.longitude) * METRES_PER_DEGREE * math.cos(middle)
    return math.hypot(north, east)


@given(st.integers(0, 2**57), st.uuids())
def test_a_cursor_leads_back_to_where_it_was_made(microseconds: int, issue_id: uuid.UUID) -> None:
    """To the microsecond; it is safe in a URL and always as long."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    after = asked.After(moment, issue_id)
    cursor = asked.cursor_of(after)
    assert asked.read_cursor(cursor) == after
    assert len(cursor) == asked.CURSOR_CHARACTERS
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda held: held.hex()))
def test_what_is_no_cursor_is_a_value_error(text: str) -> None:
    """Or it is one; no other fault comes of it."""
    with contextlib.suppress(ValueError):
        asked.read_cursor(text)


def test_words_are_looked_for_in_category_names_of_every_language() -> None:
    """Dutch and English lead to the same; a category that is not public is not found by its name."""
    (dutch,), (english,) = asked.words_of("STRAATVERL", TOWN), asked.words_of("light", TOWN)
    assert "street_light" in dutch.categories
    assert "street_light" in english.categories
    assert asked.words_of("geluidsoverlast", TOWN)[0].categories == []
    assert asked.words_of("' | & ! :*\0()", TOWN) == []
    assert len(asked.words_of("a " * 100, TOWN)) == asked.MOST_WORDS


@given(st.text(max_size=100))
def test_a_word_holds_nothing_that_a_query_could_mean_otherwise(text: str) -> None:
    """Letters and digits only."""
    for word in asked.words_of(text, TOWN):
        assert word.text.isalnum()


WITH = {sort: LIGHT.model_copy(update={"public_text": sort}) for sort in ("none", "summary", "words")}


def test_a_tip_and_a_category_without_public_text_never_have_one() -> None:
    """Nor a category that the municipality has no more, or that is not public. What an issue got when it
    still could have one is taken back all the same."""
    hidden = WITH["summary"].model_copy(update={"public": False})
    for sent, category in (
        (report(kind="tip"), WITH["summary"]),
        (report(), WITH["none"]),
        (report(), hidden),
        (report(), None),
    ):
        for wanted in (Summary("x"), Approval("0" * 64)):
            with pytest.raises(moderation.NoPublicText):
                moderation.check(sent, category, wanted)
        for taking_back in (Summary(None), Approval(None)):
            if sent.kind == "issue":
                moderation.check(sent, category, taking_back)
            else:
                with pytest.raises(moderation.NoPublicText):
                    moderation.check(sent, category, taking_back)


def test_a_category_has_one_sort_of_public_text() -> None:
    """Words are not approved where the unit writes, and the reverse; taking back is for both."""
    for sort, refused in (("summary", Approval("0" * 64)), ("words", Summary("x"))):
        with pytest.raises(moderation.OtherText) as other:
            moderation.check(report(), WITH[sort], refused)
        assert other.value.wanted == sort
        for taking_back in (Summary(None), Approval(None)):
            moderation.check(report(), WITH[sort], taking_back)


@given(st.text(min_size=1), st.text(min_size=1))
def test_only_the_words_that_were_read_are_approved(read_words: str, now: str) -> None:
    """Other words, even by one space, are not."""
    approval = Approval(moderation.digest_of(read_words.encode("utf-8", "replace").decode()))
    words = now.encode("utf-8", "replace").decode()
    if words == read_words:
        assert moderation.decided(approval, words) == (words, "resident")
    else:
        with pytest.raises(moderation.OtherWords):
            moderation.decided(approval, words)


def test_a_text_made_public_was_sent_to_nobody_who_could_confirm_that_it_is_gone() -> None:
    """The certificate names the units that got words, and no moderator."""
    at = datetime(2026, 11, 12, 13, tzinfo=UTC)
    sent = Reading(at, "disclosure", "unit:public_space via webhook", "notify", "delivery")
    shown = Reading(at, "disclosure", "unit:public_space via desk", "notify", PUBLIC_TEXT)
    assert destinations([shown, sent]) == {"unit:public_space via webhook": sent}
