"""QAOA angles for a batch of kernels, at the cost of simulating eight qubits whatever their size.

Start: the angles that are optimal on average for couplings without structure (Farhi, Goldstone, Gutmann &
Zhou 2022, Sherrington-Kirkpatrick; the same as for trees of high degree, Basso et al. 2022), carried over
to a weighted model by its typical field (Shaydulin et al. 2023, "Parameter transfer for QAOA of weighted
MaxCut"). Fields and few neighbours change the two scales, gammas' and betas': these are read off a grid on
a *donor*, the most strongly coupled part of the kernel.

Measured on 18 kernels of 14 to 16 variables, 2 layers, mean share of the lowest energy: transfer alone
0.671, with the donor 0.715, with a fine grid on the whole kernel (thousand times the work) 0.725.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from qmosaic.backends.jax_qaoa import cost_vectors, expectations
from qmosaic.codecs.model import SpinPolynomial

Angles = tuple[Float64[np.ndarray, " p"], Float64[np.ndarray, " p"]]

TABLE = (
    ((0.5000,), (0.3927,)),
    ((0.3817, 0.6655), (0.4960, 0.2690)),
    ((0.3297, 0.5688, 0.6406), (0.5500, 0.3675, 0.2109)),
    ((0.2949, 0.5144, 0.5586, 0.6429), (0.5710, 0.4176, 0.3028, 0.1729)),
    ((0.2705, 0.4804, 0.5074, 0.5646, 0.6397), (0.5899, 0.4492, 0.3559, 0.2643, 0.1486)),
)
"""Gammas and betas for 1 to 5 layers, in radians (Basso et al. 2022, table 4)."""
DONOR = 8
"""Variables of a donor."""
BATCH = 16
"""Donors in a call; there is a program for a single one, too."""
GRID = np.array([(g, b) for g in (0.75, 0.95, 1.15) for b in (0.8, 1.0, 1.2, 1.45)])
"""Factors on the gammas and on the betas."""


def tune(kernels: Sequence[SpinPolynomial], layers: int) -> list[Angles]:
    """Gammas and betas of each kernel, in the convention of `backends.base`; `layers` at least 1."""
    out: list[Angles] = []
    width = BATCH if len(kernels) > 1 else 1
    for first in range(0, len(kernels), width):
        out += _tuned(kernels[first : first + width], width, layers)
    return out


def transferred(layers: int) -> Angles:
    """Angles for couplings of typical field 1; above 5 layers the schedule of 5 is stretched (Zhou et al. 2020)."""
    gammas, betas = (np.array(row) for row in TABLE[min(layers, len(TABLE)) - 1])
    at = np.linspace(0, len(gammas) - 1, layers) if layers > 1 else np.zeros(1)
    nodes = np.arange(len(gammas))
    # the table is for maximising; (gamma, -beta) is the same circuit for minimising
    return np.interp(at, nodes, gammas), -np.interp(at, nodes, betas)


def _tuned(kernels: Sequence[SpinPolynomial], width: int, layers: int) -> list[Angles]:
    h, J = _dense(kernels)
    typical = _typical(h, J)
    h, J = _donors(h / typical[:, None], J / typical[:, None, None])
    gammas, betas = transferred(layers)
    # a donor has lost couplings, so its own typical field counts
    on_donor = GRID[:, :1] * gammas / _typical(h, J)[:, None, None]
    idle = width - len(kernels)
    values = expectations(
        cost_vectors(*(_float32(np.pad(x, [(0, idle)] + [(0, 0)] * (x.ndim - 1))) for x in (h, np.triu(J)))),
        jnp.zeros(width, bool),
        _float32(np.pad(on_donor, ((0, idle), (0, 0), (0, 0)))),
        _float32(np.broadcast_to(GRID[:, 1:] * betas, (width, len(GRID), layers))),
    )
    best = GRID[np.asarray(values)[: len(kernels)].argmin(axis=1)]
    return [(g * gammas / scale, b * betas) for (g, b), scale in zip(best, typical, strict=True)]


def _dense(kernels: Sequence[SpinPolynomial]) -> tuple[Any, Any]:
    """Fields (k, n) and symmetric couplings (k, n, n), n the largest number of variables, at least `DONOR`."""
    n = max(DONOR, *(kernel.n for kernel in kernels))
    h, J = np.zeros((len(kernels), n)), np.zeros((len(kernels), n, n))
    for k, kernel in enumerate(kernels):
        h[k, : kernel.n] = kernel.h
        J[k, kernel.rows, kernel.cols] = J[k, kernel.cols, kernel.rows] = kernel.J
    return h, J


def _typical(h: Any, J: Any) -> Float64[np.ndarray, " k"]:
    """Root mean square of the local field over random states and the variables in use; 1 where all is zero."""
    squares = h**2 + (J**2).sum(axis=2)
    root = np.sqrt(squares.sum(axis=1) / np.maximum(1, (squares > 0).sum(axis=1)))
    return np.asarray(np.where(root > 0, root, 1.0))


def _donors(h: Any, J: Any) -> tuple[Any, Any]:
    """The `DONOR` variables grown from the one with the strongest couplings, each next the most coupled."""
    rows, strength = np.arange(len(h)), np.abs(J)
    bonds = strength.sum(axis=2)
    chosen = np.zeros((len(h), DONOR), int)
    taken = np.zeros(h.shape, bool)
    for i in range(DONOR):
        v = chosen[:, i] = np.where(taken, -1, bonds).argmax(axis=1)
        taken[rows, v] = True
        bonds = strength[rows, v] + (bonds if i else 0)
    return h[rows[:, None], chosen], J[rows[:, None, None], chosen[:, :, None], chosen[:, None]]


def _float32(array: Any) -> Any:
    return jnp.asarray(array, jnp.float32)


def warm_up(layers: int) -> None:
    """Compile, or load from JAX's cache, the two programs for a number of layers."""
    pair = SpinPolynomial.of(2, rows=[0], cols=[1], J=[1.0])
    tune([pair], layers)
    tune([pair, pair], layers)
