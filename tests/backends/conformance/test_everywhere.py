"""The same twenty kernels on every backend that is built in, by name alone.

Noiseless circuits must agree with the exact distribution, by a chi-square test; solvers must find the optimum; noise
must make things worse, and more noise worse still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import chi2

from qmosaic.backends.base import Answer, Backend, Expectations, Result, run_sync
from qmosaic.backends.clifford.tableau import is_clifford
from qmosaic.backends.conformance.circuits import expected, reference
from qmosaic.backends.conformance.samples import dense_probabilities, states
from qmosaic.backends.registry import BUILT_IN, create
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.kernel import Kernel, Kind, kind_of
from qmosaic.codecs.models.polynomial import SpinPolynomial
from tests.backends.kernels import PROBLEMS, SHOTS, job, kernel
from tests.vendors.aqt import AqtServer
from tests.vendors.faults import made
from tests.vendors.google import GoogleServer
from tests.vendors.ionq import IonqServer
from tests.vendors.server import VendorServer

LEAST_P = 1e-6
"""With fixed seeds; of the two hundred tests here one in five thousand would fail for no reason."""
Distribution = Mapping[tuple[int, ...], float]

DEVICES = ["cirq.device/rainbow", "cirq.device/weber", "cirq.device/willow_pink"]
CLOUDS = ("aqt", "google", "ionq")
SIMULATORS = [name for name in BUILT_IN if name not in ("fake", "cirq.device", *CLOUDS)]
SIMULATORS += ["jax.statevector/complex128"]
STRENGTHS = (0.0, 0.003, 0.01, 0.03, 0.1)


def kind(found: Kernel) -> Kind:
    """As reduce says it."""
    return (
        "clifford"
        if kind_of(found) == "circuit" and isinstance(found, Circuit) and is_clifford(found)
        else kind_of(found)
    )


def taken(backend: Backend) -> list[str]:
    """Names of the kernels of a kind and size that a backend takes."""
    sizes = backend.capabilities.sizes
    return [name for name in PROBLEMS if kind(kernel(name)) in sizes]


def answers(backend: Backend, names: Sequence[str], shots: int = SHOTS) -> dict[str, Answer]:
    """Of all kernels in one batch."""
    prepared = [backend.prepare(job(name, seed, shots)) for seed, name in enumerate(names)]
    return dict(zip(names, run_sync(backend, prepared), strict=True))


def distribution(name: str) -> Distribution:
    """What an ideal device would sample from."""
    found = kernel(name)
    if isinstance(found, Circuit):
        return reference(found)
    return {
        tuple(row): float(p) for row, p in zip(states(found.n).tolist(), dense_probabilities(job(name)), strict=True)
    }


def counts_of(result: Result) -> dict[tuple[int, ...], int]:
    """How often each value was seen."""
    return dict(zip(map(tuple, result.samples.tolist()), result.counts.tolist(), strict=True))


def p_value(result: Result, ideal: Distribution) -> float:
    """Of Pearson's chi-square test; values expected fewer than five times count together."""
    seen = counts_of(result)
    shots = sum(seen.values())
    assert {bits for bits in seen if ideal.get(bits, 0.0) < 1e-9} == set(), "a value that never happens"
    pairs = [(seen.get(bits, 0), share * shots) for bits, share in ideal.items() if share > 1e-12]
    rare = [pair for pair in pairs if pair[1] < 5]
    often = [pair for pair in pairs if pair[1] >= 5]
    if sum(wanted for _, wanted in rare) >= 5:
        often.append((sum(count for count, _ in rare), sum(wanted for _, wanted in rare)))
    statistic = sum((count - wanted) ** 2 / wanted for count, wanted in often)
    return float(chi2.sf(statistic, len(often) - 1)) if len(often) > 1 else 1.0


def total_variation(result: Result, ideal: Distribution) -> float:
    """Half the L1 distance between what was seen and what should be."""
    seen = {
        tuple(row): count / result.counts.sum()
        for row, count in zip(result.samples.tolist(), result.counts, strict=True)
    }
    return 0.5 * float(sum(abs(seen.get(bits, 0.0) - ideal.get(bits, 0.0)) for bits in {*seen, *ideal}))


def error(answer: Answer, name: str) -> float:
    """How far from ideal: total variation, or the error of expectation values in units of their largest value."""
    if isinstance(answer, Result):
        return total_variation(answer, distribution(name))
    found = kernel(name)
    assert isinstance(found, Circuit)
    scale = sum(np.abs(one.coefficients).sum() for one in found.observables)
    return float(np.abs(answer.values - expected(found)).sum() / scale)


def test_there_are_twenty_of_all_kinds() -> None:
    assert len(PROBLEMS) == 20
    assert {kind(kernel(name)) for name in PROBLEMS} == {"spins", "circuit", "clifford", "variational"}
    assert {family for family, _ in PROBLEMS.values()} >= {
        "maxcut",
        "labs",
        "portfolio",
        "route",
        "molecule",
        "circuit",
    }


@pytest.mark.parametrize("backend_name", SIMULATORS)
def test_what_has_no_noise_agrees_with_theory(backend_name: str) -> None:
    agrees(create(backend_name))


@pytest.mark.parametrize("service", [AqtServer, GoogleServer, IonqServer])
def test_clouds_agree_with_theory(service: type[VendorServer]) -> None:
    with service().at_hand() as server:
        backend = made(server.backend)
        assert taken(backend) == list(PROBLEMS)
        agrees(backend)


@pytest.mark.parametrize("noise", ["depolarizing", "amplitude_damping", "readout"])
def test_more_noise_is_worse(noise: str) -> None:
    errors = []
    for strength in STRENGTHS:
        backend = create(f"cirq.density/{noise}={strength}")
        found = answers(backend, taken(backend))
        errors.append(np.mean([error(answer, name) for name, answer in found.items()]))
    assert (np.diff(errors) > 0).all(), errors


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_is_worse_than_an_ideal_one_and_better_than_chance(device: str) -> None:
    backend, ideal = create(device), create("qsim")
    names = taken(backend)
    assert len(names) == len(PROBLEMS)
    noisy, exact = (
        np.mean([error(answer, name) for name, answer in answers(each, names, shots=500).items()])
        for each in (backend, ideal)
    )
    chance = np.mean([uniform(name) for name in names if not getattr(kernel(name), "observables", ())])
    assert exact < noisy < chance


def uniform(name: str) -> float:
    """The total variation of coin flips."""
    ideal = distribution(name)
    n = len(next(iter(ideal)))
    return 0.5 * float(sum(abs(share - 2.0**-n) for share in ideal.values()) + (2**n - len(ideal)) * 2.0**-n)


def agrees(backend: Backend) -> None:
    """Assert that its answers to all that it takes are right."""
    names = taken(backend)
    assert names
    for name, answer in answers(backend, names).items():
        found = kernel(name)
        if isinstance(answer, Expectations):
            assert isinstance(found, Circuit)
            exact = expected(found)
            if (answer.errors == 0).all():  # a solver: not above what the circuit reaches
                assert (answer.values <= exact + 1e-6).all(), name
            else:
                scores = (answer.values - exact) / answer.errors
                assert chi2.sf(float(scores @ scores), len(scores)) > LEAST_P, name
        elif isinstance(found, SpinPolynomial) and not backend.capabilities.uses_angles:
            every = states(found.n)
            best = float(found.energy(every[found.feasible(every)]).min())
            kept = answer.energies[found.feasible(answer.samples)]
            assert kept.min() == pytest.approx(best), name
        else:
            assert p_value(answer, distribution(name)) > LEAST_P, name
    backend.close()
