"""Lifting: kept bits stay, kernel bits go to their places, eliminated ones are derived last to first."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from msgspec.structs import replace

from qmosaic.codecs.models.arrays import pack
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.processors.spins.lift import Lift, apply, pack_lift, unpack_lift

# 5 was eliminated first, against 2 and 4; then 4 against 0; then 3 by its field alone
LIFT = Lift(
    variables=np.array([2, 0], np.int32),
    eliminated=np.array([5, 4, 3], np.int32),
    neighbours=np.array([[2, 4], [0, -1], [-1, -1]], np.int32),
    coefficients=np.array([[0.0, 1.0, 3.0], [0.5, -1.0, 0.0], [2.0, 0.0, 0.0]]),
)


@pytest.mark.parametrize(
    ("kernel", "whole"),
    [
        ([0, 0], [0, 1, 0, 1, 0, 1]),  # s0 = +1: s4 = -sign(-0.5) = +1; s5 = -sign(1 + 3) = -1
        ([1, 0], [0, 1, 1, 1, 0, 1]),  # s2 = -1: s5 = -sign(-1 + 3) = -1
        ([0, 1], [1, 1, 0, 1, 1, 0]),  # s0 = -1: s4 = -1; s5 = -sign(1 - 3) = +1
    ],
)
def test_apply(kernel: list[int], whole: list[int]) -> None:
    incumbent = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    lifted = apply(LIFT, incumbent, np.array(kernel, np.uint8))
    assert lifted.tolist() == whole
    assert lifted.dtype == np.uint8
    assert incumbent.tolist() == [1, 1, 1, 0, 0, 0]


def test_ties_go_to_plus_one() -> None:
    lift = Lift(np.zeros(0, np.int32), np.array([0], np.int32), np.full((1, 2), -1, np.int32), np.zeros((1, 3)))
    assert apply(lift, np.array([1], np.uint8), np.zeros(0, np.uint8)).tolist() == [0]


def test_survives_the_wire() -> None:
    back = unpack_lift(pack_lift(LIFT))
    for name in ("variables", "eliminated", "neighbours", "coefficients"):
        np.testing.assert_array_equal(getattr(back, name), getattr(LIFT, name))
        assert getattr(back, name).dtype == getattr(LIFT, name).dtype
    assert back.kernel_size == 2


def test_torn_arrays_are_refused() -> None:
    packed = pack_lift(LIFT)
    torn = Bundle({**packed.arrays, "variables": replace(pack(LIFT.variables), shape=(3,))})
    with pytest.raises(ValueError, match="expected 12 bytes"):
        unpack_lift(torn)


def test_needs_no_jax_and_no_scipy() -> None:
    code = "import sys, qmosaic.processors.spins.lift; print([m for m in ('jax', 'scipy', 'cirq') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
