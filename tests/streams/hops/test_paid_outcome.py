"""A paid job through the whole pipeline: what it took is in the outcome, the audit and the trace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import networkx as nx
import orjson
import pytest

from qmosaic.codecs.events.public import Outcome, UsageInfo
from qmosaic.processors.control.policy import DEFAULT_PREFERENCE
from qmosaic.streams.cli.render import read_spans
from qmosaic.streams.client import Client
from qmosaic.streams.settings import PaidSettings, RouteSettings
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.hops.paying import LIMITS, reading
from tests.vendors.ionq import IonqServer

pytestmark = pytest.mark.broker

NAME = "ionq/qpu.forte-1"
PETERSEN: Any = {"edges": [list(edge) for edge in nx.petersen_graph().edges]}  # presolve decides nothing


@pytest.fixture
def vendor() -> Iterator[IonqServer]:
    with IonqServer().at_hand() as server:
        yield server


@pytest.fixture
def running(broker: str, vendor: IonqServer, tmp_path: Path) -> Iterator[Pipeline]:
    settings = settings_for(
        broker,
        tmp_path,
        spans_dir=str(tmp_path / "spans"),
        paid=PaidSettings((NAME,), LIMITS),
        route=RouteSettings(preference=DEFAULT_PREFERENCE | {"quantum": (NAME,)}, stale_seconds=60.0),
    )
    with pipeline(settings, ["encode", "reduce", "route", "control", "execute.paid", "verify"]) as up:
        yield up


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
    await failed_is_told_by_its_id(running, vendor)


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


async def failed_is_told_by_its_id(running: Pipeline, vendor: IonqServer) -> None:
    vendor.jobs.clear()
    vendor.fails = True
    async with Client(settings=running.settings) as client:
        found = await client.solve({"family": "maxcut", "problem": PETERSEN}, deadline=60, target="quantum")
    assert isinstance(found, Outcome)
    assert (found.status, found.reason) == ("fallback", "execution_failed")
    assert found.usage == UsageInfo(vendor_job_id=vendor.jobs[0].id)
