"""Rounds: whether a problem goes on after a kernel was judged, where it goes on, and what comes of all its rounds.

A round is a search, a kernel and its verdict. The next one begins at the best state that was verified, and its kernel
is another neighbourhood: that is for the family, by what it remembers (`codecs.models.memory`). Of a variational
family a round is a turn of an optimiser, whose state goes on with every answer. The outcome is that of the round whose
answer is the best, as if it had been the only one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec
from msgspec.structs import replace

from qmosaic.codecs.events.hops import Encoded, Incumbent, Interim, Proposal, Ref
from qmosaic.codecs.events.public import Outcome, Round, Timing, Timings
from qmosaic.codecs.events.reasons import MOST_ROUNDS, Rounds, Sense
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.processors.admit import Admission
from qmosaic.processors.encode import encoded
from qmosaic.processors.families.base import HasRounds, Instance, IsVariational
from qmosaic.processors.verify import ACCEPTED, QUICK_ANSWER, UNFIT, gain

SHARE = 0.5
"""Of the time that reduce has for a problem, what it has for one round of it."""
IDLE = 3
"""Rounds in a row that gain nothing, after which a problem has converged."""
MOST_TRIED = 200
"""Attempts that an outcome tells of, the latest."""


def share_of(ref: Ref) -> float:
    """Of the time that reduce would have for a problem without rounds, what it has for this event."""
    return 1.0 if ref.rounds == 1 else SHARE


def began(ref: Ref, interim: Interim | None) -> float:
    """When the round that is on began, seconds since the epoch."""
    return ref.received_at if interim is None else interim.ref.sent_at


def takes(seconds: float, searched: float, left: float) -> float:
    """What the next round takes with so many seconds `left`, as long as the last one did: `seconds`, of which reduce
    `searched`. A search takes a share of the time left, the rest takes what it takes."""
    searched = min(searched, seconds)
    return seconds - searched + searched * left / (left + seconds)


def goes_on(
    wanted: Rounds, sense: Sense, rounds: Sequence[Round], has_time: bool, converged: bool | None = None
) -> bool:
    """Whether there is another round after these, where there is time for one. `converged`: by an optimiser's word,
    where there is one."""
    if not has_time or len(rounds) >= MOST_ROUNDS:
        return False
    if isinstance(wanted, int):
        return len(rounds) < wanted
    return wanted == "deadline" or not (_has_converged(sense, rounds) if converged is None else converged)


def _has_converged(sense: Sense, rounds: Sequence[Round]) -> bool:
    if len(rounds) <= IDLE:
        return False
    before, now = rounds[-1 - IDLE].objective, rounds[-1].objective
    return before is not None and now is not None and gain(sense, now, before) <= 0


def joined(ref: Ref, interim: Interim | None, own: Outcome, now: float) -> Outcome:
    """The outcome of all rounds up to the one that is on, whose `own` is; `ref` is the problem's."""
    before = interim.best if interim is not None else None
    best = own if before is None or _is_better(own, before) else before
    rounds = [] if before is None or before.rounds is msgspec.UNSET else before.rounds
    costs = [one.cost_usd for one in own.tried or [] if one.cost_usd is not None]
    last = Round(
        number=len(rounds) + 1,
        status=own.status,
        reason=own.reason,
        objective=best.objective,
        improvement=own.improvement,
        target=own.target,
        backend=own.backend,
        seconds=round(max(0.0, now - began(ref, interim)), 6),
        cost_usd=sum(costs) if costs else None,
        proposed=own.proposed.objective if own.proposed is not None else None,
        error=own.proposed.error if own.proposed is not None else 0.0,
    )
    tried = [*(before.tried or [] if before is not None else []), *(own.tried or [])][-MOST_TRIED:]
    return replace(
        best,
        rounds=[*rounds, last],
        tried=tried or msgspec.UNSET,
        attempts=own.attempts + (before.attempts if before is not None else 0),
        timings=Timings(_added(before.timings.hops if before else {}, own.timings.hops), own.timings.total),
        labels=own.labels,
    )


def _is_better(own: Outcome, before: Outcome) -> bool:
    """Of two that are as good, one that was accepted is better than a fallback, else the first. Measured, it is better
    by more than its standard error: else the best of many rounds would be the luckiest."""
    if own.objective is None or not own.feasible:
        return False
    if before.objective is None or not before.feasible:
        return True
    better = gain(own.sense, own.objective, before.objective)
    return better > own.error or (better == 0 and own.status == "accepted" and before.status != "accepted")


def _added(one: Mapping[str, Timing], other: Mapping[str, Timing]) -> dict[str, Timing]:
    out = dict(one)
    for hop, timing in other.items():
        known = out.get(hop, Timing(0.0, 0.0))
        out[hop] = Timing(round(known.queue + timing.queue, 6), round(known.work + timing.work, 6))
    return out


def another(
    admission: Admission,
    interim: Interim | None,
    own: Outcome,
    outcome: Outcome,
    incumbent: Incumbent | None,
    proposal: Proposal | None,
    now: float,
    until: float,
) -> Interim | None:
    """What the next round begins with, after the one that `incumbent` and `proposal` decided: `own` is its outcome,
    `outcome` that of all (`joined`). It begins at the latest of the states that are as good as the best. None: this is
    the end, since no more rounds are wanted, or there is nothing to go on from."""
    ref = admission.ref
    if incumbent is None or incumbent.memory is None or proposal is None or outcome.rounds is msgspec.UNSET:
        return None  # its time is over, it is proven, or nobody remembers where another kernel would be
    if proposal.failure is not None and proposal.failure.stage in ("encode", "reduce"):
        return None
    left = until - now
    has_time = left > 0 and takes(outcome.rounds[-1].seconds, incumbent.seconds, left) <= left
    known = interim.state if interim is not None else None
    instance, converged, state = admission.instance, None, known
    if isinstance(instance, IsVariational):
        state, converged = _stepped(instance, incumbent.memory, proposal)
    elif own.feasible and own.objective is not None and own.objective == outcome.objective:
        state = _state(instance, own, incumbent, proposal) or known
    if state is None or not goes_on(ref.rounds, outcome.sense, outcome.rounds, has_time, converged):
        return None
    number = len(outcome.rounds) + 1
    begins = replace(ref, round=number, seed=seed_of(ref.digest, ref.seed, number), sent_at=now, timings={})
    return Interim(ref=begins, best=replace(outcome, labels={}), state=state)


def _state(instance: Instance, own: Outcome, incumbent: Incumbent, proposal: Proposal) -> Bundle | None:
    """Of the round's answer where it was accepted, else of its incumbent; None where that was of no use."""
    if own.reason in ACCEPTED and proposal.answer is not None and incumbent.lift is not None:
        if not isinstance(instance, HasRounds):
            return None
        try:
            return instance.lifted(incumbent.state, incumbent.lift, proposal.answer)
        except UNFIT:
            return None
    return None if own.baseline is None or own.baseline.solver == QUICK_ANSWER else incumbent.state


def _stepped(instance: IsVariational, memory: Bundle, proposal: Proposal) -> tuple[Bundle | None, bool]:
    """The optimiser after the round, and whether it has converged; as it was, where there is no answer that fits."""
    try:
        if proposal.answer is not None:
            memory = instance.stepped(memory, proposal.answer)
    except UNFIT:
        pass
    try:
        return memory, instance.has_converged(memory)
    except UNFIT:
        return None, False


def again(admission: Admission, interim: Interim, incumbent: Incumbent) -> Encoded:
    """The problem on its way to reduce for another round."""
    return replace(encoded(admission), ref=interim.ref, start=interim.state, memory=incumbent.memory)


def seed_of(digest: str, seed: int, number: int) -> int:
    """Of a round of a problem: from the second on another one, so that neither a search nor a backend draws the same
    again."""
    if number == 1:
        return seed
    return int.from_bytes(sha256(f"{digest}:{seed}:{number}".encode()).digest()[:4]) & 0x7FFFFFFF
