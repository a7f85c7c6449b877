"""Gradients of QAOA's expectation value in all angles, by the adjoint method (Jones and Gacon 2020, arXiv:2009.02823).

With psi the final state and lambda = C psi, both are taken back through the circuit, and every derivative is an inner
product on the way: 2 Re <lambda| -i B |psi> at a mixer, B its sum of X, and 2 Re <lambda| -i C |psi> at a phase. A
mixer commutes with B and a phase with C, so it doesn't matter on which side of them one looks. Each layer's psi is
kept from the way forward if that is not too much memory, and else psi is taken back, too.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from qmosaic.backends.on_jax.qaoa import Parts, Tensor, apply, begun, chunk, flipped, groups, mixed, over_rows, phased
from qmosaic.backends.on_jax.spread import log2
from qmosaic.backends.programs import program

SHORT = 2**9
"""Amplitudes."""
KEPT = 2**24
"""Amplitudes of all layers' states together."""


def expectations_and_gradients(
    costs: Float[Tensor, "k N"],
    folded: Bool[Tensor, " k"],
    gammas: Float[Tensor, "k a p"],
    betas: Float[Tensor, "k a p"],
) -> tuple[Float[Array, "k a"], tuple[Float[Array, "k a p"], Float[Array, "k a p"]]]:
    """<C> and its gradient in (gammas, betas); else as `on_jax.qaoa.expectations`."""
    values, (by_gamma, by_beta) = _expectations_and_gradients(costs, folded, gammas, betas, chunk())
    return values, (by_gamma, by_beta)


@program(static_argnums=4)
def _expectations_and_gradients(costs: Any, folded: Any, gammas: Any, betas: Any, limit: int) -> Any:
    return over_rows(_expectation_and_gradient, costs, folded, gammas, betas, limit)


def _expectation_and_gradient(
    cost: Float[Array, " N"], folded: Bool[Array, ""], gammas: Float[Array, " p"], betas: Float[Array, " p"]
) -> tuple[Float[Array, ""], tuple[Float[Array, " p"], Float[Array, " p"]]]:
    psi, after = begun(cost, gammas[0]), []
    for layer in range(len(gammas)):
        if layer:
            psi = phased(psi, cost, gammas[layer])
        psi = mixed(psi, folded, betas[layer])
        after.append(psi)
    real, imag = psi
    value = jnp.dot(real * real + imag * imag, cost, precision="highest")
    other = (cost * real, cost * imag)
    by_gamma, by_beta = [], []
    for layer in reversed(range(len(gammas))):
        slope = _turning(other, psi) - jnp.where(folded, _inner(flipped(other), psi), 0.0)
        by_beta.append(2 * slope)
        back = -betas[layer] + 0 * slope  # not before the slope is known: fewer arrays at once
        other = mixed(other, folded, back)
        if layer:
            other = phased(other, cost, -gammas[layer])
            if gammas.size * cost.size <= KEPT:
                psi = after[layer - 1]
            else:
                psi = phased(mixed(psi, folded, back), cost, -gammas[layer])
            real, imag = psi
        else:
            real, imag = begun(cost, gammas[0])
        by_gamma.append(2 * jnp.dot(other[0] * imag - other[1] * real, cost, precision="highest"))
    return value, (jnp.stack(by_gamma[::-1]), jnp.stack(by_beta[::-1]))


def _inner(left: Parts, right: Parts) -> Float[Array, ""]:
    """Re <left|right>."""
    return sum(jnp.dot(a, b, precision="highest") for a, b in zip(left, right, strict=True))  # type: ignore[return-value]


def _turning(left: Parts, right: Parts) -> Float[Array, ""]:
    """Re <left|G|right>, R' = G R, G the sum over qubits of [[0, -1], [1, 0]], a group of qubits at a time.

    As the trace of G with the product of both states over all other qubits; short states, whose products would be
    many and tiny, have G applied instead. Both were measured.
    """
    slope, before = jnp.zeros((), left[0].dtype), 1
    for size in groups(len(left[0])):
        generator = jnp.asarray(_generator(log2(size)), left[0].dtype)
        for a, b in zip(left, right, strict=True):
            if a.size < SHORT:
                slope += jnp.dot(a, apply(generator, b, before), precision="highest")
                continue
            a, b = (part.reshape(before, size, -1) for part in (a, b))
            if before * size == a.size:
                product = jnp.einsum("me,md->ed", a[..., 0], b[..., 0], precision="highest")
            elif before == 1:
                product = jnp.einsum("en,dn->ed", a[0], b[0], precision="highest")
            else:
                product = jnp.einsum("men,mdn->med", a, b, precision="highest").sum(0)
            slope += (product * generator).sum()
        before *= size
    return slope


def _generator(qubits: int) -> Float[np.ndarray, "d d"]:
    one = np.array([[0.0, -1.0], [1.0, 0.0]])
    terms = [np.kron(np.kron(np.eye(2**i), one), np.eye(2 ** (qubits - i - 1))) for i in range(qubits)]
    return np.asarray(np.sum(terms, axis=0))
