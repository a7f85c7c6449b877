"""JAX and Cirq against whole matrices, and what each does besides sampling."""

from dataclasses import replace
from functools import partial
from typing import Any

import cirq
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmosaic.backends import estimates
from qmosaic.backends.base import Backend, Expectations, Job, Result, run_sync
from qmosaic.backends.circuits.qaoa import held
from qmosaic.backends.circuits.qaoa_in_cirq import circuit_of
from qmosaic.backends.conformance.circuits import random_circuit
from qmosaic.backends.conformance.samples import dense_probabilities, job_of, random_kernel, random_polynomial, states
from qmosaic.backends.on_cirq.statevector import CirqStatevector
from qmosaic.backends.on_jax import adjoint, constrained, qaoa, sampling
from qmosaic.backends.on_jax import costs as jax_costs
from qmosaic.backends.on_jax import gates as jax_gates
from qmosaic.backends.on_jax.statevector import JaxStatevector
from qmosaic.backends.on_jax.steps import Step, steps
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial

CASES = [(n, layers, fields) for n in (1, 2, 3, 4, 6) for layers in (1, 2) for fields in (True, False)]


def jax_probabilities(job: Job, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Of all 2^n states: padding summed away, and a folded kernel's complement given its half."""
    stack = jax_costs.stack([job.polynomial], rows=2, dtype=dtype)
    angles = [np.tile(a.astype(dtype), (2, 1)) for a in (job.gammas, job.betas)]
    costs = jax_costs.costs_of(stack)
    if held(job.polynomial):
        ansatz = constrained.ansatz([job.polynomial], 2, jax_costs.qubits_of(job.polynomial))
        shares = np.asarray(constrained.probabilities(costs, ansatz, *angles))[0]
    else:
        shares = np.asarray(qaoa.probabilities(costs, stack.folded, *angles))[0]
    if not stack.folded[0]:
        return np.asarray(shares.reshape(2**job.polynomial.n, -1).sum(1))
    half = shares.reshape(2 ** (job.polynomial.n - 1), -1).sum(1) / 2
    return np.concatenate([half, half[::-1]])


@pytest.mark.parametrize(("n", "layers", "fields"), CASES)
def test_both_agree_with_the_dense_reference(n: int, layers: int, fields: bool) -> None:
    job = job_of(random_kernel(n, seed=n, fields=fields), layers=layers)
    expected = dense_probabilities(job)
    circuit = circuit_of(job)
    by_cirq = np.abs(cirq.final_state_vector(circuit[:-1], qubit_order=cirq.LineQubit.range(n))) ** 2
    np.testing.assert_allclose(by_cirq, expected, atol=1e-5)
    np.testing.assert_allclose(jax_probabilities(job), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("n", "orders", "groups"),
    [
        (3, (3,), ()),
        (5, (2, 4), ()),
        (6, (1, 3, 5), ()),
        (1, (1,), ()),
        (2, (2,), (2,)),
        (3, (1,), (3,)),
        (6, (1, 2), (3, 3)),
        (7, (2, 4), (5,)),
        (6, (3,), (2, 4)),
    ],
)
def test_higher_terms_and_held_constraints(n: int, orders: tuple[int, ...], groups: tuple[int, ...]) -> None:
    job = job_of(random_polynomial(n, orders, seed=n, held=groups), layers=2)
    expected = dense_probabilities(job)
    circuit = circuit_of(job)
    by_cirq = np.abs(cirq.final_state_vector(circuit[:-1], qubit_order=cirq.LineQubit.range(n))) ** 2
    np.testing.assert_allclose(by_cirq, expected, atol=1e-5)
    np.testing.assert_allclose(jax_probabilities(job), expected, atol=1e-5)
    assert (jax_probabilities(job)[~job.polynomial.feasible(states(n))] == 0).all()


def test_constraints_that_are_not_held_leave_the_circuit_as_it_is() -> None:
    kernel = random_kernel(5, seed=1, fields=False)
    loose = Linear(np.arange(5, dtype=np.int32), np.ones(5), 0.0, 2.0)
    job = job_of(kernel)
    np.testing.assert_allclose(
        jax_probabilities(replace(job, kernel=replace(kernel, constraints=(loose,)))), jax_probabilities(job)
    )


@pytest.mark.parametrize(("orders", "groups"), [((1, 2), ()), ((2,), ()), ((2, 3), ()), ((1, 2), (3, 3))])
def test_double_precision(orders: tuple[int, ...], groups: tuple[int, ...]) -> None:
    job = job_of(random_polynomial(6, orders, seed=0, held=groups), layers=2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax_probabilities(job, np.float64), dense_probabilities(job), atol=1e-13)


def test_a_circuit_in_double_precision() -> None:
    gates = (
        Operation("h", (0,)),
        Operation("ry", (1,), (0.3,)),
        Operation("cx", (0, 1)),
        Operation("rz", (1,), (0.7,)),
    )
    circuit = Circuit(2, 0, gates, (PauliSum(2, ("XX", "ZI", "YZ"), (1.0, 0.5, 0.25)),))
    backend = JaxStatevector("complex128")
    (values,) = run_sync(backend, [backend.prepare(Job(circuit, 0, 0))])
    assert isinstance(values, Expectations)
    a = np.array([np.cos(0.15), np.sin(0.15)])
    state = np.array([a[0], a[1], a[1], a[0]]) * np.exp(0.35j * np.array([-1, 1, -1, 1])) / np.sqrt(2)
    x, y, z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
    matrix = np.kron(x, x) + 0.5 * np.kron(z, np.eye(2)) + 0.25 * np.kron(y, z)
    np.testing.assert_allclose(values.values, (state.conj() @ matrix @ state).real, atol=1e-14)


def test_coefficients_that_no_float_holds_are_refused() -> None:
    kernel = SpinPolynomial.of(3, h=np.full(3, 1e38), rows=[0], cols=[1], J=[1e38])
    with pytest.raises(BackendError, match="complex128"):
        JaxStatevector().prepare(job_of(kernel))
    JaxStatevector("complex128").prepare(job_of(kernel))


def test_an_offset_costs_no_precision() -> None:
    plain = random_kernel(5, seed=3)
    offset = replace(plain, offset=1e17)
    backend = JaxStatevector()
    found = run_sync(backend, [backend.prepare(job_of(kernel, shots=1000)) for kernel in (plain, offset)])
    one, other = (each.counts.tolist() for each in found if isinstance(each, Result))
    assert one == other


def test_a_precision_that_is_not_there() -> None:
    with pytest.raises(BackendError, match="complex256"):
        JaxStatevector("complex256")


@pytest.mark.parametrize(("n", "layers", "fields"), CASES)
def test_expectations_and_gradients(n: int, layers: int, fields: bool) -> None:
    job = job_of(random_kernel(n, seed=n, fields=fields), layers=layers)
    kernel = job.polynomial

    def expectation(angles: np.ndarray) -> float:
        shares = dense_probabilities(replace(job, gammas=angles[0], betas=angles[1]))
        return float(shares @ kernel.energy(states(n))) - kernel.offset

    sets = np.stack([np.stack([job.gammas, job.betas]) * scale for scale in (1.0, -0.7, 0.2)])
    stack = jax_costs.stack([kernel], rows=1)
    costs = jax_costs.costs_of(stack)
    gammas, betas = (sets[None, :, which].astype(np.float32) for which in (0, 1))
    values, slopes = adjoint.expectations_and_gradients(costs, stack.folded, gammas, betas)
    np.testing.assert_allclose(values, qaoa.expectations(costs, stack.folded, gammas, betas), atol=1e-5)
    for place, angles in enumerate(sets):
        assert values[0, place] == pytest.approx(expectation(angles), abs=1e-5)
        for which in (0, 1):
            for layer in range(layers):
                step = np.zeros_like(angles)
                step[which, layer] = 1e-4
                slope = (expectation(angles + step) - expectation(angles - step)) / 2e-4
                assert slopes[which][0, place, layer] == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("fields", [False, True])
def test_gradients_of_states_taken_back_and_kept(fields: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(random_kernel(6, seed=1, fields=fields), layers=3)
    stack = jax_costs.stack([job.polynomial], rows=1)
    row = jax_costs.costs_of(stack)[0], jnp.asarray(stack.folded[0]), jnp.asarray(job.gammas), jnp.asarray(job.betas)
    kept = adjoint._expectation_and_gradient(*row)
    monkeypatch.setattr(adjoint, "KEPT", 0)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), adjoint._expectation_and_gradient(*row), kept)


def test_chunks_do_not_change_expectations(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [random_kernel(6, seed=seed) for seed in range(4)]
    stack = jax_costs.stack(kernels, rows=4)
    costs = jax_costs.costs_of(stack)
    gammas, betas = np.random.default_rng(0).normal(size=(2, 4, 6, 2)).astype(np.float32)
    whole = qaoa.expectations(costs, stack.folded, gammas, betas)
    for limit in (2**6, 2**8, 2**10):
        monkeypatch.setattr(qaoa, "chunk", lambda limit=limit: limit)
        parts = qaoa.expectations(costs, stack.folded, gammas, betas)
        np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_large_states_are_mixed_and_drawn_from_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    part = jax.numpy.asarray(rng.normal(size=2**11), np.float32)
    uniforms = rng.random((1, 200, 2), np.float32)
    whole = qaoa._rotated(part, jax.numpy.float32(0.3))
    drawn = sampling.drawn(part[None] ** 2, uniforms)
    monkeypatch.setattr(qaoa, "BLOCK", 6)
    monkeypatch.setattr(sampling, "BLOCK", 6)
    np.testing.assert_allclose(qaoa._rotated(part, jax.numpy.float32(0.3)), whole, atol=1e-5)
    np.testing.assert_array_equal(sampling.drawn(part[None] ** 2, uniforms), drawn)


def test_circuits_are_run_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = random_circuit(6, 3, 60, measured=False)
    whole = jax_gates.final_state(circuit)
    jax_gates._program.cache_clear()
    monkeypatch.setattr(jax_gates, "PIECE", 3)
    np.testing.assert_allclose(jax_gates.final_state(circuit), whole, atol=1e-6)
    jax_gates._program.cache_clear()


@pytest.mark.parametrize(("apart", "long"), [(22, 1), (0, 2**12), (0, 1)])
def test_matrices_are_applied_in_place_and_in_real_arithmetic(
    apart: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    state = jnp.asarray(rng.normal(size=(2**11, 2)).astype(np.float32).view(np.complex64).ravel())
    program: Any = jax_gates._turned
    turned = program.__wrapped__
    for group, qubits in enumerate((4, 4, 3)):
        matrix = rng.normal(size=(2**qubits, 2**qubits, 2)).astype(np.float32).view(np.complex64)[..., 0]
        whole = np.einsum("ed,bda->bea", matrix, np.asarray(state).reshape(-1, 2**qubits, 16**group)).ravel()
        with monkeypatch.context() as patch:
            for name, value in {"APART": apart, "LONG": long, "PIECE": 6}.items():
                patch.setattr(jax_gates, name, value)
            np.testing.assert_allclose(turned(state, matrix, group), whole, atol=1e-4)


@pytest.mark.parametrize("n", [3, 6, 9])
def test_gates_are_multiplied_together_within_groups_of_four(n: int) -> None:
    circuit = random_circuit(n, 5, 80, measured=False)
    plan = jax_gates.plan(circuit.operations, n)
    apart = steps(circuit.operations, n, jax_gates.size(n), fused=False)
    assert len(plan) < len(apart)
    assert (n > 3) == any(isinstance(each, Step) for each in plan)
    one, other = (np.asarray(jax_gates.advance(jax_gates.begin(n), todo)) for todo in (plan, apart))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_job_over_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "machine_bytes", lambda: 2**31)
    backend = JaxStatevector()
    assert backend.estimate(job_of(random_kernel(26, seed=0))).memory_bytes < 2**31
    with pytest.raises(BackendError, match="GiB"):
        backend.estimate(job_of(random_kernel(27, seed=0)))


@pytest.mark.parametrize(
    ("kernel", "even"),
    [
        (random_kernel(7, seed=0), False),
        (random_kernel(7, seed=0, fields=False), True),
        (random_polynomial(7, (2, 4), seed=0), True),
        (random_polynomial(7, (4, 6), seed=0), True),
        (random_polynomial(6, (2, 3, 4), seed=0), False),
        (random_polynomial(7, (7,), seed=0), False),
        (SpinPolynomial.of(6, higher=[((0, 1, 2, 3), 1.0)]), True),
        (SpinPolynomial.of(6, higher=[((1, 2, 3, 5), 1.0)]), True),
    ],
)
def test_costs_are_the_energies(kernel: SpinPolynomial, even: bool) -> None:
    core, folded = jax_costs.fold(kernel)
    assert folded is even
    stack = jax_costs.stack([kernel], rows=1)
    bits = states(core.n)
    whole = np.concatenate([np.zeros((len(bits), 1), np.uint8), bits], axis=1) if folded else bits
    costs = jax_costs.costs_of(stack)[0]
    np.testing.assert_allclose(costs, kernel.energy(whole) - kernel.offset, atol=1e-4)


def test_a_warm_jax_backend_compiles_nothing_new(caplog: pytest.LogCaptureFixture) -> None:
    backend = JaxStatevector(warm_qubits=6, warm_layers=(1,), warm_shots=256)
    backend.warm_up()
    sizes = (1, 2, 3, 4, 5, 6)
    kernels = [random_kernel(n, n, fields=f) for n in sizes for f in (True, False)]
    kernels += [random_polynomial(n, (2, order), n) for n in (5, 6) for order in (3, 4)]
    kernels += [random_polynomial(n, (order,), n, held=groups) for n, order, groups in ((5, 2, (2, 3)), (6, 3, (4,)))]
    batch = [backend.prepare(job_of(kernel, shots=200)) for kernel in kernels]
    with jax.log_compiles(), caplog.at_level("WARNING"):
        backend.run(batch)
        backend.run(batch[:1])
        assert caplog.messages == []
        backend.run([backend.prepare(job_of(random_kernel(3, 0), layers=7))])  # no shape that was warmed
        assert caplog.messages != []


def test_the_circuit_that_cirq_reports_is_the_one_it_ran() -> None:
    ring = SpinPolynomial.of(6, rows=range(6), cols=[1, 2, 3, 4, 5, 0], J=np.arange(1, 7))
    backend, job = CirqStatevector(), job_of(ring, layers=2)
    (result,) = backend.run([backend.prepare(job)])
    circuit = circuit_of(job)
    gates = [op for op in circuit.all_operations() if len(op.qubits) == 2]
    assert result.circuit is not None
    assert result.circuit.two_qubit_gates == len(gates) == 12
    # H, then twice: an even ring in two moments of couplings, one of mixers
    assert result.circuit.depth == len(circuit) - 1 == 7
    assert (result.circuit.qubits, result.circuit.shots) == (6, job.shots)


@pytest.mark.parametrize("make", [CirqStatevector, JaxStatevector])
def test_twenty_qubits(make: type[CirqStatevector] | type[JaxStatevector]) -> None:
    ring = SpinPolynomial.of(20, rows=range(20), cols=[*range(1, 20), 0], J=np.ones(20))
    # angles near the best of a ring at p = 2; a random cut has E = 0, the best -20
    job = Job(ring, 64, 0, gammas=np.array([0.25, 0.45]), betas=np.array([-0.5, -0.25]))
    backend: Backend = make()
    (result,) = run_sync(backend, [backend.prepare(job)])
    assert isinstance(result, Result)
    assert (result.energies * result.counts).sum() / 64 < -7
