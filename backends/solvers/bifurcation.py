"""`bifurcation` (target classical): simulated bifurcation in JAX, on a CPU or a GPU.

Every spin is an oscillator of position x and momentum y that is pumped through its bifurcation while all are pushed
down the gradient of the energy; |x| ends at a wall, and the signs of x are the spins (Goto, Tatsumura, Dixon 2019,
Sci. Adv. 5 eaav2372). Half of the replicas are ballistic, with the gradient at x, and half discrete, at its signs
(Goto et al. 2021, Sci. Adv. 7 eabe7953): the first are better on sparse graphs, the second on dense ones. Terms of
higher order push as they are, with their gradient at the signs, and where there are any all replicas are discrete
(after Kanao and Goto 2022, Appl. Phys. Express 15 014501). Fields push as they are, without an ancilla. Constraints
are penalties, by `quadratic`.

Jobs become rows of fixed shapes, as in `on_jax.statevector`: sizes are powers of two, and the number of rows is always
the same for a shape, so that a job's samples do not depend on the jobs beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from qmosaic.backends.base import Backend, Capabilities, Estimate, Job, Result, check
from qmosaic.backends.estimates import refuse_memory
from qmosaic.backends.programs import program
from qmosaic.backends.solvers.quadratic import quadratised
from qmosaic.codecs.models.polynomial import SpinPolynomial, bits_of

REPLICAS = 64
"""Runs of a job; as many samples at most, whatever `shots` says."""
STEPS = 1000
DRIVE = 0.5
"""Strength of the push (c0), times a typical field."""
STRIDE = 1.2
"""The time step, times the highest frequency; beyond 2 the integration is unstable."""
CELL_SECONDS, STEP_SECONDS = 1.5e-9, 1e-5
"""For one number of the matrices in one step, on a CPU, and for a step at least."""


class Shape(NamedTuple):
    """What a program is compiled for."""

    variables: int
    terms: int  # of higher order

    @property
    def cells(self) -> int:
        """Numbers in the matrices of one job."""
        return self.variables * (self.variables + self.terms)

    @property
    def rows(self) -> int:
        """Jobs in one call: as many as fill the device, fixed for a shape."""
        cells, most = (2**14, 16) if jax.default_backend() == "cpu" else (2**24, 256)
        return min(most, max(1, cells // self.cells))


class Prepared(NamedTuple):
    """A job, and its kernel without constraints; the kernel's variables are the model's first."""

    job: Job
    model: SpinPolynomial


class Bifurcation(Backend):
    """Independent runs from random starts. `warm_variables`: sizes for which `warm_up` compiles."""

    name = "bifurcation"
    capabilities = Capabilities(target="classical", max_qubits=2048, batch=64, uses_angles=False)

    def __init__(self, warm_variables: Sequence[int] = (16, 32)) -> None:
        self._warm = tuple(warm_variables)

    def prepare(self, job: Job) -> Prepared:
        """The job with the model to run. Raises BackendError."""
        check(job, self.name, self.capabilities)
        return Prepared(job, quadratised(job.polynomial, self.capabilities.max_qubits, self.name, higher=True))

    def run(self, batch: Sequence[Prepared]) -> list[Result]:
        """`min(shots, REPLICAS)` samples for each job; jobs of one shape together, `Shape.rows` at a time."""
        places: dict[Shape, list[int]] = defaultdict(list)
        results: dict[int, Result] = {}
        for place, prepared in enumerate(batch):
            places[_shape(prepared.model)].append(place)
        for shape, those in places.items():
            for start in range(0, len(those), shape.rows):
                part = those[start : start + shape.rows]
                results.update(zip(part, _run(shape, [batch[place] for place in part]), strict=True))
        return [results[place] for place in range(len(batch))]

    def estimate(self, job: Job) -> Estimate:
        """On a CPU, once it is compiled. Raises BackendError."""
        shape = _shape(self.prepare(job).model)
        needed = 12 * shape.rows * shape.cells
        refuse_memory(self.name, job, needed)
        seconds = STEPS * (STEP_SECONDS + CELL_SECONDS * shape.rows * shape.cells)
        return Estimate(seconds, memory_bytes=needed)

    def warm_up(self) -> None:
        """Compile what small jobs need, or load it from JAX's persistent cache."""
        for size in self._warm:
            self.run([self.prepare(Job(SpinPolynomial.of(size, h=np.ones(size)), 1, 0))])


def _shape(model: SpinPolynomial) -> Shape:
    terms = sum(len(one.values) for one in model.higher)
    return Shape(max(16, 1 << (model.n - 1).bit_length()), terms and max(16, 1 << (terms - 1).bit_length()))


def _run(shape: Shape, batch: Sequence[Prepared]) -> list[Result]:
    start = perf_counter()
    n, m = shape
    rows = shape.rows
    J, h = np.zeros((rows, n, n), np.float32), np.zeros((rows, n, 1), np.float32)
    within, values = np.zeros((rows, n, m), np.float32), np.zeros((rows, m, 1), np.float32)
    begin, stride = np.zeros((2, rows, n, REPLICAS), np.float32), np.zeros((rows, 1, 1), np.float32)
    for row, (job, model) in enumerate(batch):
        size, at = DRIVE / _field(model), 0
        J[row, model.rows, model.cols] = J[row, model.cols, model.rows] = size * model.J
        h[row, : model.n, 0] = size * model.h
        for terms in model.higher:
            places = np.arange(at, at := at + len(terms.values))
            within[row, terms.index, places[:, None]] = 1
            values[row, places, 0] = size * terms.values
        stride[row] = STRIDE / np.sqrt(1 + _norm(J[row]) + size * _bend(model))
        begin[:, row, : model.n] = np.random.default_rng(job.seed).uniform(-0.1, 0.1, (2, model.n, REPLICAS))
    spins = np.asarray(_evolved(J, h, within, values, begin, stride))
    samples = [_samples(*prepared, spins[row]) for row, prepared in enumerate(batch)]
    each = (perf_counter() - start) / len(batch)
    return [Result.of_samples(one.job.polynomial, found, each) for one, found in zip(batch, samples, strict=True)]


def _samples(job: Job, model: SpinPolynomial, spins: Float32[np.ndarray, "v replicas"]) -> UInt8[np.ndarray, "k n"]:
    """Samples of as many replicas as there are shots, ballistic and discrete ones in turn."""
    return np.asarray(bits_of(spins[: job.polynomial.n, : min(job.shots, REPLICAS)].T))


def _field(model: SpinPolynomial) -> float:
    """The root mean square of what pushes a variable, other spins random; 1 where nothing does."""
    squares = model.h**2
    np.add.at(squares, model.rows, model.J**2)
    np.add.at(squares, model.cols, model.J**2)
    for terms in model.higher:
        np.add.at(squares, terms.index, (terms.values**2)[:, None])
    return float(np.sqrt(squares.mean())) or 1.0


def _norm(J: Float32[np.ndarray, "v v"]) -> float:
    """The largest |eigenvalue|, by power iteration: a little too small, for which the stride has room."""
    vector, length = np.random.default_rng(0).normal(size=len(J)).astype(np.float32), 0.0
    for _ in range(20):
        vector = J @ (vector / max(float(np.linalg.norm(vector)), 1e-30))
        length = float(np.linalg.norm(vector))
    return length


def _bend(model: SpinPolynomial) -> float:
    """What stands for it for the terms of higher order, from the size of their second derivatives; 5 by trial."""
    squares = sum(one.order * (one.order - 1) * float((one.values**2).sum()) for one in model.higher)
    return 5 * float(np.sqrt(squares / model.n))


@program
def _evolved(
    J: Float32[Array, "rows v v"],
    h: Float32[Array, "rows v 1"],
    within: Float32[Array, "rows v m"],
    values: Float32[Array, "rows m 1"],
    begin: Float32[Array, "2 rows v replicas"],
    stride: Float32[Array, "rows 1 1"],
) -> Float32[Array, "rows v replicas"]:
    """The best signs that each replica had, by the energy that its push belongs to. `within`: 1 where a variable is
    in a term of higher order; there the replicas are all discrete."""
    discrete = (jnp.arange(begin.shape[-1]) % 2 == 1) | (within.shape[-1] > 0)

    def step(k: int, state: tuple[Any, ...]) -> tuple[Any, ...]:
        x, y, best, least = state
        down = (x < 0).astype(jnp.float32)
        signs = 1 - 2 * down
        at = jnp.where(discrete, signs, x)
        pull = J @ at
        energy = (at * (h + pull / 2)).sum(axis=1, keepdims=True)
        push = h + pull
        if within.shape[-1]:
            # a product is -1 where it has an odd number of spins that are, and its gradient is the product by each
            products = values * (1 - 2 * ((within.swapaxes(1, 2) @ down) % 2))
            energy += products.sum(axis=1, keepdims=True)
            push += signs * (within @ products)
        best, least = jnp.where(energy < least, signs, best), jnp.minimum(energy, least)
        y = y - stride * ((1 - k / STEPS) * x + push)
        x = x + stride * y
        beyond = jnp.abs(x) > 1
        return jnp.clip(x, -1, 1), jnp.where(beyond, 0, y), best, least

    x, y = begin
    worst = jnp.full((x.shape[0], 1, x.shape[2]), jnp.inf)
    with jax.default_matmul_precision("highest"):
        _, _, best, _ = jax.lax.fori_loop(0, STEPS, step, (x, y, jnp.where(x < 0, -1.0, 1.0), worst))
    return jnp.asarray(best)
