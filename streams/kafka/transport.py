"""Faust's Kafka transport, with one detour less for every record, and a start without a second of waiting.

What control grants is written in transactions, and one that was aborted must not be carried out: so a consumer may read
what is committed alone, which Faust ties to a mode of its own.

Faust's consumer hands a record to its stream while it watches for the flow to be suspended: `Service.wait_first`
starts four tasks for that and cancels three of them, a fifth of all the time that a worker spends on an event. But the
stream's queue nearly always has room, and takes the record at once. So the handing over is begun right here; only
if it has to wait, it is waited for as Faust does.

Faust (0.15.3) commits past a record that is in work, where a later one is done and the one in work is the next to be
committed, or lies behind a gap: transactions leave gaps, their markers take an offset each, and Faust counts the record
behind one as a part of it. Then a worker that is killed would not read it again. So what is in work is known here one
by one, and what is committed ends before the first of them.

Faust keeps statistics of every event, samples them once a second, looks for something to commit once a second, and
every 2.5 s whether the partitions go on, each in a turn of its loop by itself. What ours do is told by telemetry: so
Faust keeps what its look needs, looks less often and at all of them at once, and commits where something was done.

A worker that is killed is back as soon as its process is: a static member takes up its partitions in milliseconds. But
Faust gives a program a second to declare its tables, at every start; ours has none.
"""

from __future__ import annotations

import asyncio
import types
from collections import defaultdict, deque
from collections.abc import Coroutine, Generator, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from faust.sensors import Sensor
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka
from faust.types import TP, EventT, Message, StreamT
from mode.services import Service, WaitResults

COMMIT_SECONDS, LOOK_SECONDS = 10.0, 10.0
"""Between two commits while nothing is done, for what could not be committed before; between two looks at whether the
partitions go on."""


class Thread(aiokafka.AIOKafkaConsumerThread):
    """The thread that Faust gives the client."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        client = super()._create_worker_consumer(transport)
        if isinstance(self.consumer, CommittedConsumer):
            client._isolation_level = "read_committed"
        return client

    @Service.task
    async def _thread_keepalive(self) -> None:
        """Nothing: what is asked of the thread wakes it up."""


class Consumer(aiokafka.Consumer):
    """See the head of this file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._taken: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._done = asyncio.Event()

    def ack(self, message: Message) -> bool:
        """As Faust's; there is something to commit."""
        self._done.set()
        return bool(super().ack(message))

    @Service.task
    async def _commit_handler(self) -> None:
        """As Faust's, an interval after something was done."""
        while not self.should_stop:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), COMMIT_SECONDS)
            self._done.clear()
            await self.sleep(self.commit_interval)
            await self.commit()

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """As Faust's, less often."""
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            if not self.app.rebalancing:
                await self.verify_all_partitions_active()

    def taken(self, message: Message) -> None:
        """It is in work, until it is acknowledged. To be told in the order of its partition."""
        self._taken[message.tp].append(message.offset)

    def _new_offset(self, tp: TP) -> int | None:
        """Behind the last record before which nothing is in work; None: none more is done."""
        taken, done = self._taken[tp], self._acked_index[tp]
        committed, last = self._committed_offset[tp] or 0, None
        while taken and (taken[0] in done or taken[0] < committed):
            last = taken.popleft()
        if last is None:
            return None
        self._acked[tp] = [offset for offset in self._acked[tp] if offset > last]
        self._acked_index[tp] = set(self._acked[tp])
        return last + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nobody looks at gaps."""

    async def verify_all_partitions_active(self) -> None:
        """As Faust's, in one turn."""
        now = monotonic()
        for tp in self.assignment():
            self.verify_event_path(now, tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """As Faust's; they will be read again from where they are committed."""
        for tp in revoked:
            self._taken.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, loop=self.loop, beacon=self.beacon)

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


class Transport(aiokafka.Transport):
    """`app.transport` of a worker."""

    Consumer = Consumer


class CommittedTransport(Transport):
    """Of a stage whose input is written in transactions."""

    Consumer = CommittedConsumer


class Inbound(Sensor):
    """`app.monitor` of a worker: when a record of each partition last came to its stream, and no statistics."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stream_inbound_time: dict[TP, float] = {}

    def on_stream_event_in(self, tp: TP, offset: int, stream: StreamT[Any], event: EventT[Any]) -> None:
        """See the class."""
        self.stream_inbound_time[tp] = monotonic()

    def track_tp_end_offset(self, tp: TP, offset: int) -> None:
        """Nobody asks."""

    def on_tp_commit(self, tp_offsets: Mapping[TP, int]) -> None:
        """Nobody asks."""


class Tables(TableManager):
    """`TableManager` of a worker: it manages none, and waits for none."""

    async def on_start(self) -> None:
        """As Faust's, without the pause."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
