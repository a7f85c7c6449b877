"""QAOA state vectors in JAX: pure, jitted functions over batches of kernels and of angle sets.

Shared by the backend `jax.statevector` and by the reduce hop, which tunes angles with it. Conventions
(angles, energies, bit order) are those of `backends.base`; the kernel's offset is left out everywhere.

How it is fast. With S = diag(1, -i) on every qubit, exp(-i beta X) = S R(beta) S* where R is the *real*
rotation by beta, and S commutes with the phases. So the mixer is a real matrix on the real and on the
imaginary part, applied as R⊗R⊗R⊗R (16x16) to four qubits at a time, and S itself only shows in the first
state. A kernel without terms of odd order has E(s) = E(-s): it is folded, variable 0 fixed and the flip of
that variable done by the flip of all others, which halves the state. Costs of fields and couplings are small
matrix products; those of terms of higher order are the Walsh-Hadamard transform of their coefficients, whatever
the order. Kernels with held constraints have a program of their own, `jax_constrained`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32
from scipy.linalg import hadamard

from qmosaic.backends.qaoa_circuit import held
from qmosaic.codecs.model import Monomials, SpinPolynomial

GROUP = 4
"""Qubits per mixer matrix: 16x16 was the fastest of 8 to 64 on CPUs."""
BLOCK = 17
"""Qubits whose amplitudes stay in a cache."""
LEAST_QUBITS = 4
"""Smaller kernels are padded with free qubits, which the circuit leaves in |+>: fewer shapes to compile."""


Tensor = Array | np.ndarray
"""What the jitted functions take; they return arrays on the device."""
Parts = tuple[Float32[Array, " N"], Float32[Array, " N"]]
"""A state's real and imaginary part."""


class Stack(NamedTuple):
    """Kernels of one shape, ready for the device: dense fields and couplings (upper triangle).

    `folded`: variable 0 was fixed to x = 0 and is not among the q qubits (see `fold`).
    """

    h: Float32[np.ndarray, "k q"]
    J: Float32[np.ndarray, "k q q"]
    folded: Bool[np.ndarray, " k"]
    higher: Float32[np.ndarray, "k N"] | None = None  # by the number of the state that has the term's variables 1


def fold(kernel: SpinPolynomial) -> tuple[SpinPolynomial, bool]:
    """A kernel without terms of odd order, with variable 0 fixed to x = 0 (s = +1), and True; any other as it is.

    Those with held constraints stay as they are, too.
    """
    odd = kernel.h.any() or any(terms.order % 2 for terms in kernel.higher)
    if kernel.n < 2 or odd or held(kernel):
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
    return max(LEAST_QUBITS, fold(kernel)[0].n)


def stack(kernels: Sequence[SpinPolynomial], rows: int, qubits: int | None = None) -> Stack:
    """Kernels of the same `qubits_of`, padded with zero kernels to `rows` rows (the compiled shape).

    `qubits`: pad them to more.
    """
    q = qubits or qubits_of(kernels[0])
    h, J = np.zeros((rows, q), np.float32), np.zeros((rows, q, q), np.float32)
    folded = np.zeros(rows, bool)
    for k, kernel in enumerate(kernels):
        core, folded[k] = fold(kernel)
        h[k, : core.n] = core.h
        J[k, core.rows, core.cols] = core.J
    if not any(kernel.higher for kernel in kernels):
        return Stack(h, J, folded)
    higher = np.zeros((rows, 2**q), np.float32)
    for k, kernel in enumerate(kernels):
        for terms in fold(kernel)[0].higher:
            higher[k, (1 << (q - 1 - terms.index)).sum(axis=1)] = terms.values
    return Stack(h, J, folded, higher)


def costs_of(stack: Stack) -> Float32[Array, "k N"]:
    """C of all N = 2^q states of each kernel, terms of every order."""
    costs: Float32[Array, "k N"] = cost_vectors(stack.h, stack.J)
    return costs if stack.higher is None else add_higher(costs, stack.higher)


@jax.jit
def add_higher(costs: Float32[Tensor, "k N"], coefficients: Float32[Tensor, "k N"]) -> Float32[Array, "k N"]:
    """Costs with the terms that have these coefficients: E(x) = sum over S of c_S (-1)^|S and x|."""
    return jnp.asarray(costs) + jax.vmap(_walsh)(jnp.asarray(coefficients))


def _walsh(part: Float32[Array, " N"]) -> Float32[Array, " N"]:
    before = 1
    for size in groups(len(part)):
        part = apply(jnp.asarray(hadamard(size), jnp.float32), part, before)
        before *= size
    return part


@jax.jit
def cost_vectors(h: Float32[Tensor, "k q"], J: Float32[Tensor, "k q q"]) -> Float32[Array, "k N"]:
    """C of fields and couplings of all N = 2^q states, state x at index x read as a binary number, bit 0 first."""
    return jax.vmap(_cost_vector)(h, J)


def _cost_vector(h: Float32[Tensor, " q"], J: Float32[Tensor, "q q"]) -> Float32[Array, " N"]:
    # C(x) = A(left half) + B(right half) + left spins · J · right spins: one small matrix product
    q = len(h)
    left, right = (_spins(bits) for bits in _halves(q))
    a = left.shape[1]
    within = [
        jnp.einsum("xi,ij,xj->x", s, part, s, precision="highest") + jnp.dot(s, field, precision="highest")
        for s, part, field in ((left, J[:a, :a], h[:a]), (right, J[a:, a:], h[a:]))
    ]
    across = jnp.einsum("xi,ij,yj->xy", left, J[:a, a:], right, precision="highest")
    return (within[0][:, None] + within[1] + across).ravel()


def expectations(
    costs: Float32[Tensor, "k N"],
    folded: Bool[Tensor, " k"],
    gammas: Float32[Tensor, "k a p"],
    betas: Float32[Tensor, "k a p"],
) -> Float32[Array, "k a"]:
    """<C> after the circuit, for `a` angle sets for each of k kernels. Memory is bounded whatever k and a.

    Jitted: one compilation for each shape, so keep to few of them (powers of two for k and a).
    """
    values: Float32[Array, "k a"] = _expectations(costs, folded, gammas, betas, chunk())
    return values


@jax.jit
def probabilities(
    costs: Float32[Tensor, "k N"],
    folded: Bool[Tensor, " k"],
    gammas: Float32[Tensor, "k p"],
    betas: Float32[Tensor, "k p"],
) -> Float32[Array, "k N"]:
    """Of all states after the circuit; of a folded kernel, of x and its complement together."""
    return jax.vmap(_probabilities)(*map(jnp.asarray, (costs, folded, gammas, betas)))


@jax.jit
def sample(
    costs: Float32[Tensor, "k N"],
    folded: Bool[Tensor, " k"],
    gammas: Float32[Tensor, "k p"],
    betas: Float32[Tensor, "k p"],
    uniforms: Float32[Tensor, "k s 2"],
) -> Int32[Array, "k s"]:
    """Indices of s states for each kernel, drawn by inversion from uniform numbers in [0, 1)."""
    return drawn(probabilities(costs, folded, gammas, betas), uniforms)


def drawn(shares: Float32[Array, "k N"], uniforms: Float32[Tensor, "k s 2"]) -> Int32[Array, "k s"]:
    """States by their shares, in two levels, the left half of the bits and then the right one, each by its own
    uniform number: one running sum over 2^q float32 values could not tell rare states apart.
    """
    rows, size = shares.shape
    shares = shares.reshape(rows, 2 ** (log2(size) // 2), -1)
    if log2(size) < BLOCK + 4:
        inner = jnp.cumsum(shares, axis=-1)
        outer = jnp.cumsum(inner[..., -1], axis=-1)
        return jax.vmap(jax.vmap(_draw, (None, None, 0)))(outer, inner, jnp.asarray(uniforms))
    # running sums only of the rows that are drawn: they would take twice the memory
    outer = jnp.cumsum(shares.sum(axis=-1), axis=-1)

    def one(row: Any) -> Any:
        sums, whole, numbers = row
        return jax.lax.map(lambda uniform: _draw_late(sums, whole, uniform), numbers, batch_size=64)

    found: Int32[Array, "k s"] = jax.lax.map(one, (outer, shares, jnp.asarray(uniforms)))
    return found


def _draw(outer: Float32[Array, " L"], inner: Float32[Array, "L R"], uniform: Float32[Array, " 2"]) -> Int32[Array, ""]:
    left = _search(lambda i: outer[i], outer.shape[0], uniform[0])
    right = _search(lambda i: inner[left, i], inner.shape[1], uniform[1])
    return left * inner.shape[1] + right


def _draw_late(
    outer: Float32[Array, " L"], shares: Float32[Array, "L R"], uniform: Float32[Array, " 2"]
) -> Int32[Array, ""]:
    left = _search(lambda i: outer[i], outer.shape[0], uniform[0])
    inner = jnp.cumsum(shares[left])
    return left * shares.shape[1] + _search(lambda i: inner[i], shares.shape[1], uniform[1])


def _search(running: Callable[[Any], Any], size: int, uniform: Any) -> Int32[Array, ""]:
    """Where a running sum of `size` (a power of two) values passes a share `uniform` of its total."""
    target, step = uniform * running(size - 1), size // 2
    index = jnp.zeros((), jnp.int32)
    while step:
        index = jnp.where(running(index + step - 1) <= target, index + step, index)
        step //= 2
    return index


def chunk() -> int:
    """Amplitudes worth computing at once: what stays in a CPU's cache, or what fills a GPU."""
    return 2**18 if jax.default_backend() == "cpu" else 2**24


@partial(jax.jit, static_argnums=4)
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


def _expectation(cost: Any, folded: Any, gammas: Any, betas: Any) -> Float32[Array, ""]:
    return jnp.dot(_probabilities(cost, folded, gammas, betas), cost, precision="highest")


def _probabilities(
    cost: Float32[Array, " N"], folded: Bool[Array, ""], gammas: Float32[Array, " p"], betas: Float32[Array, " p"]
) -> Float32[Array, " N"]:
    real, imag = evolved(cost, folded, gammas, betas)
    return real * real + imag * imag


def evolved(
    cost: Float32[Array, " N"], folded: Bool[Array, ""], gammas: Float32[Array, " p"], betas: Float32[Array, " p"]
) -> Parts:
    """Real and imaginary part of the final state, in the frame of S."""
    parts = begun(cost, gammas[0])
    for layer in range(len(gammas)):
        if layer:
            parts = phased(parts, cost, gammas[layer])
        parts = mixed(parts, folded, betas[layer])
    return parts


def begun(cost: Float32[Array, " N"], gamma: Float32[Array, ""]) -> Parts:
    """S* |+>, after the first phase."""
    q = log2(len(cost))
    left, right = _weights(q)
    ones = (left[:, None] + right).ravel()
    cos, sin = phase(ones / 4 - gamma * cost / (2 * np.pi))
    scale = np.float32(2 ** (-q / 2))
    return cos * scale, sin * scale


def phased(parts: Parts, cost: Float32[Array, " N"], gamma: Float32[Array, ""]) -> Parts:
    """exp(-i gamma C)."""
    (real, imag), (cos, sin) = parts, phase(-gamma * cost / (2 * np.pi))
    return real * cos - imag * sin, real * sin + imag * cos


def mixed(parts: Parts, folded: Bool[Array, ""], beta: Float32[Array, ""]) -> Parts:
    """The mixer: R(beta) on every qubit of both parts, and what `flipped` says of a folded kernel's variable 0."""
    real, imag = (_rotated(part, beta) for part in parts)
    turn = jnp.where(folded, beta, 0.0)
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    other_real, other_imag = flipped((real, imag))
    return cos * real + sin * other_real, cos * imag + sin * other_imag


def flipped(parts: Parts) -> Parts:
    """-i X of variable 0 of a folded kernel: X is the flip of all other variables, S* X..X S = (-i)^q parity.

    In real arithmetic, which XLA vectorises here.
    """
    real, imag = parts
    q = log2(len(real))
    left, right = (1 - 2 * (ones % 2) for ones in _weights(q))
    parity = (left[:, None] * right).ravel() * np.float32(1 if q % 4 > 1 else -1)
    other_real, other_imag = (real, imag) if q % 2 else (-imag, real)
    return parity * other_real[::-1], parity * other_imag[::-1]


def _rotated(part: Float32[Array, " N"], beta: Float32[Array, ""]) -> Float32[Array, " N"]:
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
    mixed_: Float32[Array, " N"] = jax.lax.fori_loop(0, 2**front, columns, whole).ravel()
    return mixed_


def _turned(part: Float32[Array, " N"], beta: Float32[Array, ""], qubits: int) -> Float32[Array, " N"]:
    """R(beta) on the first qubits of a real part, `GROUP` of them at a time."""
    c, s = jnp.cos(beta), jnp.sin(beta)
    one, before = jnp.array([[c, -s], [s, c]]), 1
    for size in groups(2**qubits):
        matrix = one
        while len(matrix) < size:
            matrix = jnp.kron(matrix, one)
        part = apply(matrix, part, before)
        before *= size
    return part


def groups(size: int) -> list[int]:
    """Sizes of the mixer's matrices for a state of `size` amplitudes, in the order of the qubits."""
    whole, rest = divmod(log2(size), GROUP)
    return [2**rest] * (rest > 0) + [2**GROUP] * whole


def apply(matrix: Float32[Array, "d d"], part: Float32[Array, " N"], before: int) -> Float32[Array, " N"]:
    """The matrix on the qubits that have `before` states in front of them.

    Two forms, so that XLA finds a plain or a batched matrix product and no transposition.
    """
    d = len(matrix)
    if before * d == len(part):
        return jnp.einsum("md,ed->me", part.reshape(before, d), matrix, precision="highest").ravel()
    matrices = jnp.broadcast_to(matrix, (before, d, d))
    return jnp.einsum("med,mdn->men", matrices, part.reshape(before, d, -1), precision="highest").ravel()


def phase(turns: Float32[Array, " N"]) -> Parts:
    """cos and sin of 2 pi turns, by polynomials (error 1e-7): XLA's are ten times slower on CPUs."""
    halves = jnp.round(2 * turns)
    x = (2 * turns - halves) * np.float32(np.pi)
    y = x * x
    sin = x * (1 + y * (-1 / 6 + y * (1 / 120 + y * (-1 / 5040 + y * (1 / 362880 - y / 39916800)))))
    cos = 1 + y * (-1 / 2 + y * (1 / 24 + y * (-1 / 720 + y * (1 / 40320 + y * (-1 / 3628800 + y / 479001600)))))
    sign = 1 - 2 * jnp.abs(halves - 2 * jnp.floor(halves / 2))
    return sign * cos, sign * sin


def _halves(q: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Bits of all states of the left q // 2 qubits and of all states of the others."""
    return tuple(  # type: ignore[return-value]
        (np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1 for n in (q // 2, q - q // 2)
    )


def _weights(q: int) -> Any:
    """Ones among these bits. Of large states behind a barrier: XLA would compute what follows from them when it
    compiles, and keep constants as long as the state."""
    weights = tuple(jnp.asarray(bits.sum(1), jnp.float32) for bits in _halves(q))
    return weights if q < BLOCK + 4 else jax.lax.optimization_barrier(weights)  # type: ignore[no-untyped-call]


def _spins(bits: np.ndarray[Any, Any]) -> Float32[Array, "x i"]:
    return jnp.asarray(1 - 2 * bits, jnp.float32)


def log2(size: int) -> int:
    return size.bit_length() - 1
