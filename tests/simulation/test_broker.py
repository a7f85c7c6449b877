"""The simulated broker behaves as Kafka does, where the shells count on it: the same checks run on both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from qmosaic.streams.kafka.connect import Clients
from tests.simulation.broker import Broker
from tests.simulation.clients import clients_of
from tests.simulation.loop import SimLoop

Check = Callable[[Clients, dict[str, Any], TopicPartition], Awaitable[None]]


async def records(clients: Clients, common: dict[str, Any], place: TopicPartition, committed: bool) -> list[bytes]:
    """All that a reader of one kind can read now."""
    level = "read_committed" if committed else "read_uncommitted"
    consumer = clients.consumer(**common, enable_auto_commit=False, isolation_level=level)
    await consumer.start()
    consumer.assign([place])
    consumer.seek(place, 0)
    end = (await consumer.end_offsets([place]))[place]
    found = []
    while await consumer.position(place) < end:
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            found += [record.value for record in batch]
    await consumer.stop()
    return found


async def end(clients: Clients, common: dict[str, Any], place: TopicPartition, committed: bool) -> int:
    """The end of a partition, as a reader of one kind is told it."""
    level = "read_committed" if committed else "read_uncommitted"
    consumer = clients.consumer(**common, enable_auto_commit=False, isolation_level=level)
    await consumer.start()
    found = (await consumer.end_offsets([place]))[place]
    await consumer.stop()
    return int(found)


async def writer(clients: Clients, common: dict[str, Any], name: str) -> Any:
    """A transactional producer."""
    producer = clients.producer(**common, transactional_id=name, transaction_timeout_ms=30_000)
    await producer.start()
    return producer


async def fails(producer: Any, work: Awaitable[Any]) -> None:
    """A transaction that is begun with `work`, and aborted."""
    with suppress(ZeroDivisionError):
        async with producer.transaction():
            await work
            await producer.flush()
            raise ZeroDivisionError


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Markers are written soon after a transaction's end, not at once."""
    for _ in range(200):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never became so")


async def a_transaction_is_read_when_it_is_committed(clients: Clients, common: Any, place: TopicPartition) -> None:
    producer = await writer(clients, common, f"{place.topic}-1")
    async with producer.transaction():
        await producer.send(place.topic, value=b"one", partition=0)
        await producer.flush()
        assert await records(clients, common, place, committed=True) == []
        assert await records(clients, common, place, committed=False) == [b"one"]
        assert (await end(clients, common, place, True), await end(clients, common, place, False)) == (0, 1)

    async def readable() -> bool:
        return await records(clients, common, place, committed=True) == [b"one"]

    await until(readable)
    assert await end(clients, common, place, True) == 2  # the marker has an offset, too
    await producer.stop()


async def an_aborted_one_never_is(clients: Clients, common: Any, place: TopicPartition) -> None:
    producer = await writer(clients, common, f"{place.topic}-1")
    await fails(producer, producer.send(place.topic, value=b"one", partition=0))

    async def ended() -> bool:
        return await end(clients, common, place, True) == 2

    await until(ended)
    assert await records(clients, common, place, committed=True) == []
    await producer.stop()


async def what_is_behind_an_open_one_waits(clients: Clients, common: Any, place: TopicPartition) -> None:
    first = await writer(clients, common, f"{place.topic}-1")
    second = await writer(clients, common, f"{place.topic}-2")
    async with first.transaction():
        await first.send(place.topic, value=b"one", partition=0)
        await first.flush()
        async with second.transaction():
            await second.send(place.topic, value=b"two", partition=0)
        assert await records(clients, common, place, committed=True) == []

    async def readable() -> bool:
        return await records(clients, common, place, committed=True) == [b"one", b"two"]

    await until(readable)
    await first.stop()
    await second.stop()


async def a_new_owner_fences_the_old_one(clients: Clients, common: Any, place: TopicPartition) -> None:
    old = await writer(clients, common, f"{place.topic}-1")

    async def goes_on() -> None:
        async with old.transaction():
            await old.send(place.topic, value=b"old", partition=0)
            await old.flush()
            new = await writer(clients, common, f"{place.topic}-1")  # aborts what is open
            async with new.transaction():
                await new.send(place.topic, value=b"new", partition=0)
            await new.stop()
            await old.send(place.topic, value=b"late", partition=0)
            await old.flush()

    with pytest.raises(KafkaError):
        await goes_on()

    async def readable() -> bool:
        return await records(clients, common, place, committed=True) == [b"new"]

    await until(readable)
    await old.stop()


async def offsets_count_with_their_transaction(clients: Clients, common: Any, place: TopicPartition) -> None:
    group = f"{place.topic}-group"
    producer, admin = await writer(clients, common, f"{place.topic}-1"), clients.admin(**common)
    await admin.start()

    async def committed() -> int:
        known = (await admin.list_consumer_group_offsets(group, partitions=[place])).get(place)
        return -1 if known is None else int(known.offset)

    await fails(producer, producer.send_offsets_to_transaction({place: OffsetAndMetadata(5, "")}, group))
    assert await committed() == -1
    async with producer.transaction():
        await producer.send(place.topic, value=b"one", partition=0)
        await producer.send_offsets_to_transaction({place: OffsetAndMetadata(7, "note")}, group)
        assert await committed() == -1

    async def there() -> bool:
        return await committed() == 7

    await until(there)
    assert (await admin.list_consumer_group_offsets(group, partitions=[place]))[place].metadata == "note"
    await admin.close()
    await producer.stop()


CHECKS: list[Check] = [
    a_transaction_is_read_when_it_is_committed,
    an_aborted_one_never_is,
    what_is_behind_an_open_one_waits,
    a_new_owner_fences_the_old_one,
    offsets_count_with_their_transaction,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("seed", range(5))
def test_the_simulated_broker(check: Check, seed: int) -> None:
    loop = SimLoop(seed)
    try:
        place = TopicPartition("a", 0)
        loop.run_until_complete(loop.spawn(None, check(clients_of(Broker(loop, {"a": 1})), {}, place)))  # type: ignore[arg-type]
    finally:
        loop.close()


@pytest.mark.kafka
@pytest.mark.parametrize("check", CHECKS)
async def test_kafka(check: Check, broker: str) -> None:
    name = f"sim{os.urandom(4).hex()}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()
    await check(Clients(), {"bootstrap_servers": broker}, TopicPartition(name, 0))
