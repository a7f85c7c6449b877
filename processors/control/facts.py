"""What is known of the world when a kernel is decided about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qmosaic.codecs.events.reasons import CandidateReason
from qmosaic.processors.control.alive import Alive
from qmosaic.processors.control.breakers import Phase


@dataclass(frozen=True)
class Facts:
    """`at`: the time of the decision, seconds since the epoch. A new input of the rules is a field here, and a fold.

    `breakers`: of the backends whose breaker is not closed. One that is half open takes one kernel. `closed`: of the
    backends that get no jobs by an operator's order, why. `grants`: whether somebody keeps the ledger.
    """

    at: float
    alive: Alive = field(default_factory=dict)
    breakers: Mapping[str, Phase] = field(default_factory=dict)
    closed: Mapping[str, CandidateReason] = field(default_factory=dict)
    grants: bool = True
