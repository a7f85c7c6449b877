"""What a vendor's job costs, where a price is set, and what may be spent on one."""

from __future__ import annotations

import os

import msgspec

from qmosaic.backends.circuits.sampled import Compiled, Counted
from qmosaic.codecs.errors import BackendError, OverBudget


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars: for a task, for a shot, for a gate in a shot; and the least a task costs. Each circuit of a job is a
    task. `shot_seconds`: of the device, for a shot. Contracts differ, so all are 0 until they are set, and what is 0 is
    not known."""

    task: float = 0.0
    shot: float = 0.0
    one_qubit_gate_shot: float = 0.0
    two_qubit_gate_shot: float = 0.0
    least: float = 0.0
    shot_seconds: float = 0.0

    def of(self, made: Compiled) -> float:
        """What a job costs: all of its circuits."""
        return sum(max(self.least, self.task + each.shots * self._shot(each)) for each in made.circuits)

    def _shot(self, made: Counted) -> float:
        gates = self.one_qubit_gate_shot * made.one_qubit_gates + self.two_qubit_gate_shot * made.two_qubit_gates
        return self.shot + gates


def check_cost(name: str, cost: float, most: float, price_variable: str) -> None:
    """Raises OverBudget for a job on a backend that costs more than `most` dollars (0: no limit) by its estimate, or
    nobody knows what."""
    if not most:
        return
    if cost <= 0:
        raise OverBudget(
            f"what a job on {name} costs is not known, and at most ${most:g} may be spent on one",
            place="paid.max_cost_usd",
            remedy=f"Set its price, {price_variable}.",
        )
    if not cost <= most:  # neither where one of them is no number
        raise OverBudget(
            f"a job on {name} costs about ${cost:g}, and at most ${most:g} may be spent on one",
            place="paid.max_cost_usd",
            remedy="Ask for fewer shots, or raise the limit.",
        )


def price(variable: str) -> Price:
    """From the environment, as JSON: `{"task": 0.3, "shot": 0.01}`; nothing set: zeros. Raises BackendError."""
    try:
        return msgspec.json.decode(os.environ.get(variable, "{}"), type=Price)
    except msgspec.DecodeError as error:
        raise BackendError(str(error), place=variable, remedy='Write JSON like {"task": 0.3, "shot": 0.01}.') from None
