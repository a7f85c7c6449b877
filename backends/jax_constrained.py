"""QAOA state vectors in JAX for kernels with held constraints: Dicke states, and XY mixers along rings.

Which variables are held and in what order they are mixed is data here, not program: one program for each number
of qubits serves every set of constraints, so that nothing compiles on the hot path. Conventions are those of
`qaoa_circuit`; the state is twice as long as a folded one's and is mixed gate by gate, each a gather of the
amplitudes that a gate's flip leads to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from qmosaic.backends.jax_qaoa import Tensor, chunk, drawn, over_rows, phased
from qmosaic.backends.qaoa_circuit import held, rings
from qmosaic.codecs.model import SpinPolynomial


class Ansatz(NamedTuple):
    """What is held for each of k kernels of q qubits, as masks of a state's number (bit 0 first).

    Of the variables in `groups` just `ones` are 1. The mixer's gates in their order: each flips all of `flips`,
    where they differ (`paired`) or always. Unused rows are zero: no condition, and no more than a global phase.
    """

    groups: Int32[np.ndarray, "k q"]
    ones: Int32[np.ndarray, "k q"]
    flips: Int32[np.ndarray, "k q"]
    paired: Bool[np.ndarray, "k q"]


def ansatz(kernels: Sequence[SpinPolynomial], rows: int, qubits: int) -> Ansatz:
    """Of kernels of up to `qubits` variables, padded to `rows` rows; free qubits that pad a kernel stay in |+>."""
    made = Ansatz(*(np.zeros((rows, qubits), dtype) for dtype in (np.int32, np.int32, np.int32, bool)))
    bit = 1 << np.arange(qubits)[::-1]
    for k, kernel in enumerate(kernels):
        groups = held(kernel)
        for place, (variables, ones) in enumerate(groups):
            made.groups[k, place] = bit[list(variables)].sum()
            made.ones[k, place] = ones
        pairs = [bit[list(pair)].sum() for moment in rings(groups) for pair in moment]
        taken = {i for group in groups for i in group.variables}
        free = [bit[i] for i in range(kernel.n) if i not in taken]
        made.flips[k, : len(pairs) + len(free)] = pairs + free
        made.paired[k] = np.arange(qubits) < len(pairs)
    return made


@jax.jit
def probabilities(
    costs: Float32[Tensor, "k N"], ansatz: Ansatz, gammas: Float32[Tensor, "k p"], betas: Float32[Tensor, "k p"]
) -> Float32[Array, "k N"]:
    """Of all states after the circuit; of those that break a held constraint, exactly 0."""
    return jax.vmap(_probabilities)(*jax.tree.map(jnp.asarray, (costs, ansatz, gammas, betas)))


@jax.jit
def sample(
    costs: Float32[Tensor, "k N"],
    ansatz: Ansatz,
    gammas: Float32[Tensor, "k p"],
    betas: Float32[Tensor, "k p"],
    uniforms: Float32[Tensor, "k s 2"],
) -> Int32[Array, "k s"]:
    """As `jax_qaoa.sample`."""
    return drawn(probabilities(costs, ansatz, gammas, betas), uniforms)


def expectations(
    costs: Float32[Tensor, "k N"],
    ansatz: Ansatz,
    gammas: Float32[Tensor, "k a p"],
    betas: Float32[Tensor, "k a p"],
) -> Float32[Array, "k a"]:
    """As `jax_qaoa.expectations`."""
    values: Float32[Array, "k a"] = _expectations(costs, ansatz, gammas, betas, chunk())
    return values


@partial(jax.jit, static_argnums=4)
def _expectations(costs: Any, ansatz: Any, gammas: Any, betas: Any, limit: int) -> Any:
    return over_rows(_expectation, costs, ansatz, gammas, betas, limit)


def _expectation(cost: Any, ansatz: Any, gammas: Any, betas: Any) -> Float32[Array, ""]:
    return jnp.dot(_probabilities(cost, ansatz, gammas, betas), cost, precision="highest")


def _probabilities(
    cost: Float32[Array, " N"], ansatz: Any, gammas: Float32[Array, " p"], betas: Float32[Array, " p"]
) -> Float32[Array, " N"]:
    state = jnp.arange(len(cost), dtype=jnp.int32)

    def keeping(kept: Any, group: Any) -> Any:
        mask, ones = group
        return kept & (jax.lax.population_count(state & mask) == ones), None

    kept, _ = jax.lax.scan(keeping, jnp.ones(len(cost), bool), (ansatz.groups, ansatz.ones))
    start = kept / jnp.sqrt(kept.sum(dtype=jnp.float32))

    def layer(parts: Any, angles: Any) -> Any:
        gamma, beta = angles
        parts = phased(parts, cost, gamma)
        cos, sin = jnp.cos(beta), jnp.sin(beta)

        def gate(parts: Any, one: Any) -> Any:
            flips, paired = one
            acts = ~paired | (jax.lax.population_count(state & flips) % 2 == 1)
            stay, move = jnp.where(acts, cos, 1), jnp.where(acts, sin, 0)
            real, imag = parts
            return (stay * real + move * imag[state ^ flips], stay * imag - move * real[state ^ flips]), None

        return jax.lax.scan(gate, parts, (ansatz.flips, ansatz.paired))[0], None

    (real, imag), _ = jax.lax.scan(layer, (start, jnp.zeros_like(start)), (gammas, betas))
    return real**2 + imag**2
