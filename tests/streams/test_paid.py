"""Paid jobs through the real pipeline: the worker is killed at every step, and the vendor has the job once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import networkx as nx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from qmosaic.backends.paid import Limits
from qmosaic.codecs import events
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events import Outcome, Proposal, Submitted, UsageInfo
from qmosaic.processors.route import DEFAULT_PREFERENCE
from qmosaic.streams.client import Client
from qmosaic.streams.names import topic_name
from qmosaic.streams.pool import warm_execute
from qmosaic.streams.render import read_spans
from qmosaic.streams.settings import PaidSettings, RouteSettings, Settings, load
from qmosaic.streams.supervisor import Supervisor
from qmosaic.streams.topology import STAGES
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.vendors.ionq import IonqServer
from tests.vendors.server import KEY, Point

pytestmark = pytest.mark.broker

NAME = "ionq/qpu.forte-1"
WORKER = "execute.paid-0"
LIMITS = Limits(
    lease_seconds=1.0,
    skew_seconds=0.25,
    request_seconds=3.0,
    poll_seconds=0.05,
    ask_seconds=0.05,
    grace_seconds=5.0,
)
PETERSEN: Any = {"edges": [list(edge) for edge in nx.petersen_graph().edges]}  # presolve decides nothing


@pytest.fixture(scope="module")
def vendor() -> Iterator[IonqServer]:
    with IonqServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("QMOSAIC_IONQ_URL", server.url)
        patch.setenv("QMOSAIC_IONQ_API_KEY", KEY)
        yield server


@pytest.fixture(scope="module")
def running(broker: str, vendor: IonqServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    directory = tmp_path_factory.mktemp("paid")
    settings = settings_for(
        broker,
        directory,
        spans_dir=str(directory / "spans"),
        paid=PaidSettings((NAME,), LIMITS),
        route=RouteSettings(preference=DEFAULT_PREFERENCE | {"quantum": (NAME,)}, stale_seconds=60.0),
    )
    with pipeline(settings, ["encode", "reduce", "route", "execute.paid", "verify"]) as up:
        yield up


@pytest.fixture(autouse=True)
def undisturbed(vendor: IonqServer) -> Iterator[None]:
    vendor.jobs.clear()
    for event in vendor.reached.values():
        event.clear()
    yield
    vendor.held.clear()
    vendor.faults.clear()
    vendor.endless = vendor.drops = vendor.fails = False


@asynccontextmanager
async def reading(settings: Settings, topic: str) -> AsyncIterator[Any]:
    """`await seen(test)` of a topic: the first record from now on that passes."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.broker, fetch_max_wait_ms=20)
    await consumer.start()
    consumer.assign([TopicPartition(topic_name(settings, topic), number) for number in range(2)])
    await consumer.seek_to_end()

    async def seen(test: Any) -> Any:
        async with asyncio.timeout(30):
            async for record in consumer:
                if test(record.value):
                    return record.value
        raise AssertionError("the topic has ended")

    try:
        yield seen
    finally:
        await consumer.stop()


def in_state(state: str) -> Any:
    return lambda value: events.decode(value, Submitted).state == state


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


def kill(running: Pipeline) -> None:
    running.signal(WORKER, signal.SIGKILL)


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
    async with (
        Client(settings=settings) as client,
        reading(settings, "jobs.paid") as arrived,
        reading(settings, "jobs.submitted") as written,
    ):
        point = POINTS.get(step)
        vendor.held = {point} if point else set()
        if step == "before the intent":
            running.signal(WORKER, signal.SIGSTOP)
        await client.submit({"family": "maxcut", "problem": PETERSEN}, id=problem, deadline=60, target="quantum")
        outcome = client.expect(problem)
        if step == "before the intent":
            await arrived(lambda value: orjson.loads(value)["ref"]["problem_id"] == problem)
        elif step == "intent":
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
        found = await asyncio.wait_for(outcome, 60)
    assert isinstance(found, Outcome)
    assert found.backend == NAME
    assert found.reason in ("equal", "worse_than_baseline", "improved")
    assert len(vendor.jobs) == 1


async def test_nobody_waits_any_more(running: Pipeline, vendor: IonqServer) -> None:
    vendor.endless = True
    async with Client(settings=running.settings) as client, reading(running.settings, "proposals") as proposed:
        found = await client.solve(
            {"family": "maxcut", "problem": PETERSEN}, deadline=12, target="quantum"
        )  # the worker may be starting anew
        assert isinstance(found, Outcome)
        assert found.status == "fallback"
        proposal = events.decode(await proposed(lambda value: b"timed_out" in value), Proposal)
    assert proposal.failure is not None
    assert proposal.failure.ended == "timed_out"
    assert proposal.failure.usage == UsageInfo(vendor_job_id=vendor.jobs[0].id)
    assert [job.state for job in vendor.jobs] == ["cancelled"]


async def test_the_outcome_the_audit_and_the_trace_tell_what_it_took(running: Pipeline, vendor: IonqServer) -> None:
    problem = {"family": "maxcut", "problem": PETERSEN}
    async with Client(settings=running.settings) as client, reading(running.settings, "audit") as audited:
        found = await client.solve(problem, deadline=60, target="quantum")
        assert isinstance(found, Outcome)
        (job,) = vendor.jobs
        usage = found.usage
        assert usage is not None
        assert (usage.cost_usd, usage.device_seconds, usage.vendor_job_id) == (12.5, 1.5, job.id)
        assert usage.queue_seconds > 0
        written = await audited(lambda value: orjson.loads(value)["problem_id"] == found.problem_id)
    assert orjson.loads(written)["detail"]["usage"] == msgspec.to_builtins(usage)
    spans = await written_spans(running, found.trace_id)
    assert spans == 2 * [[usage.cost_usd, usage.device_seconds, usage.queue_seconds, job.id]]  # process, and send


async def written_spans(running: Pipeline, trace: str) -> list[list[Any]]:
    """What the spans of the paid stage say of a trace, when they are there."""
    names = ("cost_usd", "device_seconds", "queue_seconds", "vendor_job_id")
    async with asyncio.timeout(30):
        while True:
            spans = [
                [span["attributes"][f"qmosaic.execute.{name}"] for name in names]
                for span in read_spans(Path(running.settings.spans_dir or ""))
                if span["context"]["trace_id"] == f"0x{trace}" and "qmosaic.execute.cost_usd" in span["attributes"]
            ]
            if len(spans) >= 2:
                return spans
            await asyncio.sleep(0.05)


async def test_a_job_that_failed_at_the_vendor_is_told_by_its_id(running: Pipeline, vendor: IonqServer) -> None:
    vendor.fails = True
    async with Client(settings=running.settings) as client:
        found = await client.solve({"family": "maxcut", "problem": PETERSEN}, deadline=60, target="quantum")
    assert isinstance(found, Outcome)
    assert (found.status, found.reason) == ("fallback", "execution_failed")
    assert found.usage == UsageInfo(vendor_job_id=vendor.jobs[0].id)


async def test_long_waits_do_not_hold_up_others(running: Pipeline, vendor: IonqServer) -> None:
    vendor.held = {"polling"}
    async with Client(settings=running.settings) as client:
        waiting = [
            asyncio.create_task(
                client.solve({"family": "maxcut", "problem": PETERSEN, "seed": seed}, deadline=60, target="quantum")
            )
            for seed in range(12)
        ]
        async with asyncio.timeout(30):
            while len(vendor.jobs) < 12:
                await asyncio.sleep(0.05)
        vendor.held.clear()
        found = await asyncio.gather(*waiting)
    assert {outcome.backend for outcome in found} == {NAME}
    assert Counter(job.name for job in vendor.jobs).most_common(1)[0][1] == 1


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
        warm_execute([NAME], "")
