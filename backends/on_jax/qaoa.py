"""QAOA state vectors in JAX: pure, jitted functions over batches of kernels and of angle sets.

Shared by the backend `jax.statevector` and by the reduce hop, which tunes angles with it. Conventions
(angles, energies, bit order) are those of `backends.base`; the kernel's offset is left out everywhere.

How it is fast. With S = diag(1, -i) on every qubit, exp(-i beta X) = S R(beta) S* where R is the *real*
rotation by beta, and S commutes with the phases. So the mixer is a real matrix on the real and on the
imaginary part, applied as R⊗R⊗R⊗R (16x16) to four qubits at a time, and S itself only shows in the first
state. Of a folded kernel (`jax_costs`), the flip of the variable that was fixed is done by the flip of all others.
Kernels with held constraints have a program of their own, `jax_constrained`.

All of it in the precision of the costs; where a function takes `across`, on that many devices (`on_jax.spread`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from operator import add, mul
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from qmosaic.backends.on_jax import spread
from qmosaic.backends.on_jax.spread import log2
from qmosaic.backends.programs import program

_barrier: Any = jax.lax.optimization_barrier  # JAX leaves it without types
GROUP = 4
"""Qubits per mixer matrix: 16x16 was the fastest of 8 to 64 on CPUs."""
BLOCK = 17
"""Qubits whose amplitudes stay in a cache."""

Tensor = Array | np.ndarray
"""What the jitted functions take; they return arrays on the device."""
Parts = tuple[Float[Array, " N"], Float[Array, " N"]]
"""A state's real and imaginary part."""


def expectations(
    costs: Float[Tensor, "k N"],
    folded: Bool[Tensor, " k"],
    gammas: Float[Tensor, "k a p"],
    betas: Float[Tensor, "k a p"],
) -> Float[Array, "k a"]:
    """<C> after the circuit, for `a` angle sets for each of k kernels. Memory is bounded whatever k and a.

    Jitted: one compilation for each shape, so keep to few of them (powers of two for k and a).
    """
    values: Float[Array, "k a"] = _expectations(costs, folded, gammas, betas, chunk())
    return values


def is_compiled(costs: Tensor, folded: Tensor, gammas: Tensor, betas: Tensor) -> bool:
    """Whether `expectations` of such arguments need not wait for a compiler."""
    return _expectations.ready(costs, folded, gammas, betas, chunk())


@program
def probabilities(
    costs: Float[Tensor, "k N"],
    folded: Bool[Tensor, " k"],
    gammas: Float[Tensor, "k p"],
    betas: Float[Tensor, "k p"],
) -> Float[Array, "k N"]:
    """Probabilities of all states after the circuit; in a folded kernel, of x and its complement together."""
    found: Float[Array, "k N"] = jax.vmap(probability_vector)(
        *jax.tree.map(jnp.asarray, (costs, folded, gammas, betas))
    )
    return found


def chunk() -> int:
    """Amplitudes worth computing at once: what stays in a CPU's cache, or what fills a GPU."""
    return 2**18 if jax.default_backend() == "cpu" else 2**24


@program(static_argnums=4)
def _expectations(costs: Any, folded: Any, gammas: Any, betas: Any, limit: int) -> Any:
    return over_rows(_expectation, costs, folded, gammas, betas, limit)


def over_rows(f: Callable[..., Any], costs: Any, kernels: Any, gammas: Any, betas: Any, limit: int) -> Any:
    """f(costs, kernel, gammas, betas) for each kernel and angle set, about `limit` amplitudes at a time."""
    count, sets = gammas.shape[:2]
    inner = max(1, min(sets, limit // costs.shape[1]))
    outer = max(1, min(count, limit // (costs.shape[1] * inner)))

    def of_kernel(row: Any) -> Any:
        cost, kernel, *angles = row
        return _map(lambda angle: f(cost, kernel, *angle), angles, inner)

    return _map(of_kernel, (costs, kernels, gammas, betas), outer)


def _map(f: Callable[[Any], Any], rows: Any, size: int) -> Any:
    whole = len(jax.tree.leaves(rows)[0]) == size
    return jax.vmap(f)(rows) if whole else jax.lax.map(f, rows, batch_size=size)


def _expectation(cost: Any, folded: Any, gammas: Any, betas: Any) -> Float[Array, ""]:
    return jnp.dot(probability_vector(cost, folded, gammas, betas), cost, precision="highest")


def probability_vector(
    cost: Float[Array, " N"],
    folded: Bool[Array, ""],
    gammas: Float[Array, " p"],
    betas: Float[Array, " p"],
    across: int = 1,
) -> Float[Array, " N"]:
    """`probabilities` of one kernel."""
    real, imag = evolved(cost, folded, gammas, betas, across)
    return real * real + imag * imag


def evolved(
    cost: Float[Array, " N"],
    folded: Bool[Array, ""],
    gammas: Float[Array, " p"],
    betas: Float[Array, " p"],
    across: int = 1,
) -> Parts:
    """Real and imaginary part of the final state, in the frame of S."""
    parts = begun(cost, gammas[0], across)
    for layer in range(len(gammas)):
        if layer:
            parts = phased(parts, cost, gammas[layer])
        parts = mixed(parts, folded, betas[layer], across)
    return parts


def begun(cost: Float[Array, " N"], gamma: Float[Array, ""], across: int = 1) -> Parts:
    """S* |+>, after the first phase."""
    q = log2(len(cost) * across)
    left, right = _ones(q)
    ones = _by_halves(add, left, right, across)
    cos, sin = phase(ones / 4 - gamma * cost / (2 * np.pi))
    scale = 2.0 ** (-q / 2)
    return cos * scale, sin * scale


def phased(parts: Parts, cost: Float[Array, " N"], gamma: Float[Array, ""]) -> Parts:
    """exp(-i gamma C)."""
    (real, imag), (cos, sin) = parts, phase(-gamma * cost / (2 * np.pi))
    return real * cos - imag * sin, real * sin + imag * cos


def mixed(parts: Parts, folded: Bool[Array, ""], beta: Float[Array, ""], across: int = 1) -> Parts:
    """The mixer: R(beta) on every qubit of both parts, and what `flipped` says of a folded kernel's variable 0."""
    over = _rotations(beta, across)
    real, imag = (spread.combined(over, _rotated(part, beta), across) for part in parts)
    turn = jnp.where(folded, beta, 0.0)
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    other_real, other_imag = flipped((real, imag), across)
    return cos * real + sin * other_real, cos * imag + sin * other_imag


def flipped(parts: Parts, across: int = 1) -> Parts:
    """-i X of variable 0 of a folded kernel: X is the flip of all other variables, S* X..X S = (-i)^q parity.

    In real arithmetic, which XLA vectorises here.
    """
    real, imag = parts
    q = log2(len(real) * across)
    left, right = (1 - 2 * (ones % 2) for ones in _ones(q))
    parity = _by_halves(mul, left, right, across) * (1.0 if q % 4 > 1 else -1.0)
    other_real, other_imag = (real, imag) if q % 2 else (-imag, real)
    return parity * spread.reverse(other_real, across), parity * spread.reverse(other_imag, across)


def _rotated(part: Float[Array, " N"], beta: Float[Array, ""]) -> Float[Array, " N"]:
    """R(beta) on every qubit of a real part.

    One that no cache holds is mixed in place, in pieces: its last `BLOCK` qubits, then those in front of them.
    """
    front = log2(len(part)) - BLOCK
    if front < 4:
        return _turned(part, beta, log2(len(part)))
    width = 2 ** (BLOCK - front)

    def rows(k: Any, whole: Any) -> Any:
        return whole.at[k].set(_turned(whole[k], beta, BLOCK))

    def columns(k: Any, whole: Any) -> Any:
        piece = jax.lax.dynamic_slice_in_dim(whole, k * width, width, axis=1)
        turned = _turned(piece.ravel(), beta, front).reshape(piece.shape)
        return jax.lax.dynamic_update_slice_in_dim(whole, turned, k * width, axis=1)

    whole = jax.lax.fori_loop(0, 2**front, rows, part.reshape(2**front, -1))
    mixed_: Float[Array, " N"] = jax.lax.fori_loop(0, 2**front, columns, whole).ravel()
    return mixed_


def _turned(part: Float[Array, " N"], beta: Float[Array, ""], qubits: int) -> Float[Array, " N"]:
    """R(beta) on the first qubits of a real part, `GROUP` of them at a time."""
    before = 1
    for size in groups(2**qubits):
        part = apply(_rotations(beta, size), part, before)
        before *= size
    return part


def _rotations(beta: Float[Array, ""], size: int) -> Float[Array, "d d"]:
    """R(beta) of as many qubits as the matrix has room for."""
    c, s = jnp.cos(beta), jnp.sin(beta)
    one = jnp.array([[c, -s], [s, c]])
    matrix = jnp.ones((1, 1), one.dtype)
    while len(matrix) < size:
        matrix = jnp.kron(matrix, one)
    return matrix


def groups(size: int) -> list[int]:
    """Sizes of the mixer's matrices for a state of `size` amplitudes, in the order of the qubits."""
    whole, rest = divmod(log2(size), GROUP)
    return [2**rest] * (rest > 0) + [2**GROUP] * whole


def apply(matrix: Float[Array, "d d"], part: Float[Array, " N"], before: int) -> Float[Array, " N"]:
    """The matrix on the qubits that have `before` states in front of them.

    Two forms, so that XLA finds a plain or a batched matrix product and no transposition.
    """
    d = len(matrix)
    if before * d == len(part):
        return jnp.einsum("md,ed->me", part.reshape(before, d), matrix, precision="highest").ravel()
    matrices = jnp.broadcast_to(matrix, (before, d, d))
    return jnp.einsum("med,mdn->men", matrices, part.reshape(before, d, -1), precision="highest").ravel()


def phase(turns: Float[Array, " N"]) -> Parts:
    """cos and sin of 2 pi turns, by polynomials (error 1e-7, or 1e-16): XLA's are ten times slower on CPUs."""
    terms = 7 if turns.dtype == jnp.float32 else 12
    halves_ = jnp.round(2 * turns)
    x = (2 * turns - halves_) * np.pi
    y = x * x
    cos, sin = (_alternating(y, [factorial(2 * k + first) for k in range(terms - first)]) for first in (0, 1))
    sign = 1 - 2 * jnp.abs(halves_ - 2 * jnp.floor(halves_ / 2))
    return sign * cos, sign * x * sin


def _alternating(y: Float[Array, " N"], below: list[int]) -> Float[Array, " N"]:
    """1 / below[0] - y / below[1] + y^2 / below[2] …"""
    *others, value = [(-1) ** k / number for k, number in enumerate(below)]
    for each in reversed(others):
        value = each + y * value
    found: Float[Array, " N"] = value
    return found


def halves(q: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Bits of all states of the left q // 2 qubits and of all states of the others."""
    return tuple(  # type: ignore[return-value]
        (np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1 for n in (q // 2, q - q // 2)
    )


def _ones(q: int) -> list[np.ndarray[Any, Any]]:
    """How many of these bits are 1."""
    return [bits.sum(1).astype(np.float32) for bits in halves(q)]


def _by_halves(combine: Any, left: Any, right: Any, across: int) -> Any:
    """An array over all states, from something of their left and of their right bits. A constant of the program; for
    large states behind a barrier, else XLA would make constants as long as the state of it."""
    if across == 1 and len(left) * len(right) < 2 ** (BLOCK + 4):
        return combine(left[:, None], right).ravel()
    left, right = _barrier((jnp.asarray(left), jnp.asarray(right)))
    return combine(spread.own(left, across)[:, None], right).ravel()
