"""Faust's Kafka transport, with one detour less for every record, and a start without a second of waiting.

What control grants is written in transactions, and one that was aborted must not be carried out: so a consumer may read
what is committed alone, which Faust ties to a mode of its own.

Faust's consumer hands a record to its stream while it watches for the flow to be suspended: `Service.wait_first`
starts four tasks for that and cancels three of them, a fifth of all the time that a worker spends on an event. But the
stream's queue nearly always has room, and takes the record at once. So the handing over is begun right here; only
if it has to wait, it is waited for as Faust does.

A worker that is killed is back as soon as its process is: a static member takes up its partitions in milliseconds. But
Faust gives a program a second to declare its tables, at every start; ours has none.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any

from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka
from mode.services import WaitResults


class Thread(aiokafka.AIOKafkaConsumerThread):
    """The thread that Faust gives the client, which reads what is committed."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        client = super()._create_worker_consumer(transport)
        client._isolation_level = "read_committed"
        return client


class Consumer(aiokafka.Consumer):
    """See the head of this file."""

    committed = False

    def _new_consumer_thread(self) -> aiokafka.AIOKafkaConsumerThread:
        kind = Thread if self.committed else aiokafka.AIOKafkaConsumerThread
        return kind(self, loop=self.loop, beacon=self.beacon)

    async def wait_first(self, *waits: Any, timeout: Any = None) -> WaitResults:  # noqa: ASYNC109  # as Faust has it
        """The first of `waits` to end; the others are cancelled."""
        first, *others = waits
        if asyncio.iscoroutine(first) and not self.should_stop:
            try:
                waited_for = first.send(None)
            except BaseException as end:
                for other in others:
                    if asyncio.iscoroutine(other):
                        other.close()
                if isinstance(end, StopIteration):
                    return WaitResults([first], [end.value], False)
                raise
            waits = (_finish(first, waited_for), *others)
        return await super().wait_first(*waits, timeout=timeout)


async def _finish(begun: Coroutine[Any, Any, Any], waited_for: Any) -> Any:
    return await _rest(begun, waited_for)


@types.coroutine
def _rest(begun: Coroutine[Any, Any, Any], waited_for: Any) -> Generator[Any, Any, Any]:
    """What is left of a coroutine that was begun by hand and waits for something."""
    try:
        while True:
            try:
                sent = yield waited_for
            except GeneratorExit:
                begun.close()
                raise
            except BaseException as error:  # noqa: BLE001  # thrown in from outside, for the coroutine
                waited_for = begun.throw(error)
            else:
                waited_for = begun.send(sent)
    except StopIteration as end:
        return end.value


class CommittedConsumer(Consumer):
    """Of a stage whose input is written in transactions."""

    committed = True


class Transport(aiokafka.Transport):
    """`app.transport` of a worker."""

    Consumer = Consumer


class CommittedTransport(Transport):
    """Of a stage whose input is written in transactions."""

    Consumer = CommittedConsumer


class Tables(TableManager):
    """`TableManager` of a worker: it manages none, and waits for none."""

    async def on_start(self) -> None:
        """As Faust's, without the pause."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
