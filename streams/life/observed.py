"""What a worker's metrics look at when somebody asks, and whether it is well."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.ledger import UNITS, AccountId
from qmosaic.codecs.events.reasons import Condition
from qmosaic.processors.control.books import window_of
from qmosaic.processors.control.breakers import Known
from qmosaic.processors.control.evidence import calibration
from qmosaic.streams.kafka.tail import Tail

if TYPE_CHECKING:
    from qmosaic.streams.exactly_once.service import ExactlyOnce
    from qmosaic.streams.hops.control import Control
    from qmosaic.streams.hops.paid import ExecutePaid
    from qmosaic.streams.hops.verify import Verifier
    from qmosaic.streams.life.worker import Worker
    from qmosaic.streams.watch.metrics import Metrics, Observed
    from qmosaic.streams.watch.spans import Telemetry

    Shell = Worker | ExactlyOnce[Any]

ESTIMATES = {
    "seconds": "qmosaic.estimate.seconds",
    "usd": "qmosaic.estimate.cost",
    "gain": "qmosaic.estimate.gain",
    "fidelity": "qmosaic.estimate.fidelity",
}
"""The metric of each of what `Off` says."""
PHASES = ("closed", "open", "half_open")
MOST_BUDGETS = 100
"""Whose names are attributes."""


def observe_process(metrics: Metrics) -> None:
    """Memory and time of this process, and the programs it has."""
    metrics.observe("process.memory.usage", _memory)
    metrics.observe("process.cpu.time", _cpu)
    metrics.observe("qmosaic.programs", _programs)


def observe_shell(metrics: Metrics, shell: Shell, stage: str, prefix: str) -> None:
    """What it has not done yet. `prefix`: of topics' names, a namespace's."""
    metrics.observe(
        "qmosaic.hop.lag", lambda: [(lag, (stage, topic.removeprefix(prefix))) for topic, lag in shell.lag().items()]
    )


def observe_telemetry(metrics: Metrics, telemetry: Telemetry) -> None:
    """Whether its spans get where they are to go."""
    metrics.observe("qmosaic.collector.away", lambda: [(float(telemetry.is_lost), ())])


def observe_verifier(metrics: Metrics, verifier: Verifier) -> None:
    """Its open problems."""
    metrics.observe(
        "qmosaic.problems.open", lambda: [(sum(one.join.open for one in list(verifier.owned.values())), ())]
    )


def observe_vendors(metrics: Metrics, paid: ExecutePaid) -> None:
    """How the backends are that are paid for."""
    metrics.observe("qmosaic.backend.condition", lambda: list(_conditions(paid.status())))


def observe_control(metrics: Metrics, control: Control, told: Tail[Known, Any]) -> None:
    """Whether it leads, what is left of budgets, breakers, and how good estimates are."""
    metrics.observe("qmosaic.control.leader", lambda: [(len(control.owned), ())])
    metrics.observe("qmosaic.budget.left", lambda: list(_budgets(control)))
    metrics.observe("qmosaic.breaker.state", lambda: list(_breakers(control, told.state)))
    for name, metric in ESTIMATES.items():
        metrics.observe(metric, partial(_estimates, control, name))


def _memory() -> Observed:
    statm = Path("/proc/self/statm")  # proc_pid_statm(5); none where there is no /proc
    return [(int(statm.read_text().split()[1]) * resource.getpagesize(), ())] if statm.exists() else []


def _cpu() -> Observed:
    took = os.times()
    return [(took.user, ("user",)), (took.system, ("system",))]


def _programs() -> Observed:
    programs: Any = sys.modules.get("qmosaic.backends.programs")  # with JAX: who has not loaded it has none
    return [(count, (origin,)) for origin, count in programs.made.items()] if programs is not None else []


def _budgets(control: Control) -> Iterator[tuple[float, tuple[str, ...]]]:
    now = time.time()
    for kept in list(control.owned.values()):
        ledger = kept.ledger
        for name, budget in sorted(ledger.budgets.items())[:MOST_BUDGETS]:
            for unit in UNITS:
                if cap := budget.cap(unit):
                    account = ledger.account(AccountId(name, window_of(budget.window, now), unit))
                    yield max(0.0, account.free / cap), (name, unit)


def _breakers(control: Control, known: Known) -> Iterator[tuple[float, tuple[str, ...]]]:
    now = time.time()
    for name, breaker in known.breakers.items():
        if control.is_known(name):
            for phase in PHASES:
                yield float(breaker.phase(now) == phase), (name, phase)


def _conditions(told: BackendStatus) -> Iterator[tuple[float, tuple[str, ...]]]:
    for name in told.backends:
        for condition in ("ready", *get_args(Condition)):
            yield float(told.conditions.get(name, "ready") == condition), (name, condition)


def _estimates(control: Control, name: str) -> Observed:
    known = calibration(control.learned)
    said = ((getattr(off, name), (backend,)) for backend, off in known.items() if control.is_known(backend))
    return [one for one in said if one[0] is not None]
