"""The fidelity that samples tell: 1 without noise, F where a share F of them is the circuit's and the rest is noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qmosaic.backends.base import Job, Result, run_sync
from qmosaic.backends.circuits.fidelity import MOST_QUBITS, fidelity_of
from qmosaic.backends.registry import create
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial

ANGLES = np.array([0.35, 0.6]), np.array([-0.5, -0.25])
SHOTS = 20_000


def job_of(n: int = 7, **given: Any) -> Job:
    """A ring with chords, fields and a term of order three: no symmetry hides a mistake."""
    ring = [(k, (k + 1) % n) for k in range(n)] + [(k, (k + 2) % n) for k in range(0, n - 2, 2)]
    kernel = SpinPolynomial.of(
        n,
        h=[0.1 * (k + 1) for k in range(n)],
        rows=[min(pair) for pair in ring],
        cols=[max(pair) for pair in ring],
        J=[1.0 - 0.1 * k for k in range(len(ring))],
        offset=3.0,
        higher=[((0, 1, 3), 0.7)],
        **given,
    )
    return Job(kernel, SHOTS, 1, *ANGLES)


def ran(name: str, job: Job) -> Result:
    backend = create(name)
    (result,) = run_sync(backend, [backend.prepare(job)])
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize("name", ["cirq.statevector", "jax.statevector"])
def test_without_noise_it_is_one(name: str) -> None:
    assert fidelity_of(job_of(), ran(name, job_of())) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_of_samples_that_are_noise_but_for_a_share_it_is_that_share(share: float) -> None:
    job, rng = job_of(), np.random.default_rng(4)
    clean = ran("cirq.statevector", job)
    samples = np.repeat(clean.samples, clean.counts, axis=0)
    noise = rng.integers(0, 2, samples.shape, np.uint8)
    mixed = np.where(rng.random(len(samples))[:, None] < share, samples, noise)
    found = fidelity_of(job, Result.of_samples(job.polynomial, mixed, 0.0))
    assert found == pytest.approx(share, abs=0.05)


def test_a_noisy_backend_leaves_less_than_all_and_more_than_the_chance_of_no_error() -> None:
    name = "cirq.density/depolarizing=0.01,readout=0.02"
    found = fidelity_of(job_of(), ran(name, job_of()))
    assert found is not None
    assert create(name).estimate(job_of()).fidelity < found < 0.95


def test_where_samples_cannot_tell_nothing_is_told() -> None:
    job = job_of()
    result = ran("cirq.statevector", job)
    still = Job(job.kernel, SHOTS, 1, np.zeros(1), np.zeros(1))  # the circuit says nothing: there is no signal
    held = job_of(constraints=[Linear.exactly(range(4), 2)])
    large = Job(SpinPolynomial.of(MOST_QUBITS + 1, h=np.ones(MOST_QUBITS + 1)), SHOTS, 1, *ANGLES)
    none = Job(job.kernel, SHOTS, 1)
    assert [fidelity_of(each, result) for each in (still, held, large, none)] == [None] * 4
    assert (
        fidelity_of(job, Result.of_samples(job.polynomial, result.samples[:1], 0.0)) is None
    )  # one shot tells nothing
