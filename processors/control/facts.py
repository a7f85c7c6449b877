"""What is known of the world when a kernel is decided about, and the folds that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.evidence import Learned
from qmosaic.codecs.events.reasons import CandidateReason, Condition, Target
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.control.alive import Heard, Signs, alive, grants, not_before
from qmosaic.processors.control.breakers import Breakers, Known, Phase, phases
from qmosaic.processors.control.fold import Both
from qmosaic.processors.control.ordered import Ordered
from qmosaic.processors.control.reach import conditions

Status = tuple[Mapping[str, Heard], Known]
STATUS: Both[Mapping[str, Heard], Known, BackendStatus] = Both(Signs(), Breakers())
"""Over `backends.status`: who is there, and whose breaker is not closed."""


@dataclass(frozen=True)
class Facts:
    """`at`: the time of the decision, seconds since the epoch. A new input of the rules is a field here, and a fold.

    `breakers`: of the backends whose breaker is not closed. One that is half open takes one kernel. `closed`: of the
    backends that get no jobs by an operator's order, why. `grants`: whether somebody keeps the ledger. `learned`: what
    backends gained and took. `not_before`: when backends may be sent their next job, where that is not at once.
    `conditions`: how those are that are not as they should be.
    """

    at: float
    alive: Mapping[Target, Mapping[str, Mapping[Kind, int]]] = field(default_factory=dict)
    breakers: Mapping[str, Phase] = field(default_factory=dict)
    closed: Mapping[str, CandidateReason] = field(default_factory=dict)
    grants: bool = True
    learned: Learned = field(default_factory=Learned)
    not_before: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=dict)


def facts_of(
    told: tuple[Mapping[str, Heard], Known], ordered: Ordered, now: float, at: float, stale_seconds: float
) -> Facts:
    """From the states of the folds. `now` and `at`, seconds since the epoch: of the decision, and of the record that it
    is about, by which it is judged who is alive (see `alive`)."""
    signs, known = told
    live, kept = alive(signs, at, stale_seconds), grants(signs, at, stale_seconds)
    later, how = not_before(signs, at, stale_seconds), conditions(signs, at, stale_seconds)
    return Facts(now, live, phases(known, now), ordered.closed(now), kept, ordered.learned, later, how)
