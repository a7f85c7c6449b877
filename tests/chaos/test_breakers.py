"""A backend that fails, in real time: its breaker changes seldom, opens at once, closes soon; nobody is late for it.

`QMOSAIC_BREAKER_SECONDS`: for how long; 600 is `make soak-breakers`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest

import qmosaic
from qmosaic.codecs.events.control import AuditEntry, BackendStatus
from qmosaic.codecs.events.public import Outcome
from qmosaic.processors.control.breakers import IN_A_ROW, MOST_SECONDS, Breakers
from qmosaic.processors.control.policy import Rule
from qmosaic.streams.client import Client
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import ExecuteSettings, RouteSettings
from tests.streams.harness import pipeline, settings_for
from tests.streams.plugin import install

pytestmark = [pytest.mark.broker, pytest.mark.soak]

SECONDS = float(os.environ.get("QMOSAIC_BREAKER_SECONDS", "60"))
DEADLINE, TOLERANCE = 5.0, 1.0
RATE = 10.0  # a second
MOST_CHANGES = 4
BACK_SECONDS = 3.0
STAGES = ["encode", "reduce", "route", "control", "execute.classical", "execute.quantum", "verify"]


class Changes:
    """The changes of a backend's breaker in the audit: when, and whether it opened."""

    start: tuple[tuple[float, bool], ...] = ()

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def step(
        self, state: tuple[tuple[float, bool], ...], event: AuditEntry, at: float
    ) -> tuple[tuple[float, bool], ...]:
        mine = event.event == "breaker" and event.status == self._backend
        return (*state, (event.at, event.reason == "opened")) if mine else state


async def flow(client: Client, seconds: float) -> list[Outcome]:
    """Problems one after the other, whatever becomes of those before."""
    end, waiting = time.monotonic() + seconds, list[asyncio.Task[Outcome]]()
    while time.monotonic() < end:
        seed = 1000 + len(waiting)  # the plug-in has others at which it dies
        edges = [(k, (k + step) % 16) for k in range(16) for step in (1, 3 + seed % 4)]
        waiting.append(asyncio.create_task(client.solve(qmosaic.MaxCut(edges=edges), deadline=DEADLINE, seed=seed)))
        await asyncio.sleep(1 / RATE)
    return list(await asyncio.gather(*waiting))


@pytest.mark.parametrize("fails", ["half", "all"])
async def test_nobody_is_late_for_a_failing_backend(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    folder = tmp_path / "plugged"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(install(folder)), os.environ.get("PYTHONPATH", "")]))
    switch = tmp_path / "warm"
    switch.write_text(fails)
    failing = f"failing/{switch}"
    backends: dict[str, tuple[str, ...]] = {"classical": ("exact",), "gpu": (), "quantum": (failing,)}
    settings = settings_for(
        broker,
        tmp_path / "data",
        execute=ExecuteSettings(backends=backends),
        route=RouteSettings(rules=(Rule("all", "quantum", then=("classical",)),), preference=backends, attempts=2),
    )
    audit = Tail(settings, "audit", AuditEntry, Changes(failing), isolation="read_committed")
    told = Tail(settings, "backends.status", BackendStatus, Breakers(), back=100)
    with pipeline(settings, STAGES):
        await asyncio.gather(audit.start(), told.start())
        async with Client(settings=settings) as client:
            seen = await flow(client, SECONDS)
            opened = await audit.caught_up()
            switch.unlink()
            well = time.time()
            until = max(well, (await told.caught_up()).breakers[failing].until)
            if fails == "all":
                while (await audit.caught_up())[-1][1]:
                    assert time.time() < well + MOST_SECONDS + 60
                    seen += await flow(client, 1.0)
            changes = await audit.caught_up()
        await asyncio.gather(audit.stop(), told.stop())
    _check(fails, seen, opened, changes, until)


def _check(
    fails: str,
    seen: list[Outcome],
    opened: tuple[tuple[float, bool], ...],
    changes: tuple[tuple[float, bool], ...],
    until: float,
) -> None:
    """`until`: the end of the ejection, seconds since the epoch, or, where it was over, when the backend was well."""
    slowest = max(outcome.timings.total for outcome in seen)
    attempts = [one for outcome in seen for one in outcome.tried or [] if one.backend.startswith("failing/")]
    ended = Counter(one.ended for one in attempts)
    detail = ", ".join(f"{'open' if is_open else 'closed'} {at - changes[0][0]:.1f}" for at, is_open in changes)
    print(
        f"\nfails {fails}, {SECONDS:g} s: {len(seen)} outcomes {Counter(one.status for one in seen)}, slowest "
        f"{slowest:.2f} s of {DEADLINE:g}; attempts {dict(ended)}; changes: {detail}"
    )
    assert slowest <= DEADLINE + TOLERANCE
    assert opened
    assert opened[0][1]
    if fails == "half":
        assert len(opened) <= MOST_CHANGES
    else:
        assert [is_open for _, is_open in opened] == [True]
        closed = changes[-1][0]
        print(f"closed {closed - until:.1f} s after the end of its ejection")
        assert closed <= until + BACK_SECONDS
        # Five in a row open it; some were under way when it was told, and each time it is half open one tries it.
        trials = SECONDS / 5
        assert IN_A_ROW <= ended["execution_failed"] <= IN_A_ROW + RATE + trials
