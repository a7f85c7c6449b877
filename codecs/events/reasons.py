"""The closed sets of words that events use: why a decision was taken, and what it says."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

MOST_ROUNDS: Final = 100
"""Of a problem."""

Sense = Literal["min", "max"]
Target = Literal["classical", "gpu", "quantum"]
Priority = Literal["high", "normal", "low"]
Rounds = Annotated[int, msgspec.Meta(ge=1, le=MOST_ROUNDS)] | Literal["deadline", "converged"]
CacheMode = Literal["replay", "fresh", "only"]
Status = Literal["accepted", "fallback"]

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
    "rate_limited",  # fallback: the vendor takes so many jobs in a time, and this one's turn is after its deadline
    "unreachable",  # fallback: there was no way through the network to the vendor
    "not_cached",  # fallback: the problem takes only a result that was had before, and there is none
    "no_backend",  # fallback: no live worker takes the job
    "stage_failed",  # fallback: a hop before execution, or the judgement of the answer, failed on this problem
    "worker_crashed",  # fallback: a worker died at this problem three times
    "overloaded",  # fallback: more problems waited than can be answered in time, this one certainly too late
]
RouteReason = Literal[
    "requested",  # the problem names its target
    "requested_unavailable",  # it names one, and no live worker of it takes the kernel: no route
    "rule",  # a rule of the settings matched and its target is alive
    "explored",  # a rule leaves it to evidence, and it went there to find out whether that pays
    "not_worth_it",  # a rule leaves it to evidence, and by that nothing but a classical backend pays
    "rule_unavailable",  # the rule's target or backend is not alive, or no rule matched: the next that is alive
    "too_large",  # the kernel is over what the wanted target takes: the next that takes it
    "no_backend",  # no live worker of any target takes the kernel: no route
]
Condition = Literal[
    "retuning",  # its vendor says that it runs nothing for a moment, and takes jobs: they wait there
    "offline",  # its vendor says that it runs nothing
    "unreachable",  # there is no way through the network to its vendor: nobody knows how it is
]
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

CandidateReason = Literal[
    "taken",  # it gets the kernel
    "behind",  # it would take it, another one goes first
    "not_alive",  # no worker that runs it was heard of lately
    "not_in_rule",  # the rule that decides names others
    "not_named",  # it is paid for, and neither a rule nor a preference names it
    "wrong_kind",  # it does not run kernels of this kind
    "too_large",  # the kernel is over what it takes
    "too_slow_for_deadline",  # by its estimate it would not be done by the deadline
    "over_budget",  # a budget has too little left for it
    "no_price",  # a budget counts what it takes, and nobody knows that
    "unreachable",  # no worker of it has a way through the network to its vendor
    "offline",  # its vendor says that it runs nothing, and not when it will
    "rate_limited",  # its vendor takes so many jobs in a time, and the next turn is too late for the deadline
    "draining",  # an operator ordered that it gets no more jobs
    "maintenance",  # an operator announced a time without it
    "no_ledger",  # it is paid for, and nobody keeps the ledger: control was not heard of lately
    "breaker_open",  # too many of its last attempts failed; it is tried again when its time is over
    "explored",  # it gets the kernel, to find out whether it pays
    "unproven",  # nobody knows yet whether it pays: a share of the kernels finds out
    "not_worth_it",  # by the evidence it does not pay
]
