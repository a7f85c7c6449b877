"""The hop route: kernels to the jobs of a target, by who is alive and the rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus, ControlState
from qmosaic.codecs.events.hops import JobEvent, Reduced
from qmosaic.processors.control.breakers import Trials
from qmosaic.processors.control.facts import STATUS, facts_of
from qmosaic.processors.control.ordered import Ordered, Orders
from qmosaic.processors.control.orders import policy_of as ordered_policy
from qmosaic.processors.control.policy import Policy, version_of
from qmosaic.processors.route import route
from qmosaic.streams.hops.hop import Look, log, looked, next_send
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import Settings

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
        explore=given.explore,
        worth=given.worth,
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
        self._trials = Trials()

    async def start(self) -> None:
        await asyncio.gather(self._told.start(), self._ordered.start())

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        told, ordered = self._told.state, self._ordered.state
        at = max(m.timestamp for m in batch)
        facts = facts_of(told, ordered, self._clock(), at, self._settings.route.stale_seconds)
        facts = replace(facts, breakers=self._trials.left(told[1], facts.breakers, facts.at))
        decided = route([wire.decode(m.value or b"", Reduced) for m in batch], facts, self._policy(ordered))
        for event in decided:
            if isinstance(event, JobEvent) and facts.breakers.get(event.route.backend) == "half_open":
                self._trials.gave(event.route.backend, told[1], facts.at)
        return [next_send(event, cause, self._paid) for cause, event in enumerate(decided)]

    def _policy(self, ordered: Ordered) -> Policy:
        """The one that was set last, or, where nobody has set any, the settings'."""
        last = ordered.policy
        if last is None:
            return self._of_settings
        if last.number != self._set[0]:
            self._set = last.number, self._last_that_is_one(ordered)
        return self._set[1]

    def _last_that_is_one(self, ordered: Ordered) -> Policy:
        """Control writes none but what it has read; whatever else is there must not end a worker at each kernel."""
        for number in sorted(ordered.policies, reverse=True):
            try:
                return ordered_policy(ordered.policies[number].text, self._paid)
            except SettingsError as error:
                log.error("policy %s is none, and passed over: %s", number, error)
        return self._of_settings

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        await asyncio.gather(self._told.stop(), self._ordered.stop())
