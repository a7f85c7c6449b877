"""The events between the hops. They carry arrays packed, and all who read and write them are of one release."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from qmosaic.codecs.events.ledger import Amounts
from qmosaic.codecs.events.public import Attempt, CircuitInfo, Expected, Outcome, Timing, UsageInfo
from qmosaic.codecs.events.reasons import CacheMode, CandidateReason, Priority, Rounds, RouteReason, Target
from qmosaic.codecs.models.arrays import Packed
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.kernel import Kind, PackedKernel


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """What every internal event says about its problem: whose it is, where it arrived, until when; and of which of the
    `rounds` that it asked for the event is."""

    problem_id: str
    partition: int
    offset: int
    family: str
    digest: str
    tenant: str
    priority: Priority
    target: Literal["auto", "classical", "gpu", "quantum"]
    shots: int
    seed: int
    received_at: float  # seconds since the epoch: the problem record's timestamp
    deadline_at: float
    max_cost: int | None = None  # micro-dollars that all its attempts may cost
    cache: CacheMode = "fresh"
    rounds: Rounds = 1
    round: int = 1
    sent_at: float = 0.0  # when this event was sent, by the sender's clock
    timings: dict[str, Timing] = {}


class Encoded(msgspec.Struct, frozen=True, kw_only=True):
    """encode → reduce: the compact model; a `Bundle` where only the family knows what it is.

    `size`: how much work reduce has with it, in variables of a max-cut. Verify sends it anew for another round: with
    the best state that was verified (`start`), and what reduce remembers of the rounds before (`memory`).
    """

    schema: ClassVar[str] = "qmosaic.encoded/1"
    ref: Ref
    model: PackedKernel | Bundle
    size: int
    start: Bundle | None = None
    memory: Bundle | None = None


class Incumbent(msgspec.Struct, frozen=True, kw_only=True):
    """reduce → verify: the best classical solution, and how to lift a kernel's answer, in the family's terms.

    `kernel_digest` None: there is no kernel, the incumbent is proven optimal. `memory`: what the next round is to
    remember, where there may be one.
    """

    schema: ClassVar[str] = "qmosaic.incumbent/1"
    ref: Ref
    state: Bundle
    solver: str
    seconds: float
    kernel_digest: str | None
    lift: Bundle | None
    memory: Bundle | None = None


class Interim(msgspec.Struct, frozen=True, kw_only=True):
    """verify → itself: a round is over, and the one that `ref` names has begun.

    `best`: the outcome if this were the end, less its labels; `state`: that of its solution.
    """

    schema: ClassVar[str] = "qmosaic.interim/1"
    ref: Ref
    best: Outcome
    state: Bundle


class Reduced(msgspec.Struct, frozen=True, kw_only=True):
    """reduce → route: the kernel, its size for the policy, and its tuned angles (radians) if it is a polynomial."""

    schema: ClassVar[str] = "qmosaic.reduced/1"
    ref: Ref
    kernel: PackedKernel
    kernel_digest: str
    kind: Kind
    variables: int
    couplings: int
    work_seconds: float  # about how long a simulator takes
    gammas: list[float]
    betas: list[float]


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """What evidence says of a candidate: its gain over the baseline, relative, with the interval that holds it nine
    times in ten; of how many runs (`n`); seconds and dollars of a run. `value`: what a run is worth after what it
    takes, by the policy's weights; `upper`: what it may be worth at best, by the upper end of that interval."""

    n: float
    gain: float
    low: float
    high: float
    seconds: float
    cost_usd: float
    value: float
    upper: float


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, and why. `explores`: the share of budgets that is for finding out what pays, where the kernel
    goes there for that; None: it goes there because it pays, or by a rule. `expected`: what is known before."""

    target: Target
    backend: str
    reason: RouteReason
    rule: str
    policy: str = ""  # its version
    explores: float | None = None
    expected: Expected | None = None


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """route → execute: one kernel for one backend. `candidates`: who has it next where that fails; `considered`: every
    backend that was looked at, and why it is one or not; `weighed`: those that evidence decided about.

    Of a backend that is paid for: `quote` is what its workers say it takes, `reservation` names what control has set
    aside for it; without one nothing is sent to a vendor. `sends`: how many jobs of the vendor's it is;
    `not_before`: when its vendor's rate has room for them, seconds since the epoch.
    """

    schema: ClassVar[str] = "qmosaic.job/1"
    ref: Ref
    job_id: str
    attempt: int
    route: Route
    candidates: list[Route] = []
    considered: dict[str, CandidateReason] = {}
    weighed: dict[str, Weighed] = {}
    tried: list[Attempt] = []
    quote: Amounts | None = None
    reservation: str = ""
    sends: int = 1
    not_before: float = 0.0
    kind: Kind | None = None
    variables: int = 0
    couplings: int = 0
    kernel: PackedKernel
    kernel_digest: str
    work_seconds: float  # about how long a simulator takes
    gammas: list[float]
    betas: list[float]


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """Of a run of a circuit: what its backend expected by its calibration, and how much of the signal that the circuit
    has without noise was measured; None where its samples do not tell."""

    expected: float
    measured: float | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend says of a kernel, by the kind of the kernel.

    A polynomial: `bits`, the best sample (packed bits), its `energy`, and `confidence`, the share of the samples
    whose energy equals it. A circuit: `samples` of its classical bits (uint8, a row each) and their `counts`
    (int64); or, where it has observables, their expectation `values` and standard `errors` (0: exact). `fidelity`: of
    backends that expect some noise.
    """

    circuit: CircuitInfo | None
    bits: Packed | None = None
    energy: float | None = None
    confidence: float | None = None
    samples: Packed | None = None
    counts: Packed | None = None
    values: list[float] = []
    errors: list[float] = []
    usage: UsageInfo | None = None
    fidelity: Fidelity | None = None


FailureReason = Literal[
    "execution_failed",
    "deadline",
    "over_budget",
    "rate_limited",
    "unreachable",
    "not_cached",
    "no_backend",
    "stage_failed",
    "worker_crashed",
]


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer. `stage` failed; `reason` is the outcome's; `message` is for people.

    `ended`: how a paid job ended; unknown: it may still run at the vendor. `usage`: where the vendor had it.
    `refused`: the backend does not take such a job, which says nothing about its health.
    """

    stage: str
    reason: FailureReason
    message: str
    route_reason: RouteReason | None = None  # of the route stage, where it found no route
    ended: Literal["failed", "timed_out", "cancelled", "unknown"] | None = None
    usage: UsageInfo | None = None
    refused: bool = False


class PaidResult(msgspec.Struct, frozen=True, kw_only=True):
    """execute.paid → itself: an answer that was paid for, under the key of its job. `size`: its bytes."""

    schema: ClassVar[str] = "qmosaic.paidresult/1"
    key: str
    answer: Answer
    size: int


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """execute (or a hop that failed) → verify: an answer not yet believed, or the failure; and of which kernel."""

    schema: ClassVar[str] = "qmosaic.proposal/1"
    ref: Ref
    kernel_digest: str | None
    route: Route | None
    attempt: int
    answer: Answer | None
    failure: Failure | None
    considered: dict[str, CandidateReason] = {}
    weighed: dict[str, Weighed] = {}
    tried: list[Attempt] = []
    cached: bool = False  # the answer is one that was had before
    compile_seconds: float = 0.0  # of the last attempt
    kind: Kind | None = None
    variables: int = 0
    couplings: int = 0
    work_seconds: float = 0.0
