"""`consumer read-again`: a topic holds other events than a group has applied, and the group reads all of it.

So it is when every volume was lost and the dumps did not agree: the writer's database is of an earlier moment
than the reader's, and the numbers that the fence has passed are given to other events. What was applied
before changes nothing by being applied again.
"""

from aiokafka import AIOKafkaConsumer

from shared import fence, kafka, postgres
from shared.cluster import Where
from shared.errors import Refusal, Superseded, typed
from shared.events import SUBSCRIPTIONS, Place
from shared.fence import Fence
from shared.mending.journal import Say, known_topic, note
from shared.standing import numbers, standing


async def read_again(dsn: str, where: Where, group: str, topic: str, *, who: str | None, say: Say) -> None:
    """Move the group's fences of the topic that are not found there in front of all that it holds; without
    `who`, only say which.

    Raises Refusal where there are none, or a fence moved meanwhile.
    """
    topics = {one.name: one for one in SUBSCRIPTIONS[group]}
    known_topic(topic, topics)
    connection = await postgres.connect(dsn, f"{group}-read-again")
    consumer = kafka.reader(where, f"{group}-read-again")
    try:
        await consumer.start()
        ends = await kafka.ends(consumer, [topics[topic]])
        stored = await fence.load(connection, group, ends)
        moved = {}
        for place, at in sorted(stored.items()):
            if await standing(consumer, place, at) is not None:
                continue
            say(f"{topic} partition {place[1]}: {group} has applied number {at.sequence}, which is not there")
            if begin := await _begin(consumer, place, ends[place]):
                moved[place] = begin
                say(f"  it reads again from number {begin.sequence + 1} on, the lowest there is")
            else:
                say(f"  nothing is there: run {typed(topics[topic].writer, 'outbox resend --by NAME')} first")
        if not moved:
            raise Refusal(f"{topic} holds nothing that {group} must read again")
        if who is None:
            say("dry run: nothing was changed; with --by NAME it is")
            return
        async with connection.transaction():
            await fence.move(connection, group, stored, moved)
            detail = {str(place[1]): [stored[place].sequence, at.sequence + 1] for place, at in moved.items()}
            await note(connection, who, "consumer read-again", {"topic": topic, "partitions": detail})
        say(f"{group} reads {len(moved)} partitions again")
    except Superseded:
        raise Refusal(
            f"the fence of {group} moved while it was looked at; look again with --dry-run"
        ) from None
    finally:
        await kafka.stop_quietly(consumer)
        await connection.close()


async def _begin(consumer: AIOKafkaConsumer, place: Place, end: int) -> Fence | None:
    """The fence in front of the lowest number that the partition holds; None where it holds none."""
    found = [(number, offset) async for offset, number, _ in numbers(consumer, place, 0, end)]
    if not found:
        return None
    number, offset = min(found)
    return Fence(number - 1, None, offset)
