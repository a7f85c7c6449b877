"""The optimiser of a variational loop that a backend runs: one angle after the other, each to the bottom of its curve.

Along the angle t of exp(tA) with A^3 = -A, as the excitations of `fermions` are, the energy is

    E(t) = a_0 + a_1 cos t + b_1 sin t + a_2 cos 2t + b_2 sin 2t,

whatever the other angles are. So five energies at equal distances tell all of it, and its least value is at a root of a
polynomial: no derivative, no step size, no random number. A turn measures these five for one angle, and besides the
energy where the circuit is. It moves the angle if the least of the curve is surely below that: no further than to where
nothing is surely better. Angles begin at 0, where an excitation is not in the circuit at all, and those that gain
nothing stay there: the circuit grows, on a noisy machine by what gains more than its gates cost.

Sources: J. Jäger, T. N. Kaldenbach, M. Haas and E. Schultheis, Communications Physics (2025), s42005-025-02375-9,
arXiv:2409.05939 (ExcitationSolve); for Pauli strings M. Ostaszewski, E. Grant and M. Benedetti, Quantum 5 (2021) 391.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from qmosaic.codecs.models.bundle import Bundle, array, bundle

SHIFTS = 2 * np.pi * (np.arange(5) + 0.5) / 5
"""Where a curve is measured, in radians from where the circuit is: there itself it may have fewer gates."""
POINTS = 1 + len(SHIFTS)
"""Energies of a turn."""
GAIN = 1e-5
"""What counts as better, in hartree: 1/160 of chemical accuracy. Backends work in single precision."""
SURE = 2.0
"""And by how many of its own standard errors."""
LOOKS = 2
"""How often in a row an angle has to gain nothing, before that is believed; by exact energies once will do."""
MOST_ANGLES = 512
MOST_TURNS = 1_000_000
LARGEST = 1e9
"""No energy of a molecule is as large, in hartree."""


@dataclass(frozen=True, eq=False)
class Optimiser:
    """Where it is: the angles (radians), how many turns it took, and for how long nothing was gained: of the last turns
    in a row, one for each that was measured, and `LOOKS` for one that was exact."""

    angles: Float64[np.ndarray, " k"]
    turns: int = 0
    idle: int = 0

    @classmethod
    def of(cls, state: Bundle) -> Optimiser:
        """From the wire. Raises LookupError or ValueError for what is none: nobody signed it."""
        angles, turns, idle = array(state, "angles"), state.values["turns"], state.values["idle"]
        fits = angles.dtype == np.float64 and angles.ndim == 1 and 1 <= len(angles) <= MOST_ANGLES
        if not fits or (np.abs(angles) > np.pi).any() or not np.isfinite(angles).all():
            raise ValueError("no angles")
        if not all(type(count) is int and 0 <= count < MOST_TURNS for count in (turns, idle)):
            raise ValueError("no turns")
        return cls(angles, turns, idle)

    def packed(self) -> Bundle:
        """To the wire."""
        return bundle({"angles": self.angles}, turns=self.turns, idle=self.idle)

    @property
    def has_converged(self) -> bool:
        """Whether no angle gained anything, lately."""
        return self.idle >= LOOKS * len(self.angles)

    def points(self) -> Float64[np.ndarray, "6 k"]:
        """The angles to measure the energy at: where it is, and along the angle whose turn it is."""
        out = np.tile(self.angles, (POINTS, 1))
        out[1:, self._own] += SHIFTS
        return out

    def told(self, energies: Sequence[float], errors: Sequence[float]) -> Optimiser:
        """After the energies at `points` (hartree), with their standard errors. Raises ValueError for what is none."""
        measured, spread = np.array(energies, np.float64), np.array(errors, np.float64)
        if measured.shape != (POINTS,) or spread.shape != (POINTS,):
            raise ValueError(f"expected {POINTS} energies")
        if not ((np.abs(measured) < LARGEST).all() and (spread >= 0).all() and (spread < LARGEST).all()):
            raise ValueError("no energies")
        move = lowest(measured[1:], spread[1:])
        weights = _curve(move)
        gained = float(measured[0] - weights @ measured[1:])
        turns = min(self.turns + 1, MOST_TURNS - 1)
        if gained <= max(GAIN, SURE * float(np.sqrt(spread[0] ** 2 + weights**2 @ spread[1:] ** 2))):
            idle = self.idle + (1 if spread.any() else LOOKS)
            return Optimiser(self.angles, turns, min(idle, LOOKS * len(self.angles)))
        angles = np.array(self.angles)
        angles[self._own] = _wrapped(angles[self._own] + move)
        return Optimiser(angles, turns)

    @property
    def _own(self) -> int:
        return self.turns % len(self.angles)


def lowest(energies: Float64[np.ndarray, " 5"], errors: Float64[np.ndarray, " 5"]) -> float:
    """Where the curve through the energies at `SHIFTS` is lowest, in radians: the nearest place that none is surely
    better than."""
    one, two = (2 / len(SHIFTS) * np.exp(-1j * order * SHIFTS) @ energies for order in (1, 2))
    # with z = exp(it): E = a_0 + Re(one z + two z^2), and dE/dt = 0 where this polynomial is
    roots = np.roots([2 * two, one, 0, -np.conj(one), -2 * np.conj(two)])
    places = [float(np.angle(root)) for root in roots]
    least = min(places, key=lambda place: float(_curve(place) @ energies), default=0.0)

    def is_as_good(place: float) -> bool:
        weights = _curve(place) - _curve(least)
        return bool(weights @ energies <= max(GAIN, SURE * float(np.sqrt(weights**2 @ errors**2))))

    return min(filter(is_as_good, [least, *places]), key=abs)


def _curve(place: float) -> Float64[np.ndarray, " 5"]:
    """What the energies at `SHIFTS` count in that at a place (Dirichlet's kernel)."""
    apart = place - SHIFTS
    return np.asarray((1 + 2 * np.cos(apart) + 2 * np.cos(2 * apart)) / len(SHIFTS))


def _wrapped(angle: float) -> float:
    """From -pi to pi."""
    return float(np.angle(np.exp(1j * angle)))
