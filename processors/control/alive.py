"""Who is alive: a fold over the signs of life that execute workers give every few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.reasons import Target
from qmosaic.codecs.models.kernel import Kind

MOST_WORKERS = 1000
"""Kept; beyond, who was not heard of for the longest time is forgotten."""

# Target → backend → kind of kernel → the most qubits it takes.
Alive = Mapping[Target, Mapping[str, Mapping[Kind, int]]]


class Heard(NamedTuple):
    """The last sign of life of a worker, and when it was written (seconds since the epoch)."""

    status: BackendStatus
    at: float


class Signs:
    """The fold: by worker, what was heard of it last."""

    start: Mapping[str, Heard] = {}

    def step(self, state: Mapping[str, Heard], event: BackendStatus, at: float) -> Mapping[str, Heard]:
        """The state with one more sign."""
        heard = {**state, event.worker: Heard(event, at)}
        if len(heard) > MOST_WORKERS:
            del heard[min(heard, key=lambda worker: heard[worker].at)]
        return heard


def alive(heard: Mapping[str, Heard], at: float, stale_seconds: float) -> Alive:
    """What runs where, of workers that were heard of in the `stale_seconds` before `at`.

    `at` is a record's timestamp in seconds since the epoch, not the time now: after a broker's outage the records that
    waited for it are judged by who was alive when they were written.
    """
    found: dict[Target, dict[str, dict[Kind, int]]] = {}
    for status, said in heard.values():
        if said < at - stale_seconds or status.grants:
            continue
        backends = found.setdefault(status.target, {})
        for name, sizes in status.backends.items():
            known = backends.setdefault(name, {})
            for kind, qubits in sizes.items():
                known[kind] = max(qubits, known.get(kind, 0))
    return found


def not_before(heard: Mapping[str, Heard], at: float, stale_seconds: float) -> dict[str, float]:
    """By name, when backends may be sent their next job (seconds since the epoch), as far as anybody who is alive says
    that it is later than now."""
    found: dict[str, float] = {}
    for status, said in heard.values():
        if said >= at - stale_seconds:
            for name, moment in status.not_before.items():
                found[name] = max(moment, found.get(name, 0.0))
    return found


def grants(heard: Mapping[str, Heard], at: float, stale_seconds: float) -> bool:
    """Whether somebody keeps the ledger, as `alive` judges it."""
    return any(status.grants and said >= at - stale_seconds for status, said in heard.values())
