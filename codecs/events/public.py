"""The events that producers send and consumers read: plain JSON, and readable for ever."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from qmosaic.codecs.events.reasons import CacheMode, OutcomeReason, Priority, Rounds, RouteReason, Sense, Status, Target

PROBLEM_SCHEMA: Final = "qmosaic.problem/1"
OUTCOME_SCHEMA: Final = "qmosaic.outcome/1"
REJECTION_SCHEMA: Final = "qmosaic.rejection/1"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What a producer sends. Only `family` and `problem` are required.

    `deadline` is seconds after the record's timestamp, or an RFC 3339 time. `sense` is the way the
    objective is meant where it is not the family's own. `max_cost_usd`: US dollars that it may cost at most, all
    attempts together. `cache`: whether a result that was had before will do. `rounds`: how often it is improved.
    `labels` come back unchanged on the outcome.
    """

    family: str
    problem: dict[str, Any]
    schema: Literal["qmosaic.problem/1"] = PROBLEM_SCHEMA
    id: str | None = None
    deadline: float | str | None = None
    target: Literal["auto", "classical", "gpu", "quantum"] = "auto"
    shots: int | None = None
    seed: int | None = None
    tenant: str = "default"
    priority: Priority = "normal"
    sense: Sense | None = None
    max_cost_usd: float | msgspec.UnsetType | None = msgspec.UNSET
    cache: CacheMode | msgspec.UnsetType = msgspec.UNSET
    rounds: Rounds | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, Any] = {}


class Timing(msgspec.Struct, frozen=True):
    """Seconds a problem waited for a hop (transport and queue), and seconds the hop worked on it."""

    queue: float
    work: float


class CircuitInfo(msgspec.Struct, frozen=True):
    """The circuit that ran: counts after compilation."""

    qubits: int
    depth: int
    two_qubit_gates: int
    shots: int


class UsageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a run took of others: seconds in the vendor's queue and on its device, US dollars, the vendor's job id.

    `cost_usd` None: no charge is known, neither told by the vendor nor known by a price that is set.
    """

    queue_seconds: float = 0.0
    device_seconds: float = 0.0
    cost_usd: float | None = None
    vendor_job_id: str = ""


class Expected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was expected of an attempt: seconds, US dollars, the gain over the baseline, relative to it, and the
    fidelity of its circuit, by the backend's calibration. None: nobody knew."""

    seconds: float | None = None
    cost_usd: float | None = None
    gain: float | None = None
    fidelity: float | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One candidate that had the kernel: the seconds it was worked on, US dollars where they are known, and how it
    ended: `answered`, or the reason of the failure with its message. `cached`: the answer was had before. `expected`:
    what was known before. `fidelity`: how much of its circuit's signal was left, where the samples tell."""

    target: Target
    backend: str
    ended: str
    seconds: float | None = None
    cost_usd: float | None = None
    message: str = ""
    cached: bool = False
    expected: Expected | None = None
    fidelity: float | None = None


class Baseline(msgspec.Struct, frozen=True, omit_defaults=True):
    """The classical incumbent: its objective, what found it, the seconds it took, and the family's details of it.

    `best_known`: the best objective that classical computation is known to reach, where the family tells one, though
    the incumbent may be worse: whether a backend gained anything is counted from there.
    """

    objective: int | float | None
    solver: str
    seconds: float
    details: dict[str, Any] = {}
    best_known: int | float | None = None


class Proposed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the backend's answer comes to by the problem's own data, whether it was accepted or not."""

    objective: int | float | None
    feasible: bool
    error: float = 0.0
    violations: list[str] = []
    details: dict[str, Any] = {}


class Round(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One round of a problem that has several: its kernel's answer, judged as if it were the only one.

    `objective`: the best that was verified up to its end; `improvement`: how much better its answer was than the
    incumbent of this round; `proposed`: what its answer came to, accepted or not, and the standard `error` of that;
    `seconds`: from its beginning to its end; `cost_usd`: of its attempts, where it is known.
    """

    number: int
    status: Status
    reason: OutcomeReason
    objective: int | float | None
    improvement: int | float | None
    target: Target | None
    backend: str | None
    seconds: float
    cost_usd: float | None = None
    proposed: int | float | None = None
    error: float = 0.0


class Timings(msgspec.Struct, frozen=True):
    """Seconds by hop, and from the problem's arrival to its outcome."""

    hops: dict[str, Timing]
    total: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The verified end of a problem. `objective` is in the sense and scale of what the producer sent.

    `improvement` is how much better than the baseline, in the problem's sense: never negative when accepted.
    `error` is the objective's standard error where it was measured. `details` are the family's. `solution` None:
    there is none, nobody could run it. `proposed` is the backend's answer, judged, also where it was not accepted.
    `usage` is what that answer, or the attempt at one, took of a vendor; None where nothing is known of any.
    Objective and improvement are None where there is nothing to compare. `tried`: the candidates that had the kernel,
    in their order; `policy`: the version of the policy that chose them. Both are left out where there were none. Where
    the problem asked for `rounds`, they stand here, and the outcome is that of the round whose answer is the best;
    `tried` and `attempts` are of all.
    """

    problem_id: str
    family: str
    status: Status
    reason: OutcomeReason
    sense: Sense
    objective: int | float | None
    solution: Any
    feasible: bool
    baseline: Baseline | None
    improvement: int | float | None
    target: Target | None
    backend: str | None
    route_reason: RouteReason | None
    circuit: CircuitInfo | None
    confidence: float | None
    timings: Timings
    attempts: int
    tried: list[Attempt] | msgspec.UnsetType = msgspec.UNSET
    policy: str | msgspec.UnsetType = msgspec.UNSET
    rounds: list[Round] | msgspec.UnsetType = msgspec.UNSET
    seed: int
    digest: str
    versions: dict[str, str]
    trace_id: str
    tenant: str
    labels: dict[str, Any]
    notes: list[str]
    error: float = 0.0
    details: dict[str, Any] = {}
    proposed: Proposed | None = None
    usage: UsageInfo | None = None
    schema: Literal["qmosaic.outcome/1"] = OUTCOME_SCHEMA


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """The end of what never was a valid problem. `original` is its bytes in base64, `source` where it arrived."""

    problem_id: str
    code: str
    message: str
    place: str
    remedy: str
    source: dict[str, Any]
    original: str | None
    truncated: bool
    trace_id: str
    labels: dict[str, Any]
    schema: Literal["qmosaic.rejection/1"] = REJECTION_SCHEMA
    status: Literal["rejected"] = "rejected"
