"""QAOA angles for a batch of kernels, at the cost of simulating eight qubits where they are quadratic.

Start: the angles that are optimal on average for couplings without structure (Farhi, Goldstone, Gutmann &
Zhou 2022, Sherrington-Kirkpatrick; the same as for trees of high degree, Basso et al. 2022), carried over
to a weighted model by its typical field (Shaydulin et al. 2023, "Parameter transfer for QAOA of weighted
MaxCut"). Fields and few neighbours change the two scales, gammas' and betas': these are read off a grid on
a *donor*, the most strongly coupled part of the kernel. With terms of higher order or held constraints there
is no smaller one that is like it: their grid is on the kernel itself, and the table's angles at the grid's middle
are taken where that is too large.

Measured on 18 kernels of 14 to 16 variables, 2 layers, mean share of the lowest energy: transfer alone
0.671, with the donor 0.715, with a fine grid on the whole kernel (thousand times the work) 0.725. On 22 kernels
of 8 to 13 variables with terms of order three and four, mean share of the way from the mean energy to the lowest:
transfer alone 0.215, the grid here 0.482, a grid of 64 points 0.483; on 19 with held constraints 0.497, 0.543, 0.545.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from qmosaic.backends.circuits.qaoa import Group, held
from qmosaic.backends.on_jax import constrained
from qmosaic.backends.on_jax.costs import Stack, costs_of, stack
from qmosaic.backends.on_jax.qaoa import expectations, is_compiled
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial

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


OWN_SIZES = (8, 12, 16)
"""Qubits of the programs that evaluate a kernel itself; a kernel is padded to the next."""
HIGHER_GRID = np.array([(g, b) for g in (1.0, 0.7, 1.4) for b in (0.45, 0.3, 0.65, 0.85)])
HELD_GRID = np.array([(g, b) for g in (0.7, 0.5, 1.0) for b in (1.0, 0.65, 0.8, 1.25)])
"""The same for kernels with terms of higher order, and with held constraints; the middle first."""
STATES = 256
"""States whose energies tell the scale of a kernel with held constraints."""


def tune(kernels: Sequence[SpinPolynomial], layers: int) -> list[Angles]:
    """Gammas and betas of each kernel, in the convention of `backends.base`; `layers` at least 1."""
    plain = [kernel for kernel in kernels if not kernel.higher and not held(kernel)]
    width = BATCH if len(plain) > 1 else 1
    by_donor = iter(
        [angles for k in range(0, len(plain), width) for angles in _tuned(plain[k : k + width], width, layers)]
    )
    alike = set(map(id, plain))
    return [next(by_donor) if id(kernel) in alike else _tuned_alone(kernel, layers) for kernel in kernels]


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
    fields, couplings = (_float32(np.pad(x, [(0, idle)] + [(0, 0)] * (x.ndim - 1))) for x in (h, np.triu(J)))
    unfolded = np.zeros(width, bool)
    made = Stack(fields, couplings, unfolded)
    on_grid = (
        _float32(np.pad(on_donor, ((0, idle), (0, 0), (0, 0)))),
        _float32(np.broadcast_to(GRID[:, 1:] * betas, (width, len(GRID), layers))),
    )
    best = np.ones((len(kernels), 2))  # what the table says
    if costs_of.ready(made) and is_compiled(np.zeros((width, 2**DONOR), np.float32), unfolded, *on_grid):
        values = expectations(costs_of(made), unfolded, *on_grid)
        best = GRID[np.asarray(values)[: len(kernels)].argmin(axis=1)]
    return [(g * gammas / scale, b * betas) for (g, b), scale in zip(best, typical, strict=True)]


def _tuned_alone(kernel: SpinPolynomial, layers: int) -> Angles:
    groups = held(kernel)
    grid = HELD_GRID if groups else HIGHER_GRID
    gammas, betas = transferred(layers)
    gammas = gammas / (_typical_held(kernel, groups) if groups else _typical_higher(kernel))
    best = grid[0]
    size = next((size for size in OWN_SIZES if size >= kernel.n), None)
    if size is not None:
        made = stack([kernel], 1, size)
        sets = _float32(grid[None, :, :1] * gammas), _float32(grid[None, :, 1:] * betas)
        none = np.zeros((1, 2**size), np.float32)
        if groups:
            ansatz = constrained.ansatz([kernel], 1, size)
            if costs_of.ready(made) and constrained.is_compiled(none, ansatz, *sets):
                values = constrained.expectations(costs_of(made), ansatz, *sets)
                best = grid[np.asarray(values)[0].argmin()]
        elif costs_of.ready(made) and is_compiled(none, made.folded, *sets):
            values = expectations(costs_of(made), made.folded, *sets)
            best = grid[np.asarray(values)[0].argmin()]
    return best[0] * gammas, best[1] * betas


def _typical_higher(kernel: SpinPolynomial) -> float:
    """Root mean square of the local field, as in `_typical`."""
    squares = kernel.h**2
    for index, values in (
        (np.stack([kernel.rows, kernel.cols], axis=1), kernel.J),
        *((terms.index, terms.values) for terms in kernel.higher),
    ):
        np.add.at(squares, index, (values**2)[:, None])
    return float(np.sqrt(squares.sum() / max(1, (squares > 0).sum()))) or 1.0


def _typical_held(kernel: SpinPolynomial, groups: Sequence[Group]) -> float:
    """The like, by the spread of energies of states that keep what is held: some terms are constant on them."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (STATES, kernel.n))
    for variables, ones in groups:
        bits[:, variables] = rng.random((STATES, len(variables))).argsort(axis=1) < ones
    return float(kernel.energy(bits).std() * np.sqrt(2 / kernel.n)) or 1.0


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
    return np.asarray(array, np.float32)


def warm_up(layers: int) -> None:
    """Compile, or load from JAX's cache, the programs for a number of layers."""
    pair = SpinPolynomial.of(2, rows=[0], cols=[1], J=[1.0])
    tune([pair], layers)
    tune([pair, pair], layers)
    for size in OWN_SIZES:
        higher = SpinPolynomial.of(size, higher=[(range(3), 1.0)])
        tune([higher, replace(higher, constraints=(Linear.exactly(range(size), 1),))], layers)
