"""One run of verify in a world of faults: problems and their answers come, verifiers die, freeze and come back,
requests fail, and in the end every problem must have had exactly one terminal event."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from qmosaic.backends.registry import create
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Encoded, Failure, Incumbent, JobEvent, Proposal, Reduced, Ref, Route
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.encode import encode
from qmosaic.processors.execute import execute, proposal_of
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.terminal import TERMINAL
from qmosaic.streams.hops.beside import BesideError
from qmosaic.streams.hops.verify import Verifier
from qmosaic.streams.settings import Settings, Topics
from qmosaic.streams.watch.spans import Telemetry
from qmosaic.streams.watch.tracing import Tracing
from tests.simulation.broker import Broker, Entry
from tests.simulation.clients import clients_of
from tests.simulation.loop import START, Process, SimLoop

PARTITIONS = 2
SECONDS = 6.0
"""In which problems come and faults happen."""
QUIET = 16.0
"""After that, without faults: every deadline is over, and every session, and every rebalance."""
INPUTS = ("problems", "incumbents", "proposals")
TOPICS = dict.fromkeys((*INPUTS, *TERMINAL, "audit", "problems.interim", "problems.encoded"), PARTITIONS)
GROUP = "qmosaic.verify"
PETERSEN = [pair for k in range(5) for pair in ((k, (k + 1) % 5), (k + 5, (k + 2) % 5 + 5), (k, k + 5))]


@cache
def encoded() -> Encoded:
    """What encode makes of a problem."""
    value = wire.dumps({"id": "a", "family": "maxcut", "problem": {"edges": PETERSEN}})
    record = Record("problems", 0, 0, START, value)
    (event,) = encode([record], Limits(), Defaults())
    assert event is not None
    return event


@cache
def answers() -> tuple[Incumbent, Reduced, Proposal]:
    """What the hops before make of a problem: the incumbent, the kernel, the answer."""
    ((incumbent, reduced),) = reduce_events(
        [encoded()], now=START, max_kernel_qubits=6, layers=1, share=0.5, max_seconds=1.0, clock=monotonic
    )
    assert reduced is not None
    route = Route(target="classical", backend="exact", reason="rule", rule="")
    job = JobEvent(
        ref=reduced.ref,
        job_id="",
        attempt=1,
        route=route,
        kernel=reduced.kernel,
        kernel_digest=reduced.kernel_digest,
        work_seconds=0.1,
        gammas=[],
        betas=[],
    )
    (proposal,) = execute([job], create)
    return incumbent, reduced, proposal


@cache
def sensor() -> Tracing:
    """That exports nothing."""
    return Tracing(Telemetry(Settings(), "verify", "simulated"), GROUP)


class Beside:
    """What is done in a process beside, here: a little later, and now and then it dies."""

    def __init__(self, loop: SimLoop, dies: float) -> None:
        self._loop, self._dies = loop, dies

    async def run(self, deadline_at: float, work: Callable[..., Any], *given: Any) -> Any:
        await asyncio.sleep(self._loop.chance.expovariate(5))
        if self._loop.time() > deadline_at:
            raise BesideError("deadline_past", "it waited for others")
        if self._loop.chance.random() < self._dies:
            raise BesideError("worker_crashed", "a process died at it")
        return work(*given)

    def stop(self) -> None: ...


class Sent:
    """A problem, and when its answer was there, if it is a good one, in time, of a problem that is judged at once."""

    def __init__(self, place: TopicPartition, offset: int, ref: Ref | None, small: bool) -> None:
        self.place, self.offset, self.ref, self.small = place, offset, ref, small
        self.answered_at: float | None = None


class Faults:
    """A broker, processes that are supervised, and what befalls them. `wrong`: what does not hold."""

    def __init__(self, seed: int, topics: dict[str, int]) -> None:
        self.loop = SimLoop(seed)
        self.chance = self.loop.chance
        self.broker = Broker(self.loop, topics)
        self.wrong: list[str] = []
        self.faults: list[tuple[float, str]] = []
        self.processes: dict[str, Process] = {}

    def run(self) -> list[str]:
        """What is wrong at the end; nothing."""
        asyncio.set_event_loop(self.loop)
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._folder = folder
                self.loop.run_until_complete(self.loop.spawn(None, self._run()))
                self.check()
                self.wrong += self.loop.failures
                self._over()
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
        return self.wrong

    def _over(self) -> None:
        """Everybody ends, the killed too: what they have to say counts no more."""
        self.broker.closed = True
        for process in self.processes.values():
            process.alive = True
            self.loop.thaw(process)
        for _ in range(10):
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self.loop.run_until_complete(self.loop.spawn(None, self._ended(tasks)))

    async def _ended(self, tasks: set[asyncio.Task[Any]]) -> None:
        await asyncio.wait(tasks, timeout=10)

    async def begin(self) -> None:
        """What happens besides faults."""

    async def life(self, name: str) -> None:
        """A process, until it ends."""

    def check(self) -> None:
        """What must hold in the end."""

    async def _run(self) -> None:
        answers()
        await self.begin()
        for _ in range(self.chance.randint(0, 3)):
            self.loop.spawn(None, self._fault(self.chance.uniform(0, SECONDS)))
        await asyncio.sleep(SECONDS)
        self.broker.fails, self.broker.slow = 0.0, 0.002
        await asyncio.sleep(QUIET)

    async def supervise(self, name: str) -> None:
        """Start it again and again."""
        count = 0
        while True:
            process = self.processes[f"{name}.{count}"] = Process(name)
            task = self.loop.spawn(process, self.life(name))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            while process.alive and not task.done():
                await asyncio.sleep(0.3)
            process.alive = False
            count += 1
            await asyncio.sleep(self.chance.uniform(0.2, 1.0))

    async def _fault(self, after: float) -> None:
        await asyncio.sleep(after)
        kind = self.chance.choice(("kill", "freeze", "fail", "slow"))
        self.faults.append((self.loop.time(), kind))
        if kind == "fail":
            self.broker.fails = 0.2
            await asyncio.sleep(self.chance.uniform(0.1, 2.0))
            self.broker.fails = 0.0
        elif kind == "slow":
            self.broker.slow = 0.3
            await asyncio.sleep(self.chance.uniform(0.5, 3.0))
            self.broker.slow = 0.002
        else:
            process = self.chance.choice([one for one in self.processes.values() if one.alive] or [Process("nobody")])
            if kind == "kill":
                process.alive = False
            else:
                process.frozen = True
                await asyncio.sleep(self.chance.uniform(0.5, 8.0))
                self.loop.thaw(process)


class World(Faults):
    """Verifiers. `verifier`: what is simulated; tests hand in ones that are broken."""

    def __init__(self, seed: int, verifier: type[Verifier] = Verifier) -> None:
        super().__init__(seed, TOPICS)
        self.broker.on_commit = self._check_floors
        self.sent: list[Sent] = []
        self.patient = False  # deadlines are far away
        self.dies = 0.05  # the chance that a process beside dies at its work
        self.about: dict[tuple[TopicPartition, int], int] = {}  # by topic and problem, the record it needs
        self._verifier = verifier

    # -- what happens --------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        for k in range(2):
            self.loop.spawn(None, self.supervise(f"verify-{k}"))
        for _ in range(self.chance.randint(3, 6)):
            self.loop.spawn(None, self._produce(self.chance.uniform(0, SECONDS)))

    async def life(self, name: str) -> None:
        settings = Settings(data_dir=self._folder, topics=Topics(partitions=PARTITIONS))
        verifier = self._verifier(
            settings,
            name,
            sensor(),
            lambda: None,
            clients=clients_of(self.broker),
            clock=self.loop.time,
            beside=lambda memory, seconds: Beside(self.loop, self.dies),  # type: ignore[arg-type, return-value]
        )
        await verifier.maybe_start()
        await verifier.wait_until_stopped()

    async def _produce(self, after: float) -> None:
        await asyncio.sleep(after)
        place = TopicPartition("problems", self.chance.randrange(PARTITIONS))
        name = f"p{len(self.sent)}" if self.chance.random() < 0.9 else "again"
        event: dict[str, Any] = {"id": name, "family": "maxcut", "problem": {"edges": PETERSEN}}
        event["deadline"] = self.chance.uniform(1.0, 5.0) if not self.patient else 9.0
        event |= self.asked()
        if self.chance.random() < 0.3:
            event["labels"] = {"padding": "x" * 20_000}  # it is not light
        value = wire.dumps(event) if self.chance.random() < 0.9 else b"nonsense"
        at = self.loop.time()
        offset = self.broker.append(place, Entry(None, value, (), at, None))
        record = Record(place.topic, place.partition, offset, int(at * 1000) / 1000, value)
        admission = admit(record, Limits(), Defaults())
        ref = admission.ref if isinstance(admission, Admission) else None
        sent = Sent(place, offset, ref, "labels" not in event)
        self.sent.append(sent)
        if ref is not None:
            await self._answer(sent, ref)

    def asked(self) -> dict[str, Any]:
        """What a problem asks for besides."""
        return {}

    def incumbent(self) -> Incumbent:
        """What reduce finds."""
        return answers()[0]

    async def _answer(self, sent: Sent, ref: Ref) -> None:
        """Each hop runs at least once, in whatever order it is read."""
        incumbent, proposal = self.incumbent(), answers()[2]
        answer: Proposal = msgspec.structs.replace(proposal, ref=ref)
        kind = self.chance.random()
        if kind < 0.1:
            answer = proposal_of(
                JobEvent(
                    ref=ref,
                    job_id="",
                    attempt=1,
                    route=proposal.route,  # type: ignore[arg-type]
                    kernel=answers()[1].kernel,
                    kernel_digest=proposal.kernel_digest or "",
                    work_seconds=0.1,
                    gammas=[],
                    betas=[],
                ),
                Failure("execute", "execution_failed", "the backend is down"),
            )
        events: list[tuple[str, Incumbent | Proposal]] = []
        events += [("incumbents", msgspec.structs.replace(incumbent, ref=ref))] * self.chance.choice((1, 1, 1, 2))
        if kind < 0.8:
            events += [("proposals", answer)] * self.chance.choice((1, 1, 2))
        if self.chance.random() < 0.3:
            self.chance.shuffle(events)
        for topic, event in events:
            await asyncio.sleep(self.chance.expovariate(4))
            place = TopicPartition(topic, ref.partition)
            offset = self.broker.append(place, Entry(None, wire.encode(event), (), self.loop.time(), None))
            # What is needed: the first of each that comes before anybody may decide.
            if self.loop.time() < ref.deadline_at - 0.4 - 0.2 * (ref.deadline_at - ref.received_at):
                self.needed(place, ref, offset)
        if 0.1 <= kind < 0.8 and sent.small and self.loop.time() < ref.deadline_at - 0.5:
            sent.answered_at = self.loop.time()

    def needed(self, place: TopicPartition, ref: Ref, offset: int) -> None:
        """A record of a problem that nobody may commit beyond."""
        self.about.setdefault((place, ref.offset), offset)

    # -- what must hold ------------------------------------------------------------------------------------------

    def _terminal(self) -> list[tuple[TopicPartition, int, str, dict[str, bytes], Entry]]:
        """Committed terminal events: where, the offset of their problem, their topic."""
        found = []
        for place, log in self.broker.logs.items():
            if place.topic in TERMINAL:
                for entry in log.entries:
                    if not entry.marker and entry.transaction is not None and entry.transaction.state == "committed":
                        headers = dict(entry.headers)
                        found.append((place, int(headers["ce_sourceoffset"]), place.topic, headers, entry))
        return found

    def _check_floors(self, group: str, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        """No input is committed beyond what a problem that is not settled needs; this transaction counts already."""
        done = {(place.partition, source) for place, source, *_ in self._terminal()}
        done |= self._dropped()
        for sent in self.sent:
            if (sent.place.partition, sent.offset) in done:
                continue
            committed = offsets.get(sent.place)
            if committed is not None and committed.offset > sent.offset:
                self.wrong.append(f"{sent.place} is committed up to {committed.offset}, {sent.offset} is open")
            for topic in ("incumbents", "proposals"):
                place = TopicPartition(topic, sent.place.partition)
                behind = offsets[place].offset if place in offsets else 0
                offset = self.about.get((place, sent.offset), behind)
                if offset < behind:
                    self.wrong.append(f"{place} is committed beyond {offset}, which problem {sent.offset} needs")

    def _dropped(self) -> set[tuple[int, int]]:
        """Problems that were sent again, and dropped with a line in the audit."""
        out = set()
        for place, log in self.broker.logs.items():
            if place.topic == "audit":
                for entry in log.entries:
                    if entry.transaction is not None and entry.transaction.state == "committed" and entry.value:
                        said = msgspec.json.decode(entry.value)
                        if said["event"] == "duplicate":
                            out.add((place.partition, said["offset"]))
        return out

    def check(self) -> None:
        terminal = self._terminal()
        count = Counter((place.partition, source) for place, source, *_ in terminal)
        count += Counter(self._dropped())
        for sent in self.sent:
            here = count.pop((sent.place.partition, sent.offset), 0)
            if here != 1:
                self.wrong.append(f"problem {sent.place.partition}/{sent.offset} has {here} terminal events")
        if count:
            self.wrong.append(f"terminal events of no problem: {count}")
        self._check_times(terminal)

    def _check_times(self, terminal: list[Any]) -> None:
        """By the deadline, or soon after the last fault; with the answer where it came in time."""
        over = max((at for at, _ in self.faults), default=START - 100) + 15.0
        by_problem = {(place.partition, source): (topic, entry.at) for place, source, topic, _, entry in terminal}
        for sent in self.sent:
            topic, at = by_problem.get((sent.place.partition, sent.offset), ("", 0.0))
            if sent.ref is None or not topic:
                continue
            if at > max(sent.ref.deadline_at, over) + 0.1:
                self.wrong.append(f"problem {sent.offset} ended {at - sent.ref.deadline_at:.2f} s after its deadline")
            if not self.faults and sent.answered_at is not None and topic != "outcomes.accepted":
                self.wrong.append(f"the answer to problem {sent.offset} came in time, and is not accepted")

    def outcomes(self) -> dict[tuple[int, int], tuple[str, Any]]:
        """By place of the problem: where its end stands, and what it says, but for times and traces."""
        found = {}
        for place, source, topic, _, entry in self._terminal():
            said = msgspec.json.decode(entry.value or b"{}")
            kept = {key: value for key, value in said.items() if key not in ("timings", "trace_id")}
            found[(place.partition, source)] = topic, kept
        return found
