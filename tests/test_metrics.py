"""Alerts and dashboard: every query names what there is, and has an answer after a run (`make test-metrics`)."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaProducer

from qmosaic.codecs.events.control import SetBudget
from qmosaic.codecs.events.ledger import MICROS, Budget
from qmosaic.processors.control.policy import Rule
from qmosaic.streams.cli.orders import give
from qmosaic.streams.client import Client
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.broker import HOST
from qmosaic.streams.settings import ExecuteSettings, MetricsSettings, PaidSettings, RouteSettings, Settings
from qmosaic.streams.topology import STAGES
from qmosaic.streams.watch.exposition import names_of
from qmosaic.streams.watch.instruments import INSTRUMENTS
from tests.servers import ROOT, Prometheus, free_ports
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.hops.paying import LIMITS
from tests.vendors.aqt import AqtServer
from tests.vendors.ionq import IonqServer

NOISY = "cirq.density/depolarizing=0.01"
SIMULATORS = ("cirq.statevector", NOISY)
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "qmosaic.json").read_text())
RULES = [rule for group in yaml.safe_load((DEPLOY / "rules.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule["alert"] for rule in RULES if "alert" in rule]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}
THERE = {name for each in INSTRUMENTS for name in names_of(each)} | {"qmosaic_worker_up", "up"}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
LABELS = {key.replace(".", "_") for each in INSTRUMENTS for key in each.attributes} | {"le", "worker", "job"}
WORD = re.compile(r"[a-zA-Z_:][\w:]*")
FUNCTIONS = {
    *("sum", "by", "rate", "increase", "max", "min", "histogram_quantile", "absent", "and", "or", "unless", "on"),
    *("half_open", "ready", "unreachable", "control", "route", "verify"),
    *("open", "closed", "accepted", "rejected", "fallback", "dead", "letters", "qmosaic"),
}


def words(query: str) -> set[str]:
    """Everything in a query that is a name."""
    return set(WORD.findall(re.sub(r"\[[^]]*\]", "", query))) - FUNCTIONS


@pytest.mark.parametrize("query", [*QUERIES.values(), *(rule["expr"] for rule in RULES)])
def test_a_query_names_what_there_is(query: str) -> None:
    assert words(query) <= THERE | RECORDED | LABELS


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = set().union(*map(words, QUERIES.values()))
    assert [each.name for each in INSTRUMENTS if shown.isdisjoint(names_of(each))] == []


def test_panels_have_their_own_places_and_numbers() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [panel["gridPos"] for panel in PANELS]
    columns = [(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])) for at in places]
    cells = [(x, y) for wide, high in columns for x in wide for y in high]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_alert_is_tried_both_ways() -> None:
    tried = [
        (each["alertname"], bool(each["exp_alerts"]))
        for test in yaml.safe_load((DEPLOY / "rules_test.yml").read_text())["tests"]
        for each in test["alert_rule_test"]
    ]
    assert {(name, fires) for name in ALERTS for fires in (True, False)} == set(tried)


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None or shutil.which("prometheus") is None:
        pytest.skip("no Prometheus here: make test-metrics says how to get it")
    return found


@pytest.mark.prometheus
@pytest.mark.parametrize("what", ["check rules rules.yml", "test rules rules_test.yml", "check config prometheus.yml"])
def test_promtool_is_content(promtool: str, what: str) -> None:
    command = [promtool, *what.split()]
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# A run


@pytest.fixture(scope="module")
def running(broker: str, promtool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """With two vendors, of which the first fails, and everything served on one port."""
    first, second = IonqServer.backend, AqtServer.backend
    with (
        IonqServer().at_hand(QMOSAIC_IONQ_PRICE='{"task": 1}') as ionq,
        AqtServer().at_hand(QMOSAIC_AQT_PRICE='{"task": 1, "shot": 0.001}'),
    ):
        ionq.fails = True
        settings = settings_for(
            broker,
            tmp_path_factory.mktemp("metrics"),
            metrics=MetricsSettings(port=free_ports(1)[0]),
            paid=PaidSettings((first, second), LIMITS),
            execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": SIMULATORS}),
            route=RouteSettings(
                rules=(
                    Rule("devices", "quantum", families=("maxcut",), backend=first, then=(second, "classical")),
                    Rule("with noise", "quantum", families=("labs",), backend=NOISY),
                    Rule("others", "quantum", backend="cirq.statevector"),
                ),
                preference={"classical": ("exact",), "quantum": SIMULATORS},
                attempts=3,
            ),
        )
        with pipeline(settings, [stage for stage in STAGES if stage != "execute.gpu"]) as up:
            yield up


def maxcut(number: int, **more: Any) -> dict[str, Any]:
    edges = [[k, (k + 1) % 9, 1.0 + number / 8] for k in range(9)] + [[k, (k + 3) % 9, 1.0] for k in range(9)]
    return {"family": "maxcut", "problem": {"edges": edges}, **more}


LABS = {"family": "labs", "problem": {"n": 9}}
GHZ = {"family": "circuit", "problem": {"qasm": (ROOT / "examples" / "data" / "ghz.qasm").read_text()}}


async def some_of_everything(settings: Settings) -> None:
    """Families, vendors that fail, results had before, rounds, a fallback, a rejection, a dead letter, a budget."""
    await give(settings, SetBudget(Budget(scope="tenant:acme", window="day", micros=500 * MICROS)), "a test")
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        await producer.send_and_wait(topic_name(settings, "problems"), b'{"family": "nothing", "problem": {}}')
    async with Client(settings=settings) as client:
        for number in range(7):
            await client.solve(maxcut(number), deadline=60, tenant="acme", shots=100)
        again = [await client.solve(maxcut(9, cache="replay"), deadline=60, seed=1) for _ in range(3)]
        assert any(attempt.cached for one in again for attempt in one.tried or ())
        await asyncio.gather(*(client.solve(each, deadline=60) for each in (LABS, GHZ)))
        several = await client.solve(LABS | {"rounds": 2}, deadline=60)
        assert len(several.rounds or ()) == 2
        only = await client.solve(maxcut(11, cache="only"), deadline=30)
        assert only.status == "fallback"
    # At the end: Prometheus has to have seen the count before it.
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        await producer.send_and_wait(topic_name(settings, "problems.encoded"), b"no event")


@pytest.mark.prometheus
async def test_every_query_has_an_answer(running: Pipeline, tmp_path: Path) -> None:
    settings = running.settings
    prometheus = Prometheus(tmp_path, f"{HOST}:{settings.metrics.port}")
    prometheus.start()
    try:
        await some_of_everything(settings)
        give_up = time.monotonic() + 60
        while not answers(prometheus, "qmosaic_problem_duration_seconds_count"):
            assert time.monotonic() < give_up
            await asyncio.sleep(1)  # Prometheus asks once a second
        await some_of_everything(settings)  # once more: a rate is of what grew after it was seen first
        queries = {name: expr.replace("$__rate_interval", "2m") for name, expr in QUERIES.items()}
        queries |= {f"{rule['record']} as it is": rule["record"] for rule in RULES if "record" in rule}
        give_up, silent = time.monotonic() + 60, queries
        while silent and time.monotonic() < give_up:
            await asyncio.sleep(1)
            silent = {name: expr for name, expr in silent.items() if not answers(prometheus, expr)}
        assert silent == {}
        up = prometheus.ask("query", query="qmosaic_worker_up")["result"]
        assert {each["metric"]["worker"]: each["value"][1] for each in up} == dict.fromkeys(workers(running), "1")
        assert prometheus.ask("rules")["groups"]
        while not (dead := prometheus.ask("query", query='ALERTS{alertname="QmosaicDeadLetters"}')["result"]):
            assert time.monotonic() < give_up
            await asyncio.sleep(1)
        assert [each["metric"]["qmosaic_hop"] for each in dead] == ["reduce"]
        now = time.time()
        name = "qmosaic_problem_duration_seconds_bucket"
        found = prometheus.ask("query_exemplars", query=name, start=f"{now - 600}", end=f"{now}")
        assert all(len(each["labels"]["trace_id"]) == 32 for series in found for each in series["exemplars"])
        assert found
    finally:
        prometheus.stop()


def answers(prometheus: Prometheus, query: str) -> bool:
    """Whether there is a number."""
    found = prometheus.ask("query", query=query)["result"]
    return any(each["value"][1] != "NaN" for each in found)


def workers(running: Pipeline) -> list[str]:
    return [child.instance for child in running.supervisor.children]
