"""The optimiser of variational rounds: a fold over energies, bounded, that finds the bottom of each curve."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qmosaic.codecs.events import wire
from qmosaic.codecs.models.bundle import Bundle, bundle
from qmosaic.processors.families.molecule.optimiser import (
    GAIN,
    LOOKS,
    MOST_ANGLES,
    POINTS,
    SHIFTS,
    Optimiser,
    lowest,
)

FINE = np.linspace(-np.pi, np.pi, 20_001)
NUMBERS = st.floats(-10, 10).map(lambda value: round(value, 3))


def curve(parts: tuple[float, ...], at: Any) -> Any:
    a, b, c, d, e = parts
    return a + b * np.cos(at) + c * np.sin(at) + d * np.cos(2 * at) + e * np.sin(2 * at)


@given(st.tuples(*[NUMBERS] * 5))
def test_the_bottom_of_a_curve_is_found(parts: tuple[float, ...]) -> None:
    place = lowest(curve(parts, SHIFTS), np.zeros(5))
    assert -np.pi <= place <= np.pi
    assert curve(parts, place) <= curve(parts, FINE).min() + GAIN + 1e-6
    # and no other bottom that is as good is nearer
    fine = curve(parts, FINE)
    bottom = (fine < np.roll(fine, 1) - 1e-12) & (fine < np.roll(fine, -1) - 1e-12) & (fine < fine.min() + GAIN / 4)
    assert (np.abs(FINE[bottom]) > abs(place) - 0.02).all()


@given(st.lists(st.tuples(*[st.floats(-5, 5)] * POINTS), max_size=12), st.integers(1, 4))
def test_it_is_a_fold_over_what_was_measured(turns: list[tuple[float, ...]], angles: int) -> None:
    """Whoever reads the same energies is where everybody is, from any of the states on the way."""
    kept, travelled = Optimiser(np.zeros(angles)), Optimiser(np.zeros(angles)).packed()
    for energies in turns:
        kept = kept.told(energies, [0.01] * POINTS)
        again = wire.decode(wire.encode(travelled), Bundle)
        travelled = Optimiser.of(again).told(energies, [0.01] * POINTS).packed()
        assert Optimiser.of(again).told(energies, [0.01] * POINTS).packed() == travelled
    assert kept.packed() == travelled
    assert kept.turns == len(turns)
    assert (np.abs(kept.angles) <= np.pi).all()
    assert len(wire.encode(travelled)) < 200 + 12 * angles


def test_its_size_is_bounded() -> None:
    optimiser = Optimiser(np.full(MOST_ANGLES, 0.1), 7, 3)
    assert len(wire.encode(optimiser.packed())) < 6000
    with pytest.raises(ValueError, match="no angles"):
        Optimiser.of(Optimiser(np.zeros(MOST_ANGLES + 1)).packed())


def test_turns_go_from_angle_to_angle_and_end_where_none_gains() -> None:
    """A quadratic form of sines, coupled: every turn goes down, and the last ones stay."""
    matrix = np.array([[2.0, 0.7, 0.1], [0.7, 1.5, 0.4], [0.1, 0.4, 1.0]])
    wanted = np.array([0.3, -0.2, 0.5])

    def energy(angles: Any) -> float:
        u = np.stack([np.cos(angles - wanted), np.sin(angles - wanted)])
        return float(-np.einsum("ai,ij,aj->", u, matrix, u))

    one, energies = Optimiser(np.zeros(3)), list[float]()
    while not one.has_converged:
        found = [energy(angles) for angles in one.points()]
        assert found[0] == energy(one.angles)
        energies.append(found[0])
        one = one.told(found, [0.0] * POINTS)
        assert one.turns < 60
    assert all(after <= before + 1e-12 for before, after in pairwise(energies))
    assert energies[-1] == pytest.approx(-matrix.sum(), abs=5e-3)
    assert energies[-3:] == [energies[-1]] * 3


def test_what_is_within_the_error_moves_nothing() -> None:
    energies = [-1.0, *curve((-1.0, -0.1, 0.0, 0.0, 0.0), SHIFTS - 0.5)]
    sure = Optimiser(np.zeros(2)).told(energies, [0.001] * POINTS)
    assert sure.angles[0] == pytest.approx(0.5, abs=0.3)
    assert (sure.turns, sure.idle) == (1, 0)
    unsure = Optimiser(np.zeros(2)).told(energies, [0.1] * POINTS)
    assert not unsure.angles.any()
    assert (unsure.turns, unsure.idle) == (1, 1)
    for _ in range(LOOKS * 2 - 1):
        assert not unsure.has_converged
        unsure = unsure.told(energies, [0.1] * POINTS)
    assert unsure.has_converged
    assert unsure.told(energies, [0.001] * POINTS).idle == 0


def test_an_excitation_that_costs_more_than_it_gains_stays_out() -> None:
    """On a noisy machine its gates cost 0.2 wherever the angle is not 0."""
    gains = curve((-1.0, -0.1, 0.0, 0.0, 0.0), SHIFTS - 0.5)
    out = Optimiser(np.zeros(1)).told([-1.05, *(gains + 0.2)], [0.0] * POINTS)
    assert not out.angles.any()
    assert Optimiser(np.zeros(1)).told([-1.05, *gains], [0.0] * POINTS).angles.any()


@pytest.mark.parametrize(
    ("energies", "errors"),
    [
        ([1.0], [0.0]),
        ([1.0] * POINTS, [0.0]),
        ([float("nan"), *[1.0] * 5], [0.0] * POINTS),
        ([float("inf"), *[1.0] * 5], [0.0] * POINTS),
        ([1e300] * POINTS, [0.0] * POINTS),
        ([1.0] * POINTS, [-1.0, *[0.0] * 5]),
        ([1.0] * POINTS, [float("nan"), *[0.0] * 5]),
        (["a"] * POINTS, [0.0] * POINTS),
    ],
)
def test_what_is_no_energy_is_refused(energies: Any, errors: Any) -> None:
    with pytest.raises(ValueError, match=r"energies|convert"):
        Optimiser(np.zeros(2)).told(energies, errors)


def test_a_state_that_is_none_is_refused() -> None:
    """Internal topics are not signed."""
    good = Optimiser(np.zeros(2)).packed()
    for angles in (np.zeros((2, 2)), np.zeros(0), np.array([4.0]), np.array([np.nan]), np.zeros(2, np.int64)):
        with pytest.raises(ValueError, match="no angles"):
            Optimiser.of(bundle({"angles": angles}, turns=0, idle=0))
    for values in ({"turns": -1, "idle": 0}, {"turns": 0, "idle": True}, {"turns": 10**9, "idle": 0}):
        with pytest.raises(ValueError, match="no turns"):
            Optimiser.of(replace(good, values=values))
    for odd in (Bundle(), replace(good, values={}), replace(good, arrays={})):
        with pytest.raises(LookupError):
            Optimiser.of(odd)
