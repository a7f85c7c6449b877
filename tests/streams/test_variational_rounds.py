"""Variational rounds on a broker: H2 and LiH on simulated machines reach what the optimiser reaches in one process,
whoever is killed on the way."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from qmosaic.backends.registry import create
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.hops import Interim
from qmosaic.codecs.events.ledger import MICROS, LedgerEntry
from qmosaic.codecs.events.public import Outcome, Round
from qmosaic.processors.control.books import Ledger
from qmosaic.processors.control.policy import Rule
from qmosaic.processors.families.molecule.optimiser import POINTS, Optimiser
from qmosaic.processors.rounds import seed_of
from qmosaic.streams.client import Client, read_outcomes
from qmosaic.streams.observe.folded import read_ledger
from qmosaic.streams.settings import ExecuteSettings, PaidSettings, RouteSettings
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.hops.paying import LIMITS
from tests.streams.test_rounds import all_of, log_of, rounds_in
from tests.variational import MOLECULES, Loop, in_process, instance_of
from tests.vendors.ionq import IonqServer

pytestmark = pytest.mark.broker

DENSITY, NOISY = "cirq.density", "cirq.density/depolarizing=0.001,readout=0.005"
DEVICE = "cirq.device/willow_pink"
VENDOR = "ionq/simulator"
TENANTS = {"exact": DENSITY, "noisy": NOISY, "device": DEVICE}
"""Whose problems go where; those of "paid" to a vendor."""
RULES = tuple(
    Rule(tenant, "quantum", backend=name, tenants=(tenant,)) for tenant, name in {**TENANTS, "paid": VENDOR}.items()
)
VICTIMS = ("verify-0", "reduce-0", "execute.quantum-0", "route-0", "encode-0")
SINGLE = 2e-6
"""Backends work in single precision."""


@pytest.fixture(scope="module")
def vendor() -> Iterator[IonqServer]:
    with IonqServer().at_hand(QMOSAIC_IONQ_PRICE='{"task": 1, "shot": 0.001}') as server:
        yield server


@pytest.fixture(scope="module")
def running(broker: str, vendor: IonqServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    settings = settings_for(
        broker,
        tmp_path_factory.mktemp("variational"),
        execute=ExecuteSettings(backends={"classical": (), "gpu": (), "quantum": tuple(TENANTS.values())}),
        paid=PaidSettings((VENDOR,), LIMITS),
        route=RouteSettings(rules=RULES),
    )
    with pipeline(
        settings, ["encode", "reduce", "route", "control", "execute.quantum", "execute.paid", "verify"]
    ) as up:
        yield up


def beside(molecule: str, outcome: Outcome, backend: str, shots: int, turns: int) -> Loop:
    """The loop in this process, with the seeds of the rounds."""
    instance = instance_of(molecule)
    assert instance.digest == outcome.digest
    return in_process(instance, create(backend), shots, turns, lambda k: seed_of(outcome.digest, outcome.seed, k))


def assert_same(rounds: list[Round], loop: Loop) -> None:
    assert [one.proposed for one in rounds] == pytest.approx([turn.energy for turn in loop.turns], abs=SINGLE)
    assert [one.error for one in rounds] == pytest.approx([turn.error for turn in loop.turns], abs=SINGLE)


@pytest.mark.parametrize("molecule", ["H2", "LiH"])
@pytest.mark.parametrize(("tenant", "shots"), [("exact", 0), ("noisy", 16384), ("device", 16384)])
async def test_it_reaches_what_the_optimiser_reaches_in_one_process(
    running: Pipeline, molecule: str, tenant: str, shots: int
) -> None:
    event = {"family": "molecule", "problem": MOLECULES[molecule], "shots": shots, "seed": 5, "tenant": tenant}
    async with Client(settings=running.settings) as client:
        outcome = await client.solve(event, deadline=120, rounds="converged")
    rounds = rounds_in(outcome)
    assert {one.backend for one in rounds} == {TENANTS[tenant]}
    loop = beside(molecule, outcome, TENANTS[tenant], shots, 100)
    assert_same(rounds, loop)
    assert loop.end.has_converged
    assert len(rounds) >= 2
    if shots == 0:
        assert (outcome.status, outcome.reason) == ("accepted", "improved")
        assert outcome.details["above_exact_mha"] < 0.1
        assert outcome.details["exact_by"] == "verify"


async def entries_of(running: Pipeline, names: set[str], count: int) -> tuple[Ledger, list[LedgerEntry]]:
    """The books, when there are so many entries of some problems: they may follow the outcomes."""
    for _ in range(100):
        books, entries = await read_ledger(running.settings)
        mine = [one for one in entries if one.problem_id in names]
        if len(mine) >= count:
            break
        await asyncio.sleep(0.1)
    return books, mine


async def test_a_vendors_turns_have_a_reservation_each_until_the_money_is_spent(
    running: Pipeline, vendor: IonqServer
) -> None:
    event = {"family": "molecule", "problem": MOLECULES["H2"], "shots": 1024, "seed": 5, "tenant": "paid"}
    async with Client(settings=running.settings) as client:
        first = await client.solve(event, id="priced", deadline=120, rounds=2)
        jobs = len(vendor.jobs)
        books, mine = await entries_of(running, {"priced"}, 4)
        prices = [one.amounts.micros for one in mine if one.event == "settled"]
        assert prices == [2 * POINTS * MICROS + POINTS * 1024 * MICROS // 1000] * 2  # of two bases
        dollars = 2.5 * (prices[0] or 0) / MICROS
        last = await client.solve(event, id="spent", deadline=120, rounds=4, max_cost_usd=dollars)
    assert jobs == 2 * POINTS
    assert [one.backend for one in rounds_in(first)] == [VENDOR] * 2
    assert [one.reason for one in rounds_in(last)][2:] == ["over_budget"] * 2
    assert len(vendor.jobs) == 2 * jobs
    books, mine = await entries_of(running, {"priced", "spent"}, 10)
    assert Counter((one.problem_id, one.event) for one in mine) == {
        ("priced", "reserved"): 2,
        ("priced", "settled"): 2,
        ("spent", "reserved"): 2,
        ("spent", "settled"): 2,
        ("spent", "refused"): 2,
    }
    assert not books.pending


async def test_whoever_is_killed_between_two_turns_each_counts_once(running: Pipeline) -> None:
    settings, molecule, names = running.settings, "LiH, 3 orbitals", ["vqe-0", "vqe-1"]
    event = {"family": "molecule", "problem": MOLECULES[molecule], "shots": 0, "tenant": "exact"}
    victims, killed = list(VICTIMS), list[str]()
    async with Client(settings=settings) as client, log_of(settings, "problems.interim") as consumer:
        work = [
            asyncio.create_task(client.solve({**event, "seed": k}, id=name, deadline=300, rounds=10))
            for k, name in enumerate(names)
        ]
        while victims and not all(task.done() for task in work):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    if victims and wire.decode(record.value, Interim).ref.problem_id in names:
                        killed.append(victims.pop(0))
                        child = running.child(killed[-1])
                        if child.process is not None and child.process.returncode is None:
                            running.signal(killed[-1], signal.SIGKILL)
        outcomes = await asyncio.gather(*work)
    assert killed == list(VICTIMS)
    loop = beside(molecule, outcomes[0], DENSITY, 0, 10)
    for outcome in outcomes:
        assert_same(rounds_in(outcome), loop)  # a turn that counted twice would be another one
        assert outcome.objective == pytest.approx(min(turn.energy for turn in loop.turns), abs=SINGLE)
    began = [one for one in await all_of(settings, "problems.interim", Interim) if one.ref.problem_id in names]
    assert Counter((one.ref.problem_id, one.ref.round) for one in began) == Counter(
        (name, number) for name in names for number in range(2, 11)
    )
    assert all(Optimiser.of(one.state).turns == one.ref.round - 1 for one in began)
    audit = Counter((one.problem_id, one.event) for one in await all_of(settings, "audit", AuditEntry))
    assert all((audit[name, "round"], audit[name, "settled"]) == (9, 1) for name in names)
    ends = Counter([one.problem_id async for one in read_outcomes(settings, since=None, follow=False)])
    assert {name: ends[name] for name in names} == dict.fromkeys(names, 1)
