"""Rounds on a broker: one outcome, no round twice, no job paid twice, whoever is killed between two of them."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from aiokafka import TopicPartition

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.hops import Interim
from qmosaic.codecs.events.ledger import MICROS, LedgerEntry
from qmosaic.codecs.events.public import Outcome, Round
from qmosaic.processors.control.policy import Rule
from qmosaic.streams.cli.render import read_spans
from qmosaic.streams.client import Client, read_outcomes
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.observe.folded import read_ledger
from qmosaic.streams.settings import ExecuteSettings, PaidSettings, ReduceSettings, RouteSettings, Settings
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.hops.paying import LIMITS
from tests.vendors.ionq import IonqServer

pytestmark = pytest.mark.broker

NAME = "ionq/simulator"
COST = 2 * MICROS + 24_000  # of 1,024 shots
RULE = Rule("devices", "quantum", backend=NAME, then=("exact",))
STAGES = ["encode", "reduce", "route", "control", "execute.classical", "execute.paid", "verify"]
VICTIMS = ("verify-0", "reduce-0", "execute.classical-0", "route-0", "execute.paid-0")


@pytest.fixture(scope="module")
def vendor() -> Iterator[IonqServer]:
    with IonqServer().at_hand(QMOSAIC_IONQ_PRICE='{"task": 1, "shot": 0.001}') as server:
        yield server


@pytest.fixture(scope="module")
def running(broker: str, vendor: IonqServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("rounds")
    settings = settings_for(
        broker,
        folder,
        spans_dir=str(folder / "spans"),
        paid=PaidSettings((NAME,), LIMITS),
        execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": ()}),
        route=RouteSettings(rules=(RULE,), preference={"classical": ("exact",)}, attempts=2),
        reduce=ReduceSettings(max_kernel_qubits=6, layers=1, max_seconds=1.0),
    )
    with pipeline(settings, STAGES) as up:
        yield up


def problem(seed: int) -> dict[str, Any]:
    graph: Any = nx.random_regular_graph(5, 40, seed=seed)
    return {"family": "maxcut", "problem": {"edges": [list(edge) for edge in graph.edges]}, "seed": seed}


def rounds_in(outcome: Outcome) -> list[Round]:
    assert isinstance(outcome.rounds, list)
    return outcome.rounds


@asynccontextmanager
async def log_of(settings: Settings, topic: str) -> AsyncIterator[Any]:
    """A reader of what is committed, from the beginning."""
    places = [TopicPartition(topic_name(settings, topic), k) for k in range(settings.topics.partitions)]
    async with reader(settings, places) as consumer:
        await consumer.seek_to_beginning(*places)
        yield consumer


async def all_of(settings: Settings, topic: str, kind: Any) -> list[Any]:
    async with log_of(settings, topic) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        return [wire.decode(record.value, kind) async for record in to_end(consumer, ends)]


async def test_rounds_end_in_one_outcome_that_tells_them(running: Pipeline) -> None:
    settings = running.settings
    async with Client(settings=settings) as client:
        outcome = await client.solve(problem(1), id="four", deadline=60, target="classical", rounds=4)
    rounds = rounds_in(outcome)
    assert [(one.number, one.backend) for one in rounds] == [(k, "exact") for k in (1, 2, 3, 4)]
    assert outcome.status == "accepted"
    assert outcome.objective == max(one.objective or 0 for one in rounds)
    assert outcome.attempts == len(outcome.tried or []) == 4
    said = [one for one in await all_of(settings, "audit", AuditEntry) if one.problem_id == "four"]
    assert [one.event for one in said] == ["round", "round", "round", "settled"]
    assert len({one.evidence.job for one in said if one.evidence is not None}) == 4
    await asyncio.sleep(1.0)  # the workers write their spans every 0.2 s
    of = f"0x{outcome.trace_id}"
    spans = [span for span in read_spans(Path(settings.spans_dir or "")) if span["context"]["trace_id"] == of]
    (whole,) = [span for span in spans if span["name"].startswith("solve ")]
    told = {span["name"].partition(":")[0]: span for span in spans if span["name"].startswith("round ")}
    assert told.keys() == {"round 1", "round 2", "round 3", "round 4"}
    assert all(span["parent_id"] == whole["context"]["span_id"] for span in told.values())
    within = [span["name"] for span in spans if span["parent_id"] == told["round 3"]["context"]["span_id"]]
    assert any("problems.encoded" in name for name in within)


async def test_a_problems_limit_is_for_all_its_rounds_and_the_backend_changes(
    running: Pipeline, vendor: IonqServer
) -> None:
    settings, before = running.settings, len(vendor.jobs)
    async with Client(settings=settings) as client:
        dollars = (2 * COST + COST // 2) / MICROS
        outcome = await client.solve(problem(2), id="paid", deadline=90, rounds=4, max_cost_usd=dollars)
    rounds = rounds_in(outcome)
    assert [one.backend for one in rounds] == [NAME, NAME, "exact", "exact"]
    assert len(vendor.jobs) - before == 2
    ended = [(one.backend, one.ended) for one in outcome.tried or []]
    assert ended == [(NAME, "answered")] * 2 + [(NAME, "over_budget"), ("exact", "answered")] * 2
    mine: list[LedgerEntry] = []
    for _ in range(100):  # the books may follow the outcome
        books, entries = await read_ledger(settings)
        mine = [one for one in entries if one.problem_id == "paid"]
        if len(mine) == 6:
            break
        await asyncio.sleep(0.1)
    assert Counter(one.event for one in mine) == {"reserved": 2, "settled": 2, "refused": 2}
    assert sum(one.amounts.micros or 0 for one in mine if one.event == "settled") == 2 * COST
    assert len({one.reservation for one in mine}) == 4
    assert not books.pending


async def test_whoever_is_killed_between_two_rounds_each_counts_once(running: Pipeline, vendor: IonqServer) -> None:
    settings, before = running.settings, len(vendor.jobs)
    names: dict[str, dict[str, Any]] = {
        f"killed-{k}": {"target": "classical", "rounds": 5} if k else {"rounds": 4} for k in range(4)
    }
    async with Client(settings=settings) as client, log_of(settings, "problems.interim") as consumer:
        work = [
            asyncio.create_task(client.solve(problem(10 + k), id=name, deadline=120, **options))
            for k, (name, options) in enumerate(names.items())
        ]
        victims, killed = list(VICTIMS) * 2, list[str]()
        while victims and not all(task.done() for task in work):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    if victims and wire.decode(record.value, Interim).ref.problem_id in names:
                        killed.append(victims.pop(0))
                        child = running.child(killed[-1])
                        if child.process is not None and child.process.returncode is None:
                            running.signal(killed[-1], signal.SIGKILL)
        outcomes = await asyncio.gather(*work)
    assert set(killed) == set(VICTIMS)
    for outcome, options in zip(outcomes, names.values(), strict=True):
        assert [one.number for one in rounds_in(outcome)] == list(range(1, options["rounds"] + 1)), killed
        assert outcome.status == "accepted"
    await asyncio.sleep(2)  # a second one would come now
    ends = Counter([one.problem_id async for one in read_outcomes(settings, since=None, follow=False)])
    assert {name: ends[name] for name in names} == dict.fromkeys(names, 1)
    began = Counter((one.ref.problem_id, one.ref.round) for one in await all_of(settings, "problems.interim", Interim))
    assert set(began.values()) == {1}
    audit = Counter((one.problem_id, one.event) for one in await all_of(settings, "audit", AuditEntry))
    assert all(audit[name, "round"] == options["rounds"] - 1 for name, options in names.items())
    answered = sum(one.backend == NAME and one.ended == "answered" for each in outcomes for one in each.tried or [])
    assert len(vendor.jobs) - before == answered
    assert not (await read_ledger(settings))[0].pending
