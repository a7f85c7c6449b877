"""What is known of the world when a kernel is decided about."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmosaic.processors.control.alive import Alive


@dataclass(frozen=True)
class Facts:
    """`at`: the time of the decision, seconds since the epoch. A new input of the rules is a field here, and a fold."""

    at: float
    alive: Alive = field(default_factory=dict)
