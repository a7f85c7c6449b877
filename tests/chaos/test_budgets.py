"""Nothing is spent beyond a cap, nothing stays reserved, nobody is late, while everything that keeps the books dies.

On a real Kafka behind a proxy: problems of 50 tenants of 10 organisations against caps that cross and pay for 137 jobs.
The processes with control in them are killed with -9, the leader is frozen for 20 s and wakes as a zombie, the broker
is slow for a while (2 s of latency), killed and started again; in the end every record of control's inputs, and every
grant, is sent once more.

`QMOSAIC_BUDGET_PROBLEMS`: how many problems; 10,000 is `make soak-budgets`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Resolve, SetBudget
from qmosaic.codecs.events.ledger import MICROS, Budget, LedgerEntry
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.processors.control.books import Books, unbalanced
from qmosaic.processors.control.policy import Rule
from qmosaic.streams.cli.orders import give
from qmosaic.streams.client import read_outcomes
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.observe.folded import read_ledger
from qmosaic.streams.settings import ExecuteSettings, PaidSettings, RouteSettings, Settings, Topics
from tests.servers import KAFKA_LIBS, Proxy, RealKafka
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.hops.paying import LIMITS
from tests.vendors.ionq import IonqServer

pytestmark = [pytest.mark.chaos, pytest.mark.kafka]

PROBLEMS = int(os.environ.get("QMOSAIC_BUDGET_PROBLEMS", "2000"))
RATE = 50.0 if PROBLEMS <= 2000 else 80.0  # a second
DEADLINE, TOLERANCE = 240.0, 2.0
TENANTS, ORGANISATIONS = 50, 10
COST = MICROS  # of a job
JOBS = 137
CAPS = {
    "all": JOBS,
    "backend:ionq/simulator": 150,
    **{f"tenant:org{k}": 20 for k in range(ORGANISATIONS)},
    **{f"tenant:org{k % ORGANISATIONS}/team{k}": 5 for k in range(TENANTS)},
}
GRAPHS = [[list(edge) for edge in nx.random_regular_graph(3, 10, seed=k).edges] for k in range(8)]
STAGES = ["encode", "reduce", "route", "control", "execute.classical", "execute.paid", "verify"]
FROZEN_SECONDS, SLOW_SECONDS = 20.0, 5.0


@pytest.fixture
def slow_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealKafka, Proxy]]:
    """A Kafka behind a proxy."""
    if not KAFKA_LIBS.is_dir():
        pytest.skip("no Apache Kafka here: make kafka")
    server = RealKafka(tmp_path_factory.mktemp("kafka"))
    proxy = Proxy(server.port)
    server.advertised_port = proxy.port
    server.start()
    yield server, proxy
    proxy.stop()
    server.stop()


def problem(number: int) -> dict[str, Any]:
    tenant = number % TENANTS
    return {
        "id": f"budget-{number}",
        "family": "maxcut",
        "problem": {"edges": GRAPHS[number % len(GRAPHS)]},
        "tenant": f"org{tenant % ORGANISATIONS}/team{tenant}",
        "deadline": DEADLINE,
        "seed": number % len(GRAPHS),
    }


async def produce(settings: Settings) -> None:
    async with AIOKafkaProducer(**producing(settings) | {"request_timeout_ms": 60_000}) as producer:
        started, waiting = time.monotonic(), []
        for number in range(PROBLEMS):
            event = wire.dumps(problem(number))
            key = f"budget-{number}".encode()
            waiting.append(await producer.send(topic_name(settings, "problems"), event, key=key))
            await asyncio.sleep(max(0.0, started + (number + 1) / RATE - time.monotonic()))
        await asyncio.gather(*waiting)


async def torment(up: Pipeline, kafka: RealKafka, proxy: Proxy) -> None:
    """Both processes with control in turn, again and again; a frozen one; the broker."""
    hosts = [child.instance for child in up.supervisor.children if child.guest == "control"]
    for host in hosts * 2:  # at the beginning, when most is granted
        await asyncio.sleep(0.7)
        up.signal(host, signal.SIGKILL)
    await asyncio.sleep(3)
    up.signal(hosts[0], signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS / 2)
    up.signal(hosts[1], signal.SIGKILL)
    await asyncio.sleep(FROZEN_SECONDS / 2)
    up.signal(hosts[0], signal.SIGCONT)
    proxy.delay = 1.0  # in each direction
    await asyncio.sleep(SLOW_SECONDS)
    proxy.delay = 0.0
    await asyncio.to_thread(kafka.kill)
    await asyncio.to_thread(kafka.start)
    await asyncio.sleep(5)
    up.signal("execute.paid-0", signal.SIGKILL)


async def replay(settings: Settings) -> None:
    """Every record of control's inputs, and every grant, once more."""
    for topic, partitions in (("jobs.ended", 1), ("control.commands", 1), ("jobs.priced", 1), ("jobs.paid", 4)):
        name = topic_name(settings, topic)
        places = [TopicPartition(name, k) for k in range(partitions)]
        async with reader(settings, places) as consumer, AIOKafkaProducer(**producing(settings)) as producer:
            begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            for place in places:
                consumer.seek(place, begins[place])
            waiting = [
                await producer.send(name, record.value, key=record.key, headers=list(record.headers))
                async for record in to_end(consumer, ends)
            ]
            await asyncio.gather(*waiting)


async def quiet(settings: Settings, vendor: IonqServer) -> list[LedgerEntry]:
    """The ledger when nothing is reserved any more.

    Of what ended as unknown (its worker died, or gave up, while it asked) the vendor's own list says what became of it,
    as `qmosaic budget reconcile` does; that would settle all the others at this simulator's price, too.
    """
    until = time.monotonic() + 120
    while time.monotonic() < until:
        books, entries = await read_ledger(settings)
        if not books.pending:
            return entries
        known = {job.name for job in vendor.jobs}
        for name in books.pending:
            if (one := books.reservations[name]).state == "unknown":
                await give(settings, Resolve(name, one.amounts if name in known else None), "the vendor's list")
        await asyncio.sleep(1)
    raise AssertionError(f"still reserved: {books.pending}")


async def test_caps_hold_whatever_dies(slow_kafka: tuple[RealKafka, Proxy], tmp_path: Path) -> None:
    kafka, proxy = slow_kafka
    with IonqServer().at_hand(QMOSAIC_IONQ_PRICE='{"task": 1}') as vendor:
        vendor.most_a_page = 100  # as there are more than forty
        settings = settings_for(
            kafka.address,
            tmp_path,
            topics=Topics(partitions=4),
            paid=PaidSettings((vendor.backend,), LIMITS),
            execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": ()}),
            route=RouteSettings(
                rules=(Rule("devices", "quantum", backend=vendor.backend, then=("classical",)),),
                preference={"classical": ("exact",)},
                attempts=2,
            ),
        )
        with pipeline(settings, STAGES, scale={"route": 2, "verify": 2}) as up:
            for scope, count in CAPS.items():
                await give(settings, SetBudget(Budget(scope=scope, window="total", micros=count * COST)), "a test")
            await asyncio.gather(produce(settings), torment(up, kafka, proxy))
            found = await outcomes(settings)
            entries = await quiet(settings, vendor)
            jobs = [job.name for job in vendor.jobs]
            await replay(settings)
            await asyncio.sleep(10)
            again = await quiet(settings, vendor)
            found = await outcomes(settings)
    _check(found, entries, again, jobs, [job.name for job in vendor.jobs])


async def outcomes(settings: Settings) -> list[Outcome | Rejection]:
    """All of them, when there are as many as problems, or their deadlines are over."""
    until = time.monotonic() + DEADLINE + 20
    while True:
        found = [event async for event in read_outcomes(settings, since=None, follow=False)]
        if len(found) >= PROBLEMS or time.monotonic() > until:
            return found
        await asyncio.sleep(2)


def _check(
    found: list[Outcome | Rejection],
    entries: list[LedgerEntry],
    again: list[LedgerEntry],
    jobs: list[str],
    jobs_after: list[str],
) -> None:
    counts = Counter(event.problem_id for event in found)
    ends = [event for event in found if isinstance(event, Outcome)]
    late = {one.problem_id: one.timings.total for one in ends if one.timings.total > DEADLINE + TOLERANCE}
    books, overshoot = Books.start, 0
    for entry in again:
        books = Books().step(books, entry)
        assert unbalanced(books) == []
        overshoot = max([overshoot, *(-account.free for account in books.accounts.values())])
    granted = {entry.reservation for entry in again if entry.event == "reserved"}
    print(
        f"\n{len(ends)} outcomes {Counter((one.status, one.reason) for one in ends)}, slowest "
        f"{max(one.timings.total for one in ends):.1f} s; granted {len(granted)}, vendor jobs {len(jobs)}, overshoot "
        f"{overshoot}, reserved {len(books.pending)}, late {len(late)}; ledger {Counter(e.event for e in again)}"
    )
    assert set(counts) == {f"budget-{number}" for number in range(PROBLEMS)}
    assert {key: count for key, count in counts.items() if count > 1} == {}
    assert late == {}
    assert overshoot == 0
    assert len(granted) == JOBS
    assert sorted(jobs) == sorted(granted)
    assert jobs_after == jobs
    assert [entry for entry in again if entry.event != "refused"] == [e for e in entries if e.event != "refused"]
    assert not books.pending
