"""The spine survives whatever hypothesis thinks of; and the machine finds what was broken on purpose."""

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from deploy.local.postgres import create_database, drop_database
from shared import fence, outbox, postgres
from shared.events import Place
from shared.fence import Fence, Verdict
from shared.outbox import Batch, Numbered
from tests.chaos.spine_machine import SpineMachine
from tests.conftest import Infrastructure
from tests.spine import EFFECTS

SETTINGS = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
# Enough that each planted bug is found every time.
SEARCH = settings(SETTINGS, max_examples=400)


@pytest.fixture
def machine(infrastructure: Infrastructure) -> Iterator[type[SpineMachine]]:
    """The machine with a database of its own."""
    name = f"machine_{uuid.uuid4().hex[:8]}"
    SpineMachine.dsn = asyncio.run(_prepare(infrastructure.admin_dsn, name))
    yield SpineMachine
    asyncio.run(drop_database(infrastructure.admin_dsn, name))


async def _prepare(admin_dsn: str, name: str) -> str:
    dsn = await create_database(admin_dsn, name)
    await postgres.migrate(dsn, [postgres.SHARED_MIGRATIONS])
    connection = await postgres.connect(dsn, "prepare")
    await connection.execute(EFFECTS)
    await connection.close()
    return dsn


def test_relay_crashes_zombies_and_failed_sends_lose_and_double_nothing(machine: type[SpineMachine]) -> None:
    """Each event applied once, each report's in order, nothing missing when all is quiet."""
    run_state_machine_as_test(machine, settings=SETTINGS)


async def _renumbered(connection: Any) -> list[Batch]:
    """Planted bug 1: what is sent again gets new numbers."""
    batches = []
    for batch in await _unsent_batches(connection):
        records = [record._replace(number=await _next_number(connection, record)) for record in batch.records]
        batches.append(Batch(batch.batch, tuple(records)))
    return batches


async def _next_number(connection: Any, record: Numbered) -> int:
    number: int = await connection.fetchval(
        """UPDATE outbox_partition SET last_number = last_number + 1 WHERE topic = $1 AND partition = $2
           RETURNING last_number""",
        record.topic,
        record.partition,
    )
    return number


_unsent_batches = outbox.unsent_batches


def _judge_too_kindly(self: Fence, offset: int, number: int | None, event_id: uuid.UUID | None) -> Verdict:
    """Planted bug 2: whatever is above the fence is news, also what jumps ahead."""
    if number is not None and number > self.sequence:
        return Verdict.NEWS
    return _judge(self, offset, number, event_id)


_judge = Fence.judge


async def _move_blindly(connection: Any, group: str, _before: Any, after: Mapping[Place, Fence]) -> None:
    """Planted bug 3: the fence is set without comparing it with what it was."""
    await connection.executemany(
        """UPDATE fence SET sequence = $4, event_id = $5, next_offset = $6
           WHERE consumer_group = $1 AND topic = $2 AND partition = $3""",
        [(group, *place, one.sequence, one.event_id, one.next_offset) for place, one in after.items()],
    )


@pytest.mark.parametrize(
    ("owner", "name", "bug"),
    [
        (outbox, "unsent_batches", _renumbered),
        (Fence, "judge", _judge_too_kindly),
        (fence, "move", _move_blindly),
    ],
    ids=["new numbers for what is sent again", "a fence that lets jumps through", "a fence without compare"],
)
def test_the_machine_finds_a_planted_bug(
    machine: type[SpineMachine], monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, bug: Any
) -> None:
    """A check that cannot fail proves nothing: this one fails for each of the three."""
    monkeypatch.setattr(owner, name, bug)
    with pytest.raises(AssertionError, match=r"doubled|passed over|lost") as caught:
        run_state_machine_as_test(machine, settings=SEARCH)
    print(f"found in {name}: {str(caught.value).splitlines()[0]}")
