"""(n) The control plane: what a decision and a grant cost, whose turn it is, what a paid job outlives.

1. Routing with all facts: a reduced event in, a job event out, one at a time and in batches, in this process. Ten
   backends, a policy of twenty rules with tenants and families, open breakers, drained backends.
2. Grants: control in this process, on the embedded broker, with 2,000 priced jobs of 50 tenants against 62 budgets that
   wait for it: CPU time of this process, Kafka clients included, by grant. And its memory, as a process of its own.
3. Turns, over six partitions, one worker a stage, problems of the classical target: 1,000 low ones wait all the time,
   and what part of them a high one overtakes; a hundred tenants of whom one sends nine tenths, all of it before the
   others, against the others alone.
4. A paid job whose worker is killed: seconds from the start of the next one to the proposal.

    python -m benchmarks.control [--quick]
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, process_time, time
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import psutil
from aiokafka import AIOKafkaProducer

from benchmarks.common import Figure, cubic, parser, percentiles, print_figures, tell
from benchmarks.fairness import index, jain
from qmosaic.backends import registry
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import JobEvent, Reduced
from qmosaic.codecs.events.ledger import MICROS, Amounts, Budget, LedgerEntry
from qmosaic.codecs.events.public import Outcome
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import OfTenant, Policy, Rule
from qmosaic.processors.encode import encode
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.route import route
from qmosaic.streams.client import Client
from qmosaic.streams.hops.control import Control
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.life.broker import EmbeddedBroker
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.settings import ExecuteSettings, PaidSettings, RouteSettings, Settings, Topics
from qmosaic.streams.watch.spans import Telemetry
from qmosaic.streams.watch.tracing import Tracing
from tests.streams.hops.paying import LIMITS, event_of, proposal, reading, send
from tests.vendors.ionq import IonqServer

BATCH = 64
TENANTS = 50
BACKEND = "ionq/simulator"
WARM_SECONDS, MOST_WARM_SECONDS = 12.0, 120.0
"""Until what waits is as it stays, at least; and for the rest of the first burst of the busy one to go through."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    given = parser("the control plane").parse_args(arguments)
    rows = routing(500 if given.quick else 20_000)
    rows += asyncio.run(grants(200 if given.quick else 2000))
    rows += asyncio.run(memory())
    rows += asyncio.run(overtaking(*((100, 5) if given.quick else (1000, 40))))
    rows += asyncio.run(sharing(*((9, 2) if given.quick else (99, 4))))
    rows += asyncio.run(sharing_on(*((9, 2, 3.0) if given.quick else (99, 4, 20.0))))
    rows += asyncio.run(collected())
    print_figures("(n) the control plane, embedded broker", rows)


# -- 1. decisions ------------------------------------------------------------------------------------------------------


def reduced() -> Reduced:
    """A kernel of a max-cut of 16 nodes."""
    value = wire.dumps({"family": "maxcut", "problem": cubic(1).payload(), "tenant": "org3/team3", "deadline": 60})
    record = Record("problems", 0, 0, time(), value)
    assert isinstance(admit(record, Limits(), Defaults()), Admission)
    (encoded,) = encode([record], Limits(), Defaults())
    assert encoded is not None
    ((_, found),) = reduce_events(
        [encoded], now=time(), max_kernel_qubits=16, layers=2, share=0.5, max_seconds=1.0, clock=perf_counter
    )
    assert found is not None
    return found


def world() -> tuple[Facts, Policy]:
    """All facts there are, and a policy that uses them."""
    names = {"classical": ("exact", "tabu", "annealing", "lanczos"), "gpu": ("jax.statevector", "other.gpu")}
    names |= {"quantum": ("cirq.statevector", "ionq/qpu.forte-1", "aqt/default/ibex", BACKEND)}
    sizes: Any = {"spins": 30, "narrow": 100, "circuit": 30, "clifford": 100, "variational": 20}
    alive: Any = {target: dict.fromkeys(those, sizes) for target, those in names.items()}
    facts = Facts(time(), alive, {"ionq/qpu.forte-1": "open", "tabu": "half_open"}, {"aqt/default/ibex": "draining"})
    rules = [Rule(f"rule {k}", "classical", min_qubits=100 + k, families=("labs", "route")) for k in range(18)]
    devices = Rule("devices", "quantum", backend="ionq/qpu.forte-1", then=("aqt/default/ibex", "gpu", "classical"))
    tenants = {f"org{k}/team{k}": OfTenant((devices,), 3) for k in range(TENANTS)}
    paid = ("ionq/qpu.forte-1", "aqt/default/ibex", BACKEND)
    policy = Policy((*rules, Rule("rest", "classical")), names, paid, 3, tenants, {}, "v")
    return facts, policy


def routing(count: int) -> list[Figure]:
    """Seconds of an event: read, decided, written."""
    value = wire.encode(reduced())
    facts, policy = world()
    each = []
    for _ in range(count):
        began = perf_counter()
        for event in route([wire.decode(value, Reduced)], facts, policy):
            wire.encode(event)
        each.append(perf_counter() - began)
    p50, p99 = (1000 * float(q) for q in np.percentile(each, [50, 99]))
    began, batches = perf_counter(), max(1, count // BATCH)
    for _ in range(batches):
        for event in route([wire.decode(value, Reduced) for _ in range(BATCH)], facts, policy):
            wire.encode(event)
    rate = batches * BATCH / (perf_counter() - began)
    return [
        Figure("routing with all facts, p50", p50, "ms", "≤ 0.1 ms", p50 <= 0.1),
        Figure("routing with all facts, p99", p99, "ms", "≤ 1 ms", p99 <= 1.0),
        Figure("routing on one core", rate, "events/s", "≥ 2000", rate >= 2000),
    ]


# -- 2. grants ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def broker(folder: str, **more: Any) -> AsyncIterator[Settings]:
    """An embedded broker with the topics."""
    server = EmbeddedBroker(Path(folder) / "broker")
    server.start()
    try:
        settings = Settings(broker=server.address, data_dir=folder, paid=PaidSettings((BACKEND,), LIMITS), **more)
        await create_topics(settings)
        yield settings
    finally:
        server.stop()


def priced(number: int, kernel: Reduced) -> JobEvent:
    """A job that asks."""
    tenant = number % TENANTS
    ref = msgspec.structs.replace(
        kernel.ref,
        problem_id=f"p{number}",
        offset=number,
        tenant=f"org{tenant % 10}/team{tenant}",
        deadline_at=time() + 600,
    )
    event = event_of(f"p{number}")
    return msgspec.structs.replace(event, ref=ref, quote=Amounts(MICROS, 0, 1024))


async def grants(count: int) -> list[Figure]:
    """CPU time of control by grant, when as many wait for it."""
    tell(f"{count} priced jobs for control")
    pacing.install()
    kernel = reduced()
    with tempfile.TemporaryDirectory(prefix="qmosaic-bench-") as folder:
        async with broker(folder) as settings:
            caps = {"all": count, f"backend:{BACKEND}": count}
            caps |= {f"tenant:org{k}": count for k in range(10)}
            caps |= {f"tenant:org{k % 10}/team{k}": count for k in range(TENANTS)}
            async with AIOKafkaProducer(**producing(settings)) as producer:
                for scope, cap in caps.items():
                    entry = LedgerEntry(
                        event="budget",
                        at=time(),
                        budget=Budget(scope, "day", cap * MICROS),
                        who="me",
                        why="a benchmark",
                    )
                    await producer.send(topic_name(settings, "ledger"), wire.encode(entry))
                for number in range(count):
                    value = wire.encode(priced(number, kernel))
                    await producer.send(topic_name(settings, "jobs.priced"), value, key=str(number).encode())
                await producer.flush()
            sensor = Tracing(Telemetry(settings, "control", "control-0"), group_id(settings, "control"))
            known, names = registry.is_known, registry.names()
            control = Control(settings, "control-0", sensor, lambda: None, is_known=known, names=names)
            await control.maybe_start()
            while not control.owned:
                await asyncio.sleep(0.001)
            cpu, began = process_time(), perf_counter()
            kept = control.owned[0]
            while kept.committed.get("jobs.priced", 0) < count:
                await asyncio.sleep(0.005)
            cpu, took = process_time() - cpu, perf_counter() - began
            await control.stop()
    each = 1000 * cpu / count
    return [
        Figure("a grant, of control's CPU time", each, "ms", "≤ 1 ms", each <= 1.0),
        Figure("grants", count / took, "a second"),
    ]


async def memory() -> list[Figure]:
    """Of control's own process, when it has nothing to do."""
    with tempfile.TemporaryDirectory(prefix="qmosaic-bench-") as folder:
        async with Supervisor(Settings(data_dir=folder), ["control"], logs=Path(folder) / "logs") as up:
            await up.all_ready()
            await asyncio.sleep(3)
            (child,) = up.children
            assert child.process is not None
            proportional = psutil.Process(child.process.pid).memory_full_info().pss / 1e6
    return [Figure("control alone, proportional memory", proportional, "MB", "≤ 100 MB", proportional <= 100)]


# -- 3. turns ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def pipeline() -> AsyncIterator[Client]:
    """Six partitions, one worker a stage, solvers alone."""
    with tempfile.TemporaryDirectory(prefix="qmosaic-bench-") as folder:
        settings = Settings(
            data_dir=folder,
            topics=Topics(partitions=6),
            execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": ()}),
            route=RouteSettings(rules=(Rule("all", "classical"),), preference={"classical": ("exact",)}),
        )
        stages = ["encode", "reduce", "route", "execute.classical", "verify"]
        async with Supervisor(settings, stages, logs=Path(folder) / "logs", tell=tell) as up:
            await up.all_ready()
            async with Client(settings=up.settings) as client:
                await asyncio.gather(*(solved(client, -1 - k, "warm", "normal") for k in range(32)))
                yield client


async def solved(client: Client, seed: int, tenant: str, priority: Any) -> tuple[float, float]:
    """When a problem was sent, and when it was answered."""
    began = perf_counter()
    outcome = await client.solve(cubic(seed), id=uuid4().hex, tenant=tenant, priority=priority, deadline=600)
    assert isinstance(outcome, Outcome)
    return began, perf_counter()


async def overtaking(low: int, high: int) -> list[Figure]:
    """High ones while so many low ones wait, all the time: the part of those that each overtakes."""
    tell(f"{high} of high priority behind {low} of low priority")
    seeds, over = iter(range(10**6)), False
    waited: list[tuple[float, float]] = []
    async with pipeline() as client:

        async def one_after_the_other() -> None:
            while not over:
                waited.append(await solved(client, next(seeds), "many", "low"))

        behind = [asyncio.create_task(one_after_the_other()) for _ in range(low)]
        await asyncio.sleep(2.0)
        ahead = []
        for _ in range(high):
            ahead.append(asyncio.create_task(solved(client, next(seeds), "few", "high")))
            await asyncio.sleep(0.1)
        urgent = await asyncio.gather(*ahead)
        over = True
        await asyncio.gather(*behind)
    overtaken = [100 * (1 - sum(sent < end < answered for _, end in waited) / low) for sent, answered in urgent]
    longest = max(end - start for start, end in waited)
    mean = float(np.mean(overtaken))
    return [
        Figure("overtaken by a high one, the mean", mean, "%", "≥ 95 %", mean >= 95),
        Figure("overtaken by a high one, the least", min(overtaken), "%"),
        Figure("the longest wait of a low one", longest, "s"),
    ]


async def sent(client: Client, seed: int, tenant: str) -> tuple[float, asyncio.Future[Any]]:
    """A problem on its way: when it was sent, and its outcome to come."""
    name = uuid4().hex
    future = client.expect(name)
    await client.submit(cubic(seed), id=name, tenant=tenant, deadline=600)
    began = perf_counter()
    done = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda _: done.set_result(perf_counter()))
    return began, done


async def sharing(others: int, each: int) -> list[Figure]:
    """The waits of tenants who send little, beside one who sends nine tenths of all, and without it."""
    tell(f"{others} tenants, and one that sends nine tenths")
    p95: dict[bool, list[float]] = {}
    counts: list[float] = []
    before = 0
    seeds = iter(range(10_000, 10**6))
    async with pipeline() as client:
        for crowded in (False, True):
            flood = [await sent(client, next(seeds), "busy") for _ in range(9 * others * each if crowded else 0)]
            mine = [(k, await sent(client, next(seeds), f"t{k}")) for _ in range(each) for k in range(others)]
            waits: dict[int, list[float]] = {}
            first, found = mine[0][1][0], list[float]()
            for tenant, (began, done) in mine:
                found.append(await done)
                waits.setdefault(tenant, []).append(found[-1] - began)
            p95[crowded] = [percentiles(own)[1] for own in waits.values()]
            ends = [await done for _, done in flood]
            if crowded:
                counts = [*[float(each)] * others, float(sum(first <= end <= max(found) for end in ends))]
                before = sum(first <= end < min(found) for end in ends)
    worst = max(crowd / alone for crowd, alone in zip(p95[True], p95[False], strict=True))
    median = float(np.median(p95[True]) / np.median(p95[False]))
    bare = jain(counts)
    return [
        Figure("a small tenant's p95 wait to that alone, worst", worst, "times", "≤ 2", worst <= 2),
        Figure("the same, median", median, "times"),
        Figure("Jain's index of bare counts meanwhile", bare, "", "≥ 0.95", bare >= 0.95),
        Figure("the busy one's answers before the first to another", before, ""),
        Figure("the busy one's answers from there on", counts[-1] - before, ""),
    ]


async def sharing_on(others: int, each: int, seconds: float) -> list[Figure]:
    """The same while it goes on: everybody has problems waiting all the time, `each` of the others so many, and one
    nine times as many as all of them. Counted is from when all of the others have had an answer, and as many problems
    have been answered as are on their way at once: before that what the busy one sent first is still in front of them.

    Jain's index is over what each is served of its fair part (`benchmarks.fairness`), and what one of the others can
    ask for is what it gets without the busy one.
    """
    tell(f"{others} tenants with {each} problems each, and one with {9 * others * each}, for {seconds:g} s")
    seeds = iter(range(10**6, 10**8))
    small, p95, served = [f"t{k}" for k in range(others)], dict[bool, list[float]](), dict[bool, list[float]]()
    async with pipeline() as client:
        for crowded in (False, True):
            answers: list[tuple[str, float, float]] = []
            over = asyncio.Event()

            async def goes_on(tenant: str, answers: Any = answers, over: asyncio.Event = over) -> None:
                while not over.is_set():
                    answers.append((tenant, *await solved(client, next(seeds), tenant, "normal")))

            tenants = ["busy"] * (9 * others * each if crowded else 0) + small * each
            going = [asyncio.create_task(goes_on(tenant)) for tenant in tenants]
            await asyncio.sleep(WARM_SECONDS)
            async with asyncio.timeout(MOST_WARM_SECONDS):
                while len(answers) < len(tenants) or not set(small) <= {tenant for tenant, _, _ in answers}:
                    await asyncio.sleep(0.1)
            start = perf_counter()
            await asyncio.sleep(seconds)
            over.set()
            await asyncio.gather(*going)
            counted = [one for one in answers if start <= one[2] < start + seconds]
            count = Counter(tenant for tenant, _, _ in counted)
            served[crowded] = [float(count[tenant]) for tenant in ("busy", *small)]
            p95[crowded] = [percentiles([end - began for who, began, end in counted if who == one])[1] for one in small]
    worst = max(crowd / alone for crowd, alone in zip(p95[True], p95[False], strict=True))
    shared = index(served[True], [float("inf"), *served[False][1:]])
    return [
        Figure("all the time: p95 wait to that alone, worst", worst, "times", "≤ 2", worst <= 2),
        Figure("all the time: Jain's index, of fair parts", shared, "", "≥ 0.95", shared >= 0.95),
        Figure("all the time: Jain's index, of bare counts", jain(served[True]), ""),
        Figure("all the time: the busy one's part", 100 * served[True][0] / sum(served[True]), "%"),
    ]


# -- 4. a paid job outlives its worker ---------------------------------------------------------------------------------


async def collected() -> list[Figure]:
    """From the start of the next worker to the proposal."""
    tell("a paid job whose worker is killed")
    with tempfile.TemporaryDirectory(prefix="qmosaic-bench-") as folder, IonqServer() as vendor:
        os.environ.update(vendor.environment())
        settings = Settings(data_dir=folder, paid=PaidSettings((BACKEND,), LIMITS), topics=Topics(partitions=2))
        async with Supervisor(settings, ["control", "execute.paid"], logs=Path(folder) / "logs", tell=tell) as up:
            await up.all_ready()
            (paid,) = (child for child in up.children if child.stage == "execute.paid")
            vendor.endless, name = True, uuid4().hex
            async with reading(up.settings, "proposals") as proposed:
                await send(up.settings, event_of(name))
                while not vendor.jobs or vendor.jobs[0].asked < 2:
                    await asyncio.sleep(0.05)
                assert paid.process is not None
                os.kill(paid.process.pid, signal.SIGKILL)
                vendor.endless = False
                while paid.starts < 2:
                    await asyncio.sleep(0.01)
                began = perf_counter()
                found = await proposal(proposed, name)
                seconds = perf_counter() - began
                assert found.answer is not None
    return [Figure("collected by the next worker, from its start", seconds, "s", "≤ 5 s", seconds <= 5)]


if __name__ == "__main__":
    main()
