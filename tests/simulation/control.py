"""One run of control in a world of faults: jobs ask, run, end, or are never heard of again; what is granted is within
the caps, counted once, and each has one answer. What backends gained is learned from each entry of the audit once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from aiokafka import TopicPartition

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import (
    AuditEntry,
    Command,
    ControlState,
    Evidence,
    Run,
    SetBackend,
    SetBudget,
)
from qmosaic.codecs.events.hops import JobEvent, Route
from qmosaic.codecs.events.ledger import Amounts, Budget, JobEnded, LedgerEntry
from qmosaic.processors.control.books import Books, unbalanced
from qmosaic.processors.control.grants import reservation_of
from qmosaic.processors.control.rates import Rate
from qmosaic.streams.hops.control import Control
from qmosaic.streams.settings import PaidSettings, Settings, Topics
from tests.simulation.broker import Entry
from tests.simulation.clients import clients_of
from tests.simulation.loop import START
from tests.simulation.world import PARTITIONS, QUIET, SECONDS, Faults, answers, sensor

ALONE = ("jobs.priced", "jobs.ended", "control.commands", "control.state", "ledger", "backends.status")
TOPICS = {
    **dict.fromkeys(ALONE, 1),
    **dict.fromkeys(("jobs.paid", "jobs.classical", "proposals", "audit"), PARTITIONS),
}
BACKEND = "vendor"
COST = 10
RATE = Rate(sends=2, seconds=3.0)
RATES = {BACKEND: RATE}


class ControlWorld(Faults):
    """Two instances of control. `control`: what is simulated; tests hand in ones that are broken."""

    def __init__(self, seed: int, control: type[Control] = Control) -> None:
        super().__init__(seed, TOPICS)
        self._control = control
        self.asked: dict[str, JobEvent] = {}
        self.ordered: list[str] = []
        self.ended: set[str] = set()
        self.cap = COST * self.chance.randint(0, 6)

    async def begin(self) -> None:
        for k in range(2):
            self.loop.spawn(None, self.supervise(f"control-{k}"))
        budget = Budget(scope="all", window="total", micros=self.cap)
        self._order(SetBudget(budget))
        for number in range(self.chance.randint(3, 10)):
            self.loop.spawn(None, self._ask(number, self.chance.uniform(0, SECONDS)))
        for number in range(self.chance.randint(0, 12)):
            self.loop.spawn(None, self._settle(number, self.chance.uniform(0, SECONDS)))
        if self.chance.random() < 0.5:
            self.loop.spawn(None, self._orders_later())
        self.loop.spawn(None, self._vendor())

    async def life(self, name: str) -> None:
        settings = Settings(
            data_dir=self._folder,
            topics=Topics(partitions=PARTITIONS),
            paid=PaidSettings(backends=(BACKEND,), rates=RATES),
        )
        control = self._control(
            settings,
            name,
            sensor(),
            lambda: None,
            is_known=lambda backend: backend == BACKEND,
            names=[BACKEND],
            clients=clients_of(self.broker),
            clock=self.loop.time,
        )
        await control.maybe_start()
        await control.wait_until_stopped()

    def _append(self, topic: str, value: bytes) -> None:
        self.broker.append(TopicPartition(topic, 0), Entry(None, value, (), self.loop.time(), None))

    def _order(self, order: Any) -> None:
        name = f"c{len(self.ordered)}"
        self.ordered.append(name)
        command = Command(id=name, who="ada", why="a test", at=self.loop.time(), order=order)
        for _ in range(self.chance.choice((1, 1, 2))):
            self._append("control.commands", wire.encode(command))

    async def _orders_later(self) -> None:
        await asyncio.sleep(self.chance.uniform(0, SECONDS))
        self._order(SetBackend("nobody has it", "draining"))
        self._order(SetBudget(Budget(scope="all", window="total", micros=self.cap + COST)))

    async def _settle(self, number: int, after: float) -> None:
        """A problem has ended, and verify writes what that tells."""
        await asyncio.sleep(after)
        run = Run(target="quantum", backend=BACKEND, answered=True, seconds=1.0, gain=0.01)
        entry = AuditEntry(
            event="settled",
            problem_id=f"s{number}",
            tenant="",
            partition=0,
            offset=number,
            at=self.loop.time(),
            status="accepted",
            reason="improved",
            detail={},
            evidence=Evidence(family="maxcut", kind="spins", variables=6, job=str(number), runs=[run]),
        )
        place = TopicPartition("audit", number % PARTITIONS)
        self.broker.append(place, Entry(None, wire.encode(entry), (), self.loop.time(), None))

    async def _ask(self, number: int, after: float) -> None:
        await asyncio.sleep(after)
        now = self.loop.time()
        _, reduced, _ = answers()
        ref = msgspec.structs.replace(
            reduced.ref,
            problem_id=f"p{number}",
            partition=number % PARTITIONS,
            offset=number,
            received_at=now,
            deadline_at=now + self.chance.choice((1.0, 60.0)),
        )
        free = Route(target="classical", backend="exact", reason="rule", rule="")
        event = JobEvent(
            ref=ref,
            job_id="",
            attempt=1,
            route=Route(target="quantum", backend=BACKEND, reason="rule", rule=""),
            candidates=[free] if self.chance.random() < 0.5 else [],
            quote=Amounts(COST, None, None),
            sends=self.chance.choice((1, 1, 1, 2, 3)),
            kernel=reduced.kernel,
            kernel_digest=reduced.kernel_digest,
            work_seconds=0.1,
            gammas=[],
            betas=[],
        )
        self.asked[reservation_of("", event)] = event
        for _ in range(self.chance.choice((1, 1, 2))):
            self._append("jobs.priced", wire.encode(event))
            await asyncio.sleep(self.chance.expovariate(2))
        if self.chance.random() < 0.05:
            self._append("jobs.priced", b"garbage")
            forged = msgspec.structs.replace(
                event, ref=msgspec.structs.replace(ref, partition=-1, offset=10**6 + number)
            )
            self._append("jobs.priced", wire.encode(forged))

    async def _vendor(self) -> None:
        """Runs what was granted, each once; now and then its end is told twice, or never."""
        seen: set[str] = set()
        while True:
            await asyncio.sleep(0.1)
            for event in self._written("jobs.paid", JobEvent):
                if event.reservation not in seen:
                    seen.add(event.reservation)
                    self.loop.spawn(None, self._run_job(event))

    async def _run_job(self, event: JobEvent) -> None:
        await asyncio.sleep(self.chance.expovariate(1))
        kind, chance = self.chance.choice(("settled", "settled", "released", "unknown")), self.chance
        if chance.random() < 0.1 or self.loop.time() > START + SECONDS + QUIET / 2:
            return
        said: Any = kind
        real = Amounts(chance.randint(0, COST), None, None)
        end = JobEnded(
            reservation=event.reservation,
            problem_id=event.ref.problem_id,
            ended=said,
            amounts=real,
            at=self.loop.time(),
        )
        if kind != "unknown":
            self.ended.add(event.reservation)
        for _ in range(chance.choice((1, 1, 2))):
            self._append("jobs.ended", wire.encode(end))

    # -- what must hold ------------------------------------------------------------------------------------------

    def _written(self, topic: str, kind: Any) -> Iterator[Any]:
        """What readers of what is committed see."""
        for place, log in self.broker.logs.items():
            if place.topic == topic:
                for entry in log.entries:
                    committed = entry.transaction is None or entry.transaction.state == "committed"
                    if not entry.marker and committed and entry.value:
                        yield wire.decode(entry.value, kind)

    def _check_learned(self) -> None:
        """Whatever was written down counts each entry before its offsets once; without faults all there are, soon."""
        told = []
        for place, log in self.broker.logs.items():
            for offset, entry in enumerate(log.entries if place.topic == "audit" else ()):
                if entry.value and wire.decode(entry.value, AuditEntry).evidence is not None:
                    told.append((place.partition, offset))
        counted = 0
        for state in self._written("control.state", ControlState):
            if state.learned is None:
                continue
            offsets = dict(enumerate(state.learned.offsets))
            before = [offset for number, offset in told if offset < offsets.get(number, 0)]
            counted = round(sum(cell.seconds.n for cell in state.learned.cells.values()), 2)
            if counted != len(before):
                self.wrong.append(f"{counted} runs were learned from {len(before)} entries")
        if not self.faults and counted != len(told):
            self.wrong.append(f"{counted} runs were learned in the end, of {len(told)}")

    def _check_rates(self) -> None:
        """What may be sent in any window is within the rate, each when the ledger says so, and before its deadline."""
        slots = {entry.reservation: entry.slot for entry in self._written("ledger", LedgerEntry) if entry.slot}
        moments = sorted(moment for slot in slots.values() for moment in [slot.at] * slot.sends)
        for first, last in zip(moments, moments[RATE.sends :], strict=False):
            if last < first + RATE.seconds:
                self.wrong.append(f"{RATE.sends + 1} jobs may go in {last - first} s")
        for event in self._written("jobs.paid", JobEvent):
            slot = slots.get(event.reservation)
            if slot is None or (event.not_before and event.not_before != slot.at):
                self.wrong.append(f"{event.ref.problem_id} may go from {event.not_before} on, by the ledger {slot}")
            elif slot.at >= event.ref.deadline_at:
                self.wrong.append(f"{event.ref.problem_id} may go when its deadline is over")

    def check(self) -> None:
        self._check_learned()
        self._check_rates()
        books = Books()
        state = books.start
        answered: Counter[str] = Counter()
        granted: set[str] = set()
        for entry in self._written("ledger", LedgerEntry):
            state = books.step(state, entry)
            if unbalanced(state) or any(account.free < 0 for account in state.accounts.values()):
                self.wrong.append(f"the ledger does not balance after {entry}: {state.accounts}")
            if entry.event in ("reserved", "refused"):
                answered[entry.reservation] += 1
            if entry.event == "reserved":
                granted.add(entry.reservation)
        for name in self.asked:
            if answered[name] != 1:
                self.wrong.append(f"{name} was answered {answered[name]} times")
        paid = Counter(event.reservation for event in self._written("jobs.paid", JobEvent))
        if set(paid) != granted or any(count > 1 for count in paid.values()):
            self.wrong.append(f"granted {sorted(granted)}, to be run {paid}")
        there = {event.ref.problem_id for event in self._written("jobs.classical", JobEvent)}
        there |= {event["ref"]["problem_id"] for event in self._written("proposals", dict[str, Any])}
        for name, event in self.asked.items():
            if name not in granted and event.ref.problem_id not in there:
                self.wrong.append(f"{event.ref.problem_id} was refused, and nobody has it")
        pending = set(state.pending)
        if pending != granted - self.ended:
            self.wrong.append(f"reserved {sorted(pending)}, running {sorted(granted - self.ended)}")
        told = Counter(
            entry.detail["command"] for entry in self._written("audit", AuditEntry) if entry.event == "command"
        )
        if told != Counter(self.ordered):
            self.wrong.append(f"commands {self.ordered} were answered {told}")
