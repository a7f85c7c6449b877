"""A Kafka in memory, with the semantics that the shells count on.

Partitions are ordered and number their records, control records too. A transaction's records are readable up to the
last stable offset: the first record of any transaction that is open. Its end writes a marker into each of its
partitions, at different times. A new producer with a transactional id ends what the old one left open, and fences it.
Offsets of a transaction count when it is committed. Groups know their members by heartbeats; a member that is silent
for its session loses its partitions; who comes back under its instance id in time has them again at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalGenerationError, KafkaConnectionError, KafkaError, KafkaTimeoutError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from tests.simulation.loop import OUTSIDE, Process, SimLoop

T = TypeVar("T")


@dataclass(eq=False)
class Transaction:
    """`state`: open, committed or aborted; `places`: where it wrote, and is not marked yet."""

    producer: int
    begun_at: float
    state: str = "open"
    places: set[TopicPartition] = field(default_factory=set)
    offsets: dict[str, dict[TopicPartition, OffsetAndMetadata]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Entry:
    """`transaction` None: of none; `value` None and `marker`: a control record."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    at: float
    transaction: Transaction | None
    marker: bool = False


class Log:
    """One partition."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.open: dict[int, int] = {}  # by transaction, the offset of its first record

    @property
    def stable(self) -> int:
        """The last stable offset."""
        return min(self.open.values(), default=len(self.entries))

    def append(self, entry: Entry) -> int:
        """Its offset."""
        offset = len(self.entries)
        if entry.transaction is not None and not entry.marker:
            self.open.setdefault(id(entry.transaction), offset)
        self.entries.append(entry)
        return offset

    def mark(self, transaction: Transaction, at: float) -> None:
        """The transaction ends here."""
        self.open.pop(id(transaction), None)
        self.entries.append(Entry(None, None, (), at, transaction, marker=True))

    def read(self, place: TopicPartition, offset: int, committed: bool, most: int) -> tuple[list[ConsumerRecord], int]:
        """Up to `most` records from an offset on, and the offset behind what was looked at."""
        out: list[ConsumerRecord] = []
        end = self.stable if committed else len(self.entries)
        while offset < end and len(out) < most:
            entry = self.entries[offset]
            hidden = committed and entry.transaction is not None and entry.transaction.state == "aborted"
            if not entry.marker and not hidden:
                out.append(_record(place, offset, entry))
            offset += 1
        return out, offset


def _record(place: TopicPartition, offset: int, entry: Entry) -> ConsumerRecord:
    return ConsumerRecord(
        place.topic, place.partition, offset, int(entry.at * 1000), 0, entry.key, entry.value, None, 0, 0, entry.headers
    )


@dataclass(eq=False)
class Coordinated:
    """A transactional id."""

    epoch: int = -1
    transaction: Transaction | None = None


@dataclass(eq=False)
class Member:
    """A consumer in a group: `wanted`: the generation it is to join, `joined`: the last one it did."""

    name: str
    process: Process | None
    topics: tuple[str, ...]
    heard_at: float
    joined: int = -1
    partitions: tuple[TopicPartition, ...] = ()


@dataclass(eq=False)
class Group:
    """`generation` grows with every rebalance; `settled`: the last one whose assignment is known."""

    generation: int = 0
    settled: int = -1
    began_at: float = 0.0
    members: dict[str, Member] = field(default_factory=dict)
    committed: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)


class Broker:
    """`fails`: the chance that a request fails, half of these after it was carried out; `slow`: seconds, on average,
    that one takes each way. `on_commit`: told of each group's offsets before they count."""

    SESSION = 6.0
    REBALANCE = 60.0
    TRANSACTION = 30.0

    def __init__(self, loop: SimLoop, topics: dict[str, int]) -> None:
        self.loop, self.topics = loop, topics
        self.logs = {TopicPartition(name, k): Log() for name, count in topics.items() for k in range(count)}
        self.groups: dict[str, Group] = {}
        self.ids: dict[str, Coordinated] = {}
        self.fails, self.slow, self.closed = 0.0, 0.002, False
        self.on_commit: Callable[[str, dict[TopicPartition, OffsetAndMetadata]], None] = lambda group, offsets: None
        self._moved: list[asyncio.Future[None]] = []
        self._later(0.5, self._tick)

    # -- requests ------------------------------------------------------------------------------------------------

    def _later(self, seconds: float, work: Callable[..., Any], *given: Any) -> None:
        self.loop.call_later(seconds, work, *given, context=OUTSIDE)

    def _takes(self) -> float:
        return self.loop.chance.expovariate(1 / self.slow)

    async def ask(self, work: Callable[[], T], *, retried: bool = False) -> T:
        """A request of the process that asks: carried out even if it dies or freezes, answered if it is still there.

        `retried`: what fails is tried again by the client itself.
        """
        if self.closed:
            raise KafkaConnectionError("the simulation is over")
        future: asyncio.Future[T] = self.loop.create_future()
        fails = 1.0 if retried else self.loop.chance.random()

        def answer(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        def arrive() -> None:
            if fails < self.fails / 2:
                self._later(self._takes(), answer, None, KafkaConnectionError("it never arrived"))
                return
            try:
                result, error = work(), None
            except KafkaError as failure:
                result, error = None, failure
            if error is None and fails < self.fails:
                error = KafkaTimeoutError("its answer was lost")
            self._later(self._takes(), answer, result, error)

        self._later(self._takes(), arrive)
        return await future

    # -- records -------------------------------------------------------------------------------------------------

    def append(self, place: TopicPartition, entry: Entry) -> int:
        """A record of no transaction, or of one that was checked."""
        offset = self.logs[place].append(entry)
        self._wake()
        return offset

    def _wake(self) -> None:
        for future in self._moved:
            if not future.done():
                future.set_result(None)
        self._moved.clear()

    async def moved(self, seconds: float) -> None:
        """Until there is something new anywhere, or the time is over."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._moved.append(future)

        def over() -> None:
            if not future.done():
                future.set_result(None)

        timer = self.loop.call_later(seconds, over)
        await future
        timer.cancel()

    # -- transactions --------------------------------------------------------------------------------------------

    def begin_id(self, name: str) -> int:
        """A new producer: its epoch. What the old one left open is aborted."""
        known = self.ids.setdefault(name, Coordinated())
        if known.transaction is not None and known.transaction.state == "open":
            self._end(known, "aborted")
        known.epoch += 1
        return known.epoch

    def is_ending(self, name: str) -> bool:
        """Whether markers of its last transaction are yet to be written."""
        last = self.ids[name].transaction
        return last is not None and last.state != "open" and bool(last.places)

    def _checked(self, name: str, epoch: int) -> Coordinated:
        known = self.ids[name]
        if known.epoch != epoch:
            raise ProducerFenced
        return known

    def write(self, name: str, epoch: int, place: TopicPartition, key: Any, value: Any, headers: Any) -> int:
        """A record of the id's transaction, which begins with its first."""
        transaction = self._transaction(name, epoch)
        transaction.places.add(place)
        return self.append(place, Entry(key, value, tuple(headers), self.loop.time(), transaction))

    def offsets(self, name: str, epoch: int, group: str, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        """Offsets that count when the transaction is committed."""
        self._transaction(name, epoch).offsets.setdefault(group, {}).update(offsets)

    def _transaction(self, name: str, epoch: int) -> Transaction:
        known = self._checked(name, epoch)
        if known.transaction is None or known.transaction.state != "open":
            known.transaction = Transaction(epoch, self.loop.time())
        return known.transaction

    def end(self, name: str, epoch: int, state: str) -> None:
        """Commit or abort what is open."""
        known = self._checked(name, epoch)
        if known.transaction is not None and known.transaction.state == "open":
            self._end(known, state)

    def _end(self, known: Coordinated, state: str) -> None:
        transaction = known.transaction
        assert transaction is not None
        transaction.state = state
        if state == "committed":
            for group, offsets in transaction.offsets.items():
                self.on_commit(group, offsets)
                self.group(group).committed.update(offsets)
        for place in sorted(transaction.places):
            self._later(self._takes(), self._mark, transaction, place)

    def _mark(self, transaction: Transaction, place: TopicPartition) -> None:
        self.logs[place].mark(transaction, self.loop.time())
        transaction.places.discard(place)
        self._wake()

    # -- groups --------------------------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        """The group of a name."""
        return self.groups.setdefault(name, Group())

    def join(self, group: Group, instance: str, topics: tuple[str, ...], process: Process | None) -> Member:
        """A consumer comes, or comes back: then it has what it had."""
        old = group.members.get(instance)
        member = Member(instance, process, topics, self.loop.time())
        group.members[instance] = member
        if old is not None and old.joined == group.settled == group.generation:
            member.joined, member.partitions = old.joined, old.partitions
        else:
            self._rebalance(group)
        return member

    def _rebalance(self, group: Group) -> None:
        group.generation += 1
        group.began_at = self.loop.time()
        self._wake()

    def commit(self, name: str, member: Member | None, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        """A member's offsets, while it is one."""
        group = self.group(name)
        if member is None or group.members.get(member.name) is not member or member.joined != group.generation:
            raise IllegalGenerationError
        self.on_commit(name, offsets)
        group.committed.update(offsets)

    def arrive(self, group: Group, member: Member) -> None:
        """A member has let go of everything and joins the new generation."""
        if group.members.get(member.name) is member:
            member.joined = group.generation
            self._settle(group)

    def _settle(self, group: Group) -> None:
        waited = self.loop.time() - group.began_at > self.REBALANCE
        if waited:
            group.members = {name: one for name, one in group.members.items() if one.joined == group.generation}
        if group.settled == group.generation or any(one.joined != group.generation for one in group.members.values()):
            return
        members = [group.members[name] for name in sorted(group.members)]
        for one in members:
            one.partitions = ()
        for topic in members[0].topics if members else ():
            count = self.topics[topic]
            each, more = divmod(count, len(members))
            start = 0
            for k, one in enumerate(members):
                width = each + (k < more)
                one.partitions += tuple(TopicPartition(topic, n) for n in range(start, start + width))
                start += width
        group.settled = group.generation
        self._wake()

    def _tick(self) -> None:
        """Heartbeats, sessions, and transactions that are open for too long."""
        now = self.loop.time()
        for group in self.groups.values():
            gone = []
            for name, member in group.members.items():
                if member.process is None or member.process.runs:
                    member.heard_at = now
                elif now - member.heard_at > self.SESSION:
                    gone.append(name)
            for name in gone:
                del group.members[name]
            if gone:
                self._rebalance(group)
            self._settle(group)
        for known in self.ids.values():
            last = known.transaction
            if last is not None and last.state == "open" and now - last.begun_at > self.TRANSACTION:
                known.epoch += 1
                self._end(known, "aborted")
        self._later(0.5, self._tick)
