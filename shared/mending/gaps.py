"""`consumer accept-gap`: a person accepts that numbers will never come, and the partition goes on."""

from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer

from shared import fence, kafka, postgres
from shared.cluster import Where
from shared.errors import Refusal, typed
from shared.events import SUBSCRIPTIONS, TOPICS, Place
from shared.fence import Fence
from shared.mending.journal import Say, known_topic, note
from shared.standing import numbers, standing


@dataclass(frozen=True)
class Gap:
    """The group stands at `stood`; numbers `first` to `last` are missing, the next there is at `offset`."""

    stood: Fence
    first: int
    last: int
    offset: int


async def accept_gap(
    dsn: str, where: Where, group: str, topic: str, partition: int, *, who: str | None, say: Say
) -> None:
    """Move the group's fence over the numbers that are missing in front of it; without `who`, only say which.

    Raises Refusal where nothing is missing, or the fence moved meanwhile.
    """
    topics = {one.name: one for one in SUBSCRIPTIONS[group]}
    place = known_topic(topic, topics), partition
    connection = await postgres.connect(dsn, f"{group}-accept-gap")
    consumer = kafka.reader(where, f"{group}-accept-gap")
    try:
        await consumer.start()
        ends = await kafka.ends(consumer, [topics[topic]])
        if place not in ends:
            raise Refusal(f"{topic} has partitions 0 to {topics[topic].partitions - 1}; name one of them")
        gap = await _find(connection, consumer, group, place, ends[place])
        lost = gap.last - gap.first + 1
        say(
            f"{topic} partition {partition}: numbers {gap.first} to {gap.last} ({lost}) are not there; "
            f"number {gap.last + 1} is, at offset {gap.offset}"
        )
        if who is None:
            say(f"dry run: with --by NAME, {group} would go on there without them")
            return
        await _move(connection, group, place, gap, who)
        say(f"{group} goes on with number {gap.last + 1}; what the missing ones said it will never know")
    finally:
        await kafka.stop_quietly(consumer)
        await connection.close()


async def _find(connection: Any, consumer: AIOKafkaConsumer, group: str, place: Place, end: int) -> Gap:
    stood = (await fence.load(connection, group, [place]))[place]
    lowest: tuple[int, int] | None = None
    async for offset, number, _ in numbers(consumer, place, 0, end):
        if number > stood.sequence and (lowest is None or number < lowest[0]):
            lowest = number, offset
    if lowest is None:
        raise Refusal(
            f"{place[0]} partition {place[1]} holds no number above {stood.sequence}, where {group} stands: "
            "nothing is missing in front of it; where its alarm rings all the same, run "
            f"{typed(group, f'consumer read-again --topic {place[0]} --dry-run')}"
        )
    if await standing(consumer, place, stood) is None:
        raise Refusal(
            f"{place[0]} partition {place[1]} does not hold what {group} has applied: its topic was made"
            " anew, or its writer's database is of an earlier moment; run "
            f"{typed(TOPICS[place[0]].writer, 'outbox resend --by NAME')}, or where that is done "
            f"{typed(group, f'consumer read-again --topic {place[0]} --dry-run')}"
        )
    number, offset = lowest
    if number == stood.sequence + 1:
        raise Refusal(
            f"number {number}, the next for {group}, is at offset {offset} of {place[0]} partition "
            f"{place[1]}: nothing is missing; a running {group} reads it within a minute"
        )
    return Gap(stood, stood.sequence + 1, number - 1, offset)


async def _move(connection: Any, group: str, place: Place, gap: Gap, who: str) -> None:
    async with connection.transaction():
        moved = await connection.execute(
            """UPDATE fence SET sequence = $4, event_id = NULL, next_offset = $5, gap = false
               WHERE consumer_group = $1 AND topic = $2 AND partition = $3
                 AND sequence = $6 AND next_offset = $7""",
            group,
            *place,
            gap.last,
            gap.offset,
            gap.stood.sequence,
            gap.stood.next_offset,
        )
        if moved != "UPDATE 1":
            raise Refusal(f"the fence of {group} moved while it was looked at; look again with --dry-run")
        detail = {"topic": place[0], "partition": place[1], "first": gap.first, "last": gap.last}
        await note(connection, who, "consumer accept-gap", detail)
