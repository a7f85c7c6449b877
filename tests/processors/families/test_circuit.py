"""The circuit family: what is rejected, what reduce says, and whom verify believes."""

from __future__ import annotations

import sys
from subprocess import run
from time import monotonic
from typing import Any

import numpy as np
import pytest

from qmosaic.backends.base import Expectations, Job, Result, run_sync
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.processors.execute import answer_of
from qmosaic.processors.families.base import Evaluation, Limits, Reduction, Task
from qmosaic.processors.families.circuit.evidence import judged, of_list, rows_of, strings
from qmosaic.processors.families.circuit.family import CircuitFamily, CircuitInstance

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
BELL = TWO + "qreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n"
TURNED = (
    TWO + "qreg q[3]; creg c[3]; ry(0.7) q[0]; cx q[0],q[1]; t q[1]; h q[2]; cu1(0.3) q[2],q[0]; h q[2]; measure q->c;"
)


def wide(n: int, layers: int, seed: int = 1) -> str:
    """A circuit with a broad distribution."""
    rng = np.random.default_rng(seed)
    lines = [f"qreg q[{n}]; creg c[{n}];"]
    for layer in range(layers):
        lines += [f"u3({','.join(map(str, rng.uniform(0, 6, 3)))}) q[{k}];" for k in range(n)]
        lines += [f"cx q[{k}],q[{k + 1}];" for k in range(layer % 2, n - 1, 2)]
    return TWO + "\n".join([*lines, "measure q -> c;"])


def graph_state(n: int) -> str:
    """Clifford, with 2^(n - 1) values: the last bit is the parity of the first two."""
    links = "".join(f"cz q[{k}],q[{k + 1}]; " for k in range(n - 2))
    parity = f"cx q[0],q[{n - 1}]; cx q[1],q[{n - 1}];"
    body = "".join(f"h q[{k}]; " for k in range(n - 1))
    turns = "".join(f"s q[{k}]; h q[{k}]; " for k in range(n - 1))
    return TWO + f"qreg q[{n}]; creg c[{n}]; {body} {links} {turns} {parity} measure q -> c;"


def parsed(source: str, shots: int | None = 1000, **payload: Any) -> CircuitInstance:
    found = CircuitFamily().parse(Problem(family="circuit", problem={"qasm": source, **payload}, shots=shots), Limits())
    assert isinstance(found, CircuitInstance), found
    return found


def reduced(instance: CircuitInstance, shots: int = 1000, seconds: float = 30.0, target: Any = "auto") -> Reduction:
    task = Task(model=instance.encode(), seed=5, seconds=seconds, shots=shots, target=target, clock=monotonic)
    (reduction,) = CircuitFamily().reduce([task])
    assert reduction.kernel == instance.circuit
    return reduction


def judge(instance: CircuitInstance, state: Bundle, backend: str, shots: int = 1000, seed: int = 3) -> Evaluation:
    runner = create(backend)
    (result,) = run_sync(runner, [runner.prepare(Job(instance.circuit, shots, seed))])
    assert isinstance(result, Result | Expectations)
    return instance.evaluate(instance.answered(state, Bundle(), answer_of(instance.circuit, result)), state)


@pytest.mark.parametrize(
    ("source", "reference", "backend"),
    [
        (BELL, "tableau", "cirq.clifford"),
        (BELL, "tableau", "jax.statevector"),
        (TURNED, "jax.statevector", "cirq.statevector"),
        (graph_state(40), "tableau", "cirq.clifford"),
        (wide(8, 3), "jax.statevector", "cirq.statevector"),
        (wide(14, 4), "jax.statevector", "cirq.statevector"),
    ],
)
def test_right_counts_are_verified_whatever_the_seed(source: str, reference: str, backend: str) -> None:
    instance = parsed(source)
    state = reduced(instance).state
    for seed in range(8):
        found = judge(instance, state, backend, seed=seed)
        assert found.verdict == "verified", found.details
        assert found.feasible
        assert found.details["reference"] == reference
        assert found.details["fidelity"] >= found.details["threshold"]


def test_the_reference_of_target_gpu_is_cirq() -> None:
    instance = parsed(TURNED)
    state = reduced(instance, target="gpu").state
    assert judge(instance, state, "jax.statevector").details["reference"] == "cirq.statevector"


@pytest.mark.parametrize("source", [BELL, TURNED, graph_state(40), wide(8, 3), wide(14, 4)])
def test_wrong_counts_are_a_mismatch(source: str) -> None:
    instance = parsed(source)
    state = reduced(instance).state
    bits, rng = instance.circuit.bits, np.random.default_rng(0)
    own = instance.solution(state)["counts"]
    rows = np.repeat(rows_of(list(own), bits), list(own.values()), axis=0)
    noise = rng.integers(2, size=rows.shape, dtype=np.uint8)
    half = np.where(np.arange(len(rows))[:, None] % 2, noise, rows)
    stuck = rows.copy()
    stuck[:, 0] = 0
    wrong = {"half of the shots are noise": half, "one value": np.repeat(rows[:1], len(rows), axis=0), "stuck": stuck}
    for name, values in wrong.items():
        distinct, counts = np.unique(values, axis=0, return_counts=True)
        solution = {"counts": dict(zip(strings(distinct), counts.tolist(), strict=True))}
        assert instance.evaluate(solution, state).verdict == "mismatch", name


def test_bits_in_the_wrong_order_are_a_mismatch() -> None:
    instance = parsed(TURNED)
    state = reduced(instance).state
    turned = {text[::-1]: count for text, count in instance.solution(state)["counts"].items()}
    assert instance.evaluate({"counts": turned}, state).verdict == "mismatch"


def test_a_threshold_of_one_s_own_decides() -> None:
    noisy = {"counts": {"00": 450, "11": 450, "01": 100}}
    strict, lenient = parsed(BELL), parsed(BELL, fidelity=0.8)
    assert strict.evaluate(noisy, reduced(strict).state).verdict == "mismatch"
    found = lenient.evaluate(noisy, reduced(lenient).state)
    assert (found.verdict, found.details["threshold"]) == ("verified", 0.8)
    assert strict.digest != lenient.digest


def test_solutions_that_do_not_fit() -> None:
    instance = parsed(BELL)
    state = reduced(instance).state
    for solution in ({"counts": {"000": 1000}}, {"counts": {"0x": 1000}}, {"counts": {"00": 999}}):
        with pytest.raises(ValueError, match="expected"):
            instance.evaluate(solution, state)
    assert not instance.evaluate({"counts": {"00": 0}}, state).feasible


OBSERVABLES = [{"name": "a", "terms": {"ZZI": 0.5, "XXX": 0.25, "III": 1}}, {"terms": {"YYI": -0.5, "IIX": 0.2}}]


@pytest.mark.parametrize("backend", ["cirq.statevector", "jax.statevector"])
@pytest.mark.parametrize("shots", [0, 3000])
def test_expectations(backend: str, shots: int) -> None:
    instance = parsed(TURNED, shots, observables=OBSERVABLES)
    assert instance.circuit.bits == 0
    state = reduced(instance, shots).state
    found = judge(instance, state, backend, shots)
    assert found.verdict == "verified"
    solution = instance.solution(state)
    assert [entry["name"] for entry in solution["expectations"]] == ["a", "observable 1"]
    solution["expectations"][0]["value"] += 0.01
    assert instance.evaluate(solution, state).verdict == "mismatch"
    solution["expectations"][0]["name"] = "b"
    assert not instance.evaluate(solution, state).feasible


def test_expectations_of_a_large_clifford_circuit() -> None:
    source = graph_state(50).replace("measure q -> c;", "")
    terms = {"I" * 50: 1.0, "Z" * 50: 2.0, "X" + "I" * 49: 1.0}
    instance = parsed(source, 0, observables=[{"terms": terms}])
    state = reduced(instance, 0).state
    assert judge(instance, state, "cirq.clifford", 0).verdict == "verified"


def test_too_few_shots_verify_nothing() -> None:
    instance = parsed(wide(14, 6), 20)
    found = judge(instance, reduced(instance, 20).state, "cirq.statevector", 20)
    assert found.verdict == "unverified"
    assert "few shots" in found.details["reason"]


def test_unverified_with_the_reason() -> None:
    large = parsed(wide(26, 1))
    assert any("26 qubits and not Clifford" in note for note in large.notes)
    assert large.quick() is None
    state = reduced(large).state
    assert large.solution(state) is None
    found = large.evaluate({"counts": {"0" * 26: 1000}}, state)
    assert (found.verdict, found.details["reference"]) == ("unverified", None)
    assert "26 qubits" in found.details["reason"]
    late = parsed(wide(12, 30))
    state = reduced(late, seconds=0.0).state
    assert "within" in late.evaluate({"counts": {"0" * 12: 1000}}, state).details["reason"]
    assert late.evaluate({"counts": {"0" * 12: 1000}}).verdict == "unverified"


def test_formatting_and_idle_qubits_leave_no_trace() -> None:
    same = parsed('OPENQASM 2.0; include "qelib1.inc"; // a comment\nqreg q[9]; creg c[2]; h q[3]; cx q[3], q[7];'
                  "barrier q; reset q[8]; measure q[3]->c[0]; measure q[7]->c[1];")  # fmt: skip
    assert same.circuit.qubits == 2
    assert same.digest == parsed(BELL).digest
    assert parsed(TURNED).digest != parsed(BELL).digest


@pytest.mark.parametrize(
    ("payload", "code", "place"),
    [
        ({}, "empty_problem", "$.problem.qasm"),
        ({"qasm": 3}, "empty_problem", "$.problem.qasm"),
        ({"qasm": BELL, "shot": 3}, "invalid_problem", "$.problem.shot"),
        ({"qasm": BELL.replace("h q", "foo q")}, "invalid_problem", "$.problem.qasm:5:1"),
        ({"qasm": BELL.replace("h q[0]", "h p[0]")}, "invalid_problem", "$.problem.qasm:5:3"),
        ({"qasm": BELL.replace("h q[0]", "h q[2]")}, "invalid_problem", "$.problem.qasm:5:5"),
        ({"qasm": BELL.replace("q[2]", "q[1001]")}, "too_large", "$.problem.qasm:3:1"),
        ({"qasm": BELL.replace("measure q -> c;", "")}, "empty_problem", "$.problem.qasm"),
        ({"qasm": BELL, "fidelity": 1.5}, "invalid_problem", "$.problem.fidelity"),
        ({"qasm": BELL, "observables": {}}, "invalid_problem", "$.problem.observables"),
        ({"qasm": BELL, "observables": [{"terms": {"Z": 1}}]}, "invalid_problem", "$.problem.observables[0].terms"),
        ({"qasm": BELL, "observables": [{"terms": {"ZA": 1}}]}, "invalid_problem", "$.problem.observables[0].terms"),
        (
            {"qasm": BELL, "observables": [{"terms": {"ZZ": "x"}}]},
            "invalid_problem",
            "$.problem.observables[0].terms.ZZ",
        ),
        (
            {"qasm": BELL + "h q[0];", "observables": [{"terms": {"ZZ": 1}}]},
            "invalid_problem",
            "$.problem.observables",
        ),
    ],
)
def test_what_is_rejected(payload: dict[str, Any], code: str, place: str) -> None:
    found = CircuitFamily().parse(Problem(family="circuit", problem=payload), Limits())
    assert isinstance(found, Rejected)
    assert (found.code, found.place) == (code, place)
    assert found.remedy


def test_shots_that_cannot_be() -> None:
    for source, shots, code in ((BELL, 0, "invalid_event"), (graph_state(200), 100_000, "too_large")):
        found = CircuitFamily().parse(Problem(family="circuit", problem={"qasm": source}, shots=shots), Limits())
        assert isinstance(found, Rejected)
        assert (found.code, found.place) == (code, "$.shots")


def test_a_broad_distribution_is_judged_by_classes() -> None:
    rng = np.random.default_rng(1)
    shares = rng.exponential(size=2**17)
    rows = ((np.arange(2**17)[:, None] >> np.arange(17)) & 1).astype(np.uint8)
    evidence = of_list(rows, shares, 2000, seed=1)
    assert sum(len(array.data) for array in evidence.arrays.values()) < 400_000
    for p, right in ((shares / shares.sum(), True), (np.full(2**17, 2.0**-17), False)):
        counts = rng.multinomial(2000, p)
        verdict = judged(evidence, rows[counts > 0], counts[counts > 0])
        assert verdict.deviation is not None
        assert (verdict.fidelity >= verdict.threshold and verdict.deviation < 6) == right
        assert verdict.tells


def test_verify_needs_neither_jax_nor_cirq_for_it() -> None:
    code = (
        "import sys\nfrom qmosaic.processors.families.circuit.family import CircuitFamily\n"
        "from qmosaic.processors.families.base import Limits\nfrom qmosaic.codecs.events.public import Problem\n"
        f"CircuitFamily().parse(Problem(family='circuit', problem={{'qasm': {BELL!r}}}), Limits())\n"
        "assert not {'jax', 'cirq', 'openqasm3', 'scipy'} & set(sys.modules)"
    )
    run([sys.executable, "-c", code], check=True)
