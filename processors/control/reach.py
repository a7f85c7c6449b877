"""How backends are, by the words of those who run them. A breaker counts what is the device's; what is its vendor's to
say, and the network between here and there, is apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from qmosaic.backends.registry import innermost
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.reasons import Condition

MILD_FIRST: tuple[Condition, ...] = ("retuning", "offline", "unreachable")

Told = Mapping[str, tuple[BackendStatus, float]]
"""By worker, its last sign of life, and when that was written (seconds since the epoch)."""


def conditions(told: Told, at: float, stale_seconds: float) -> dict[str, Condition]:
    """How backends are that are not as they should be, as all say who run them and were heard of in the `stale_seconds`
    before `at`: the mildest word counts. One worker without a network is nobody else's trouble."""
    found: dict[str, int] = {}
    for status, said in told.values():
        if said >= at - stale_seconds:
            for name in status.backends:
                condition = status.conditions.get(name)
                rank = 0 if condition is None else 1 + MILD_FIRST.index(condition)
                found[name] = min(rank, found.get(name, rank))
    return {name: MILD_FIRST[rank - 1] for name, rank in found.items() if rank}


def cut_off(told: Told, at: float, stale_seconds: float) -> list[str]:
    """The workers that reach none of several vendors: that is the network here, not on the way to one of them."""
    return sorted(
        worker
        for worker, (status, said) in told.items()
        if said >= at - stale_seconds and len({innermost(name).partition("/")[0] for name in status.backends}) > 1
        if all(status.conditions.get(name) == "unreachable" for name in status.backends)
    )
