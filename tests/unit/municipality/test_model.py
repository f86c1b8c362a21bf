"""What a folder that was read says, and what nobody can make of it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.municipality import Area, Category, ChannelKind, Targets, read
from tests.unit.municipality.edits import IBUURT, URL, R, S, U, feature, swap

KINDS: tuple[ChannelKind, ...] = ("webhook", "email", "desk")


def test_an_issue_over_plain_http_to_this_machine_is_allowed(folder: Path) -> None:
    """A receiver under development needs no certificate."""
    for host in ("localhost", "127.0.0.1"):
        swap(U, URL, f"http://{host}:8099/hook")(folder)
        assert read(folder).units["front_desk"].webhooks[0].url == f"http://{host}:8099/hook"
        swap(U, f"http://{host}:8099/hook", URL)(folder)


def test_a_tip_waits_unless_it_is_urgent_and_an_issue_never_waits() -> None:
    """The wait hides a tip's minute; nobody is hidden by delaying a street light."""
    categories = read(IBUURT).categories
    waits = {one: categories[one].delivery_wait_minutes for one in ("fraud", "weapons", "street_light")}
    assert waits == {"fraud": 30, "weapons": 0, "street_light": 0}


def test_an_area_may_be_numbered_and_have_one_name_for_all_languages(folder: Path) -> None:
    """That is how many cities export their areas."""
    feature(7, properties={"id": 7, "names": "Zuiderveld"})(folder)
    swap(R, ', "zuiderveld"', ', "7"')(folder)
    swap(R, ', "zuiderveld"', ', "7"')(folder)
    swap(S, "zuiderveld = ", "7 = ")(folder)
    area: Area = read(folder).area_sets["district"].areas["7"]
    assert area.names == {"nl": "Zuiderveld", "en": "Zuiderveld"}


def test_what_was_read_can_be_hashed_and_not_changed() -> None:
    """Parts can be keys of a dictionary, and no one changes them for everybody."""
    one, other = read(IBUURT), read(IBUURT)
    assert len({one, other}) == 1
    rule, category = one.rules[0], one.categories["fraud"]
    area = one.area_sets["district"].areas["oakwood"]
    assert len({rule, category, area, one.units["parking"], one.area_sets["district"], *other.rules}) == 18
    with pytest.raises(ValidationError, match="frozen"):
        category.kind = "issue"  # type: ignore[misc] # mypy refuses it as well


def test_a_public_tip_cannot_be_made_in_code_either() -> None:
    """The rule belongs to the category, not only to the reading of files."""
    targets = Targets(acknowledge_hours=1, resolve_hours=2)
    with pytest.raises(ValidationError, match="never published"):
        Category(
            id="a", kind="tip", public=True, urgent=False, regime="led", names={"nl": "A"}, targets=targets
        )


def test_what_leaves_by_each_channel_where_nothing_is_said() -> None:
    """By webhook everything; by e-mail of an issue its codes, of a tip nothing but that there is one."""
    categories = read(IBUURT).categories
    usual = {one: [categories[one].leaving(kind) for kind in KINDS] for one in ("street_light", "fraud")}
    assert usual == {"street_light": ["words", "codes", "notice"], "fraud": ["words", "notice", "notice"]}


def test_a_tip_by_email_cannot_be_made_in_code_either() -> None:
    """The rule belongs to the category, not only to the reading of files."""
    fraud = read(IBUURT).categories["fraud"]
    with pytest.raises(ValidationError, match="ever leave by e-mail"):
        Category.model_validate(fraud.model_dump() | {"leaves": {"email": "codes"}})


def test_a_unit_has_all_ways_that_its_folder_names(folder: Path) -> None:
    """An e-mail address, a desk, and what is used instead of them."""
    fallback = (
        '[[units.fallback]]\nkind = "desk"\n[[units.fallback]]\nkind = "webhook"\nurl = "https://a.example"'
    )
    swap(U, f'kind = "webhook"\nurl = "{URL}"', f'kind = "email"\naddress = "desk@town.example"\n{fallback}')(
        folder
    )
    unit = read(folder).units["front_desk"]
    assert [one.kind for one in (*unit.channels, *unit.fallback)][:3] == ["email", "desk", "webhook"]
    assert [one.url for one in unit.webhooks] == ["https://a.example"]
    assert unit.has_email
