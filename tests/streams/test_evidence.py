"""Evidence on a broker: a backend that truly improves one family gets it, another family stays where it was, and
`qmosaic explain` says why. Each end of a problem counts once, though control is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import networkx as nx
import pytest
from rich.console import Console

from qmosaic.codecs.events.evidence import Learned
from qmosaic.codecs.events.public import Outcome
from qmosaic.processors.control.policy import Rule
from qmosaic.streams.cli import explain
from qmosaic.streams.client import Client
from qmosaic.streams.observe import story
from qmosaic.streams.observe.folded import read_ordered
from qmosaic.streams.settings import ExecuteSettings, RouteSettings, Settings
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.plugin import install

pytestmark = pytest.mark.broker

STAGES = ["encode", "reduce", "route", "control", "execute.classical", "execute.quantum", "verify"]
BACKENDS: dict[str, tuple[str, ...]] = {"classical": ("idle",), "gpu": (), "quantum": ("best",)}
WAVES, OF_EACH = 12, 8


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = install(tmp_path_factory.mktemp("plugged"))
    with pytest.MonkeyPatch.context() as patch:
        before = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([before] if before else [])]))
        settings = settings_for(
            broker,
            tmp_path_factory.mktemp("evidence"),
            execute=ExecuteSettings(backends=BACKENDS),
            route=RouteSettings(rules=(Rule("what pays", "auto", then=("best",)),), preference=BACKENDS, explore=0.25),
        )
        with pipeline(settings, STAGES) as up:
            yield up


def problem(family: str, seed: int) -> dict[str, Any]:
    graph: Any = nx.random_regular_graph(3, 12, seed=seed)
    return {"family": family, "problem": {"edges": [list(edge) for edge in graph.edges]}, "seed": seed}


async def wave(settings: Settings, number: int) -> list[Outcome]:
    """At odd seeds, of which the classical backend knows nothing, of the one family; at even ones of the other."""
    first = 2 * OF_EACH * number
    async with Client(settings=settings) as client:
        seeds = range(first, first + 2 * OF_EACH)
        work = (client.solve(problem("poor" if seed % 2 else "maxcut", seed), deadline=60) for seed in seeds)
        return list(await asyncio.gather(*work))


async def learned(settings: Settings, runs: int) -> Learned:
    """What control has written down, when it counts so many runs."""
    for _ in range(150):
        found = (await read_ordered(settings)).learned
        if round(sum(cell.seconds.n for cell in found.cells.values()), 1) >= runs:
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"{found} does not count {runs} runs")


def share(outcomes: list[Outcome], family: str) -> float:
    went = [outcome.backend == "best" for outcome in outcomes if outcome.family == family]
    return sum(went) / len(went)


async def test_what_pays_gets_more_and_says_why(running: Pipeline) -> None:
    settings, waves = running.settings, list[list[Outcome]]()
    while len(waves) < WAVES and not (waves and share(waves[-1], "poor") > 0.9):
        waves.append(await wave(settings, len(waves)))
        found = await learned(settings, 2 * OF_EACH * len(waves))
        if len(waves) == 1:
            running.signal("route-0", signal.SIGKILL)  # control lives in it
    everything = [outcome for one in waves for outcome in one]
    assert share(waves[0], "poor") < 0.6
    assert share(waves[-1], "poor") > 0.9
    assert share(everything, "maxcut") < 0.5
    assert {one.route_reason for one in everything} >= {"rule", "explored"}
    assert {one.backend for one in everything if one.route_reason == "explored"} == {"best"}
    # every end of a problem counts once
    assert round(sum(cell.seconds.n for cell in found.cells.values()), 1) == len(everything)
    last = next(one for one in waves[-1] if one.backend == "best" and one.route_reason == "rule")
    (ran,) = last.tried or []
    assert ran.expected is not None
    assert ran.expected.gain is not None
    assert ran.expected.gain > 0.05
    said = await story.explained(settings, last.problem_id, time.time() - 600)
    weighed = said["weighed"]
    assert said["considered"] == {"best": "taken", "idle": "behind"}
    assert weighed["best"]["value"] > weighed["idle"]["value"]
    assert weighed["best"]["low"] <= weighed["best"]["gain"] <= weighed["best"]["high"]


def test_what_is_explained_is_shown(running: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    (outcome,) = [one for one in asyncio.run(wave(running.settings, 99)) if one.backend == "best"][:1]
    said = asyncio.run(story.explained(running.settings, outcome.problem_id, time.time() - 600))
    console = Console(width=200, record=True, file=StringIO())
    monkeypatch.setattr(explain, "console", lambda: console)
    explain._show(said, None)
    assert "; gains " in console.export_text()
