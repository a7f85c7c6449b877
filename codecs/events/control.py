"""The events for whoever operates the pipeline: signs of life, the journal of paid jobs, audit, dead letters."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import msgspec

from qmosaic.codecs.events.evidence import Learned
from qmosaic.codecs.events.ledger import Amounts, Budget
from qmosaic.codecs.events.public import Expected
from qmosaic.codecs.events.reasons import Condition, PaidState, Target
from qmosaic.codecs.models.kernel import Kind


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal of paid jobs. `job` is what was sent (a digest), under `client_id`, to `backend`.

    `revision` counts from 1; `writer`: who wrote it; `at`: seconds since the epoch; `sends`: how often the job was
    about to be sent. Of two entries with one revision the first counts. `timed_out`: its time was over; `cause`: why
    it failed without ever being there.
    """

    schema: ClassVar[str] = "qmosaic.submitted/1"
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
    cause: Literal["", "rate_limited", "unreachable"] = ""


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one backend did with a kernel: the seconds it worked, US dollars where they are known, and how much better
    than the baseline its answer was.

    `gain` is relative to the baseline, in the problem's sense: 0.03 is 3 % better, below 0 is worse. 0 where there was
    no valid answer, for the incumbent went out; None: nothing to compare. `fidelity`: of its circuit, where it was
    measured. `expected`: what route, the vendor and the backend thought before.
    """

    target: Target
    backend: str
    answered: bool
    seconds: float | None = None
    cost_usd: float | None = None
    gain: float | None = None
    expected: Expected | None = None
    fidelity: float | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the end of a problem tells of the backends that ran its kernel. `job`: a digest of what decides about the
    answer besides them; equal jobs tell nothing new. `work_seconds`: about how long a simulator takes."""

    family: str
    kind: Kind
    variables: int
    couplings: int = 0
    job: str = ""
    work_seconds: float = 0.0
    runs: list[Run] = []


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision, for whoever asks later: duplicates dropped, outcomes settled and why, records put aside.

    `put_aside`: a record of an internal topic that fits no problem or nothing at all. Of the control service: `refused`
    a grant, `command` carried out or refused, `soft_limit` of a budget reached, `overrun`: a job cost more than was
    reserved for it, `breaker` of a backend opened or closed. `round`: one is over, and another has begun. `detail` is
    for readers. `evidence`: of a round or a settled problem, for what learns from it; `slack`: the seconds it had left
    to its deadline; `family`: its own.
    """

    schema: ClassVar[str] = "qmosaic.auditentry/1"
    event: Literal[
        "settled",
        "rejected",
        "duplicate",
        "put_aside",
        "refused",
        "command",
        "soft_limit",
        "overrun",
        "breaker",
        "round",
    ]
    problem_id: str
    tenant: str
    partition: int
    offset: int
    at: float
    status: str
    reason: str
    detail: dict[str, Any]
    evidence: Evidence | None = None
    slack: float | None = None
    family: str = ""


class Tally(msgspec.Struct, frozen=True):
    """What a worker saw of a backend since it began: attempts that were answered, that failed by the backend's fault,
    and how many of the last ones failed in a row; how many of those answered were far slower than estimated."""

    answered: int
    failed: int
    streak: int
    slow: int = 0


class BackendStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An execute worker's sign of life: what it runs, of which kind and up to which size, and how that went."""

    schema: ClassVar[str] = "qmosaic.backendstatus/1"
    worker: str
    target: Target
    backends: dict[str, dict[Kind, int]]  # name → kind of kernel → max qubits
    at: float
    tallies: dict[str, Tally] = {}  # by name
    grants: bool = False  # it is the service that keeps the ledger
    conditions: dict[str, Condition] = {}  # by name, of those that are not as they should be
    not_before: dict[str, float] = {}  # by name, when it may be sent its next job, as its rate or its vendor says


Ailment = Literal["ended", "silent", "stuck", "collector"]
"""Of a worker. `ended`: its process, and the next one is not ready yet; `silent`: it does not answer; `stuck`: it
answers, and does nothing; `collector`: its traces are lost."""


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong with a worker, `since` when (seconds since the epoch)."""

    worker: str
    what: Ailment
    since: float


class WorkersStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with the workers of a supervisor: told when it changes, and again and again while there is any."""

    schema: ClassVar[str] = "qmosaic.workersstatus/1"
    supervisor: str
    troubles: list[Trouble] = []


COMMAND_SCHEMA: Final = "qmosaic.command/1"

# -- commands, and what they change ------------------------------------------------------------------------------------


class SetPolicy(msgspec.Struct, frozen=True, tag="policy.set", forbid_unknown_fields=True):
    """A new policy. `base`: the number of the one that it was made from; None: whatever is in force."""

    text: str
    base: int | None = None


class RollBack(msgspec.Struct, frozen=True, tag="policy.rollback", forbid_unknown_fields=True):
    """The policy of a number again, under a new one."""

    number: int
    base: int | None = None


class SetBudget(msgspec.Struct, frozen=True, tag="budget.set", forbid_unknown_fields=True):
    """A budget; one that caps nothing is taken away."""

    budget: Budget


class Resolve(msgspec.Struct, frozen=True, tag="budget.resolve", forbid_unknown_fields=True):
    """What a job really cost, found out at its vendor; None: nothing, it never ran."""

    reservation: str
    amounts: Amounts | None = None


class SetBackend(msgspec.Struct, frozen=True, tag="backend.set", forbid_unknown_fields=True):
    """`draining`: it gets no more jobs. `maintenance`: none between these times (seconds since the epoch)."""

    backend: str
    state: Literal["enabled", "draining", "maintenance"]
    since: float = 0.0
    until: float = 0.0


class Resend(msgspec.Struct, frozen=True, tag="letter.resend", forbid_unknown_fields=True):
    """The record of a dead letter (`letter`: its partition and offset), to the topic (without the namespace) that it
    came from. `original`, `key` and `headers` are as in the letter."""

    letter: str
    topic: str
    partition: int
    original: str
    key: str | None = None
    headers: list[tuple[str, str]] = []
    problem_id: str = ""


Order = SetPolicy | RollBack | SetBudget | Resolve | SetBackend | Resend


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody (`who`) wants something for a reason (`why`). `at`: seconds since the epoch, by their clock. Its answer
    is an audit entry that names its `id`."""

    schema: Literal["qmosaic.command/1"] = COMMAND_SCHEMA
    id: str
    who: str
    why: str
    at: float
    order: Order


class PolicySet(msgspec.Struct, frozen=True, kw_only=True):
    """A policy of the past, or the one in force: the one with the highest number."""

    number: int
    version: str
    text: str
    who: str
    why: str
    at: float


class BackendSet(msgspec.Struct, frozen=True, kw_only=True):
    """What was ordered last of a backend."""

    backend: str
    state: Literal["enabled", "draining", "maintenance"]
    since: float
    until: float
    who: str
    why: str
    at: float


class ControlState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing of what control decided last, under a key of its own: the topic is compacted. `commands`: ids of the
    latest ones, which are carried out once. `learned`: from the audit."""

    schema: ClassVar[str] = "qmosaic.controlstate/1"
    policy: PolicySet | None = None
    backend: BackendSet | None = None
    commands: list[str] = []
    learned: Learned | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An internal event that a hop could not handle at all: its original bytes (base64) and the error.

    `key` and `headers` (names with values) are the record's, values in base64. `truncated`: not all of it is here.
    """

    schema: ClassVar[str] = "qmosaic.deadletter/1"
    stage: str
    topic: str
    partition: int
    offset: int
    error: str
    original: str
    at: float
    truncated: bool = False  # `original` is the beginning alone, or the headers are left out
    key: str | None = None
    headers: list[tuple[str, str]] = []
