"""Rounds under faults: each is counted once, and its problem ends once; 2,000 worlds, and what they would find."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from qmosaic.processors.join import Join
from qmosaic.streams.exactly_once import rebuild
from qmosaic.streams.exactly_once.rebuild import Known
from qmosaic.streams.hops import verify
from qmosaic.streams.hops.verify import Verifier
from tests.simulation.rounds import Rounds

SEEDS = int(os.environ.get("QMOSAIC_SEEDS", "2000"))
AT_ONCE = 500


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_round_counts_twice_whatever_fails(first: int) -> None:
    lengths = Counter[int]()
    for seed in range(first, min(first + AT_ONCE, SEEDS)):
        world = Rounds(seed)
        wrong = world.run()
        assert not wrong, f"seed {seed}: {wrong}"
        lengths.update(len(rounds) + 1 for rounds in world.began().values())
    assert lengths[2] > 100  # of those with rounds at all
    assert lengths[3] > 100
    assert sum(count for length, count in lengths.items() if length > 3) > 100


def first_wrong(verifier: type[Verifier] = Verifier, seeds: int = 300) -> str:
    """What the first seed says that finds something."""
    return next((wrong[0] for seed in range(seeds) if (wrong := Rounds(seed, verifier).run())), "")


class ForgetsRounds(Verifier):
    """A new owner does not read which rounds began."""

    async def rebuild(self, fenced: Any, committed: Any) -> Any:
        known_of = rebuild.known_of

        async def settled_alone(*given: Any) -> dict[int, Known]:
            return {number: Known(known.settled, []) for number, known in (await known_of(*given)).items()}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verify, "known_of", settled_alone)
            return await super().rebuild(fenced, committed)


def test_a_forgotten_round_is_found() -> None:
    assert "round" in first_wrong(ForgetsRounds)


def test_a_round_that_is_taken_for_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of whatever round decide about the one that is on."""
    monkeypatch.setattr("qmosaic.processors.join.Open.takes", lambda self, number: True)
    monkeypatch.setattr("qmosaic.processors.join.Open.now", lambda self, arrived: arrived)
    assert first_wrong() != ""


def test_a_log_that_is_read_from_too_far_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Join.log_starts
    ahead = {"problems.interim": 1_000_000}
    monkeypatch.setattr(Join, "log_starts", lambda self: {**starts(self), **ahead})
    assert "round" in first_wrong()
