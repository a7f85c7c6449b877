"""One run of a stage's workers in a world of faults: nothing is committed before what follows from it is sent, and
whose turn it is goes by the policy that was set last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import ControlState, PolicySet
from qmosaic.codecs.events.hops import Encoded
from qmosaic.streams.hops.hop import Look, looked
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.life.worker import Worker
from qmosaic.streams.settings import Settings, Topics
from qmosaic.streams.topology import STAGES
from tests.simulation.app import App
from tests.simulation.broker import Entry
from tests.simulation.clients import clients_of
from tests.simulation.loop import SimLoop
from tests.simulation.world import PARTITIONS, SECONDS, Faults, answers, encoded, sensor

JOINED = ("problems.encoded", "incumbents", "proposals", "dead-letters", "backends.status")
TOPICS = {**dict.fromkeys(JOINED, PARTITIONS), "control.state": 1}
POISON = "poison"


class Hop:
    """A handler that takes its time, cannot do what is poisoned, and whose process dies now and then."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    async def start(self) -> None:
        await asyncio.sleep(self._loop.chance.expovariate(10))

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        await asyncio.sleep(self._loop.chance.expovariate(10))
        if self._loop.chance.random() < 0.05:
            raise BrokenProcessPool("it died")
        out = []
        for cause, record in enumerate(batch):
            ref = wire.decode(record.value or b"", Encoded).ref
            if ref.tenant == POISON:
                raise ValueError("it cannot be done")
            incumbent = msgspec.structs.replace(answers()[0], ref=ref)
            out.append(Send("incumbents", incumbent, cause, key=ref.problem_id, partition=ref.partition))
        return out

    def status(self) -> None:
        return None

    async def stop(self) -> None: ...


class Workers(Faults):
    """Two workers of one stage. `worker`: what is simulated; tests hand in ones that are broken."""

    def __init__(self, seed: int, worker: type[Worker] = Worker) -> None:
        super().__init__(seed, TOPICS)
        self.broker.on_commit = self._check_floors
        self.sent: dict[tuple[int, int], str] = {}  # by place, which problem; none: garbage
        self._worker = worker
        self.weight = 1.0
        self._alive: dict[str, Worker] = {}

    async def begin(self) -> None:
        for k in range(2):
            self.loop.spawn(None, self.supervise(f"reduce-{k}"))
        for number in range(self.chance.randint(3, 12)):
            self.loop.spawn(None, self._produce(number, self.chance.uniform(0, SECONDS)))
        self.loop.spawn(None, self._order())

    async def _order(self) -> None:
        """Policies, one after the other, as control writes them; now and then what is none."""
        for number in range(1, 1 + self.chance.randint(0, 4)):
            await asyncio.sleep(self.chance.uniform(0, SECONDS / 4))
            weight = self.chance.choice((0.5, 2.0, 1000.0))
            text = f"[tenants.gold]\nweight = {weight}\n"
            if self.chance.random() < 0.1:
                text = "attempts = 0\n"
            else:
                self.weight = weight
            said = PolicySet(number=number, version="", text=text, who="ada", why="a test", at=self.loop.time())
            value = wire.encode(ControlState(policy=said))
            self.broker.append(TopicPartition("control.state", 0), Entry(None, value, (), self.loop.time(), None))

    async def life(self, name: str) -> None:
        settings = Settings(data_dir=self._folder, topics=Topics(partitions=PARTITIONS))
        stage = replace(STAGES["reduce"], handler=lambda *_: Hop(self.loop))
        worker = self._worker(
            settings,
            stage,
            name,
            sensor(),
            app_of=lambda *given: App(self.broker, *given),
            clients=clients_of(self.broker),
            clock=self.loop.time,
        )
        self._alive[name] = worker
        lifeline: Any = SimpleNamespace(
            wait=asyncio.Event().wait, ready=lambda: None, started=lambda: None, step=lambda doing: None
        )
        await worker.run(lifeline)

    async def _produce(self, number: int, after: float) -> None:
        await asyncio.sleep(after)
        now = self.loop.time()
        place = TopicPartition("problems.encoded", self.chance.randrange(PARTITIONS))
        name, tenant = f"p{number}", POISON if self.chance.random() < 0.1 else "somebody"
        ref = msgspec.structs.replace(
            encoded().ref,
            problem_id=name,
            partition=place.partition,
            offset=number,
            tenant=tenant,
            received_at=now,
            deadline_at=now + 600,
        )
        value = wire.encode(msgspec.structs.replace(encoded(), ref=ref))
        if self.chance.random() < 0.1:
            name, value = "", b"garbage"
        headers = (("ce_size", str(self.chance.choice((10, 100, 200, 500))).encode()),)
        offset = self.broker.append(place, Entry(None, value, headers, now, None))
        self.sent[(place.partition, offset)] = name

    def _followed(self) -> tuple[set[str], set[tuple[int, int]]]:
        """The problems that something followed for, and the places with a dead letter."""
        problems, letters = set(), set()
        for place, log in self.broker.logs.items():
            for entry in log.entries if place.topic not in ("problems.encoded", "control.state") else ():
                said = msgspec.json.decode(entry.value or b"{}")
                if place.topic == "dead-letters":
                    letters.add((said["partition"], said["offset"]))
                elif said:
                    problems.add(said["ref"]["problem_id"])
        return problems, letters

    def _check_floors(self, group: str, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        problems, letters = self._followed()
        for (partition, offset), name in self.sent.items():
            committed = offsets.get(TopicPartition("problems.encoded", partition))
            there = name in problems if name else (partition, offset) in letters
            if committed is not None and committed.offset > offset and not there:
                self.wrong.append(f"{partition}/{offset} is committed, and nothing followed")

    def _check_weights(self) -> None:
        for name, worker in self._alive.items():
            for lane in worker._lanes:
                lane._follow()  # as at the next event
                weights = [lane._turns._weigh(tenant) for tenant in ("gold/ada", "plain")]
                if weights != [self.weight, 1.0]:
                    self.wrong.append(f"{name} goes by {weights}, and {self.weight} was set")

    def check(self) -> None:
        self._check_weights()
        problems, letters = self._followed()
        for (partition, offset), name in self.sent.items():
            if not (name in problems if name else (partition, offset) in letters):
                self.wrong.append(f"nothing followed from {partition}/{offset} ({name or 'garbage'})")
