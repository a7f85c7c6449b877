"""Verify, unmodified, over a simulated broker: thousands of seeds of faults, and mutations that each must be found.

A seed that fails is printed; `World(seed).run()` runs it again, step by step the same.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from qmosaic.processors import join
from qmosaic.streams.exactly_once import service
from qmosaic.streams.exactly_once.rebuild import Known
from qmosaic.streams.hops import verify
from qmosaic.streams.hops.verify import Verifier
from tests.simulation.replayed import Replayed
from tests.simulation.world import World

SEEDS = int(os.environ.get("QMOSAIC_SEEDS", "2000"))
AT_ONCE = 500


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_problem_ends_once_whatever_fails(first: int) -> None:
    for seed in range(first, min(first + AT_ONCE, SEEDS)):
        wrong = World(seed).run()
        assert not wrong, f"seed {seed}: {wrong}"


def test_a_seed_is_run_again_step_by_step() -> None:
    def run(seed: int) -> list[Any]:
        world = World(seed)
        assert world.run() == []
        logs = world.broker.logs.items()
        return [(place, [(entry.at, entry.marker) for entry in log.entries]) for place, log in logs]

    assert run(7) == run(7) != run(8)


def test_recorded_inputs_have_the_same_outcomes_again() -> None:
    """Whatever the order in which everything else happens. (Nothing of it comes near a deadline.)"""
    compared = 0
    for seed in range(40):
        world = World(seed)
        world.dies, world.patient = 0.0, True
        world._fault = Replayed._fault.__get__(world)  # type: ignore[method-assign]
        assert world.run() == []
        again = Replayed(seed + 1000, world)
        again.run()
        assert again.outcomes() == world.outcomes()
        compared += len(world.outcomes())
    assert compared > 100


# -- mutations: each breaks a promise, and some seed of a hundred says so ----------------------------------------------


def first_wrong(verifier: type[Verifier] = Verifier, seeds: int = 300) -> str:
    """What the first seed says that finds something."""
    return next((wrong[0] for seed in range(seeds) if (wrong := World(seed, verifier).run())), "")


class Unfenced(Verifier):
    """Its producers have ids of their own."""

    async def _fence(self, number: int) -> Any:
        producer = self._clients.producer(transactional_id=f"{self.instance}-{id(self)}-{number}")
        await producer.start()
        return producer


class CommitsTooFar(Verifier):
    """What was read counts as done."""

    async def commit(self, number: int, owned: Any, floors: Any, notes: Any) -> None:
        await super().commit(number, owned, owned.join.positions, notes)


class ForgetsWhatWasSettled(Verifier):
    """A new owner does not read the terminal topics."""

    async def rebuild(self, fenced: Any, committed: Any) -> Any:
        async def nothing(*_: Any) -> dict[int, Known]:
            return {number: Known([], []) for number in fenced}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verify, "known_of", nothing)
            return await super().rebuild(fenced, committed)


@pytest.mark.parametrize(
    ("verifier", "said"),
    [
        (Unfenced, "terminal events"),
        (CommitsTooFar, "is committed"),
        (ForgetsWhatWasSettled, "terminal events"),
    ],
)
def test_a_mutation_is_found(verifier: type[Verifier], said: str) -> None:
    assert said in first_wrong(verifier)


@pytest.fixture
def forgotten_orphans(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before its problem is let go."""
    monkeypatch.setattr(join, "MOST_ORPHANS", 0)


@pytest.mark.usefixtures("forgotten_orphans")
def test_forgotten_orphans_are_found() -> None:
    assert first_wrong() != ""


def test_records_of_a_partition_that_was_lost_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance in the middle of a round: what was read before it is not read again."""
    monkeypatch.setattr(service.ExactlyOnce, "_read_again", lambda self, batches: None)
    assert first_wrong() != ""
