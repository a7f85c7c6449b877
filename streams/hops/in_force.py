"""The policy in force: the one that was set last, or, where nobody has set any, the settings'."""

from __future__ import annotations

import logging

import msgspec

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.events.control import ControlState
from qmosaic.processors.control.ordered import Ordered, Orders
from qmosaic.processors.control.orders import policy_of as ordered_policy
from qmosaic.processors.control.policy import Policy, version_of
from qmosaic.streams.kafka.connect import Clients
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import Settings

log = logging.getLogger("qmosaic.policy")


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


class InForce:
    """What operators have ordered, and the policy that is in force by that: followed from `start` on. `rest_seconds`:
    between two looks, where nobody is in a hurry."""

    def __init__(
        self,
        settings: Settings,
        *,
        rest_seconds: float = 0.0,
        clients: Clients = Clients(),  # noqa: B008 - frozen
    ) -> None:
        self._tail = Tail(
            settings,
            "control.state",
            ControlState,
            Orders(),
            isolation="read_committed",
            rest_seconds=rest_seconds,
            clients=clients,
        )
        self.start, self.stop = self._tail.start, self._tail.stop
        self._paid, self._of_settings = settings.paid.backends, policy_of(settings)
        self._set: tuple[int, Policy] = 0, self._of_settings
        self._read: tuple[Ordered | None, Policy] = None, self._of_settings

    @property
    def ordered(self) -> Ordered:
        """What is known now."""
        return self._tail.state

    @property
    def policy(self) -> Policy:
        """The one in force now; another object only where it is another one."""
        ordered = self.ordered
        if ordered is not self._read[0]:
            self._read = ordered, self.of(ordered)
        return self._read[1]

    def of(self, ordered: Ordered) -> Policy:
        """By what was ordered."""
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
