"""What operators have ordered, and what control has learned: a fold over `control.state`."""

from __future__ import annotations

from typing import NamedTuple

from immutables import Map

from qmosaic.codecs.events.control import BackendSet, ControlState, PolicySet
from qmosaic.codecs.events.evidence import Learned
from qmosaic.codecs.events.reasons import CandidateReason

MOST_POLICIES = 100
"""Kept, to be rolled back to."""


class Ordered(NamedTuple):
    """The state of the fold: policies by number, what was ordered of backends, ids of commands that were answered, and
    what was learned."""

    policies: Map[int, PolicySet] = Map()
    backends: Map[str, BackendSet] = Map()
    commands: tuple[str, ...] = ()
    learned: Learned = Learned()

    @property
    def policy(self) -> PolicySet | None:
        """The one in force; None: nobody has set any, the settings' is."""
        return self.policies[max(self.policies)] if self.policies else None

    def closed(self, at: float) -> dict[str, CandidateReason]:
        """The backends that get no jobs at a moment (seconds since the epoch), and why."""
        found: dict[str, CandidateReason] = {}
        for name, said in self.backends.items():
            if said.state == "draining":
                found[name] = "draining"
            elif said.state == "maintenance" and said.since <= at < said.until:
                found[name] = "maintenance"
        return found


class Orders:
    """The fold."""

    start = Ordered()

    def step(self, state: Ordered, event: ControlState, at: float = 0.0) -> Ordered:
        """The state after one more thing was decided."""
        if event.policy is not None:
            policies = state.policies.set(event.policy.number, event.policy)
            if len(policies) > MOST_POLICIES:
                policies = policies.delete(min(policies))
            state = state._replace(policies=policies)
        if event.backend is not None:
            state = state._replace(backends=state.backends.set(event.backend.backend, event.backend))
        if event.learned is not None:
            state = state._replace(learned=event.learned)
        return state._replace(commands=tuple(event.commands)) if event.commands else state
