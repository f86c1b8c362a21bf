"""shared/access.py: who may do what on Kafka follows from the contract, whoever the users are."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.operator.subscribers import check_name
from shared.access import (
    ADMINISTRATOR,
    BROKER,
    GROUP,
    LITERAL,
    PREFIXED,
    READ,
    SERVICES,
    TOPIC,
    WRITE,
    WRITERS,
    Right,
    group_prefix,
    rights,
)
from shared.errors import Refusal
from shared.events import SUBSCRIPTIONS, all_topics

PUBLIC = {"ibuurt.issues.v1", "ibuurt.statistics.v1"}
OURS = sorted({*SERVICES, *WRITERS, BROKER, ADMINISTRATOR})
NAMES = st.from_regex(r"[a-z][a-z0-9-]{1,30}", fullmatch=True).filter(lambda name: name not in OURS)
USERS = st.sets(st.sampled_from(OURS) | NAMES, max_size=8)


def on_topics(found: set[Right], operation: int) -> set[str]:
    """The topics of these rights with that operation."""
    return {right.name for right in found if right.kind == TOPIC and right.operation == operation}


@given(USERS)
def test_nobody_but_its_writer_may_write_a_topic(users: set[str]) -> None:
    """The contract's writer, dead-letter topics included; and the writer may, where it is there."""
    found = rights(users)
    writers = {topic.name: topic.writer for topic in all_topics()}
    may = {(right.name, right.principal) for right in found if right.operation == WRITE}
    assert may == {(name, f"User:{writer}") for name, writer in writers.items() if writer in users}
    assert all(
        right.kind == TOPIC and right.pattern == LITERAL for right in found if right.operation == WRITE
    )


@given(NAMES)
def test_an_outsider_reads_exactly_what_is_public(name: str) -> None:
    """Two topics, in groups of its own, and writes nothing."""
    found = rights({name})
    assert on_topics(found, READ) == PUBLIC
    assert on_topics(found, WRITE) == set()
    groups = {right for right in found if right.kind == GROUP}
    assert groups == {Right(GROUP, f"{name}.", PREFIXED, f"User:{name}", READ)}


@given(NAMES, NAMES, st.text(max_size=9))
def test_no_outsider_reaches_anothers_groups(one: str, other: str, rest: str) -> None:
    """However their names begin: parks and parks-gis have nothing in common; nor with a service."""
    for name in {other, *SERVICES} - {one}:
        assert not f"{group_prefix(name)}{rest}".startswith(group_prefix(one))
        assert not name.startswith(group_prefix(one))


@given(USERS, USERS)
def test_a_users_rights_depend_on_nobody_else(some: set[str], others: set[str]) -> None:
    """So whoever is added or removed, the rest keeps what it has; and nobody who is not there has a right."""
    assert rights(some | others) == rights(some) | rights(others)
    assert {right.principal for right in rights(some)} <= {f"User:{name}" for name in some}


@given(USERS)
def test_a_right_is_to_read_or_write_one_thing(users: set[str]) -> None:
    """Never everything of a kind, never more than reading or writing, never on the cluster itself."""
    for right in rights(users):
        assert right.operation in {READ, WRITE}
        assert right.kind in {TOPIC, GROUP}
        assert right.name.strip("*.")
        assert right.pattern == LITERAL or (right.kind, right.operation) == (GROUP, READ)


def test_a_service_reads_what_it_writes_and_what_it_subscribes_to() -> None:
    """In the group of its name; nothing else of the others'."""
    for service in SERVICES:
        found = rights({service})
        own = {topic.name for topic in all_topics() if topic.writer == service}
        assert on_topics(found, READ) == own | {topic.name for topic in SUBSCRIPTIONS[service]}
        assert {right for right in found if right.kind == GROUP} == {
            Right(GROUP, service, LITERAL, f"User:{service}", READ)
        }


def test_the_polices_system_writes_incidents_and_reads_nothing() -> None:
    """Nor has it a group."""
    assert rights({"police"}) == {Right(TOPIC, "ibuurt.incidents.v1", LITERAL, "User:police", WRITE)}


def test_who_may_do_everything_is_granted_nothing() -> None:
    """The broker's file names them."""
    assert rights({BROKER, ADMINISTRATOR}) == set()


@given(st.text(max_size=40))
def test_no_name_that_an_outsider_may_have_is_a_pattern(name: str) -> None:
    """Whatever is typed: a name that passes is plain, and none of ours."""
    try:
        check_name(name)
    except Refusal:
        return
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name not in {*SERVICES, BROKER, ADMINISTRATOR}
