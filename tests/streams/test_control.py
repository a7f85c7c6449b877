"""The control plane on a broker: budgets hold whatever is killed, orders are followed without a restart or refused."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from aiokafka import TopicPartition
from typer.testing import CliRunner

from qmosaic.codecs.errors import BrokerError, RefusedError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry, RollBack, SetBackend, SetBudget, SetPolicy
from qmosaic.codecs.events.ledger import MICROS, Budget
from qmosaic.codecs.events.public import Outcome
from qmosaic.processors.control.books import Books, unbalanced
from qmosaic.processors.control.breakers import IN_A_ROW
from qmosaic.processors.control.policy import Rule
from qmosaic.processors.control.rates import Rate
from qmosaic.streams.cli.app import app
from qmosaic.streams.cli.facts import facts_now
from qmosaic.streams.cli.orders import give
from qmosaic.streams.cli.status import lines
from qmosaic.streams.client import Client
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.observe.folded import read_ledger, read_ordered
from qmosaic.streams.observe.story import explained
from qmosaic.streams.observe.watching import Watching
from qmosaic.streams.settings import ExecuteSettings, PaidSettings, RouteSettings, Settings
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.hops.paying import LIMITS
from tests.vendors.aqt import AqtServer
from tests.vendors.cable import Cable
from tests.vendors.ionq import IonqServer
from tests.vendors.server import Fault

pytestmark = pytest.mark.broker

NAME = "ionq/simulator"
PRICE = '{"task": 1, "shot": 0.001}'
COST = 2 * MICROS + 24_000  # of the 1,024 shots that are usual
RULE = Rule("devices", "quantum", backend=NAME, then=("exact",))
STAGES = ["encode", "reduce", "route", "control", "execute.classical", "execute.paid", "verify"]


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "ionq"


@pytest.fixture(scope="module")
def vendor(key_file: Path) -> Iterator[IonqServer]:
    with (
        IonqServer().at_hand(QMOSAIC_IONQ_PRICE=PRICE, QMOSAIC_IONQ_API_KEY_FILE=str(key_file)) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        key_file.write_text(server.environment()["QMOSAIC_IONQ_API_KEY"])
        patch.delenv("QMOSAIC_IONQ_API_KEY")
        yield server


@pytest.fixture(scope="module")
def running(broker: str, vendor: IonqServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    settings = settings_for(
        broker,
        tmp_path_factory.mktemp("control"),
        paid=PaidSettings((NAME,), LIMITS),
        execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": ()}),
        route=RouteSettings(rules=(RULE,), preference={"classical": ("exact",)}, attempts=2),
    )
    with pipeline(settings, STAGES) as up:
        yield up


def problem(seed: int) -> dict[str, Any]:
    graph: Any = nx.random_regular_graph(3, 10, seed=seed)
    return {"family": "maxcut", "problem": {"edges": [list(edge) for edge in graph.edges]}, "seed": seed}


async def solved(settings: Settings, count: int, deadline: float = 60, **options: Any) -> list[Outcome]:
    async with Client(settings=settings) as client:
        work = (client.solve(problem(k), deadline=deadline, **options) for k in range(count))
        return list(await asyncio.gather(*work))


async def set_budget(settings: Settings, scope: str, **caps: Any) -> None:
    await give(settings, SetBudget(Budget(scope=scope, window="total", **caps)), "a test")


def ran(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.backend, one.ended) for one in outcome.tried or []]


async def settled_ledger(settings: Settings) -> Any:
    """The ledger, when nothing is reserved in it any more."""
    for _ in range(200):
        books, entries = await read_ledger(settings)
        if not books.pending:
            return books, entries
        await asyncio.sleep(0.1)
    raise AssertionError(f"still reserved: {books.pending}")


async def test_a_cap_pays_for_so_many_jobs_and_the_others_go_on_at_once(running: Pipeline, vendor: IonqServer) -> None:
    settings = running.settings
    await set_budget(settings, "tenant:acme", micros=5 * COST + 1)
    before = len(vendor.jobs)
    outcomes = await solved(settings, 12, tenant="acme/chem/ada")
    assert {outcome.status for outcome in outcomes} == {"accepted"}
    ways = Counter(tuple(ran(outcome)) for outcome in outcomes)
    assert ways == {((NAME, "answered"),): 5, ((NAME, "over_budget"), ("exact", "answered")): 7}
    (said,) = {one.message for outcome in outcomes for one in outcome.tried or [] if one.ended == "over_budget"}
    assert said == f"tenant:acme total has $0.000001 of $10.120001 left, and a job on {NAME} takes $2.024"
    assert len(vendor.jobs) - before == 5
    books, entries = await settled_ledger(settings)
    (account,) = (one for which, one in books.accounts.items() if which.budget == "tenant:acme total")
    assert account == (5 * COST + 1, 1, 0, 5 * COST)
    assert Counter(entry.event for entry in entries if entry.tenant == "acme/chem/ada") == {
        "reserved": 5,
        "settled": 5,
        "refused": 7,
    }


async def test_a_problems_own_limit(running: Pipeline, vendor: IonqServer) -> None:
    (dear,) = await solved(running.settings, 1, max_cost_usd=2.0)
    assert ran(dear) == [(NAME, "over_budget"), ("exact", "answered")]
    (fair,) = await solved(running.settings, 1, max_cost_usd=2.03)
    assert ran(fair) == [(NAME, "answered")]


async def test_control_is_killed_again_and_again_and_nothing_leaks(running: Pipeline, vendor: IonqServer) -> None:
    settings = running.settings
    await set_budget(settings, "tenant:busy", micros=20 * COST)
    before = len(vendor.jobs)

    async def torment() -> None:
        for _ in range(3):
            await asyncio.sleep(1.0)
            running.signal("route-0", signal.SIGKILL)  # control lives in it

    outcomes, _ = await asyncio.gather(solved(settings, 60, tenant="busy"), torment())
    assert {outcome.status for outcome in outcomes} == {"accepted"}
    books, entries = await settled_ledger(settings)
    (account,) = (one for which, one in books.accounts.items() if which.budget == "tenant:busy total")
    assert account.spent <= account.cap
    assert account.spent == COST * (len(vendor.jobs) - before)
    granted = {entry.reservation for entry in entries if entry.event == "reserved" and entry.tenant == "busy"}
    assert {job.name for job in vendor.jobs[before:]} == granted
    state = Books.start
    for entry in entries:
        state = Books().step(state, entry)
        assert unbalanced(state) == []


POLICY = """
attempts = 1
[[rules]]
name = "all classical"
target = "classical"
"""


async def test_a_policy_is_set_followed_and_rolled_back_without_a_restart(running: Pipeline) -> None:
    settings = running.settings
    (before,) = await solved(settings, 1)
    await give(settings, SetPolicy(POLICY), "no devices today")
    (after,) = await solved(settings, 1)
    assert (before.backend, after.backend) == (NAME, "exact")
    ordered = await read_ordered(settings)
    assert ordered.policy is not None
    assert (ordered.policy.number, ordered.policy.version) == (1, after.policy)
    assert after.policy != before.policy
    second = POLICY.replace("all classical", "another name")
    await give(settings, SetPolicy(second, base=1), "a better name")
    with pytest.raises(RefusedError, match="made from policy 1, and 2 is in force"):
        await give(settings, SetPolicy(POLICY, base=1), "somebody was faster")
    await give(settings, RollBack(1), "the old name was better")
    (again,) = await solved(settings, 1)
    assert again.policy == after.policy
    ordered = await read_ordered(settings)
    assert sorted(ordered.policies) == [1, 2, 3]
    running.signal("route-0", signal.SIGKILL)
    (later,) = await solved(settings, 1)
    assert later.policy == after.policy


WEIGHTS = """
[[rules]]
name = "all classical"
target = "classical"
[tenants.gold]
weight = 9.0
"""
BURST, FIRST = 50, 40


async def golden_share(running: Pipeline) -> float:
    """How many of the first that execute answers of a burst are gold's, where as many come of another tenant."""
    settings, names = running.settings, dict[str, str]()
    running.signal("execute.classical-0", signal.SIGSTOP)
    try:
        async with Client(settings=settings) as client:
            for k in range(BURST):
                for tenant in ("gold/ada", "plain"):
                    name = await client.submit(problem(100 + k), tenant=tenant, deadline=120)
                    names[name] = tenant
        for _ in range(600):
            if len(await asked(settings, "jobs.classical", names)) == len(names):
                break
            await asyncio.sleep(0.05)
    finally:
        running.signal("execute.classical-0", signal.SIGCONT)
    for _ in range(600):
        answered = await asked(settings, "proposals", names)
        if len(answered) == len(names):
            break
        await asyncio.sleep(0.05)
    return sum(names[name] == "gold/ada" for name in answered[:FIRST]) / FIRST


async def asked(settings: Settings, topic: str, names: dict[str, str]) -> list[str]:
    """These problems, in the order of their records on a topic."""
    places, found = [TopicPartition(topic_name(settings, topic), k) for k in range(2)], dict[str, int]()
    async with reader(settings, places) as consumer:
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, begins[place])
        async for record in to_end(consumer, ends):
            event = wire.decode(record.value or b"", dict[str, Any])
            name = event["ref"]["problem_id"]
            if name in names:
                found.setdefault(name, record.timestamp)
    return sorted(found, key=lambda name: found[name])


async def test_shares_of_tenants_follow_a_policy_without_a_restart(running: Pipeline) -> None:
    settings = running.settings
    await give(settings, SetPolicy(POLICY), "as much for everybody")
    assert await golden_share(running) <= 0.7
    await give(settings, SetPolicy(WEIGHTS), "gold pays for more")
    for _ in range(10):
        share = await golden_share(running)
        if share >= 0.8:
            break
    assert share >= 0.8
    await give(settings, SetPolicy(POLICY), "no more")
    for _ in range(10):
        share = await golden_share(running)
        if share <= 0.7:
            break
    assert share <= 0.7


async def test_a_backend_is_drained_maintained_and_enabled(running: Pipeline) -> None:
    settings = running.settings
    text = f'attempts = 1\n[[rules]]\nname = "devices"\ntarget = "quantum"\nbackend = "{NAME}"\n'
    await give(settings, SetPolicy(text), "devices again")
    assert [one.backend for one in await solved(settings, 1)] == [NAME]
    now = time.time()
    for order, backend in (
        (SetBackend(NAME, "draining"), "exact"),
        (SetBackend(NAME, "enabled"), NAME),
        (SetBackend(NAME, "maintenance", now - 1, now + 600), "exact"),
        (SetBackend(NAME, "maintenance", now + 600, now + 900), NAME),
    ):
        await give(settings, order, "a test")
        (outcome,) = await solved(settings, 1)
        assert outcome.backend == backend, order


async def test_a_result_that_was_had_before_is_replayed_where_that_is_wanted(running: Pipeline) -> None:
    settings = running.settings
    async with Client(settings=settings) as client:

        async def ask(cache: Any, seed: int) -> Outcome:
            return await client.solve(
                problem(21) | {"seed": seed}, target="classical", shots=77, cache=cache, deadline=60
            )

        missing = await ask("only", 1)
        assert (missing.status, missing.reason) == ("fallback", "not_cached")
        first, again, only = await ask("replay", 2), await ask("replay", 3), await ask("only", 4)
        assert [[one.cached for one in outcome.tried or []] for outcome in (first, again, only)] == [
            [False],
            [True],
            [True],
        ]
        assert {outcome.status for outcome in (first, again, only)} == {"accepted"}
        assert [one.cached for one in (await ask("fresh", 5)).tried or []] == [False]
        entries = await settled_audits(settings, {one.problem_id for one in (first, again)})
    assert entries[first.problem_id].evidence is not None
    assert entries[again.problem_id].evidence is None


async def test_what_was_paid_for_is_replayed_for_nothing_also_after_a_crash(
    running: Pipeline, vendor: IonqServer
) -> None:
    settings, before = running.settings, len(vendor.jobs)
    text = f'attempts = 1\n[[rules]]\nname = "devices"\ntarget = "quantum"\nbackend = "{NAME}"\n'
    await give(settings, SetPolicy(text), "to be replayed")
    async with Client(settings=settings) as client:

        async def ask(cache: Any, seed: int) -> Outcome:
            return await client.solve(problem(22) | {"seed": 9}, shots=78, cache=cache, deadline=60, tenant=f"r{seed}")

        vendor.held = {"polling"}
        waiting = [asyncio.create_task(ask("replay", k)) for k in range(3)]
        while len(vendor.jobs) == before:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        vendor.held = set()
        outcomes = await asyncio.gather(*waiting)
        assert {outcome.status for outcome in outcomes} == {"accepted"}
        assert len(vendor.jobs) == before + 1  # equal ones that ask at once run once
        assert sorted(one.cached for outcome in outcomes for one in outcome.tried or []) == [False, True, True]
        running.signal("execute.paid-0", signal.SIGKILL)
        later = await ask("only", 4)
        assert ([one.cached for one in later.tried or []], later.usage) == ([True], None)
    assert len(vendor.jobs) == before + 1
    _, entries = await settled_ledger(settings)
    ends = Counter(entry.event for entry in entries if entry.tenant in ("r0", "r1", "r2", "r4"))
    assert ends["settled"] == 1
    assert ends["reserved"] == ends["settled"] + ends["released"]


async def settled_audits(settings: Settings, names: set[str]) -> dict[str, AuditEntry]:
    """The audit's entries of problems that were settled, when they are there: partitions end transactions by and by."""
    places = [TopicPartition(topic_name(settings, "audit"), k) for k in range(2)]
    found: dict[str, AuditEntry] = {}
    for _ in range(50):
        async with reader(settings, places) as consumer:
            begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            for place in places:
                consumer.seek(place, begins[place])
            async for record in to_end(consumer, ends):
                entry = wire.decode(record.value or b"", AuditEntry)
                if entry.event == "settled" and entry.problem_id in names:
                    found[entry.problem_id] = entry
        if set(found) == names:
            break
        await asyncio.sleep(0.1)
    return found


WRONG: list[tuple[Any, str, str]] = [
    (SetPolicy("[tenants.a]\nweight = 1.0\n[tenants.b]\nweight = 0.0\n"), "reason", r"> 0.0.*policy:4"),
    (SetPolicy("attempt = 2\n"), "reason", r"attempt.*policy:1"),
    (SetPolicy('[[rules]]\nname = "a"\ntarget = "quantum"\nbackend = "ionk"\n'), "reason", r"no backend.*policy:4"),
    (
        SetPolicy('[[rules]]\nname = "all"\ntarget = "gpu"\n[[rules]]\nname = "b"\ntarget = "gpu"\nmax_qubits = 5\n'),
        "reason",
        r"'b' can never match.*'all'.*policy:5",
    ),
    (RollBack(77), "reason", r"there is no policy 77"),
    (SetBackend("nobody", "draining"), "reason", r"no backend is called 'nobody'"),
    (SetBackend(NAME, "maintenance", 5.0, 6.0), "reason", r"over before it begins"),
    (SetBudget(Budget(scope="tenants:a", window="day", shots=1)), "reason", r"no budget is for 'tenants:a'"),
    (SetBudget(Budget(scope="backend:ionk/x", window="day", shots=1)), "reason", r"no backend is called 'ionk/x'"),
    (SetBudget(Budget(scope="tenant:full", window="total", micros=4)), "reason", r"less than the \$2\.024"),
    (SetBudget(Budget(scope="tenant:nobody", window="day")), "reason", r"there is no budget 'tenant:nobody day'"),
    (SetBackend(NAME, "draining"), "  ", r"needs its why"),
]


@pytest.fixture(scope="module")
def full(running: Pipeline) -> None:
    """A budget of which something is spent."""
    asyncio.run(set_budget(running.settings, "tenant:full", micros=3 * COST))
    asyncio.run(solved(running.settings, 1, tenant="full"))


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(("order", "why", "said"), WRONG)
async def test_what_is_wrong_is_refused_and_everything_stays(
    running: Pipeline, order: Any, why: str, said: str
) -> None:
    settings = running.settings
    before, books = await read_ordered(settings), (await read_ledger(settings))[0]
    with pytest.raises(RefusedError, match=said):
        await give(settings, order, why)
    after = await read_ordered(settings)
    assert (after.policies, after.backends) == (before.policies, before.backends)
    assert (await read_ledger(settings))[0].budgets == books.budgets


async def test_without_control_paid_backends_are_not_asked(broker: str, vendor: IonqServer, tmp_path: Path) -> None:
    settings = settings_for(
        broker,
        tmp_path,
        paid=PaidSettings((NAME,), LIMITS),
        execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": ()}),
        route=RouteSettings(rules=(RULE,), preference={"classical": ("exact",)}, attempts=2),
    )
    before = len(vendor.jobs)
    with pipeline(settings, [stage for stage in STAGES if stage != "control"]):
        (outcome,) = await solved(settings, 1)
        assert (outcome.backend, outcome.route_reason) == ("exact", "rule_unavailable")
        with pytest.raises(BrokerError, match="control does not answer"):
            await give(settings, SetBackend(NAME, "draining"), "a test")
    assert len(vendor.jobs) == before


@pytest.fixture
def at_home(running: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The environment of the command line."""
    monkeypatch.setenv("QMOSAIC_BROKER", running.settings.broker)
    monkeypatch.setenv("QMOSAIC_NAMESPACE", running.settings.namespace)
    monkeypatch.setenv("QMOSAIC_TOPICS__PARTITIONS", "2")
    monkeypatch.setenv("QMOSAIC_PAID__BACKENDS", f'["{NAME}"]')
    monkeypatch.setenv("COLUMNS", "200")
    return running.settings


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_a_plan_says_what_each_takes_and_what_would_change_it(at_home: Settings, tmp_path: Path) -> None:
    text = f'attempts = 2\n[[rules]]\nname = "devices"\ntarget = "quantum"\nbackend = "{NAME}"\nmin_seconds_left = 9\n'
    text += 'then = ["exact"]\n[[rules]]\nname = "rest"\ntarget = "classical"\n'
    asyncio.run(give(at_home, SetPolicy(text), "for a plan"))
    asyncio.run(set_budget(at_home, "tenant:poor", micros=1_000_000))
    file = tmp_path / "problem.json"
    file.write_text(json.dumps(problem(3)))
    said = json.loads(call("plan", str(file), "--json").stdout)
    first, second = said["backends"]
    assert (said["reason"], said["rule"], said["kernel"]["kind"]) == ("rule", "devices", "spins")
    assert (first["backend"], first["candidate"], first["cost_usd"]) == (NAME, 1, 2.024)
    assert (second["backend"], second["candidate"], second["cost_usd"]) == ("exact", 2, 0.0)
    assert any("exact (rest)" in line for line in said["otherwise"])
    poor = json.loads(call("plan", str(file), "--json", "--tenant", "poor/lab").stdout)
    assert poor["backends"][0]["reason"] == "over_budget"
    assert "tenant:poor total has $1.00 of $1.00 left" in poor["backends"][0]["means"]
    asyncio.run(give(at_home, SetBackend(NAME, "draining"), "for a plan"))
    drained = call("plan", str(file)).stdout
    assert "draining: an operator ordered that it gets no more jobs (it takes: `qmosaic backends enable`)" in drained
    asyncio.run(give(at_home, SetBackend(NAME, "enabled"), "for a plan"))
    file.write_text(json.dumps({"family": "maxcut", "problem": {"edges": [[0, 0]]}}))
    assert call("plan", str(file)).exit_code == 3


def test_what_happened_and_what_waits_is_explained(at_home: Settings, running: Pipeline) -> None:
    text = f'attempts = 2\n[[rules]]\nname = "devices"\ntarget = "quantum"\nbackend = "{NAME}"\nthen = ["exact"]\n'
    asyncio.run(give(at_home, SetPolicy(text), "to be explained"))
    (dear,) = asyncio.run(solved(at_home, 1, max_cost_usd=2.0))
    said = json.loads(call("explain", dear.problem_id, "--json").stdout)
    assert (said["state"], said["status"], said["rule"]) == ("ended", "accepted", "devices")
    assert said["considered"] == {NAME: "taken", "exact": "behind"}
    assert [one["ended"] for one in said["tried"]] == ["over_budget", "answered"]
    assert [one["event"] for one in said["audit"]] == ["refused", "settled"]
    assert [one["event"] for one in said["ledger"]] == ["refused"]
    shown = call("explain", dear.problem_id).stdout
    assert "the problem has $2.00 of $2.00 left, and a job on ionq/simulator takes $2.024" in shown
    assert "taken: it gets the kernel" in shown
    running.signal("execute.classical-0", signal.SIGSTOP)
    try:
        names = asyncio.run(sent(at_home, 3))
        for _ in range(100):
            told = json.loads(call("explain", names[-1], "--json").stdout)
            if told["state"] == "waiting" and told["stage"] == "execute.classical":
                break
            time.sleep(0.1)
        assert (told["stage"], told["tenant"]) == ("execute.classical", "queue")
        assert told["of_its_tenant"] <= told["behind"] <= 3  # where it lies is by its kernel
        assert 0 < told["seconds_left"] < 60
    finally:
        running.signal("execute.classical-0", signal.SIGCONT)
    assert call("explain", "nobody").exit_code == 1


async def sent(settings: Settings, count: int) -> list[str]:
    async with Client(settings=settings) as client:
        return [await client.submit(problem(k), target="classical", tenant="queue", deadline=60) for k in range(count)]


def test_a_detached_job_outlives_its_worker_and_the_key_it_was_sent_with(
    at_home: Settings, running: Pipeline, vendor: IonqServer, tmp_path: Path, key_file: Path
) -> None:
    text = f'attempts = 1\n[[rules]]\nname = "devices"\ntarget = "quantum"\nbackend = "{NAME}"\n'
    asyncio.run(give(at_home, SetPolicy(text), "to be detached"))
    file, before = tmp_path / "problem.json", len(vendor.jobs)
    file.write_text(json.dumps(problem(11)))
    vendor.endless = True
    try:
        found = call("submit", str(file), "--detach", "--deadline", "120", "--json")
        name = json.loads(found.stdout)["problem_id"]
        for _ in range(300):
            if len(vendor.jobs) > before and vendor.jobs[-1].asked > 1:
                break
            time.sleep(0.1)
        # waiting: what is under way is acknowledged when it has ended
        assert json.loads(call("explain", name, "--json").stdout)["state"] in ("waiting", "under way")
        vendor.key = "another-key"
        key_file.write_text(vendor.key)
        running.signal("execute.paid-0", signal.SIGKILL)
    finally:
        vendor.endless = False
    for _ in range(300):
        said = json.loads(call("explain", name, "--json").stdout)
        if said["state"] == "ended":
            break
        time.sleep(0.2)
    assert (said["status"], said["backend"]) == ("accepted", NAME)
    assert [one["event"] for one in said["ledger"]] == ["reserved", "settled"]
    assert len(vendor.jobs) == before + 1
    assert call("submit", str(file), "--detach", "--wait").exit_code == 2


def test_the_command_line(at_home: Settings, tmp_path: Path) -> None:
    found = call("budget", "set", "tenant:cli", "--per", "day", "--usd", "0.07", "--shots", "500", "--why", "a test")
    assert (found.exit_code, found.stdout) == (0, "budget tenant:cli day is set\n")
    rows = [json.loads(line) for line in call("budget", "show", "--json").stdout.splitlines()]
    mine = {row["unit"]: row["cap"] for row in rows if row["budget"] == "tenant:cli day"}
    assert mine == {"micros": 70_000, "shots": 500}
    assert "tenant:cli day" in call("budget", "show").stdout
    for wrong in (["--usd", "-1"], ["--usd", "0.0000001"], ["--usd", "many"], ["--per", "week", "--shots", "1"], []):
        assert call("budget", "set", "tenant:cli", "--why", "a test", *wrong).exit_code == 2, wrong
    assert call("budget", "remove", "tenant:cli", "--per", "day", "--why", "a test").exit_code == 0
    assert "tenant:cli day" not in call("budget", "show").stdout
    entries = [json.loads(line) for line in call("ledger", "--tenant", "acme", "--json").stdout.splitlines()]
    assert {entry["tenant"] for entry in entries if "budget" not in entry} == {"acme/chem/ada"}
    scopes = {entry["budget"]["scope"] for entry in entries if "budget" in entry}
    assert scopes
    assert all(f"{scope}/".startswith("tenant:acme/") for scope in scopes)
    assert "reserved" in call("ledger").stdout
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    found = call("policy", "set", str(file), "--why", "from a file")
    assert found.exit_code == 0, found.output
    assert "all classical" in call("policy", "show").stdout
    assert json.loads(call("policy", "history", "--json").stdout.splitlines()[0])["why"] == "from a file"
    file.write_text("attempts = 0\n")
    assert call("policy", "set", str(file), "--why", "x").exit_code == 2
    found = call("policy", "rollback", "99", "--why", "x")
    assert (found.exit_code, "there is no policy 99" in found.stderr) == (2, True)
    assert call("backends", "drain", "exact", "--why", "x").exit_code == 0
    assert call("backends", "maintain", "exact", "--for", "soon", "--why", "x").exit_code == 2
    assert call("backends", "enable", "exact", "--why", "x").exit_code == 0


def two_vendors(broker: str, folder: Path, first: str, second: str) -> Settings:
    """Everything goes to the first, what fails there to the second, and then to the processor."""
    return settings_for(
        broker,
        folder,
        paid=PaidSettings((first, second), LIMITS),
        execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": ()}),
        route=RouteSettings(
            rules=(Rule("devices", "quantum", backend=first, then=(second, "classical")),),
            preference={"classical": ("exact",)},
            attempts=3,
        ),
    )


async def test_a_second_vendor_while_the_first_ones_breaker_is_open(broker: str, tmp_path: Path) -> None:
    first, second = IonqServer.backend, AqtServer.backend
    with IonqServer().at_hand() as ionq, AqtServer().at_hand(), pytest.MonkeyPatch.context() as patch:
        patch.delenv("QMOSAIC_IONQ_API_KEY_FILE", raising=False)
        settings = two_vendors(broker, tmp_path, first, second)
        ionq.fails = True
        with pipeline(settings, STAGES):
            seen: list[Outcome] = []
            while len(seen) < 40 and not (seen and len(ran(seen[-1])) == 1):
                seen += await solved(settings, 1)
            *detours, spared = seen
            assert len(detours) >= IN_A_ROW
            assert {tuple(ran(one)) for one in detours} == {((first, "execution_failed"), (second, "answered"))}
            assert ran(spared) == [(second, "answered")]
            said = await explained(settings, spared.problem_id, time.time() - 600)
            assert said["considered"] == {first: "breaker_open", second: "taken", "exact": "behind"}
            ionq.fails = False
            for _ in range(200):
                (outcome,) = await solved(settings, 1)
                if ran(outcome) == [(first, "answered")]:
                    break
                await asyncio.sleep(0.2)
            assert ran(outcome) == [(first, "answered")]
            audits = await audited(settings, "breaker")
            assert audits[0].status == first
            assert audits[0].reason == "opened"


SPARING = Rate(2, 4.0)


async def test_a_vendor_is_sent_no_more_than_its_rate_and_what_cannot_wait_goes_on(broker: str, tmp_path: Path) -> None:
    """Whatever is killed. Then the vendor itself says that it takes no more."""
    with IonqServer().at_hand(QMOSAIC_IONQ_PRICE=PRICE) as server, pytest.MonkeyPatch.context() as patch:
        patch.delenv("QMOSAIC_IONQ_API_KEY_FILE", raising=False)
        settings = settings_for(
            broker,
            tmp_path,
            paid=PaidSettings((NAME,), LIMITS, rates={NAME: SPARING}),
            execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": ()}),
            route=RouteSettings(rules=(RULE,), preference={"classical": ("exact",)}, attempts=2),
        )
        with pipeline(settings, STAGES) as running:

            async def torment() -> None:
                for worker in ("route-0", "execute.paid-0"):
                    await asyncio.sleep(3.0)
                    running.signal(worker, signal.SIGKILL)

            outcomes, _ = await asyncio.gather(solved(settings, 7, deadline=120), torment())
            assert {tuple(ran(outcome)) for outcome in outcomes} == {((NAME, "answered"),)}
            slots = await slots_of(settings)
            moments = sorted(slots.values())
            assert len(moments) == len(server.jobs) == 7
            assert all(last >= first + 4.0 for first, last in zip(moments, moments[2:], strict=False))
            for job in server.jobs:
                assert job.posted_at >= slots[job.name]
            # far more at once than there is room for before their deadline
            outcomes = await solved(settings, 30, deadline=20)
            ways = Counter(tuple(ran(outcome)) for outcome in outcomes)
            assert set(ways) <= {
                ((NAME, "answered"),), ((NAME, "rate_limited"), ("exact", "answered")), (("exact", "answered"),)
            }  # fmt: skip
            assert ways[((NAME, "rate_limited"), ("exact", "answered"))] > 0
            assert 0 < ways[((NAME, "answered"),)] <= 12
            assert {outcome.status for outcome in outcomes} == {"accepted"}
            said = {one.message for outcome in outcomes for one in outcome.tried or [] if one.ended == "rate_limited"}
            assert all(text.startswith(f"{NAME} takes 2 jobs in 4 s: the next may go in ") for text in said)
            await settled_ledger(settings)
            moments = sorted((await slots_of(settings)).values())
            assert all(last >= first + 4.0 for first, last in zip(moments, moments[2:], strict=False))
            # and by the vendor's own word
            before = len(server.jobs)
            server.faults = [Fault("POST", "/v0.4/jobs", 429, headers={"Retry-After": "3600"})]
            (told,) = await solved(settings, 1, deadline=120)
            assert ran(told) == [(NAME, "rate_limited"), ("exact", "answered")]
            for _ in range(100):
                (spared,) = await solved(settings, 1, deadline=120)
                if len(ran(spared)) == 1:
                    break
            assert ran(spared) == [("exact", "answered")]
            said_of = await explained(settings, spared.problem_id, time.time() - 600)
            assert said_of["considered"] == {NAME: "rate_limited", "exact": "taken"}
            assert len(server.jobs) == before
            facts, *_ = await facts_now(settings)
            assert not facts.breakers


async def test_a_network_that_is_cut_is_no_devices_fault(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs go to the second vendor at once, whoever is killed meanwhile; the first has no breaker open, and is back
    with its network. What it says of itself is another thing: who is retuned keeps its jobs, who is offline does not.
    """
    first, second = IonqServer.backend, AqtServer.backend
    with (
        IonqServer().at_hand() as ionq,
        AqtServer().at_hand(),
        Cable(ionq.url) as cable,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("QMOSAIC_IONQ_URL", cable.url)
        patch.delenv("QMOSAIC_IONQ_API_KEY_FILE", raising=False)
        settings = two_vendors(broker, tmp_path, first, second)
        monkeypatch.setenv("QMOSAIC_BROKER", settings.broker)
        monkeypatch.setenv("QMOSAIC_NAMESPACE", settings.namespace)
        monkeypatch.setenv("QMOSAIC_TOPICS__PARTITIONS", "2")

        async def until(way: list[tuple[str, str]]) -> Outcome:
            for _ in range(200):
                (outcome,) = await solved(settings, 1)
                if ran(outcome) == way:
                    break
                await asyncio.sleep(0.1)
            assert ran(outcome) == way
            return outcome

        with pipeline(settings, STAGES) as running:
            assert [ran(one) for one in await solved(settings, 1)] == [[(first, "answered")]]
            cable.cut()
            outcomes = await solved(settings, 2 * IN_A_ROW)
            assert {tuple(ran(one)) for one in outcomes} <= {
                ((first, "unreachable"), (second, "answered")), ((second, "answered"),)
            }  # fmt: skip
            spared = await until([(second, "answered")])
            said = await explained(settings, spared.problem_id, time.time() - 600)
            assert said["considered"] == {first: "unreachable", second: "taken", "exact": "behind"}
            facts, *_ = await facts_now(settings)
            assert (dict(facts.conditions), dict(facts.breakers)) == ({first: "unreachable"}, {})
            listed = await asyncio.to_thread(call, "backends", "list", "--json")
            states = {row["name"]: row["state"] for row in map(json.loads, listed.stdout.splitlines())}
            assert (states[first], states[second]) == ("unreachable", "alive")
            async with Watching(settings) as watching:
                shown = lines(await watching.report(once=True))
            assert f"network  {first}  unreachable" in shown
            running.signal("execute.paid-0", signal.SIGKILL)
            assert {tuple(ran(one))[-1] for one in await solved(settings, 3)} == {(second, "answered")}
            cable.mend()
            await until([(first, "answered")])
            ionq.condition = "calibrating"
            for _ in range(100):
                facts, *_ = await facts_now(settings)
                if facts.conditions:
                    break
                await asyncio.sleep(0.1)
            assert dict(facts.conditions) == {first: "retuning"}
            assert [ran(one) for one in await solved(settings, 1)] == [[(first, "answered")]]
            ionq.condition = "offline"
            away = await until([(second, "answered")])
            said = await explained(settings, away.problem_id, time.time() - 600)
            assert said["considered"][first] == "offline"
            ionq.condition = "available"
            await until([(first, "answered")])


async def slots_of(settings: Settings) -> dict[str, float]:
    """By reservation, when what was granted may be sent."""
    _, entries = await read_ledger(settings)
    return {entry.reservation: entry.slot.at for entry in entries if entry.slot is not None}


async def audited(settings: Settings, event: str) -> list[AuditEntry]:
    """What the audit has of a kind, after a moment."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        place = TopicPartition(topic_name(settings, "audit"), 0)
        entries = []
        async with reader(settings, [place]) as consumer:
            ends = await consumer.end_offsets([place])
            await consumer.seek_to_beginning(place)
            async for record in to_end(consumer, ends):
                entries.append(wire.decode(record.value or b"", AuditEntry))
        if found := [entry for entry in entries if entry.event == event]:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(
        f"no {event} in the audit, only {Counter(entry.event for entry in entries)}; {_logs(settings)}"
    )


def _logs(settings: Settings) -> str:
    """The ends of the workers' logs."""
    files = Path(settings.data_dir, "logs").glob("*")
    return "\n".join(f"{file.name}:\n{file.read_text()[-2000:]}" for file in files)


def test_reconcile_finds_what_nobody_heard_of(at_home: Settings) -> None:
    text = f'attempts = 2\n[[rules]]\nname = "devices"\ntarget = "quantum"\nbackend = "{NAME}"\nthen = ["exact"]\n'
    asyncio.run(give(at_home, SetPolicy(text), "to be reconciled"))
    for _ in range(50):  # until route follows it
        (outcome,) = asyncio.run(solved(at_home, 1))
        if ran(outcome) == [(NAME, "answered")]:
            break
    books, _ = asyncio.run(settled_ledger(at_home))
    assert any(one.state == "settled" and one.amounts.micros == COST for one in books.reservations.values())
    found = CliRunner().invoke(app, ["budget", "reconcile", "--json"])
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    # the vendor's simulator is free of charge, whatever price is set here
    assert found.exit_code == 1, found.output
    assert {(row["vendor"], row["amounts"].get("micros", 0)) for row in rows} == {
        ("the vendor says completed, $0.00", 0)
    }
    found = CliRunner().invoke(app, ["budget", "reconcile", "--apply"])
    assert "settled" in found.stdout
    assert CliRunner().invoke(app, ["budget", "reconcile"]).exit_code == 0
