"""Samples of QAOA circuits: from kernels and angles to the states that are drawn, on one device or several.

Several devices share the jobs, or the amplitudes of one job whose state is more than one of them holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from qmosaic.backends.on_jax import constrained, qaoa
from qmosaic.backends.on_jax import costs as jax_costs
from qmosaic.backends.on_jax.constrained import Ansatz
from qmosaic.backends.on_jax.costs import Stack
from qmosaic.backends.on_jax.qaoa import BLOCK, Tensor
from qmosaic.backends.on_jax.spread import SHARE, SHARE_OF_ROWS, WHOLE, divided, everywhere, here, log2, total
from qmosaic.backends.programs import program


def sample(
    stack: Stack,
    ansatz: Ansatz | None,
    gammas: Float[np.ndarray, "k p"],
    betas: Float[np.ndarray, "k p"],
    uniforms: Float[np.ndarray, "k s 2"],
    devices: int = 1,
    across: int = 1,
) -> Int32[Array, "k s"]:
    """Indices of s states for each kernel, drawn by inversion from uniform numbers in [0, 1); in the precision of
    the stack. `ansatz`: of kernels with held constraints.

    `devices`: that share the k rows, which they must divide; or `across`: that share each state. Powers of two. The
    program is compiled for each shape.
    """
    found: Int32[Array, "k s"]
    if across > 1:
        found = _over_amplitudes(across, stack.higher is not None)(stack, ansatz, gammas, betas, uniforms)
    else:  # two programs: the first, quick to compile, has a form with higher terms and one without
        costs = _costs_over_jobs(devices)(stack)
        found = _sample_over_jobs(devices)(costs, stack.folded, ansatz, gammas, betas, uniforms)
    return found


def shares(
    costs: Float[Tensor, "k N"],
    folded: Bool[Tensor, " k"],
    ansatz: Ansatz | None,
    gammas: Float[np.ndarray, "k p"],
    betas: Float[np.ndarray, "k p"],
    devices: int = 1,
) -> Float[Array, "k N"]:
    """Probabilities of all states of each kernel, to draw from elsewhere; else as `sample`."""
    found: Float[Array, "k N"] = _shares_over_jobs(devices)(costs, folded, ansatz, gammas, betas)
    return found


@cache
def _shares_over_jobs(devices: int) -> Callable[..., Any]:
    return _shares_alone if devices == 1 else jax.jit(divided(_shares, devices, SHARE, SHARE))


@cache
def _costs_over_jobs(devices: int) -> Callable[..., Any]:
    return jax_costs.costs_of if devices == 1 else jax.jit(divided(jax_costs.costs_of, devices, SHARE, SHARE))


@cache
def _sample_over_jobs(devices: int) -> Callable[..., Any]:
    return _samples_alone if devices == 1 else jax.jit(divided(_samples, devices, SHARE, SHARE))


def _samples(costs: Any, folded: Any, ansatz: Any, gammas: Any, betas: Any, uniforms: Any) -> Int32[Array, "k s"]:
    return drawn(_shares(costs, folded, ansatz, gammas, betas), uniforms)


@program
def _samples_alone(costs: Any, folded: Any, ansatz: Any, gammas: Any, betas: Any, uniforms: Any) -> Any:
    return _samples(costs, folded, ansatz, gammas, betas, uniforms)


@program
def _shares_alone(costs: Any, folded: Any, ansatz: Any, gammas: Any, betas: Any) -> Any:
    return _shares(costs, folded, ansatz, gammas, betas)


def _shares(costs: Any, folded: Any, ansatz: Any, gammas: Any, betas: Any) -> Float[Array, "k N"]:
    found: Float[Array, "k N"]
    if ansatz is None:
        found = qaoa.probabilities(costs, folded, gammas, betas)
    else:
        found = constrained.probabilities(costs, ansatz, gammas, betas)
    return found


@cache
def _over_amplitudes(across: int, higher: bool) -> Callable[..., Any]:
    def one(row: Any) -> Any:
        stack, ansatz, gammas, betas, uniforms = row
        cost = jax_costs.cost_vector(stack.h, stack.J, stack.higher, across)
        if ansatz is None:
            shares = qaoa.probability_vector(cost, stack.folded, gammas, betas, across)
        else:
            shares = constrained.probability_vector(cost, ansatz, gammas, betas, across)
        return drawn(shares[None], uniforms[None], across)[0]

    stacks = Stack(WHOLE, WHOLE, WHOLE, SHARE_OF_ROWS if higher else None)
    arguments = ((stacks, WHOLE, WHOLE, WHOLE, WHOLE),)
    program = divided(lambda rows: jax.lax.map(one, rows), across, arguments, WHOLE)
    return jax.jit(lambda *rows: program(rows))


def drawn(shares: Float[Array, "k N"], uniforms: Float[Tensor, "k s 2"], across: int = 1) -> Int32[Array, "k s"]:
    """States by their shares, in two levels, the left half of the bits and then the right one, each by its own
    uniform number: one running sum over 2^q float32 values could not tell rare states apart.
    """
    rows, size = shares.shape
    lefts = 2 ** (log2(size * across) // 2)
    shares = shares.reshape(rows, lefts // across, -1)
    if across == 1 and log2(size) < BLOCK + 4:
        inner = jnp.cumsum(shares, axis=-1)
        outer = jnp.cumsum(inner[..., -1], axis=-1)
        return jax.vmap(jax.vmap(_draw, (None, None, 0)))(outer, inner, jnp.asarray(uniforms))

    # running sums only of the rows that are drawn: they would take twice the memory
    def one(row: Any) -> Any:
        own, numbers = row
        outer = jnp.cumsum(everywhere(own.sum(axis=-1), across))
        found = jax.lax.map(lambda uniform: _draw_late(outer, own, uniform, across), numbers, batch_size=64)
        return total(found, across)

    found: Int32[Array, "k s"] = jax.lax.map(one, (shares, jnp.asarray(uniforms)))
    return found


def _draw(outer: Float[Array, " L"], inner: Float[Array, "L R"], uniform: Float[Array, " 2"]) -> Int32[Array, ""]:
    left = _search(lambda i: outer[i], outer.shape[0], uniform[0])
    right = _search(lambda i: inner[left, i], inner.shape[1], uniform[1])
    return left * inner.shape[1] + right


def _draw_late(
    outer: Float[Array, " L"], own: Float[Array, "l R"], uniform: Float[Array, " 2"], across: int
) -> Int32[Array, ""]:
    """0 where another device has the row that was drawn."""
    left = _search(lambda i: outer[i], outer.shape[0], uniform[0])
    row = left - here(across) * own.shape[0]
    inner = jnp.cumsum(own[row])
    state = left * own.shape[1] + _search(lambda i: inner[i], own.shape[1], uniform[1])
    return jnp.where((row >= 0) & (row < own.shape[0]), state, 0)


def _search(running: Callable[[Any], Any], size: int, uniform: Any) -> Int32[Array, ""]:
    """Where a running sum of `size` (a power of two) values passes a share `uniform` of its total."""
    target, step = uniform * running(size - 1), size // 2
    index = jnp.zeros((), jnp.int32)
    while step:
        index = jnp.where(running(index + step - 1) <= target, index + step, index)
        step //= 2
    return index
