"""Angles: right convention, independent of scale and batch, and better than no tuning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmosaic.backends.circuits.qaoa import held
from qmosaic.backends.conformance.samples import random_polynomial, states
from qmosaic.backends.on_jax import constrained as jax_constrained
from qmosaic.backends.on_jax.costs import costs_of, qubits_of, stack
from qmosaic.backends.on_jax.qaoa import expectations
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial
from qmosaic.processors.spins import angles


def model(n: int, seed: int, fields: float) -> SpinPolynomial:
    rng = np.random.default_rng(seed)
    rows, cols = np.triu_indices(n, 1)
    kept = rng.random(len(rows)) < 0.6
    J = rng.normal(size=int(kept.sum()))
    return SpinPolynomial.of(n, h=fields * rng.normal(size=n), rows=rows[kept], cols=cols[kept], J=J)


def share(kernel: SpinPolynomial, tuned: angles.Angles) -> float:
    """Expected energy over the lowest: 0 for a random guess, 1 at best."""
    made = stack([kernel], 1)
    costs = costs_of(made)
    gammas, betas = (np.asarray(angle, np.float32)[None, None] for angle in tuned)
    return float(expectations(costs, made.folded, gammas, betas)[0, 0]) / float(costs.min())


KERNELS = [model(11, seed, fields) for seed in range(3) for fields in (0.0, 1.0, 4.0)]


def test_more_layers_are_better() -> None:
    means = [np.mean([share(k, t) for k, t in zip(KERNELS, angles.tune(KERNELS, p), strict=True)]) for p in (1, 2, 3)]
    assert means[0] > 0.45
    assert means[0] + 0.04 < means[1] < means[2] - 0.02


def test_tuning_beats_transfer_where_there_are_fields() -> None:
    strong = [kernel for kernel in KERNELS if kernel.h.any()]
    tuned = [share(kernel, found) for kernel, found in zip(strong, angles.tune(strong, 2), strict=True)]
    plain = []
    for kernel in strong:
        field = np.sqrt((np.sum(kernel.h**2) + 2 * np.sum(kernel.J**2)) / kernel.n)
        gammas, betas = angles.transferred(2)
        plain.append(share(kernel, (gammas / field, betas)))
    assert np.mean(tuned) > np.mean(plain) + 0.03


def test_a_batch_changes_nothing() -> None:
    mixed = [*KERNELS * 2, model(5, 7, 1.0), SpinPolynomial.of(1, h=[2.0])]
    together = angles.tune(mixed, 2)
    assert len(together) == len(mixed)
    for kernel, (gammas, betas) in zip(mixed, together, strict=True):
        ((alone_gammas, alone_betas),) = angles.tune([kernel], 2)
        np.testing.assert_allclose(gammas, alone_gammas)
        np.testing.assert_allclose(betas, alone_betas)


def test_gammas_scale_with_the_energies() -> None:
    kernel = KERNELS[1]
    for factor in (1e-9, 1e9):
        scaled = SpinPolynomial(kernel.h * factor, kernel.rows, kernel.cols, kernel.J * factor)
        ((gammas, betas),), ((scaled_gammas, scaled_betas),) = angles.tune([kernel], 2), angles.tune([scaled], 2)
        np.testing.assert_allclose(scaled_gammas * factor, gammas)
        np.testing.assert_allclose(scaled_betas, betas)


@pytest.mark.parametrize("layers", [1, 5, 6, 9])
def test_any_number_of_layers(layers: int) -> None:
    gammas, betas = angles.transferred(layers)
    assert gammas.shape == betas.shape == (layers,)
    assert (np.diff(np.abs(betas)) < 0).all()


def test_a_kernel_of_zeros_has_finite_angles_and_no_kernels_none() -> None:
    ((gammas, betas),) = angles.tune([SpinPolynomial.of(3)], 2)
    assert np.isfinite([gammas, betas]).all()
    assert angles.tune([], 2) == []


def constrained(n: int, seed: int) -> SpinPolynomial:
    half = n // 2
    groups = [Linear.exactly(range(half), 1), Linear.exactly(range(half, n), (n - half) // 2)]
    return replace(model(n, seed, 1.0), constraints=tuple(groups))


def gain(kernel: SpinPolynomial, tuned: angles.Angles) -> float:
    """Expected energy on the way from the mean of the states that keep the constraints (0) to the least (1)."""
    made = stack([kernel], 1)
    costs = costs_of(made)
    gammas, betas = (np.asarray(angle, np.float32)[None, None] for angle in tuned)
    if held(kernel):
        ansatz = jax_constrained.ansatz([kernel], 1, qubits_of(kernel))
        expected = float(jax_constrained.expectations(costs, ansatz, gammas, betas)[0, 0])
    else:
        expected = float(expectations(costs, made.folded, gammas, betas)[0, 0])
    energies = kernel.energy(states(kernel.n)[kernel.feasible(states(kernel.n))]) - kernel.offset
    return float((energies.mean() - expected) / (energies.mean() - energies.min()))


def test_higher_terms_and_held_constraints_are_tuned_on_the_kernel_itself() -> None:
    higher = [random_polynomial(9, orders, seed) for seed, orders in enumerate([(3,), (2, 4), (1, 3)])]
    held_ones = [constrained(9, seed) for seed in range(3)]
    mixed = [higher[0], KERNELS[0], *held_ones, *higher[1:]]
    for kernel, tuned in zip(mixed, angles.tune(mixed, 2), strict=True):
        assert gain(kernel, tuned) > 0.35
        ((gammas, betas),) = angles.tune([kernel], 2)
        np.testing.assert_allclose(tuned, (gammas, betas))


def test_what_is_constant_on_the_held_states_does_not_matter() -> None:
    kernel = constrained(8, 0)
    shifted = replace(kernel, h=kernel.h + np.repeat([100.0, -50.0], 4))
    np.testing.assert_allclose(angles.tune([shifted], 2)[0], angles.tune([kernel], 2)[0], rtol=1e-3)


def test_large_kernels_get_the_middle_of_the_grid() -> None:
    n = angles.OWN_SIZES[-1] + 2
    for kernel in (random_polynomial(n, (2, 3), 0), random_polynomial(n, (1, 2), 0, held=(9, 9))):
        ((gammas, betas),) = angles.tune([kernel], 2)
        assert np.isfinite([gammas, betas]).all()
        assert (gammas > 0).all()
