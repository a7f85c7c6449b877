"""A period with something of everything in it, as an audit and a ledger would tell it."""

from __future__ import annotations

from typing import Any

import msgspec

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry, Evidence, Run
from qmosaic.codecs.events.ledger import AccountId, Amounts, Budget, LedgerEntry
from qmosaic.codecs.events.public import Expected
from qmosaic.codecs.events.reasons import Target
from qmosaic.processors.control.worth import Worth
from qmosaic.processors.report.findings import DEFAULT_BY, By, Findings, findings
from qmosaic.processors.report.period import Entry, Period, Periods
from qmosaic.processors.report.spending import spending

NOON = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC."""
DAY = 86_400.0
IONQ, SOLVER = "ionq/qpu.forte-1", "exact"
PAGE = (0.042, -0.01, 0.031, 0.056, 0.024, 0.017)
"""The gains of the example in docs/evidence.md."""


def run_of(backend: str = IONQ, gain: float | None = 0.02, **more: Any) -> Run:
    """Two seconds and $0.30, as expected."""
    target: Target = "classical" if backend == SOLVER else "quantum"
    given: dict[str, Any] = {"answered": True, "seconds": 2.0, "cost_usd": 0.3 if backend == IONQ else None} | more
    return Run(target=target, backend=backend, gain=gain, **given)


def settled(job: str, *runs: Run, **more: Any) -> AuditEntry:
    """The end of a problem."""
    of: dict[str, Any] = {"family": "maxcut", "tenant": "acme", "status": "accepted", "reason": "improved"} | more
    evidence = Evidence(family=of["family"], kind="spins", variables=20, job=job, work_seconds=1.0, runs=list(runs))
    return AuditEntry(
        event=of.pop("event", "settled"),
        problem_id=job,
        partition=0,
        offset=0,
        at=NOON,
        detail=of.pop("detail", {}),
        slack=of.pop("slack", 1.0),
        evidence=evidence if runs else None,
        **of,
    )


def told(event: Any) -> Entry:
    """As it is read from a topic."""
    return msgspec.json.decode(wire.encode(event), type=Entry)


def folded(*events: AuditEntry, at: float = NOON, fold: Periods | None = None) -> Period:
    """A second after another."""
    fold = fold or Periods(lambda _: Worth())
    state = fold.start
    for k, event in enumerate(events):
        state = fold.step(state, told(event), at + k)
    return state


def entry(event: Any, job: str, at: float, micros: int | None = 0, **more: Any) -> LedgerEntry:
    """Of a job of acme's on the device."""
    given: dict[str, Any] = {"tenant": "acme/lab", "backend": IONQ, "problem_id": f"problem {job}"} | more
    accounts = [AccountId("tenant:acme month", "2027-01", "micros")]
    amounts = Amounts(micros, given.pop("device_ms", 0), given.pop("shots", 0))
    return LedgerEntry(
        event=event, at=at, reservation=job, amounts=amounts, accounts=accounts, deadline_at=NOON + 60, **given
    )


def ledger() -> list[LedgerEntry]:
    """Settled, settled for less, revised in the month and after it, released, unknown, and what is no job's."""
    usd = 1_000_000
    return [
        LedgerEntry(event="budget", at=NOON - 10, budget=Budget("tenant:acme", "month", micros=500 * usd), who="w"),
        entry("reserved", "r1", NOON, 2 * usd, explores=50_000),
        entry("settled", "r1", NOON + 3, 300_000, shots=1024),
        entry("reserved", "r2", NOON + 1, usd),
        entry("settled", "r2", NOON + 5, usd, device_ms=1500),
        entry("revised", "r2", NOON + 9, usd + 12, device_ms=1500),
        entry("reserved", "r3", NOON + 2, usd),
        entry("released", "r3", NOON + 3602),
        entry("reserved", "r4", NOON + 4, usd),
        entry("unknown", "r4", NOON + 70),
        entry("reserved", "r5", NOON + 6, 400_000, tenant="=cmd|' /C calc'!A0", backend="google/willow\n<b>"),
        entry("refused", "r6", NOON + 7),
        entry("settled", "r5", NOON + 8, 400_000),
        entry("revised", "r1", NOON + 40 * DAY, 250_000),
    ]


HOSTILE = '<img src=x onerror="alert(1)">‮' + "A" * 300


def audit() -> list[AuditEntry]:
    """A device that improves one family, is unclear in a second, and harms a third; what failed, and hostile names."""
    expected = Expected(seconds=1.0, cost_usd=0.25, gain=0.01, fidelity=0.6)
    return [
        *(settled(f"m{k}", run_of(gain=gain, expected=expected, fidelity=0.62)) for k, gain in enumerate(PAGE)),
        *(settled(f"s{k}", run_of(SOLVER, 0.0, seconds=0.1), reason="equal") for k in range(40)),
        *(settled(f"l{k}", run_of(gain=0.01 * (-1) ** k), family="labs", tenant="acme/lab") for k in range(4)),
        *(
            settled(f"p{k}", run_of(gain=-0.05), family="portfolio", status="fallback", reason="worse_than_baseline")
            for k in range(12)
        ),
        settled(
            "f1",
            run_of(gain=0.0, answered=False, cost_usd=None, expected=Expected(cost_usd=0.3)),
            run_of(SOLVER, 0.0),
            detail={"explores": 0.05},
        ),
        settled("c1", run_of("cirq.statevector", None), family="circuit", reason="verified"),
        settled("d1", status="fallback", reason="deadline", slack=-2.0),
        settled("h1", run_of(HOSTILE, 0.5), family=HOSTILE, tenant=HOSTILE),
        settled("x1", status="rejected", reason="invalid_problem", event="rejected", family="", slack=None),
        settled("x2", event="duplicate", status="dropped", reason="same id, same content", slack=None),
        settled("x3", event="refused", status=IONQ, reason="over_budget", slack=None),
    ]


def found(by: tuple[By, ...] = DEFAULT_BY, tenant: str | None = None) -> Findings:
    """What a report says of all that."""
    fold = Periods(lambda _: Worth(), tenant=tenant)
    period = folded(*audit(), fold=fold)
    return findings(period, spending(ledger(), tenant=tenant), NOON + 41 * DAY, by, tenant=tenant)
