"""Every event on the wire, public and internal, and how it becomes bytes (orjson) and back (msgspec).

Public events (`Problem`, `Outcome`, `Rejection`) are plain JSON numbers and stay readable for ever: a
published major version is never edited. Internal events carry arrays packed (`arrays.Packed`); all their
workers are of one release. Unknown fields are ignored by every reader; of a problem the original bytes are kept.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

import msgspec
import orjson

from qmosaic.codecs.arrays import Packed
from qmosaic.codecs.bundle import Bundle
from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.kernels import Kind, PackedKernel

Sense = Literal["min", "max"]
Target = Literal["classical", "gpu", "quantum"]
Priority = Literal["high", "normal", "low"]
Status = Literal["accepted", "fallback"]

T = TypeVar("T")

PROBLEM_SCHEMA: Final = "qmosaic.problem/1"
OUTCOME_SCHEMA: Final = "qmosaic.outcome/1"
REJECTION_SCHEMA: Final = "qmosaic.rejection/1"

# Why an answer was accepted, or why the classical fallback went out instead.
OutcomeReason = Literal[
    "improved",  # accepted: better than the incumbent
    "equal",  # accepted: as good as the incumbent
    "verified",  # accepted: agrees with an independent simulation (circuits)
    "unverified",  # accepted, but nothing independent could check it; `details` say why (circuits)
    "solved_in_reduce",  # accepted: presolve left nothing to decide, the answer is optimal
    "worse_than_baseline",  # fallback: the answer is valid but worse than the incumbent
    "within_error",  # fallback: no better than the incumbent by more than its own standard error
    "infeasible",  # fallback: the answer breaks a constraint of the problem
    "mismatch",  # fallback: the answer contradicts an independent simulation (circuits)
    "invalid_answer",  # fallback: the proposal does not fit the kernel
    "deadline",  # fallback: no answer by the deadline, the incumbent was there
    "no_incumbent",  # fallback: not even a usable incumbent by the deadline; the family's quick answer, if it has one
    "execution_failed",  # fallback: the backend failed the job
    "over_budget",  # fallback: the job costs more than may be spent on one, or nobody knows what; it was not sent
    "no_backend",  # fallback: no live worker takes the job
    "stage_failed",  # fallback: a hop before execution, or the judgement of the answer, failed on this problem
    "worker_crashed",  # fallback: a worker died at this problem three times
    "overloaded",  # fallback: more problems waited than can be answered in time, this one certainly too late
]

RouteReason = Literal[
    "requested",  # the problem names its target
    "requested_unavailable",  # it names one, and no live worker of it takes the kernel: no route
    "rule",  # a rule of the settings matched and its target is alive
    "rule_unavailable",  # the rule's target or backend is not alive, or no rule matched: the next that is alive
    "too_large",  # the kernel is over what the wanted target takes: the next that takes it
    "no_backend",  # no live worker of any target takes the kernel: no route
]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What a producer sends. Only `family` and `problem` are required.

    `deadline` is seconds after the record's timestamp, or an RFC 3339 time. `sense` is the way the
    objective is meant where it is not the family's own. `labels` come back unchanged on the outcome.
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
    labels: dict[str, Any] = {}


class Timing(msgspec.Struct, frozen=True):
    """Seconds a problem waited for a hop (transport and queue), and seconds the hop worked on it."""

    queue: float
    work: float


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """What every internal event says about its problem: whose it is, where it arrived, until when."""

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
    sent_at: float = 0.0  # when this event was sent, by the sender's clock
    timings: dict[str, Timing] = {}


class Encoded(msgspec.Struct, frozen=True, kw_only=True):
    """encode → reduce: the compact model; a `Bundle` where only the family knows what it is.

    `size`: how much work reduce has with it, in variables of a max-cut.
    """

    ref: Ref
    model: PackedKernel | Bundle
    size: int


class Incumbent(msgspec.Struct, frozen=True, kw_only=True):
    """reduce → verify: the best classical solution, and how to lift a kernel's answer, in the family's terms.

    `kernel_digest` None: there is no kernel, the incumbent is proven optimal.
    """

    ref: Ref
    state: Bundle
    solver: str
    seconds: float
    kernel_digest: str | None
    lift: Bundle | None


class Reduced(msgspec.Struct, frozen=True, kw_only=True):
    """reduce → route: the kernel, its size for the policy, and its tuned angles (radians) if it is a polynomial."""

    ref: Ref
    kernel: PackedKernel
    kernel_digest: str
    kind: Kind
    variables: int
    couplings: int
    size: int  # how much work it is to run, in qubits of a QAOA circuit
    gammas: list[float]
    betas: list[float]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, and why."""

    target: Target
    backend: str
    reason: RouteReason
    rule: str


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """route → execute: one kernel for one backend."""

    ref: Ref
    job_id: str
    attempt: int
    route: Route
    kernel: PackedKernel
    kernel_digest: str
    size: int  # how much work it is, in qubits of a QAOA circuit
    gammas: list[float]
    betas: list[float]


PaidState = Literal[
    "planned",  # not sent, or the vendor did not take it
    "submitting",  # about to be sent: the intent
    "submitted",  # the vendor has it, its id is known
    "unknown",  # it may have been sent, or may still run: the vendor is asked before anything else
    "running",
    "completed",
    "failed",
    "cancelled",
]


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal of paid jobs. `job` is what was sent (a digest), under `client_id`, to `backend`.

    `revision` counts from 1; `writer`: who wrote it; `at`: seconds since the epoch; `sends`: how often the job was
    about to be sent. Of two entries with one revision the first counts. `timed_out`: its time was over.
    """

    client_id: str
    revision: int
    writer: str
    backend: str
    job: str
    state: PaidState
    at: float
    sends: int = 0
    vendor_id: str = ""
    message: str = ""
    timed_out: bool = False


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


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend says of a kernel, by the kind of the kernel.

    A polynomial: `bits`, the best sample (packed bits), its `energy`, and `confidence`, the share of the samples
    whose energy equals it. A circuit: `samples` of its classical bits (uint8, a row each) and their `counts`
    (int64); or, where it has observables, their expectation `values` and standard `errors` (0: exact).
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


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer. `stage` failed; `reason` is the outcome's; `message` is for people.

    `ended`: how a paid job ended; unknown: it may still run at the vendor. `usage`: where the vendor had it.
    """

    stage: str
    reason: Literal["execution_failed", "over_budget", "no_backend", "stage_failed", "worker_crashed"]
    message: str
    route_reason: RouteReason | None = None  # of the route stage, where it found no route
    ended: Literal["failed", "timed_out", "cancelled", "unknown"] | None = None
    usage: UsageInfo | None = None


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """execute (or a hop that failed) → verify: an answer not yet believed, or the failure."""

    ref: Ref
    kernel_digest: str | None
    route: Route | None
    attempt: int
    answer: Answer | None
    failure: Failure | None


class Baseline(msgspec.Struct, frozen=True, omit_defaults=True):
    """The classical incumbent: its objective, what found it, the seconds it took, and the family's details of it."""

    objective: int | float | None
    solver: str
    seconds: float
    details: dict[str, Any] = {}


class Proposed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the backend's answer comes to by the problem's own data, whether it was accepted or not."""

    objective: int | float | None
    feasible: bool
    error: float = 0.0
    violations: list[str] = []
    details: dict[str, Any] = {}


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
    Objective and improvement are None where there is nothing to compare.
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


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, for whoever asks later: duplicates dropped, outcomes settled and why, records put aside.

    `put_aside`: a record of an internal topic that fits no problem or nothing at all; `detail` says which.
    """

    event: Literal["settled", "rejected", "duplicate", "put_aside"]
    problem_id: str
    tenant: str
    partition: int
    offset: int
    at: float
    status: str
    reason: str
    detail: dict[str, Any]


class BackendStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An execute worker's sign of life, every second: what it runs, of which kind and up to which size."""

    worker: str
    target: Target
    backends: dict[str, dict[Kind, int]]  # name → kind of kernel → max qubits
    at: float


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An internal event that a hop could not handle at all: its original bytes (base64) and the error."""

    stage: str
    topic: str
    partition: int
    offset: int
    error: str
    original: str
    at: float
    truncated: bool = False  # `original` is the beginning alone


def encode(event: msgspec.Struct) -> bytes:
    """Value to bytes."""
    return orjson.dumps(msgspec.to_builtins(event))


def dumps(event: dict[str, Any]) -> bytes:
    """A problem event that is a dict already to bytes."""
    return orjson.dumps(event)


def decode(data: bytes, kind: type[T]) -> T:
    """Bytes to a value of `kind`. Raises msgspec.ValidationError or orjson.JSONDecodeError."""
    return msgspec.convert(orjson.loads(data), kind)


def number(value: float) -> float | int:
    """An integral float as int, so that 564.0 prints as 564."""
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


class Envelope(msgspec.Struct, frozen=True):
    """What a problem event says of itself, read without looking into the problem: quick, however large it is."""

    family: str = ""
    priority: str = ""
    deadline: float | str | None = None
    id: str | None = None


_envelopes = msgspec.json.Decoder(Envelope)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DEEP_BYTES = 256 * 1024
"""Of a record that is deeper than msgspec reads, its id is looked for up to this size."""


def envelope(data: bytes | None) -> Envelope | None:
    """The envelope of a problem record; None where it has none that fits."""
    try:
        return _envelopes.decode((data or b"").removeprefix(BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def claimed_id(data: bytes | None, said: Envelope | None = None) -> str | None:
    """The id that a record gives itself, valid problem or not: its sender waits for an answer to that.

    `said`: its envelope, where that has been read: large records are looked through once.
    """
    if said is not None and said.id is not None:
        return said.id if 1 <= len(said.id) <= 256 else None
    text = (data or b"").removeprefix(BYTE_ORDER_MARK)
    try:
        claimed = _ids.decode(text).id
    except RecursionError:  # what lies beside it is deeper than msgspec goes, perhaps not than orjson does
        claimed = _id_of_deep(text)
    except (msgspec.MsgspecError, ValueError):
        return None
    return claimed if isinstance(claimed, str) and 1 <= len(claimed) <= 256 else None


def _id_of_deep(text: bytes) -> Any:
    if len(text) > DEEP_BYTES:
        return None  # it would be taken to pieces as a whole
    try:
        loaded = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return loaded.get("id") if isinstance(loaded, dict) else None


class _Id(msgspec.Struct):
    id: Any = None


class _Labels(msgspec.Struct):
    labels: msgspec.Raw = msgspec.Raw(b"{}")


_ids, _labels = msgspec.json.Decoder(_Id), msgspec.json.Decoder(_Labels)


def labels_of(data: bytes) -> bytes:
    """The labels of a valid problem event as they were written: JSON may grow by several times when it is rewritten."""
    return bytes(_labels.decode(data.removeprefix(BYTE_ORDER_MARK)).labels)


MAX_DEPTH = 100
"""How deep lists and objects of an event may lie in each other. orjson reads 1,024 levels and writes 254."""


def _nested(value: Any) -> list[tuple[str, Any]]:
    """The lists and objects in a list or an object, with their keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [(str(key), inner) for key, inner in items if isinstance(inner, list | dict)]


def too_deep(data: bytes, loaded: dict[str, Any]) -> str | None:
    """The place of something that lies deeper than `MAX_DEPTH` in an event; None if nothing does."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return None
    level: list[Any] = [loaded]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is list or type(inner) is dict
        ]
        if not level:
            return None
    path: list[str] = []  # of one of them: down to where nothing deep is left, and back
    stack = [iter(_nested(loaded))]
    while len(stack) <= MAX_DEPTH:
        key, inner = next(stack[-1], (None, None))
        if key is None:
            stack.pop()
            path.pop()
            continue
        path.append(key)
        stack.append(iter(_nested(inner)))
    return f"$.{'.'.join(path)}"


def parse_problem(data: bytes | None, max_bytes: int) -> Problem | Rejected:
    """The bytes of a problem record to a `Problem`, or the exact reason why not."""
    if data is None or not data.strip():
        return Rejected(
            "empty_value", "the record has no value", "$", "Send the problem as a JSON object in the value."
        )
    if len(data) > max_bytes:
        return Rejected(
            "too_large",
            f"the event has {len(data)} bytes, the limit is {max_bytes}",
            "$",
            "Send a smaller problem, or raise limits.event_bytes.",
        )
    marked, data = len(data), data.removeprefix(BYTE_ORDER_MARK)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        start = error.start + marked - len(data)
        return Rejected(
            "not_utf8",
            f"byte {start} is not UTF-8",
            f"byte {start}",
            "Encode the JSON text as UTF-8.",
        )
    try:
        loaded = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Rejected(
            "not_json",
            f"not JSON: {error.msg}",
            f"line {error.lineno} column {error.colno}",
            "Send one JSON object. NaN and Infinity are not JSON; weights must be finite.",
        )
    if not isinstance(loaded, dict):
        return Rejected(
            "invalid_event",
            f"expected an object, got {type(loaded).__name__}",
            "$",
            'Send {"family": …, "problem": {…}}.',
        )
    if (deep := too_deep(data, loaded)) is not None:
        return Rejected(
            "invalid_event",
            f"lists and objects lie deeper than {MAX_DEPTH} levels in each other",
            deep,
            "Send a flatter event.",
        )
    schema = loaded.get("schema", PROBLEM_SCHEMA)
    if schema != PROBLEM_SCHEMA:
        return Rejected(
            "unsupported_schema",
            f"schema {schema!r} is not known here",
            "$.schema",
            f"Send {PROBLEM_SCHEMA!r}, or leave schema out.",
        )
    try:
        problem = msgspec.convert(loaded, Problem)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        return Rejected(
            "invalid_event",
            message,
            place.strip("`") or "$",
            "See the fields of qmosaic.problem/1 in docs/events.md.",
        )
    return problem
