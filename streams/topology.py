"""The whole pipeline, top to bottom: topics, stages, what each reads and writes. `qmosaic topology` prints it.

    problems ──► encode ──► problems.encoded ──► reduce ──► problems.reduced ──► route
        │                                          │                               │
        │                                          ▼              ┌────────────────┼──────────────┐
        │                                      incumbents   jobs.classical      jobs.gpu     jobs.quantum
        │                                          │              └──────► execute.* ◄────────────┘
        ▼                                          ▼                           │
      verify ◄─────────────────────────────────────┴──────── proposals ◄───────┘
        │
        ▼
    outcomes.accepted · outcomes.fallback · problems.rejected · audit

    jobs.paid ◄──► execute.paid ──► jobs.priced · jobs.ended ──► control ◄── control.commands
        ▲                                                          │
        └──────────────────────────────────────────────────────────┴──► ledger · control.state · audit

encode, reduce, route and execute are Faust agents: at least once, safe to run twice. verify and control are services of
their own, exactly once: the only writers of the four topics at the end, and of the ledger. A stage is a consumer group,
and a process but where it is light enough to live in another's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from qmosaic.codecs.events import control, hops, ledger, public
from qmosaic.codecs.events.reasons import Target
from qmosaic.streams.hops import encode, execute, reduce, route
from qmosaic.streams.hops.hop import Handler
from qmosaic.streams.hops.paid import ExecutePaid
from qmosaic.streams.settings import Settings


@dataclass(frozen=True)
class Topic:
    """`joined`: has exactly the partitions of `problems`, records are addressed to partition numbers."""

    name: str
    key: str
    schema: str
    joined: bool = False
    partitions: int | None = None
    retention: Literal["settings", "short", "for ever", "compacted"] = "settings"


TOPICS: tuple[Topic, ...] = (
    # What producers write and what consumers read.
    Topic("problems", "problem id, or none", public.PROBLEM_SCHEMA, joined=True),
    Topic("outcomes.accepted", "problem id", public.OUTCOME_SCHEMA, joined=True),
    Topic("outcomes.fallback", "problem id", public.OUTCOME_SCHEMA, joined=True),
    Topic("problems.rejected", "problem id", public.REJECTION_SCHEMA, joined=True),
    Topic("audit", "problem id", control.AuditEntry.schema, joined=True),
    # Between the hops.
    Topic("problems.encoded", "problem id", hops.Encoded.schema),
    Topic("problems.interim", "problem id", hops.Interim.schema, joined=True),
    Topic("incumbents", "problem id", hops.Incumbent.schema, joined=True),
    Topic("problems.reduced", "problem id", hops.Reduced.schema),
    Topic("jobs.classical", "kernel digest", hops.JobEvent.schema),
    Topic("jobs.gpu", "kernel digest", hops.JobEvent.schema),
    Topic("jobs.quantum", "kernel digest", hops.JobEvent.schema),
    Topic("jobs.paid", "kernel digest", hops.JobEvent.schema),
    Topic("jobs.submitted", "client id", control.Submitted.schema),
    Topic("jobs.priced", "kernel digest", hops.JobEvent.schema, partitions=1),
    Topic("results", "job key", hops.PaidResult.schema),
    Topic("jobs.ended", "reservation", ledger.JobEnded.schema, partitions=1),
    Topic("proposals", "problem id", hops.Proposal.schema, joined=True),
    # For whoever operates it.
    Topic("backends.status", "worker", control.BackendStatus.schema, partitions=1, retention="short"),
    Topic("workers.status", "supervisor", control.WorkersStatus.schema, partitions=1, retention="short"),
    Topic("control.commands", "command id", control.COMMAND_SCHEMA, partitions=1),
    Topic("control.state", "what it is of", control.ControlState.schema, partitions=1, retention="compacted"),
    Topic("ledger", "reservation", ledger.LedgerEntry.schema, partitions=1, retention="for ever"),
    Topic("dead-letters", "stage", control.DeadLetter.schema),
)


@dataclass(frozen=True)
class Stage:
    """One kind of worker. `handler` makes the batch function of an agent; None: a service, verify or control.

    `batch`: the most records a micro-batch takes, of all lanes or of each. `lanes`: what is up to so large (variables,
    seconds) shares a lane, larger ones use the next, so that a long run does not hold up the short ones behind it.
    `concurrency`: batches that a lane works on at once. `gives_up`: what is too late, or kills workers, is let go.
    `committed`: its input is written in transactions, and what was aborted is not for it. `nice`: its processes'
    niceness: where processors are few, who is nearer to the outcome goes first, or what waits between the stages would
    grow, and be in front of whoever's turn it is.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    handler: Callable[[Settings, str, Callable[[], float]], Handler] | None
    batch: int | tuple[int, ...] = 256
    lanes: tuple[float, ...] = ()
    concurrency: int = 1
    gives_up: bool = True
    committed: bool = False
    nice: int = 5

    def most(self, lane: int) -> int:
        """The most records of a micro-batch of a lane."""
        return self.batch if isinstance(self.batch, int) else self.batch[lane]


JOBS = ("jobs.classical", "jobs.gpu", "jobs.quantum", "jobs.paid")
LIVES_IN = {"control": "route"}
"""A light stage, and the one whose process it shares where both are started."""


AGAIN = ("problems.encoded",)
"""Where another round of a problem begins."""


def _execute(target: Target, batch: int) -> Stage:
    writes = (*JOBS, "proposals", "backends.status")  # a job that failed goes to the next candidate
    return Stage(f"execute.{target}", (f"jobs.{target}",), writes, execute.Execute, batch, lanes=execute.LANES)


PAID = "execute.paid"
"""Runs where `paid.backends` are set."""

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "encode",
            ("problems",),
            ("problems.encoded",),
            encode.Encode,
            batch=(256, 1),
            lanes=encode.LANES,
        ),
        Stage(
            "reduce",
            ("problems.encoded",),
            ("incumbents", "problems.reduced"),
            reduce.Reduce,
            batch=(64, 64, 8, 4),  # what takes seconds comes out as it is found, not when all of a batch is
            lanes=reduce.LANES,
            nice=10,
        ),
        Stage(
            "route",
            ("problems.reduced",),
            (*JOBS, "proposals"),
            route.Route,
        ),
        _execute("classical", batch=32),
        _execute("gpu", batch=64),
        _execute("quantum", batch=16),
        Stage(
            PAID,
            ("jobs.paid",),
            ("jobs.submitted", "jobs.priced", "jobs.ended", "results", *JOBS, "proposals", "backends.status"),
            ExecutePaid,
            batch=1,
            concurrency=256,
            gives_up=False,  # it may be paid for
            committed=True,
        ),
        Stage(
            "verify",
            ("problems", "incumbents", "proposals"),
            ("outcomes.accepted", "outcomes.fallback", "problems.rejected", "audit", "problems.interim", *AGAIN),
            None,
        ),
        Stage(
            "control",
            ("jobs.priced", "jobs.ended", "control.commands"),
            ("ledger", "control.state", *JOBS, "proposals", "audit", "backends.status"),
            None,
        ),
    )
}


def stages(names: str) -> list[str]:
    """`execute,verify` to stage names; `execute` means all its targets, `all` everything. Raises KeyError."""
    chosen: list[str] = []
    for name in (part.strip() for part in names.split(",") if part.strip()):
        found = [stage for stage in STAGES if name in ("all", stage) or stage.startswith(f"{name}.")]
        if not found:
            raise KeyError(name)
        chosen += [stage for stage in found if stage not in chosen]
    return chosen


def describe() -> str:
    """The graph as text, one line an edge, in the order of the flow."""
    lines = []
    for stage in STAGES.values():
        lines += [f"{topic} -> {stage.name}" for topic in stage.reads]
        lines += [f"{stage.name} -> {topic}" for topic in stage.writes]
    return "\n".join(lines)
