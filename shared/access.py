"""Who may do what on Kafka: users with a password (SCRAM-SHA-512), and rights that follow from the contract.

Rights are never given by hand: they are what the contract says of the users that there are. Each topic has
one writer, each group its topics, and an outsider reads what is meant for outsiders.
"""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest_v1
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from shared.errors import Refusal
from shared.events import SUBSCRIPTIONS, TOPICS, all_topics

# What any municipal system may subscribe to.
PUBLIC = tuple(topic for topic in TOPICS.values() if topic.outsiders)
# Brokers among themselves, and the deployment's own jobs: these two alone may do everything.
BROKER, ADMINISTRATOR = "kafka", "admin"
SERVICES = tuple(SUBSCRIPTIONS)
WRITERS = frozenset(topic.writer for topic in TOPICS.values())

# The numbers of Kafka's protocol.
ANY, ALLOW, LITERAL, PREFIXED = 1, 3, 3, 4
TOPIC, GROUP = 2, 3
READ, WRITE = 3, 4
SCRAM_SHA_512 = 2
# A password that nobody knows is marked by another number of iterations, the least that Kafka takes.
ITERATIONS, LOCKED_ITERATIONS = 8_192, 4_096


class Right(NamedTuple):
    """A user may do `operation` (which includes to describe) on what is called `name`, or begins so."""

    kind: int
    name: str
    pattern: int
    principal: str
    operation: int


def rights(users: Iterable[str]) -> set[Right]:
    """What each of these users may do; nobody else may do anything. Pure."""
    found = set()
    for user in users:
        mine = [topic.name for topic in all_topics() if topic.writer == user]
        found |= {_on(TOPIC, name, user, WRITE) for name in mine}
        if user in SUBSCRIPTIONS:
            # Its own topics too: the relay looks at their tails, a replay at the dead letters.
            read = [*mine, *(topic.name for topic in SUBSCRIPTIONS[user])]
            found |= {_on(TOPIC, name, user, READ) for name in read} | {_on(GROUP, user, user, READ)}
        elif user not in {*WRITERS, BROKER, ADMINISTRATOR}:
            found |= {_on(TOPIC, topic.name, user, READ) for topic in PUBLIC}
            found.add(Right(GROUP, group_prefix(user), PREFIXED, f"User:{user}", READ))
    return found


def group_prefix(user: str) -> str:
    """How the consumer groups of an outsider begin."""
    return f"{user}."


def _on(kind: int, name: str, user: str, operation: int) -> Right:
    return Right(kind, name, LITERAL, f"User:{user}", operation)


async def settle(client: AIOKafkaAdminClient) -> tuple[int, int]:
    """Grant the users of this cluster what they may do and take away the rest; how many of each."""
    wanted, there = rights(await users(client)), await _granted(client)
    for right in wanted - there:
        kind, name, pattern, principal, operation = right
        request = CreateAclsRequest(kind, name, pattern, principal, "*", operation, ALLOW)
        for code, message in (await client._send_request(request)).creation_responses:
            _check(code, f"{principal} could not be granted {name}", message)
    for right in there - wanted:
        kind, name, pattern, principal, operation = right
        request = DeleteAclsRequest(kind, name, pattern, principal, None, operation, ANY)
        for code, message, _ in (await client._send_request(request)).filter_responses:
            _check(code, f"{principal} could not be denied {name}", message)
    return len(wanted - there), len(there - wanted)


async def _granted(client: AIOKafkaAdminClient) -> set[Right]:
    response = await client._send_request(_DescribeRights())
    _check(response.error_code, "the rights cannot be listed", response.error_message)
    return {
        Right(kind, name, pattern, principal, operation)
        for kind, name, pattern, entries in response.resources
        for principal, _host, operation, _permission in entries
    }


async def users(client: AIOKafkaAdminClient) -> set[str]:
    """The users that have a password which somebody knows."""
    response = await client._send_request(_DescribeUsers())
    _check(response.error_code, "the users cannot be listed", response.error_message)
    return {
        name
        for name, code, _, passwords, _ in response.results
        if not code and any(iterations != LOCKED_ITERATIONS for _, iterations, _ in passwords)
    }


async def set_password(client: AIOKafkaAdminClient, user: str, password: str) -> None:
    """Give the user this password; a user that is not there is made. What it may do is `settle`'s."""
    await _alter(client, user, password, ITERATIONS)


async def lock(client: AIOKafkaAdminClient, user: str) -> None:
    """End a user: give it a password that nobody knows. Raises Refusal where there is no such user.

    The user is not deleted: at the next start Kafka (4.3.1) loses every user's password where its metadata
    log holds the deletion of one (docs/adr/0019).
    """
    if user not in await users(client):
        raise Refusal(f"there is no user {user}; `list` names those that there are")
    await _alter(client, user, secrets.token_urlsafe(32), LOCKED_ITERATIONS)


async def _alter(client: AIOKafkaAdminClient, user: str, password: str, iterations: int) -> None:
    salt = secrets.token_bytes(32)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    upsert: tuple[Any, ...] = (user, SCRAM_SHA_512, iterations, salt, salted, {})
    response = await client._send_to_controller(_AlterUsers([], [upsert]))
    for _, code, message, _ in response.results:
        _check(code, f"user {user} could not be changed", message)


def _check(code: int, what: str, message: str | None) -> None:
    if code:
        raise Refusal(f"{what}: {for_code(code).__name__} {message or ''}".rstrip())


class _DescribeRights(Request[DescribeAclsRequest_v1]):  # type: ignore[misc] # aiokafka has no types
    """All rights, by version 1 of the call: aiokafka's version 2 has not the form that Kafka's has."""

    API_KEY = 29

    def build(self, request_struct_class: type[DescribeAclsRequest_v1]) -> DescribeAclsRequest_v1:
        return request_struct_class(ANY, None, ANY, None, None, ANY, ANY)


# aiokafka lacks these two calls of Kafka's protocol (keys 50 and 51, version 0).
_RESULT = (("user", CompactString()), ("error_code", Int16), ("error_message", CompactString()))


class _DescribeUsersResponse(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY, API_VERSION = 50, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", CompactString()),
        (
            "results",
            CompactArray(
                *_RESULT,
                (
                    "credential_infos",
                    CompactArray(("mechanism", Int8), ("iterations", Int32), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeUsersV0(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY, API_VERSION = 50, 0
    RESPONSE_TYPE = _DescribeUsersResponse
    SCHEMA = Schema(
        ("users", CompactArray(("name", CompactString()), ("tags", TaggedFields))), ("tags", TaggedFields)
    )


class _DescribeUsers(Request[_DescribeUsersV0]):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 50

    def build(self, request_struct_class: type[_DescribeUsersV0]) -> _DescribeUsersV0:
        return request_struct_class(None, {})


class _AlterUsersResponse(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY, API_VERSION = 51, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", CompactArray(*_RESULT, ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )


class _AlterUsersV0(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY, API_VERSION = 51, 0
    RESPONSE_TYPE = _AlterUsersResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString()), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString()),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterUsers(Request[_AlterUsersV0]):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 51

    def __init__(self, deletions: list[Any], upsertions: list[Any]) -> None:
        self._changes = deletions, upsertions

    def build(self, request_struct_class: type[_AlterUsersV0]) -> _AlterUsersV0:
        return request_struct_class(*self._changes, {})
