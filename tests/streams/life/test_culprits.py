"""Records at which workers die, whatever kills them: put aside after three times, and their neighbours go on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from qmosaic.streams.settings import ExecuteSettings, RouteSettings
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.plugin import install
from tests.streams.test_hostile import ended, ends, good, sent

pytestmark = [pytest.mark.broker, pytest.mark.embedded]


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Workers find the plug-ins of `tests/streams/plugin.py`, and the families that die."""
    folder = install(tmp_path_factory.mktemp("plugged"))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def running(plugged: None, broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with pipeline(settings_for(broker, tmp_path_factory.mktemp("culprits")), ["encode", "verify"]) as up:
        yield up


def plugin(name: str, log: Path, deadline: float = 40.0, **acts: str) -> bytes:
    problem = {"log": str(log), **acts}
    return orjson.dumps({"id": name, "family": "plugged", "problem": problem, "deadline": deadline})


async def by_name(running: Pipeline, values: list[bytes], seconds: float) -> dict[str, Mapping[str, Any]]:
    """The terminal event of each, once each."""
    since = await ends(running.settings)
    offsets = await sent(running.settings, values)
    found = await ended(running.settings, since, len(offsets), seconds)
    assert Counter(source for _, source, _ in found) == Counter(dict.fromkeys(offsets, 1))
    return {said["problem_id"]: said for _, _, said in found}


async def test_a_family_that_fails_at_the_door_or_dies_there(running: Pipeline, tmp_path: Path) -> None:
    acts = {
        "die": "worker_crashed",
        "crash": "worker_crashed",
        "raise": "stage_failed",
        "recurse": "stage_failed",
        "exit": "stage_failed",
        "grow": "too_large",
    }
    log = tmp_path / "log"
    values = [plugin(act, log, parse=act) for act in acts]
    found = await by_name(running, [*values, good("good", 10.0), plugin("fine", log)], 70.0)
    assert {act: found[act].get("code") for act in acts} == acts
    assert found["good"]["solution"] is not None
    assert found["fine"]["solution"] is not None
    assert {child.instance: child.starts for child in running.supervisor.children} == {"encode-0": 1, "verify-0": 1}


async def test_a_family_that_fails_at_judging_or_dies_there(running: Pipeline, tmp_path: Path) -> None:
    reasons = {"die": "worker_crashed", "raise": "stage_failed", "exit": "stage_failed", "grow": "stage_failed"}
    # Nobody answers them, so each is judged just before its deadline: one after the other, however slow the machine is.
    deadlines = zip(reasons, range(40, 0, -10), strict=True)
    values = [plugin(f"judging {act}", tmp_path / "log", seconds, evaluate=act) for act, seconds in deadlines]
    found = await by_name(running, [*values, good("good too", 10.0)], 70.0)
    for act, reason in reasons.items():
        said = found[f"judging {act}"]
        assert (said["status"], said["solution"]) == ("fallback", None), act
        # Three processes one after the other take their time.
        assert said["reason"] in ((reason, "deadline") if act == "die" else (reason,)), act
    alone = plugin("encoding", tmp_path / "log", 15.0, encode="die")
    encoding = (await by_name(running, [alone], 40.0))["encoding"]
    assert (encoding["status"], encoding["reason"]) == ("fallback", "no_incumbent")
    assert encoding["solution"] is not None  # its quick answer
    assert {child.instance: child.starts for child in running.supervisor.children} == {"encode-0": 1, "verify-0": 1}


async def test_workers_that_die_at_a_record_put_it_aside_and_go_on(running: Pipeline) -> None:
    """By a signal while it is read, and by a crash while it is judged: in the workers' own processes."""

    def deadly(name: str, seed: int) -> bytes:
        return orjson.dumps(
            {"id": name, "family": "maxcut", "seed": seed, "deadline": 4, "problem": {"edges": [[0, 1], [1, 2]]}}
        )

    values = [good("first", 30.0), deadly("read", 667), deadly("judged", 668), good("second", 30.0), good("third", 4.0)]
    found = await by_name(running, values, 90.0)
    assert found["read"]["code"] == "worker_crashed"
    assert (found["judged"].get("code") or found["judged"]["reason"]) == "worker_crashed"
    for name in ("first", "second", "third"):
        assert found[name]["solution"] is not None, name
    starts = {child.instance: child.starts for child in running.supervisor.children}
    assert starts["encode-0"] >= 2
    assert 4 <= starts["verify-0"] <= 8


def deadly_job(name: str, seed: int, target: str) -> bytes:
    edges = [[k, (k + step) % 24] for k in range(24) for step in (1, 5)]
    return orjson.dumps(
        {"id": name, "family": "maxcut", "seed": seed, "deadline": 60, "target": target, "problem": {"edges": edges}}
    )


async def test_backends_that_kill_their_process(plugged: None, broker: str, tmp_path: Path) -> None:
    """In a thread of the worker (classical) and in a process of its own (quantum)."""
    backends: dict[str, tuple[str, ...]] = {"classical": ("deadly",), "gpu": (), "quantum": ("deadly.quantum",)}
    settings = settings_for(
        broker, tmp_path, execute=ExecuteSettings(backends=backends), route=RouteSettings(preference=backends)
    )
    stages = ["encode", "reduce", "route", "execute.classical", "execute.quantum", "verify"]
    with pipeline(settings, stages) as up:
        values = [
            deadly_job(f"{target} {seed}", seed, target)
            for target in ("classical", "quantum")
            for seed in (1, 2, 666, 3, 4)
        ]
        found = await by_name(up, values, 90.0)
        for target in ("classical", "quantum"):
            assert found[f"{target} 666"]["reason"] == "worker_crashed", target
            for seed in (1, 2, 3, 4):
                assert found[f"{target} {seed}"]["status"] == "accepted", found[f"{target} {seed}"]["reason"]
        starts = {child.instance: child.starts for child in up.supervisor.children}
        assert starts["execute.classical-0"] == 4
        assert starts["execute.quantum-0"] == 1
