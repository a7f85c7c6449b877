"""Terminal events: what verify writes at a problem's end, as bytes that fit into a record, and the audit entry beside.

A terminal event can always be written: what is too large for one record is left out, with a note.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Literal

import msgspec
import orjson
from msgspec.structs import replace

from qmosaic.codecs.errors import RejectCode
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry, Evidence, Run
from qmosaic.codecs.events.hops import Encoded, Incumbent, Interim, Proposal, Ref
from qmosaic.codecs.events.public import Attempt, Outcome, Rejection
from qmosaic.codecs.events.reasons import MOST_ROUNDS, OutcomeReason
from qmosaic.processors import rounds
from qmosaic.processors.admit import Admission, Defaults, Record, Refusal, admit
from qmosaic.processors.decisions import INTERIM, Duplicate
from qmosaic.processors.families.base import Limits
from qmosaic.processors.verify import relative_gain, settle_safely

ACCEPTED: Literal["outcomes.accepted"] = "outcomes.accepted"
FALLBACK: Literal["outcomes.fallback"] = "outcomes.fallback"
REJECTED: Literal["problems.rejected"] = "problems.rejected"
TERMINAL = (ACCEPTED, FALLBACK, REJECTED)

ORIGINAL_BYTES = 1024 * 1024
"""The most of a rejected record that its rejection keeps; the whole of it lies where `source` says."""


class Onward(msgspec.Struct, frozen=True):
    """Another round: what it begins with, and the problem's way to reduce, as bytes; `size` is for reduce's lanes."""

    interim: Interim
    encoded: bytes
    size: int


class Verdict(msgspec.Struct, frozen=True):
    """A problem's end, ready to be written: the event's bytes, and what log, audit and spans say of it. Or, `onward`,
    that of a round."""

    topic: str
    value: bytes
    status: str
    reason: OutcomeReason | RejectCode
    detail: dict[str, Any]
    error: str = ""  # what a family raised while it was judged
    evidence: Evidence | None = None
    summary: Outcome | None = None  # the outcome, less what may be large
    onward: Onward | None = None


def outcome_verdict(
    outcome: Outcome,
    most: int,
    *,
    labels: bytes | None = None,
    proposal: Proposal | None = None,
    error: str = "",
    own: Outcome | None = None,
) -> Verdict:
    """The verdict that an outcome is, in at most `most` bytes. `labels`: as they were written, instead of its own.
    `own`: that of the last round, which the `proposal` is of, where there were several."""
    topic = ACCEPTED if outcome.status == "accepted" else FALLBACK
    value = _fitting(outcome, most, labels)
    detail, evidence = _detail(outcome, proposal), evidence_of(own or outcome, proposal)
    return Verdict(topic, value, outcome.status, outcome.reason, detail, error, evidence, _summary(outcome))


def _detail(outcome: Outcome, proposal: Proposal | None) -> dict[str, Any]:
    failure = proposal.failure.message if proposal is not None and proposal.failure else None
    detail: dict[str, Any] = {
        "objective": outcome.objective,
        "baseline": outcome.baseline.objective if outcome.baseline else None,
        "backend": outcome.backend,
        "route_reason": outcome.route_reason,
        "usage": outcome.usage,
        "failure": failure,
        "rule": proposal.route.rule if proposal is not None and proposal.route is not None else None,
        "considered": proposal.considered if proposal is not None else {},
    }
    if proposal is not None and proposal.weighed:
        detail["weighed"] = proposal.weighed
    if proposal is not None and proposal.route is not None and proposal.route.explores is not None:
        detail["explores"] = proposal.route.explores
    return detail


def _summary(outcome: Outcome) -> Outcome:
    baseline = None if outcome.baseline is None else replace(outcome.baseline, details={})
    return replace(outcome, solution=None, baseline=baseline, labels={}, details={}, notes=[], proposed=None)


RAN = frozenset({"answered", "execution_failed", "stage_failed", "worker_crashed"})
"""How attempts end that a backend had; the others were not sent."""


def evidence_of(outcome: Outcome, proposal: Proposal | None) -> Evidence | None:
    """What the end tells of the backends that had the kernel; None: of none. What was had before tells nothing new."""
    if proposal is None or proposal.kind is None:
        return None
    runs = [_run(one, outcome) for one in proposal.tried if one.ended in RAN and not one.cached]
    if not runs:
        return None
    ref = proposal.ref
    of = (proposal.kernel_digest, ref.seed, ref.shots)
    return Evidence(
        family=outcome.family,
        kind=proposal.kind,
        variables=proposal.variables,
        couplings=proposal.couplings,
        job=sha256(repr(of).encode()).hexdigest()[:12],
        work_seconds=proposal.work_seconds,
        runs=runs,
    )


def _run(attempt: Attempt, outcome: Outcome) -> Run:
    answered = attempt.ended == "answered"
    return Run(
        target=attempt.target,
        backend=attempt.backend,
        answered=answered,
        seconds=attempt.seconds,
        cost_usd=attempt.cost_usd,
        gain=_gain(outcome, answered),
        fidelity=attempt.fidelity if attempt.fidelity is not None else _judged_fidelity(outcome, answered),
        expected=attempt.expected,
    )


def _gain(outcome: Outcome, answered: bool) -> float | None:
    """Of the answer, accepted or not; without a valid one of the incumbent, which goes out itself."""
    base, proposed = outcome.baseline, outcome.proposed
    is_valid = answered and proposed is not None and proposed.feasible
    objective = proposed.objective if is_valid and proposed is not None else base.objective if base else None
    return None if objective is None else relative_gain(outcome, objective)


def _judged_fidelity(outcome: Outcome, answered: bool) -> float | None:
    """That of the counts of a circuit, where its family compares them with a reference."""
    told = outcome.proposed.details.get("fidelity") if answered and outcome.proposed is not None else None
    return float(told) if isinstance(told, int | float) and 0.0 <= told <= 1.0 else None


def _fitting(outcome: Outcome, most: int, labels: bytes | None) -> bytes:
    value = b""
    for less, kept in _smaller(outcome, labels):
        try:
            value = wire.encode(less) if kept is None else _with_labels(less, kept)
        except (TypeError, ValueError, RecursionError):  # details of a plug-in that JSON has no words for
            continue
        if len(value) <= most:
            break
    return value


def _smaller(outcome: Outcome, labels: bytes | None) -> Iterator[tuple[Outcome, bytes | None]]:
    """The outcome, then ever less of it."""
    yield outcome, labels
    steps: tuple[dict[str, Any], ...] = (
        {"labels": {}},
        {"details": {}, "proposed": None},
        {"baseline": None},
        {"solution": None},
    )
    for fields in steps:
        left_out = f"{' and '.join(fields)} left out: too large for a record"
        outcome = replace(outcome, **fields, notes=[*(note[:500] for note in outcome.notes[:20]), left_out])
        yield outcome, None


def _with_labels(outcome: Outcome, labels: bytes) -> bytes:
    fields = msgspec.to_builtins(replace(outcome, labels={}))
    return orjson.dumps({**fields, "labels": orjson.Fragment(labels)})


def rejection_verdict(record: Record, refusal: Refusal, trace_id: str, *, first: int) -> Verdict:
    """The verdict on a refused record. `first`: the first offset that it stands for, where a batch is unreadable."""
    rejected, original = refusal.rejected, record.value
    source = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    event = Rejection(
        problem_id=refusal.problem_id,
        code=rejected.code,
        message=rejected.message,
        place=rejected.place,
        remedy=rejected.remedy,
        source=source if first == record.offset else {**source, "first_offset": first},
        original=None if original is None else b64encode(original[:ORIGINAL_BYTES]).decode(),
        truncated=original is not None and len(original) > ORIGINAL_BYTES,
        trace_id=trace_id,
        labels=refusal.labels,
    )
    detail = {"place": rejected.place, "message": rejected.message}
    return Verdict(REJECTED, wire.encode(event), "rejected", rejected.code, detail)


def settled_entry(verdict: Verdict, ref: Ref, at: float) -> AuditEntry:
    """The audit entry of an outcome."""
    entry = _entry("settled", ref.problem_id, ref.tenant, ref.partition, ref.offset, at, verdict)
    return replace(entry, slack=round(ref.deadline_at - at, 6), family=ref.family)


def round_entry(verdict: Verdict, ref: Ref, at: float) -> AuditEntry:
    """The audit entry of a round that another one follows."""
    return _entry("round", ref.problem_id, ref.tenant, ref.partition, ref.offset, at, verdict)


def rejected_entry(verdict: Verdict, refusal: Refusal, partition: int, offset: int, at: float) -> AuditEntry:
    """The audit entry of a rejection."""
    return _entry("rejected", refusal.problem_id, refusal.tenant, partition, offset, at, verdict)


def duplicate_entry(duplicate: Duplicate, partition: int, at: float) -> AuditEntry:
    """The audit entry of a record that says again what is known."""
    return AuditEntry(
        event="duplicate",
        problem_id=duplicate.problem_id,
        tenant="",
        partition=partition,
        offset=duplicate.offset,
        at=at,
        status="dropped",
        reason="same id, same content",
        detail={"first_offset": duplicate.first_offset},
    )


def aside_entry(record: Record, why: str, at: float) -> AuditEntry:
    """The audit entry of a record of an internal topic that is not believed."""
    return AuditEntry(
        event="put_aside",
        problem_id="",
        tenant="",
        partition=record.partition,
        offset=record.offset,
        at=at,
        status="dropped",
        reason=why,
        detail={"topic": record.topic},
    )


def _entry(
    event: Literal["settled", "rejected", "round"],
    problem_id: str,
    tenant: str,
    partition: int,
    offset: int,
    at: float,
    verdict: Verdict,
) -> AuditEntry:
    return AuditEntry(
        event=event,
        problem_id=problem_id,
        tenant=tenant,
        partition=partition,
        offset=offset,
        at=at,
        status=verdict.status,
        reason=verdict.reason,
        detail=verdict.detail,
        evidence=verdict.evidence,
    )


def judge(
    admission: Admission,
    incumbent: Incumbent | None,
    proposal: Proposal | None,
    most: int,
    *,
    labels: bytes | None = None,
    interim: Interim | None = None,
    until: float = 0.0,
    **known: Any,
) -> Verdict:
    """The end of an admitted problem, with what is known of it; or of a round of it, if another one can end before
    `until`. `interim`: what the rounds before came to. Never raises for what a family raises."""
    own, errors = settle_safely(admission, incumbent, proposal, **known)
    error = "; ".join(f"{type(error).__name__}: {error}"[:200] for error in errors)
    if admission.ref.rounds == 1:
        return outcome_verdict(own, most, labels=labels, proposal=proposal, error=error)
    now = known["now"]
    outcome = _told_why(rounds.joined(admission.ref, interim, own, now), admission.ref)
    if not errors:
        begins = rounds.another(admission, interim, own, outcome, incumbent, proposal, now, until)
        if begins is not None and incumbent is not None and proposal is not None:
            verdict = _round_verdict(own, begins, rounds.again(admission, begins, incumbent), proposal)
            if verdict.onward is not None and max(len(verdict.value), len(verdict.onward.encoded)) <= most:
                return verdict
    return outcome_verdict(outcome, most, labels=labels, proposal=proposal, error=error, own=own)


def _told_why(outcome: Outcome, ref: Ref) -> Outcome:
    """With a note where it might have gone on, and there are no more rounds than these."""
    if isinstance(ref.rounds, int) or len(outcome.rounds or []) < MOST_ROUNDS:
        return outcome
    return replace(outcome, notes=[*outcome.notes, f"ended after {MOST_ROUNDS} rounds, the most that there are"])


def _round_verdict(own: Outcome, begins: Interim, encoded: Encoded, proposal: Proposal) -> Verdict:
    onward = Onward(begins, wire.encode(encoded), encoded.size)
    detail = {"round": begins.ref.round - 1, **_detail(own, proposal)}
    evidence = evidence_of(own, proposal)
    return Verdict(INTERIM, wire.encode(begins), own.status, own.reason, detail, "", evidence, _summary(own), onward)


def admit_record(record: Record, limits: Limits, defaults: Defaults) -> Ref | Refusal:
    """`admit` for another process: what it is, and no more."""
    verdict = admit(record, limits, defaults)
    return verdict.ref if isinstance(verdict, Admission) else verdict


def judge_record(
    record: Record,
    limits: Limits,
    defaults: Defaults,
    incumbent: bytes | None,
    proposal: bytes | None,
    most: int,
    known: dict[str, Any],
    interim: bytes | None = None,
) -> Verdict:
    """`judge` for another process, which is given bytes. The record was admitted before."""
    admission = admit(record, limits, defaults)
    assert isinstance(admission, Admission)
    assert record.value is not None
    return judge(
        admission,
        None if incumbent is None else wire.decode(incumbent, Incumbent),
        None if proposal is None else wire.decode(proposal, Proposal),
        most,
        labels=wire.labels_of(record.value),
        interim=None if interim is None else wire.decode(interim, Interim),
        **known,
    )
