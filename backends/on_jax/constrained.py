"""QAOA state vectors in JAX for kernels with held constraints: Dicke states, and XY mixers along rings.

Which variables are held and in what order they are mixed is data here, not program: one program for each number
of qubits serves every set of constraints, so that nothing compiles on the hot path. Conventions are those of
`circuits.qaoa`; the state is twice as long as a folded one's and is mixed gate by gate, each a gather of the
amplitudes that a gate's flip leads to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from qmosaic.backends.circuits.qaoa import held, rings
from qmosaic.backends.on_jax import spread
from qmosaic.backends.on_jax.qaoa import Tensor, chunk, over_rows, phased
from qmosaic.backends.programs import program
from qmosaic.codecs.models.polynomial import SpinPolynomial


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
    """The ansatz of kernels of up to `qubits` variables, padded to `rows` rows; qubits that pad one stay in |+>."""
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


@program
def probabilities(
    costs: Float[Tensor, "k N"], ansatz: Ansatz, gammas: Float[Tensor, "k p"], betas: Float[Tensor, "k p"]
) -> Float[Array, "k N"]:
    """Probabilities of all states after the circuit; exactly 0 where a held constraint is broken."""
    return jax.vmap(probability_vector)(*jax.tree.map(jnp.asarray, (costs, ansatz, gammas, betas)))


def expectations(
    costs: Float[Tensor, "k N"],
    ansatz: Ansatz,
    gammas: Float[Tensor, "k a p"],
    betas: Float[Tensor, "k a p"],
) -> Float[Array, "k a"]:
    """As `on_jax.qaoa.expectations`."""
    values: Float[Array, "k a"] = _expectations(costs, ansatz, gammas, betas, chunk())
    return values


def is_compiled(costs: Tensor, ansatz: Ansatz, gammas: Tensor, betas: Tensor) -> bool:
    """Whether `expectations` of such arguments need not wait for a compiler."""
    return _expectations.ready(costs, ansatz, gammas, betas, chunk())


@program(static_argnums=4)
def _expectations(costs: Any, ansatz: Any, gammas: Any, betas: Any, limit: int) -> Any:
    return over_rows(_expectation, costs, ansatz, gammas, betas, limit)


def _expectation(cost: Any, ansatz: Any, gammas: Any, betas: Any) -> Float[Array, ""]:
    return jnp.dot(probability_vector(cost, ansatz, gammas, betas), cost, precision="highest")


def probability_vector(
    cost: Float[Array, " N"],
    ansatz: Any,
    gammas: Float[Array, " p"],
    betas: Float[Array, " p"],
    across: int = 1,
) -> Float[Array, " N"]:
    """`probabilities` of one kernel, as `on_jax.qaoa.probability_vector`."""
    state = spread.numbers(len(cost), across)

    def keeping(kept: Any, group: Any) -> Any:
        mask, ones = group
        return kept & (jax.lax.population_count(state & mask) == ones), None

    kept, _ = jax.lax.scan(keeping, jnp.ones(len(cost), bool), (ansatz.groups, ansatz.ones))
    start = kept / jnp.sqrt(spread.total(kept.sum(dtype=cost.dtype), across))

    def layer(parts: Any, angles: Any) -> Any:
        gamma, beta = angles
        parts = phased(parts, cost, gamma)
        cos, sin = jnp.cos(beta), jnp.sin(beta)

        def gate(parts: Any, one: Any) -> Any:
            flips, paired = one
            acts = ~paired | (jax.lax.population_count(state & flips) % 2 == 1)
            stay, move = jnp.where(acts, cos, 1), jnp.where(acts, sin, 0)
            real, imag = parts
            other_real, other_imag = (spread.moved(part, flips, across) for part in parts)
            return (stay * real + move * other_imag, stay * imag - move * other_real), None

        return jax.lax.scan(gate, parts, (ansatz.flips, ansatz.paired))[0], None

    (real, imag), _ = jax.lax.scan(layer, (start, jnp.zeros_like(start)), (gammas, betas))
    return real**2 + imag**2
