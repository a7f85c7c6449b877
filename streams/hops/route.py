"""The hop route: kernels to the jobs of a target, by who is alive and the rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus, ControlState
from qmosaic.codecs.events.hops import JobEvent, Reduced
from qmosaic.processors.control.breakers import Known, Phase
from qmosaic.processors.control.facts import STATUS, Facts, facts_of
from qmosaic.processors.control.ordered import Ordered, Orders
from qmosaic.processors.control.orders import policy_of as ordered_policy
from qmosaic.processors.control.policy import Policy, version_of
from qmosaic.processors.route import route
from qmosaic.streams.hops.hop import Look, looked, next_send
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import Settings

TRIAL_SECONDS = 30.0
"""After which another kernel tries a half open backend, if nothing was heard of the last one."""
LOOK_BACK = 200
"""Signs of life that are read at the start: who was alive a moment ago is known at once."""


def policy_of(settings: Settings) -> Policy:
    """The policy that the settings say, with its version."""
    given = settings.route
    policy = Policy(
        given.rules,
        given.preference,
        settings.paid.backends,
        given.attempts,
        tenants=given.tenants,
        families=given.families,
    )
    return msgspec.structs.replace(policy, version=version_of(policy))


class Route:
    """problems.reduced → jobs.*, or straight to proposals where no backend is alive."""

    def __init__(self, settings: Settings, stage: str, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._settings, self._clock = settings, clock
        self._paid = settings.paid.backends
        self._of_settings = policy_of(settings)
        self._set: tuple[int, Policy] = 0, self._of_settings
        self._ordered = Tail(settings, "control.state", ControlState, Orders(), isolation="read_committed")
        self._told = Tail(settings, "backends.status", BackendStatus, STATUS, back=LOOK_BACK)
        self._tried: dict[str, float] = {}

    async def start(self) -> None:
        await asyncio.gather(self._told.start(), self._ordered.start())

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        told, ordered = self._told.state, self._ordered.state
        at = max(m.timestamp for m in batch)
        facts = facts_of(told, ordered, self._clock(), at, self._settings.route.stale_seconds)
        facts = replace(facts, breakers=self._untried(facts, told[1]))
        decided = route([wire.decode(m.value or b"", Reduced) for m in batch], facts, self._policy(ordered))
        for event in decided:
            if isinstance(event, JobEvent) and facts.breakers.get(event.route.backend) == "half_open":
                self._tried[event.route.backend] = facts.at
        return [next_send(event, cause, self._paid) for cause, event in enumerate(decided)]

    def _policy(self, ordered: Ordered) -> Policy:
        """The one that was set last, or, where nobody has set any, the settings'."""
        last = ordered.policy
        if last is None:
            return self._of_settings
        if last.number != self._set[0]:
            self._set = last.number, ordered_policy(last.text, self._paid)
        return self._set[1]

    def _untried(self, facts: Facts, known: Known) -> dict[str, Phase]:
        """Half open is who has not been tried since its time was over, or of whose trial nothing was heard for long."""
        found = dict(facts.breakers)
        for name, phase in facts.breakers.items():
            tried = self._tried.get(name, 0.0)
            if phase == "half_open" and tried >= known.breakers[name].until and facts.at - tried < TRIAL_SECONDS:
                found[name] = "open"
        return found

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        await asyncio.gather(self._told.stop(), self._ordered.stop())
