"""The stage of paid jobs alone, from its topic to its proposals: the worker is killed at every step, and the vendor has
the job once."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from qmosaic.backends.base import Job
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Submitted
from qmosaic.codecs.events.hops import JobEvent, PaidResult, Proposal
from qmosaic.codecs.events.ledger import JobEnded, LedgerEntry
from qmosaic.codecs.events.public import UsageInfo
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.processors.control.grants import reservation_of
from qmosaic.streams.hops.jobs import sizes_of
from qmosaic.streams.hops.paid import ExecutePaid
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import Received
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.settings import PaidSettings, Settings, load
from qmosaic.streams.topology import PAID, STAGES
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.hops.paying import LIMITS, NAME, event_of, proposal, reading, send
from tests.vendors.ionq import IonqServer
from tests.vendors.server import KEY, Point

pytestmark = pytest.mark.broker

MITIGATED = f"zne({NAME})"
UNPRICED = "aqt/default/simulator"
PRICE = '{"task": 1, "shot": 0.001}'
WORKER = "execute.paid-0"


CORRELATED = Job(
    Circuit(2, 0, (Operation("h", (0,)), Operation("cx", (0, 1))), (PauliSum(2, ("ZZ",), (1.0,)),)), 1000, 1
)


@pytest.fixture(scope="module")
def vendor() -> Iterator[IonqServer]:
    with IonqServer().at_hand(QMOSAIC_IONQ_PRICE=PRICE) as server:
        yield server


@pytest.fixture(scope="module")
def running(broker: str, vendor: IonqServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    directory = tmp_path_factory.mktemp("paid")
    settings = settings_for(
        broker,
        directory,
        spans_dir=str(directory / "spans"),
        paid=PaidSettings((NAME, MITIGATED, UNPRICED), LIMITS, max_cost_usd=10.0),
    )
    with pipeline(settings, [PAID, "control"]) as up:
        yield up


@pytest.fixture(autouse=True)
def undisturbed(vendor: IonqServer) -> Iterator[None]:
    vendor.jobs.clear()
    for event in vendor.reached.values():
        event.clear()
    yield
    vendor.held.clear()
    vendor.faults.clear()
    vendor.endless = vendor.drops = False


def in_state(state: str) -> Any:
    return lambda value: wire.decode(value, Submitted).state == state


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


def kill(running: Pipeline) -> None:
    running.signal(WORKER, signal.SIGKILL)


async def test_nobody_waits_any_more(running: Pipeline, vendor: IonqServer) -> None:
    vendor.endless, problem = True, uuid4().hex
    async with (
        reading(running.settings, "proposals") as proposed,
        reading(running.settings, "jobs.submitted") as written,
    ):
        await send(running.settings, event_of(problem, seconds=5))
        await written(in_state("running"))
        found = await proposal(proposed, problem)
    assert found.failure is not None
    assert found.failure.ended == "timed_out"
    assert found.failure.usage == UsageInfo(vendor_job_id=vendor.jobs[0].id)
    assert [job.state for job in vendor.jobs] == ["cancelled"]


STEPS = ("nothing", "before the intent", "intent", "sent", "accepted", "answered", "polling", "completed")
POINTS: dict[str, Point] = {
    "intent": "received",
    "sent": "received",
    "accepted": "accepted",
    "answered": "accepted",
    "polling": "polling",
}
"""Where the vendor waits until the worker is dead."""


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_every_step_it_is_sent_once(running: Pipeline, vendor: IonqServer, step: str) -> None:
    settings, problem = running.settings, uuid4().hex
    async with reading(settings, "proposals") as proposed, reading(settings, "jobs.submitted") as written:
        point = POINTS.get(step)
        vendor.held = {point} if point else set()
        if step == "before the intent":
            running.signal(WORKER, signal.SIGSTOP)
        await send(settings, event_of(problem))
        if step == "intent":
            await written(in_state("submitting"))
            vendor.drops = True  # what it may have sent is lost
        elif step == "completed":
            await written(in_state("completed"))
        elif step == "answered":
            await reached(vendor.reached["accepted"])
            running.signal(WORKER, signal.SIGSTOP)  # the answer comes, and nobody reads it
            vendor.held.clear()
            await asyncio.sleep(0.2)
        elif point:
            await reached(vendor.reached[point])
        if step != "nothing":
            kill(running)
        if step == "intent":
            await asyncio.sleep(0.5)
            vendor.held.clear()
            await asyncio.sleep(0.5)
            vendor.drops = False
        vendor.held.clear()
        found = await proposal(proposed, problem)
    assert found.answer is not None, found.failure
    assert found.answer.energy == -3
    assert len(vendor.jobs) == 1


async def test_killed_in_the_middle_of_a_wrappers_jobs_each_is_sent_once(running: Pipeline, vendor: IonqServer) -> None:
    problem, vendor.held = uuid4().hex, {"polling"}
    async with reading(running.settings, "proposals") as proposed:
        await send(running.settings, event_of(problem, backend=MITIGATED, job=CORRELATED))
        async with asyncio.timeout(30):
            while len(vendor.jobs) < 3:
                await asyncio.sleep(0.05)
        kill(running)
        vendor.held.clear()
        found = await proposal(proposed, problem)
    assert found.answer is not None, found.failure
    assert found.answer.values == pytest.approx([1.0])
    assert found.answer.usage is not None
    assert sorted(found.answer.usage.vendor_job_id.split()) == sorted(job.id for job in vendor.jobs)
    assert len({job.name for job in vendor.jobs}) == len(vendor.jobs) == 3


async def test_long_waits_do_not_hold_up_others(running: Pipeline, vendor: IonqServer) -> None:
    vendor.held = {"polling"}
    problems = [uuid4().hex for _ in range(12)]
    async with reading(running.settings, "proposals") as proposed:
        for problem in problems:
            await send(running.settings, event_of(problem))
        async with asyncio.timeout(30):
            while len(vendor.jobs) < 12:
                await asyncio.sleep(0.05)
        vendor.held.clear()
        found = [
            wire.decode(await proposed(lambda value: any(one.encode() in value for one in problems)), Proposal)
            for _ in problems
        ]
    assert {one.ref.problem_id for one in found} == set(problems)
    assert all(one.answer is not None for one in found)
    assert Counter(job.name for job in vendor.jobs).most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("backend", "shots", "told"),
    [
        (NAME, 9001, r"about \$10\.001, and at most \$10 "),
        (MITIGATED, 2500, r"about \$10\.5"),
        (UNPRICED, 1000, r"not known.*QMOSAIC_AQT_PRICE"),
    ],
)
async def test_what_costs_too_much_is_not_sent(
    running: Pipeline, vendor: IonqServer, backend: str, shots: int, told: str
) -> None:
    job = CORRELATED if backend == MITIGATED else None
    refused, taken = event_of(uuid4().hex, backend=backend, shots=shots, job=job), event_of(uuid4().hex, shots=9000)
    async with (
        reading(running.settings, "proposals") as proposed,
        reading(running.settings, "jobs.submitted") as written,
    ):
        await send(running.settings, refused)
        found = await proposal(proposed, refused.ref.problem_id)
        assert found.failure is not None
        assert (found.failure.reason, found.failure.ended, found.failure.usage) == ("over_budget", None, None)
        assert re.search(told, found.failure.message)
        assert vendor.jobs == []
        await send(running.settings, taken)
        found = await proposal(proposed, taken.ref.problem_id)
        first = wire.decode(await written(bool), Submitted)
    assert found.answer is not None, found.failure
    assert first.client_id == reservation_of(running.settings.namespace, taken)  # of the other nothing was written


async def test_a_job_that_was_sent_goes_on_under_a_lower_limit(running: Pipeline, vendor: IonqServer) -> None:
    event = event_of(uuid4().hex)
    event = msgspec.structs.replace(event, reservation=reservation_of(running.settings.namespace, event))
    await promise(running.settings, event)
    record = Received("", 0, 0, time.time(), wire.encode(event), {})
    lower = msgspec.structs.replace(running.settings, paid=PaidSettings((NAME,), LIMITS, max_cost_usd=0.5))
    vendor.held = {"polling"}
    for settings in (running.settings, lower):
        stage = ExecutePaid(settings, PAID)
        await stage.start()
        try:
            work = asyncio.create_task(stage.handle([record], 0))
            await reached(vendor.reached["polling"])
            if settings is running.settings:
                work.cancel()
                continue
            vendor.held.clear()
            result, ended, sent = await work
        finally:
            await stage.stop()
    assert isinstance(sent.event, Proposal)
    assert sent.event.answer is not None, sent.event.failure
    assert isinstance(result.event, PaidResult)
    assert isinstance(ended.event, JobEnded)
    assert (ended.event.ended, ended.event.reservation) == ("settled", event.reservation)
    assert len(vendor.jobs) == 1


async def promise(settings: Settings, event: JobEvent) -> None:
    """A line of the ledger that control never wrote, nor knows of."""
    entry = LedgerEntry(
        event="reserved",
        at=time.time(),
        reservation=event.reservation,
        problem_id=event.ref.problem_id,
        backend=event.route.backend,
        deadline_at=event.ref.deadline_at,
    )
    async with AIOKafkaProducer(**producing(settings)) as producer:
        await producer.send_and_wait(topic_name(settings, "ledger"), wire.encode(entry))


async def test_without_a_reservation_in_the_ledger_nothing_is_sent(running: Pipeline, vendor: IonqServer) -> None:
    settings = running.settings
    invented, another = event_of(uuid4().hex), event_of(uuid4().hex)
    invented = msgspec.structs.replace(invented, reservation="qm-invented")
    another = msgspec.structs.replace(another, reservation=reservation_of(settings.namespace, another))
    await promise(settings, msgspec.structs.replace(another, ref=event_of("somebody else's").ref))
    async with reading(settings, "proposals") as proposed:
        for event in (invented, another):
            await send(settings, event)
            found = await proposal(proposed, event.ref.problem_id)
            assert found.failure is not None
            assert "there is no reservation" in found.failure.message
    assert vendor.jobs == []


async def test_a_grant_that_was_aborted_is_not_carried_out(running: Pipeline, vendor: IonqServer) -> None:
    settings, event = running.settings, event_of(uuid4().hex)
    event = msgspec.structs.replace(event, reservation=reservation_of(settings.namespace, event))
    await promise(settings, event)
    async with AIOKafkaProducer(**producing(settings), transactional_id=uuid4().hex) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic_name(settings, "jobs.paid"), wire.encode(event))
        await producer.abort_transaction()
    after = event_of(uuid4().hex)
    async with reading(settings, "proposals") as proposed:
        await send(settings, after)
        found = await proposal(proposed, after.ref.problem_id)
    assert found.answer is not None, found.failure
    assert [job.name for job in vendor.jobs] == [reservation_of(settings.namespace, after)]


def test_the_key_is_in_no_log_span_or_setting(running: Pipeline) -> None:
    directory = Path(running.settings.data_dir)
    written = [path for path in directory.rglob("*") if path.is_file()]
    assert any("spans" in str(path) for path in written)
    assert not any(KEY.encode() in path.read_bytes() for path in written)
    settings = load({"QMOSAIC_IONQ_API_KEY": KEY, "QMOSAIC_AQT_URL": "x", "QMOSAIC_GOOGLE_PROJECT": "y"}, None)
    assert KEY not in repr(settings)


def test_paid_backends_run_in_their_stage_or_nowhere(vendor: IonqServer) -> None:
    assert "execute.paid" not in [child.stage for child in Supervisor(Settings(), list(STAGES)).children]
    with pytest.raises(BackendError, match=r"paid\.backends"):
        sizes_of([NAME])


@pytest.mark.parametrize("name", ["cirq.statevector", "zne(cirq.density)"])
async def test_only_backends_of_clouds_can_be_paid_for(vendor: IonqServer, name: str) -> None:
    with pytest.raises(BackendError, match=r"none that is paid for"):
        await ExecutePaid(Settings(paid=PaidSettings((name,), LIMITS)), PAID).start()
