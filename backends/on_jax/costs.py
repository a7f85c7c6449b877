"""Kernels as arrays, and the costs of all their states in JAX. Offsets are left out; states, bits: as in `on_jax.qaoa`.

A kernel without terms of odd order has E(s) = E(-s): it is folded, variable 0 fixed, which halves the state. Costs of
fields and couplings are small matrix products; those of terms of higher order are the Walsh-Hadamard transform of
their coefficients, whatever the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64
from scipy.linalg import hadamard

from qmosaic.backends.circuits.qaoa import held
from qmosaic.backends.on_jax import spread
from qmosaic.backends.on_jax.qaoa import Tensor, apply, groups, halves
from qmosaic.backends.programs import program
from qmosaic.codecs.models.polynomial import Monomials, SpinPolynomial

LEAST_QUBITS = 4
"""Smaller kernels are padded with free qubits, which the circuit leaves in |+>: fewer shapes to compile."""


class Stack(NamedTuple):
    """Kernels of one shape, ready for the device: dense fields and couplings (upper triangle).

    `folded`: variable 0 was fixed to x = 0 and is not among the q qubits (see `fold`).
    """

    h: Float[Tensor, "k q"]
    J: Float[Tensor, "k q q"]
    folded: Bool[Tensor, " k"]
    higher: Float[Tensor, "k N"] | None = None  # by the number of the state that has the term's variables 1


def folds(kernel: SpinPolynomial) -> bool:
    """Whether a kernel is folded: one of two variables or more, without terms of odd order or held constraints."""
    odd = kernel.h.any() or any(terms.order % 2 for terms in kernel.higher)
    return kernel.n > 1 and not odd and not held(kernel)


def fold(kernel: SpinPolynomial) -> tuple[SpinPolynomial, bool]:
    """A kernel that folds, with variable 0 fixed to x = 0 (s = +1), and True; any other as it is."""
    if not folds(kernel):
        return kernel, False
    first = kernel.rows == 0
    h = np.zeros(kernel.n - 1)
    h[kernel.cols[first] - 1] = kernel.J[first]
    rest = ~first
    higher = []
    for terms in kernel.higher:
        first = terms.index[:, 0] == 0
        higher += [Monomials(terms.index[first, 1:] - 1, terms.values[first])] if first.any() else []
        higher += [Monomials(terms.index[~first] - 1, terms.values[~first])] if not first.all() else []
    core = SpinPolynomial(h, kernel.rows[rest] - 1, kernel.cols[rest] - 1, kernel.J[rest], kernel.offset, tuple(higher))
    return core, True


def qubits_of(kernel: SpinPolynomial) -> int:
    """Qubits the state vector of a kernel takes here: its shape bucket, after folding and padding."""
    return max(LEAST_QUBITS, kernel.n - folds(kernel))


def stack(
    kernels: Sequence[SpinPolynomial], rows: int, qubits: int | None = None, dtype: type[np.floating[Any]] = np.float32
) -> Stack:
    """Kernels of the same `qubits_of`, padded with zero kernels to `rows` rows (the compiled shape).

    `qubits`: pad them to more.
    """
    return joined([dense(kernel, qubits or qubits_of(kernels[0]), dtype) for kernel in kernels], rows)


class Table(NamedTuple):
    """A small kernel by the energies of all its states, offset included; `costs` is what the device needs of them."""

    energies: Float64[np.ndarray, " M"]
    costs: Float[np.ndarray, " N"]
    folded: bool


def tabulated(kernel: SpinPolynomial, qubits: int, dtype: type[np.floating[Any]] = np.float32) -> Table:
    """In numpy, by the Walsh-Hadamard transform of all coefficients."""
    n, folded = kernel.n, folds(kernel)
    bit = 1 << np.arange(n)[::-1]
    coefficients = np.zeros(2**n)
    coefficients[bit] = kernel.h
    coefficients[bit[kernel.rows] + bit[kernel.cols]] = kernel.J
    for terms in kernel.higher:
        coefficients[bit[terms.index].sum(axis=1)] = terms.values
    left, right = _hadamard(n // 2), _hadamard(n - n // 2)
    costs = (left @ coefficients.reshape(len(left), -1) @ right).ravel()
    kept = costs[: 2 ** (n - folded)]
    return Table(costs + kernel.offset, np.repeat(kept, 2 ** (qubits - n + folded)).astype(dtype), folded)


@cache
def _hadamard(qubits: int) -> Float64[np.ndarray, "d d"]:
    return np.asarray(hadamard(2**qubits), np.float64)


def dense(kernel: SpinPolynomial, qubits: int, dtype: type[np.floating[Any]] = np.float32) -> Stack:
    """One kernel, without the axis k."""
    core, folded = fold(kernel)
    h, J = np.zeros(qubits, dtype), np.zeros((qubits, qubits), dtype)
    h[: core.n] = core.h
    J[core.rows, core.cols] = core.J
    if not core.higher:
        return Stack(h, J, np.asarray(folded))
    higher = np.zeros(2**qubits, dtype)
    for terms in core.higher:
        higher[(1 << (qubits - 1 - terms.index)).sum(axis=1)] = terms.values
    return Stack(h, J, np.asarray(folded), higher)


def joined(each: Sequence[Stack], rows: int) -> Stack:
    """Kernels of the same number of qubits, padded with zero kernels to `rows` rows."""
    h = np.zeros((rows, *each[0].h.shape), each[0].h.dtype)
    J = np.zeros((rows, *each[0].J.shape), h.dtype)
    folded = np.zeros(rows, bool)
    for k, one in enumerate(each):
        h[k], J[k], folded[k] = one.h, one.J, one.folded
    if all(one.higher is None for one in each):
        return Stack(h, J, folded)
    higher = np.zeros((rows, 2 ** h.shape[1]), h.dtype)
    for k, one in enumerate(each):
        if one.higher is not None:
            higher[k] = one.higher
    return Stack(h, J, folded, higher)


@program
def costs_of(stack: Stack) -> Float[Array, "k N"]:
    """C of all N = 2^q states of each kernel, state x at index x read as a binary number, bit 0 first."""
    h, J, _, higher = stack
    costs: Float[Array, "k N"] = jax.vmap(cost_vector)(h, J, higher)
    return costs


def cost_vector(
    h: Float[Tensor, " q"], J: Float[Tensor, "q q"], higher: Float[Tensor, " N"] | None, across: int = 1
) -> Float[Array, " N"]:
    """C of the states whose amplitudes are here."""
    h, J = jnp.asarray(h), jnp.asarray(J)
    # C(x) = A(left half) + B(right half) + left spins · J · right spins: one small matrix product
    left, right = (jnp.asarray(1 - 2 * bits, h.dtype) for bits in halves(len(h)))
    left, a = spread.own(left, across), left.shape[1]
    within = [
        jnp.einsum("xi,ij,xj->x", s, part, s, precision="highest") + jnp.dot(s, field, precision="highest")
        for s, part, field in ((left, J[:a, :a], h[:a]), (right, J[a:, a:], h[a:]))
    ]
    between = jnp.einsum("xi,ij,yj->xy", left, J[:a, a:], right, precision="highest")
    costs = (within[0][:, None] + within[1] + between).ravel()
    return costs if higher is None else costs + _walsh(jnp.asarray(higher), across)


def _walsh(part: Float[Array, " N"], across: int) -> Float[Array, " N"]:
    """E(x) = sum over S of c_S (-1)^|S and x|."""
    part, before = spread.combined(jnp.asarray(hadamard(across), part.dtype), part, across), 1
    for size in groups(len(part)):
        part = apply(jnp.asarray(hadamard(size), part.dtype), part, before)
        before *= size
    return part
