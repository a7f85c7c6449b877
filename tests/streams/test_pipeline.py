"""Through every hop, on a real broker: embedded, or Apache Kafka with QMOSAIC_TEST_BROKER=kafka."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import networkx as nx
import psutil
import pytest
from aiokafka import AIOKafkaProducer

import qmosaic
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.processors.families.base import Limits
from qmosaic.streams.client import Client, SyncClient, read_outcomes
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES
from tests.streams.harness import Pipeline, pipeline, settings_for

pytestmark = pytest.mark.broker

KARATE: Any = nx.karate_club_graph()
KARATE_EDGES = [list(edge) for edge in KARATE.edges]
TRIANGLE = {"edges": [[0, 1], [1, 2], [2, 0]]}  # presolve decides it all
PETERSEN: Any = {"edges": [list(edge) for edge in nx.petersen_graph().edges]}  # presolve decides nothing


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    directory = tmp_path_factory.mktemp("pipeline")
    settings = settings_for(
        broker, directory, spans_dir=str(directory / "spans"), limits=Limits(variables=500, event_bytes=100_000)
    )
    with pipeline(settings, list(STAGES)) as up:
        yield up


async def send_raw(settings: Settings, *values: bytes | None, headers: list[tuple[str, bytes]] | None = None) -> None:
    """What any Kafka client can put on the topic, without qmosaic's help."""
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        for value in values:
            key = b"key" if value is None else None  # aiokafka wants one of the two
            await producer.send_and_wait(topic_name(settings, "problems"), value, key=key, headers=headers)


async def all_terminal(settings: Settings) -> list[Outcome | Rejection]:
    return [event async for event in read_outcomes(settings, since=None, follow=False)]


async def until(settings: Settings, count: int, ids: set[str], seconds: float = 30.0) -> list[Outcome | Rejection]:
    """The terminal events of `ids`, once there are `count` of them."""
    give_up = time.monotonic() + seconds
    while True:
        found = [event for event in await all_terminal(settings) if event.problem_id in ids]
        if len(found) >= count or time.monotonic() > give_up:
            return found
        await asyncio.sleep(0.2)


def cut_of(solution: list[int], edges: Any = KARATE_EDGES) -> int:
    return sum(solution[u] != solution[v] for u, v in edges)


@pytest.mark.parametrize("target", ["classical", "gpu", "quantum"])
async def test_karate_club_is_cut_at_61_on_every_target(running: Pipeline, target: Any) -> None:
    async with Client(settings=running.settings) as client:
        outcome = await client.solve(
            qmosaic.MaxCut(edges=KARATE_EDGES), deadline=30, target=target, labels={"who": "Zachary"}
        )
    # Whatever the sampled kernel gave: what goes out is the optimum that the search found, or better.
    assert outcome.reason in ("equal", "worse_than_baseline")
    assert (outcome.objective, outcome.sense, outcome.feasible) == (61, "max", True)
    assert cut_of(outcome.solution) == 61
    assert outcome.target == target
    assert outcome.route_reason == "requested"
    assert outcome.baseline is not None
    assert outcome.baseline.objective is not None
    assert outcome.objective is not None
    assert outcome.improvement == outcome.objective - outcome.baseline.objective
    assert outcome.labels == {"who": "Zachary"}
    assert set(outcome.timings.hops) == {"encode", "reduce", "route", "execute", "verify"}
    if target != "classical":
        assert outcome.circuit is not None
        assert 0 < outcome.circuit.qubits <= 16
        assert outcome.circuit.shots == running.settings.defaults.shots


@pytest.mark.parametrize("name", ["maxcut", "portfolio", "route", "molecule", "circuit", "labs"])
def test_an_example_runs(running: Pipeline, name: str) -> None:
    """Each as a newcomer runs it, against a pipeline that is up."""
    settings = {"QMOSAIC_NAMESPACE": running.settings.namespace}
    script = Path(__file__).parents[2] / "examples" / f"{name}.py"
    run = subprocess.run(
        [sys.executable, str(script), running.settings.broker],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    assert "accepted" in run.stdout or "fallback" in run.stdout


async def test_a_large_problem_is_judged_beside_the_small_ones(running: Pipeline) -> None:
    steps = [(i, j, a, b) for i in range(12) for j in range(12) for a, b in ((0, 1), (1, 0))]
    torus = [(12 * i + j, 12 * ((i + a) % 12) + (j + b) % 12) for i, j, a, b in steps]
    async with Client(settings=running.settings) as client:
        large = asyncio.create_task(client.solve(qmosaic.MaxCut(edges=torus), deadline=30))
        small = await client.solve(qmosaic.MaxCut(edges=KARATE_EDGES), deadline=30)
        outcome = await large
    assert small.objective == 61
    assert (outcome.objective, outcome.feasible) == (288, True)  # an even torus is bipartite
    assert cut_of(outcome.solution, torus) == 288


def test_the_synchronous_client_solves_named_qubo_and_ising(running: Pipeline) -> None:
    with SyncClient(settings=running.settings) as client:
        qubo = client.solve(
            qmosaic.Qubo(terms=[["a", "a", -1], ["b", "b", -2], ["a", "b", 4]], offset=0.5, sense="min"), deadline=20
        )
        ising = client.solve(qmosaic.Ising(J=[(0, 1, -1), (1, 2, 1)], h=[0.5, 0, 0]), deadline=20)
    assert (qubo.objective, qubo.solution) == (-1.5, {"a": 0, "b": 1})
    assert (ising.objective, ising.solution) == (-2.5, [-1, -1, 1])


async def test_a_bare_json_line_without_key_or_headers_is_a_problem(running: Pipeline) -> None:
    label = uuid4().hex
    event = {"family": "maxcut", "problem": TRIANGLE, "deadline": 20, "labels": {"label": label}}
    async with Client(settings=running.settings) as client:
        await send_raw(running.settings, json.dumps(event).encode())
        async for outcome in client.outcomes():
            if outcome.labels.get("label") == label:
                break
    assert isinstance(outcome, Outcome)
    assert outcome.objective == 2
    assert outcome.problem_id.startswith(f"{topic_name(running.settings, 'problems')}-")


BAD: list[tuple[bytes | None, str]] = [
    (b"max-cut please", "not_json"),
    (b'{"family":"maxcut","problem":{"edges":[[0,1,NaN]]}}', "not_json"),
    (b"\xff\xfe{", "not_utf8"),
    (b"", "empty_value"),
    (None, "empty_value"),
    (b"[1,2]", "invalid_event"),
    (b'{"family":"sudoku","problem":{}}', "unknown_family"),
    (b'{"schema":"qmosaic.problem/9","family":"maxcut","problem":{}}', "unsupported_schema"),
    (b'{"family":"maxcut","problem":{"edges":[]}}', "empty_problem"),
    (b'{"family":"maxcut","problem":{"edges":[[0,0]]}}', "invalid_problem"),
    (b'{"family":"maxcut","problem":{"nodes":2,"edges":[[0,2]]}}', "invalid_problem"),
    (b'{"family":"maxcut","problem":{"nodes":501,"edges":[[0,2]]}}', "too_large"),
    (b'{"family":"maxcut","deadline":-1,"problem":{"edges":[[0,1]]}}', "deadline_past"),
    (b'{"family":"maxcut","problem":{"edges":[[0,1]]},"labels":{"x":"' + b"x" * 100_000 + b'"}}', "too_large"),
]


async def test_bad_input_is_rejected_with_its_bytes_and_the_pipeline_goes_on(running: Pipeline) -> None:
    from base64 import b64decode

    before = len(await all_terminal(running.settings))
    await send_raw(running.settings, *(value for value, _ in BAD))
    give_up = time.monotonic() + 20
    while len(found := (await all_terminal(running.settings))[:]) < before + len(BAD) and time.monotonic() < give_up:
        await asyncio.sleep(0.2)
    rejected = [event for event in found if isinstance(event, Rejection)]
    got = Counter((None if r.original is None else b64decode(r.original), r.code) for r in rejected)
    assert got == Counter(BAD)
    assert all(r.message and r.place and r.remedy for r in rejected)
    async with Client(settings=running.settings) as client:
        assert (await client.solve(qmosaic.MaxCut(edges=TRIANGLE["edges"]), deadline=20)).objective == 2
        with pytest.raises(qmosaic.ProblemError) as caught:
            await client.solve(qmosaic.MaxCut(edges=[(0, 1), (1, 1)]), deadline=20)
    assert (caught.value.code, caught.value.place) == ("invalid_problem", "$.problem.edges[1]")


async def test_the_same_id_yields_one_outcome_and_other_content_a_conflict(running: Pipeline) -> None:
    name = f"twice-{uuid4().hex[:6]}"
    async with Client(settings=running.settings) as client:
        first = client.expect(name)
        for edges in (TRIANGLE["edges"], [[2, 1], [0, 2], [1, 0]]):  # equal problems
            await client.submit(qmosaic.MaxCut(edges=edges), id=name, deadline=20)
        outcome = await asyncio.wait_for(first, 30)
        assert isinstance(outcome, Outcome)
        await client.submit(qmosaic.MaxCut(edges=TRIANGLE["edges"]), id=name, deadline=20)
        await client.submit(qmosaic.MaxCut(edges=[[0, 1]]), id=name, deadline=20)
    found = await until(running.settings, 2, {name})
    await asyncio.sleep(0.5)
    found = await until(running.settings, 2, {name})
    assert sorted(event.status for event in found) == ["accepted", "rejected"]
    assert [event.code for event in found if isinstance(event, Rejection)] == ["id_conflict"]


async def test_a_killed_verifier_finds_what_is_open_and_what_is_settled_again(running: Pipeline) -> None:
    name = f"again-{uuid4().hex[:6]}"
    async with Client(settings=running.settings) as client:
        await client.solve(qmosaic.MaxCut(edges=TRIANGLE["edges"]), id=name, deadline=20)
        running.signal("verify-0", signal.SIGKILL)
        await client.submit(qmosaic.MaxCut(edges=TRIANGLE["edges"]), id=name, deadline=20)
        other = await client.solve(qmosaic.MaxCut(edges=TRIANGLE["edges"]), deadline=30)
    assert other.objective == 2
    assert len(await until(running.settings, 1, {name})) == 1


async def test_every_hop_is_in_one_trace_whose_root_is_the_producer(running: Pipeline) -> None:

    from qmosaic.streams.cli.render import read_spans

    foreign = "0af7651916cd43dd8448eb211c80319c"
    event = {
        "family": "maxcut",
        "problem": PETERSEN,
        "deadline": 20,
        "id": f"traced-{uuid4().hex[:6]}",
        "target": "quantum",
    }
    header = f"00-{foreign}-b7ad6b7169203331-01".encode()
    await send_raw(running.settings, json.dumps(event).encode(), headers=[("traceparent", header)])
    (outcome,) = await until(running.settings, 1, {event["id"]})
    assert outcome.trace_id == foreign
    await asyncio.sleep(1.0)
    assert running.settings.spans_dir is not None
    spans = [s for s in read_spans(Path(running.settings.spans_dir)) if s["context"]["trace_id"] == f"0x{foreign}"]
    known = {span["context"]["span_id"] for span in spans}
    assert {span["parent_id"] for span in spans} - known == {"0xb7ad6b7169203331"}
    ns = running.settings.namespace
    hops = ["problems", "problems.encoded", "problems.reduced", "jobs.quantum", "proposals", "incumbents"]
    assert {f"process {ns}.{hop}" for hop in hops} | {f"send {ns}.outcomes.accepted"} <= {s["name"] for s in spans}


async def test_without_execute_workers_the_incumbent_goes_out(broker: str, tmp_path_factory: Any) -> None:
    settings = settings_for(broker, tmp_path_factory.mktemp("no-execute"))
    with pipeline(settings, ["encode", "reduce", "route", "verify"]):
        async with Client(settings=settings) as client:
            outcome = await client.solve(qmosaic.MaxCut(edges=KARATE_EDGES), deadline=10)
    assert (outcome.status, outcome.reason) == ("fallback", "no_backend")
    assert outcome.objective == cut_of(outcome.solution) == 61
    assert outcome.timings.total < 10


async def test_without_reduce_workers_the_quick_answer_goes_out_by_the_deadline(
    broker: str, tmp_path_factory: Any
) -> None:
    settings = settings_for(broker, tmp_path_factory.mktemp("no-reduce"))
    with pipeline(settings, ["encode", "verify"]):
        async with Client(settings=settings) as client:
            outcome = await client.solve(qmosaic.MaxCut(edges=KARATE_EDGES), deadline=2)
    assert (outcome.status, outcome.reason) == ("fallback", "no_incumbent")
    assert outcome.baseline is not None
    assert outcome.baseline.solver == "quick"
    assert outcome.objective == cut_of(outcome.solution) > 0
    assert outcome.timings.total <= 2


def told(lines: IO[Any]) -> list[dict[str, Any]]:
    """What `up --json` says until it is ready."""
    found: list[dict[str, Any]] = []
    while not found or "broker" not in found[-1]:
        found.append(json.loads(lines.readline()))
    return found


def test_a_worker_does_not_outlive_its_supervisor(tmp_path_factory: Any) -> None:
    import subprocess
    import sys

    directory = tmp_path_factory.mktemp("orphans")
    command = [sys.executable, "-m", "qmosaic.streams.cli.main", "up", "--stages", "encode,verify", "--json"]
    environment = {**os.environ, "QMOSAIC_DATA_DIR": str(directory)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as up:
        assert up.stdout is not None
        *starting, ready = told(up.stdout)
        assert ready["stages"] == ["encode", "verify"]
        assert [how_far["starting"]["of"] for how_far in starting] == [2] * len(starting)
        children = [process.pid for process in psutil.Process(up.pid).children(recursive=True)]
        assert len(children) == 4  # the broker, the zygote and two workers
        up.kill()
    give_up = time.monotonic() + 20
    while any(alive(pid) for pid in children) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not [pid for pid in children if alive(pid)]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
