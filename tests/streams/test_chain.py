"""The next candidate: what a backend fails another has at once, and a breaker spares the others the detour."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import qmosaic
from qmosaic.codecs.events.public import Attempt, Outcome
from qmosaic.processors.control.breakers import IN_A_ROW
from qmosaic.processors.control.policy import Rule
from qmosaic.streams.client import Client
from qmosaic.streams.settings import ExecuteSettings, RouteSettings
from tests.streams.harness import pipeline, settings_for
from tests.streams.plugin import install

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = install(tmp_path_factory.mktemp("plugged"))
    with pytest.MonkeyPatch.context() as patch:
        before = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([before] if before else [])]))
        yield


def tried(outcome: Outcome) -> list[Attempt]:
    return outcome.tried or []


def problem(seed: int) -> qmosaic.MaxCut:
    return qmosaic.MaxCut(edges=[(k, (k + step) % 24) for k in range(24) for step in (1, 5 + seed % 5)])


@pytest.mark.usefixtures("plugged")
async def test_a_failing_backend_costs_an_attempt_then_none_and_is_tried_again(broker: str, tmp_path: Path) -> None:
    switch = tmp_path / "warm"
    switch.touch()
    failing = f"failing/{switch}"
    backends: dict[str, tuple[str, ...]] = {"classical": ("exact",), "gpu": (), "quantum": (failing,)}
    settings = settings_for(
        broker,
        tmp_path / "data",
        execute=ExecuteSettings(backends=backends),
        route=RouteSettings(rules=(Rule("all", "quantum", then=("classical",)),), preference=backends, attempts=2),
    )
    stages = ["encode", "reduce", "route", "execute.classical", "execute.quantum", "verify"]
    with pipeline(settings, stages):
        async with Client(settings=settings) as client:
            seen: list[Outcome] = []
            while len(seen) < 60 and not (seen and seen[-1].route_reason == "rule_unavailable"):
                seen.append(await client.solve(problem(len(seen)), deadline=30, seed=len(seen)))
            *detours, spared = seen
            assert len(detours) >= IN_A_ROW
            for outcome in detours:
                assert (outcome.status, outcome.backend, outcome.attempts) == ("accepted", "exact", 2)
                first, second = tried(outcome)
                assert (first.backend, first.ended) == (failing, "execution_failed")
                assert "its fridge is warm" in first.message
                assert (second.backend, second.ended) == ("exact", "answered")
                assert second.seconds is not None
                assert outcome.policy and len(outcome.policy) == 12  # noqa: PT018
            assert [one.backend for one in tried(spared)] == ["exact"]  # the breaker is open
            switch.unlink()
            for k in range(200):
                outcome = await client.solve(problem(k), deadline=30, seed=1000 + k)
                if outcome.backend == failing:
                    break
                await asyncio.sleep(0.1)
            assert [(one.backend, one.ended) for one in tried(outcome)] == [(failing, "answered")]
