"""Molecules: the kernel measures what the solution claims, the judge takes nothing else, and errors are exact."""

from __future__ import annotations

from copy import deepcopy
from time import monotonic
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from examples import molecule as example
from qmosaic import Molecule, Outcome
from qmosaic.codecs.events.hops import Failure, Incumbent, Proposal
from qmosaic.codecs.events.public import Attempt
from qmosaic.codecs.formats.registry import read
from qmosaic.processors.admit import Admission, Refusal
from qmosaic.processors.families.base import Task
from qmosaic.processors.terminal import judge
from tests.instances import INSTANCES
from tests.processors.families.molecules import (
    FAMILY,
    H2,
    H2_EXACT,
    H2_HARTREE_FOCK,
    answer,
    dense,
    dense_state,
    expectation,
    instance,
    judged,
    random_integrals,
    reduction,
    solved,
    state,
)

COMPUTED = INSTANCES / "chemistry" / "computed"
TWO: dict[str, Any] = {"hamiltonian": [["II", -0.3], ["IZ", 0.4], ["ZI", 0.4], ["XX", 0.18], ["ZZ", 0.01]]}
FOUR: dict[str, Any] = {"integrals": random_integrals(3, 2), "electrons": 3, "multiplicity": 2}
# Complex: strings with an odd number of Y
COMPLEX: dict[str, Any] = {"hamiltonian": [["ZII", 1.0], ["YXI", 0.7], ["IXZ", 0.4], ["XIY", -0.5], ["IIZ", 0.3]]}
CASES = {"h2": H2, "open shell": FOUR, "two qubits": TWO, "complex": COMPLEX, "whole": {**H2, "taper": False}}


@pytest.mark.parametrize("payload", CASES.values(), ids=CASES)
def test_the_kernel_measures_the_energy_of_the_solution(payload: dict[str, Any]) -> None:
    one, found = instance(payload), reduction(payload)
    assert found.kernel is not None
    energy = expectation(found.kernel)  # type: ignore[arg-type]
    solution = orjson.loads(orjson.dumps(one.answered(found.state, found.lift, answer(energy))))
    paulis = list(zip(one.hamiltonian.operator.strings(), one.hamiltonian.operator.coefficients.tolist(), strict=True))
    psi = dense_state(solution["reference"], solution["rotations"])
    assert float(np.vdot(psi, dense(paulis) @ psi).real) == pytest.approx(energy, abs=1e-9)
    judged_ = one.evaluate(solution)
    assert (judged_.feasible, judged_.error) == (True, 0.0)
    assert judged_.objective == pytest.approx(energy, abs=1e-9)
    assert judged_.objective == pytest.approx(one.hamiltonian.ground[0], abs=1e-5)
    least = np.linalg.eigvalsh(dense(paulis))[0]
    assert one.hamiltonian.ground[0] >= least - 1e-9
    if one.electrons is None:
        assert one.hamiltonian.ground[0] == pytest.approx(least, abs=1e-9)


def test_h2_is_one_qubit_and_exact() -> None:
    found = reduction(H2)
    assert found.kernel is not None
    assert (found.kernel.qubits, found.solver) == (1, "hartree_fock")  # type: ignore[union-attr]
    assert expectation(found.kernel) == pytest.approx(H2_EXACT, abs=1e-9)  # type: ignore[arg-type]
    baseline = instance(H2).evaluate(instance(H2).solution(found.state))
    assert baseline.objective == pytest.approx(H2_HARTREE_FOCK, abs=1e-9)
    assert baseline.details["exact"] == pytest.approx(H2_EXACT, abs=1e-9)


def test_uccsd() -> None:
    one = reduction({**H2, "ansatz": "uccsd"})
    assert expectation(one.kernel) == pytest.approx(H2_EXACT, abs=1e-9)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_kernel() -> None:
    model = instance(FOUR).encode()
    one, two = FAMILY.reduce([Task(model, 7, 30.0, clock=monotonic)] * 2)
    assert one.kernel is not None
    assert two.kernel is not None
    assert one.kernel.digest == two.kernel.digest


def test_no_time_still_gives_a_kernel() -> None:
    (found,) = FAMILY.reduce([Task(instance(FOUR).encode(), 1, 0.0, clock=monotonic)])
    assert found.kernel is not None


@pytest.mark.parametrize(
    "payload",
    [
        {"hamiltonian": [["ZI", 1.0], ["IZ", -0.5], ["ZZ", 0.25]]},
        {"hamiltonian": [["I", 2.0]]},
        {"integrals": {"orbitals": 1, "one": [[0, 0, -0.5]], "core": 0.1}, "electrons": 1},
    ],
)
def test_what_has_no_correlation_is_solved_in_reduce(payload: dict[str, Any]) -> None:
    outcome = solved(payload)
    assert (outcome.status, outcome.reason, outcome.solution["rotations"]) == ("accepted", "solved_in_reduce", [])
    assert outcome.objective == pytest.approx(outcome.details["exact"])


def test_from_event_to_outcome() -> None:
    outcome = solved(H2, shots=0)
    assert (outcome.status, outcome.reason, outcome.error) == ("accepted", "improved", 0.0)
    assert outcome.objective == pytest.approx(H2_EXACT, abs=1e-9)
    assert outcome.improvement == pytest.approx(H2_HARTREE_FOCK - H2_EXACT, abs=1e-9)
    assert outcome.details["exact_is"] == "FCI in the active space"
    assert outcome.details["electrons"] == [1, 1]


ATTEMPT = Attempt(target="quantum", backend="x", ended="answered")


@pytest.mark.parametrize(
    ("energy", "ended", "gain"),
    [
        (H2_EXACT, "answered", 0.0),  # all of the correlation: what diagonalising finds as well
        (None, "execution_failed", (H2_EXACT - H2_HARTREE_FOCK) / -H2_EXACT),  # Hartree-Fock goes out
        (0.0, "answered", (H2_EXACT - H2_HARTREE_FOCK) / -H2_EXACT),  # no energy of the state: the same
    ],
)
def test_nothing_is_gained_over_the_least_energy(energy: float | None, ended: str, gain: float) -> None:
    """Though an answer improves Hartree-Fock, which is the incumbent."""
    admission, found = judged(H2), reduction(H2)
    assert isinstance(admission, Admission)
    assert found.kernel is not None
    ref, digest = admission.ref, found.kernel.digest
    incumbent = Incumbent(
        ref=ref, state=found.state, solver=found.solver, seconds=0.0, kernel_digest=digest, lift=found.lift
    )
    proposal = Proposal(
        ref=ref,
        kernel_digest=digest,
        route=None,
        attempt=1,
        answer=None if energy is None else answer(energy),
        failure=Failure("execute", "execution_failed", "no") if energy is None else None,
        kind="variational",
        tried=[replace(ATTEMPT, ended=ended)],
    )
    known: dict[str, Any] = {"now": 1001.0, "queue": 0.0, "trace_id": "0" * 32, "versions": {}, "tick": monotonic}
    verdict = judge(admission, incumbent, proposal, 10**6, **known)
    assert verdict.evidence is not None
    (run,) = verdict.evidence.runs
    assert run.gain == pytest.approx(gain, abs=1e-9)
    told = orjson.loads(verdict.value)["baseline"]
    assert told["best_known"] == pytest.approx(H2_EXACT)
    assert told["objective"] == pytest.approx(H2_HARTREE_FOCK)


def test_the_ground_state_may_have_another_symmetry() -> None:
    # One electron, two orbitals of different symmetry: the determinant of least energy need not be Hartree-Fock's,
    # which is where two electrons pair. With a strong exchange the open shell is lower.
    payload = {
        "integrals": {
            "orbitals": 2,
            "one": [[0, 0, -1.0], [1, 1, -0.9]],
            "two": [[0, 0, 0, 0, 1.0], [1, 1, 1, 1, 1.0], [0, 0, 1, 1, 0.2], [0, 1, 0, 1, 0.1]],
        },
        "electrons": 2,
    }
    outcome = solved(payload)
    assert outcome.reason == "improved"
    assert outcome.solution["reference"] != instance(payload).quick()["reference"]
    assert outcome.objective == pytest.approx(outcome.details["exact"], abs=1e-9)


def claimed() -> tuple[Any, dict[str, Any]]:
    one, found = instance(H2), reduction(H2)
    return one, one.answered(found.state, found.lift, answer(H2_EXACT))


def test_evaluate_takes_the_answer_itself() -> None:
    one, solution = claimed()
    assert one.evaluate(solution).feasible


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"energy": H2_EXACT - 0.001}, "below the least possible"),
        ({"energy": H2_EXACT + 0.001}, "the state has"),
        ({"energy": float("nan")}, "the state has"),
        ({"energy": float("-inf")}, "below"),
        ({"standard_error": -1.0}, "standard error"),
        ({"standard_error": 99.0}, "standard error"),
        ({"energy": H2_EXACT - 0.01, "standard_error": 0.001}, "below the least possible"),
        ({"energy": H2_EXACT + 0.01, "standard_error": 0.001}, "the state has"),
        ({"reference": "0011"}, "the state has"),
        ({"reference": "1000"}, "other numbers of electrons"),
        ({"rotations": [["XIII", 0.3]]}, "other numbers of electrons"),
        ({"rotations": [["YXXX", 0.1]]}, "the state has"),
    ],
)
def test_a_changed_claim_is_refused(change: dict[str, Any], sentence: str) -> None:
    one, solution = claimed()
    found = one.evaluate({**solution, **change})
    assert not found.feasible
    assert any(sentence in violation for violation in found.violations)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 100), st.floats(0.02, 3))
def test_every_angle_matters(k: int, by: float) -> None:
    one = instance(FOUR)
    found = reduction(FOUR)
    assert found.kernel is not None
    energy = expectation(found.kernel)  # type: ignore[arg-type]
    solution = one.answered(found.state, found.lift, answer(energy))
    changed = deepcopy(solution)
    changed["rotations"][k % len(changed["rotations"])][1] += by
    verdict = one.evaluate(changed)
    moved = verdict.details["state_energy"]
    assert verdict.feasible is (abs(moved - energy) < 2e-5 and not verdict.violations)


def test_the_least_energy_counts_with_its_state_alone() -> None:
    """Lanczos ends below the circuit's own energy; the state beside it still has to be what it is said to be."""
    one, found = instance(H2), reduction({**H2})
    solution = one.answered(found.state, found.lift, answer(H2_EXACT))
    worse = {**solution, "rotations": [["YXXX", 0.1]]}
    assert not one.evaluate(worse).feasible
    honest = one.evaluate({**worse, "state_energy": one.evaluate(worse).details["state_energy"]})
    assert honest.feasible
    assert honest.objective == pytest.approx(H2_EXACT, abs=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"reference": "110"},
        {"reference": "11a0"},
        {"rotations": [["XYZ", 0.1]]},
        {"rotations": [["XYZA", 0.1]]},
        {"rotations": [["XYZZ", float("nan")]]},
        {"rotations": [["XYZZ"]]},
        {"rotations": [["IIII", 0.0]] * 20_001},
        {"energy": None},
    ],
)
def test_what_is_no_solution_does_not_fit(change: dict[str, Any]) -> None:
    one, solution = claimed()
    with pytest.raises((ValueError, LookupError, TypeError)):
        one.evaluate({**solution, **change})


def test_answers_and_states_that_do_not_fit() -> None:
    one, found = instance(H2), reduction(H2)
    two = answer(1.0)
    two.values.append(2.0)
    with pytest.raises((ValueError, LookupError, TypeError)):
        one.answered(found.state, found.lift, two)
    with pytest.raises((ValueError, LookupError, TypeError)):
        one.solution(state(0b1000))
    with pytest.raises((ValueError, LookupError, TypeError)):
        one.answered(found.state, found.state, answer(1.0))


def test_a_measured_energy_is_judged_by_its_own_error() -> None:
    one, found = instance(H2), reduction(H2)
    near = one.answered(found.state, found.lift, answer(H2_EXACT - 0.002, 0.001))
    judged_ = one.evaluate(near)
    assert (judged_.feasible, judged_.error) == (True, 0.001)
    assert judged_.objective == H2_EXACT - 0.002


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(len(H2["integrals"]["two"]))), st.booleans())
def test_how_integrals_are_written_leaves_no_trace(order: list[int], turned: bool) -> None:
    other = deepcopy(H2)
    two = [H2["integrals"]["two"][k] for k in order]
    other["integrals"]["two"] = [[r, s, q, p, v] if turned else [p, q, r, s, v] for p, q, r, s, v in two]
    assert instance(other).digest == instance(H2).digest


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(len(TWO["hamiltonian"]))))
def test_how_terms_are_written_leaves_no_trace(order: list[int]) -> None:
    terms = [TWO["hamiltonian"][k] for k in order]
    halves = [[p, c / 2] for p, c in terms] * 2
    assert instance({"hamiltonian": terms}).digest == instance(TWO).digest == instance({"hamiltonian": halves}).digest


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(3)))
def test_permuting_the_orbitals_keeps_the_energies(place: list[int]) -> None:
    other = deepcopy(FOUR)
    other["integrals"]["one"] = [[place[p], place[q], v] for p, q, v in FOUR["integrals"]["one"]]
    other["integrals"]["two"] = [[*(place[i] for i in entry[:4]), entry[4]] for entry in FOUR["integrals"]["two"]]
    one, two = instance(FOUR), instance(other)
    assert two.hamiltonian.ground[0] == pytest.approx(one.hamiltonian.ground[0], abs=1e-9)
    assert two.quick()["energy"] == pytest.approx(one.quick()["energy"], abs=1e-9)


@pytest.mark.parametrize(
    "change",
    [{"electrons": 1}, {"multiplicity": 3}, {"ansatz": "uccsd"}, {"taper": False}, {"active_orbitals": [1, 0]}],
)
def test_the_digest_tells_every_change(change: dict[str, Any]) -> None:
    assert instance({**H2, **change}).digest != instance(H2).digest


def changed(**integrals: Any) -> dict[str, Any]:
    return {**H2, "integrals": {**H2["integrals"], **integrals}}


BAD: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("nothing", {}, "invalid_problem", "", "one of geometry, integrals and hamiltonian"),
    ("two things", {**H2, **TWO}, "invalid_problem", "", "got integrals and hamiltonian"),
    ("unknown field", {**H2, "spin": 1}, "invalid_problem", "", "spin"),
    ("too many electrons", {**H2, "electrons": 5}, "invalid_problem", ".electrons", "2 orbitals hold 1 to 4"),
    ("no electrons", {**H2, "electrons": 0}, "invalid_problem", ".electrons", "hold 1 to 4"),
    ("negative electrons", {**H2, "electrons": -2}, "invalid_problem", ".electrons", ">= 0"),
    ("electrons missing", {"integrals": H2["integrals"]}, "invalid_problem", ".electrons", "missing"),
    ("even and odd", {**H2, "multiplicity": 2}, "invalid_problem", ".multiplicity", "does not fit 2 electrons"),
    ("too high a spin", {**H2, "multiplicity": 5}, "invalid_problem", ".multiplicity", "does not fit"),
    ("multiplicity 0", {**H2, "multiplicity": 0}, "invalid_problem", ".multiplicity", ">= 1"),
    ("an orbital too many", changed(one=[[0, 2, 1.0]]), "invalid_problem", ".integrals.one[0]", "out of range 0..1"),
    ("not symmetric", changed(one=[[0, 1, 1.0], [1, 0, 2.0]]), "invalid_problem", ".integrals.one[1]", "not Hermitian"),
    (
        "not symmetric",
        changed(two=[[0, 1, 0, 0, 1.0], [0, 0, 1, 0, 2.0]]),
        "invalid_problem",
        ".integrals.two[1]",
        "not Hermitian",
    ),
    ("too few indices", changed(one=[[0, 1.0]]), "invalid_problem", ".integrals.one[0]", "length 3"),
    ("orbitals", changed(orbitals=41), "too_large", ".integrals.orbitals", "the limit is 40"),
    ("qubits", changed(orbitals=9), "too_large", ".active_orbitals", "18 qubits, the limit is 16"),
    ("active electrons", {**H2, "active_electrons": 1}, "invalid_problem", ".active_electrons", "1 active electrons"),
    ("active electrons", {**H2, "active_electrons": 4}, "invalid_problem", ".active_electrons", "4 active electrons"),
    ("active orbitals", {**H2, "active_orbitals": 3}, "invalid_problem", ".active_orbitals", "of 2"),
    ("active orbitals", {**H2, "active_orbitals": [0, 0]}, "invalid_problem", ".active_orbitals", "of 2"),
    ("active orbitals", {**H2, "active_orbitals": []}, "invalid_problem", ".active_orbitals", "[]"),
    ("basis", {**H2, "basis": "sto-3g"}, "invalid_problem", ".basis", "does not go with integrals"),
    ("ansatz", {**H2, "ansatz": "magic"}, "invalid_problem", ".ansatz", "magic"),
    ("complex", {"hamiltonian": [["Z", [1.0, 0.5]]]}, "invalid_problem", ".hamiltonian[0][1]", "not Hermitian"),
    ("text", {"hamiltonian": [["Z", "(1+2j)"]]}, "invalid_problem", ".hamiltonian[0][1]", "Expected"),
    ("another length", {"hamiltonian": [["Z", 1.0], ["ZZ", 1]]}, "invalid_problem", ".hamiltonian[1][0]", "1 letters"),
    ("another letter", {"hamiltonian": [["ZA", 1.0]]}, "invalid_problem", ".hamiltonian[0][0]", "'ZA'"),
    ("stated qubits", {**TWO, "qubits": 3}, "invalid_problem", ".hamiltonian[0][0]", "expected 3 letters"),
    ("no term", {"hamiltonian": []}, "invalid_problem", ".hamiltonian", "no term"),
    ("empty strings", {"hamiltonian": [["", 1.0]]}, "invalid_problem", ".hamiltonian", "0 qubits"),
    ("bare qubits", {"hamiltonian": [["Z" * 15, 1.0]]}, "too_large", ".hamiltonian", "limit is 14"),
    ("qubits", {"hamiltonian": [["Z" * 18, 1.0]], "electrons": 2}, "too_large", ".hamiltonian", "limit is 16"),
    ("odd qubits", {"hamiltonian": [["ZZZ", 1.0]], "electrons": 2}, "invalid_problem", ".electrons", "3 qubits"),
    ("electrons", {"hamiltonian": [["ZZ", 1.0]], "electrons": 3}, "invalid_problem", ".electrons", "hold 1 to 2"),
    ("not conserved", {**TWO, "electrons": 1}, "invalid_problem", ".hamiltonian", "does not conserve"),
    ("odd Y", {"hamiltonian": [["XY", 1.0]], "electrons": 1}, "invalid_problem", ".hamiltonian", "odd number of Y"),
    ("active space", {**TWO, "active_orbitals": 1}, "invalid_problem", ".active_orbitals", "does not go with"),
    ("element", {"geometry": "Xx 0 0 0"}, "invalid_problem", ".geometry[0][0]", "unknown element 'Xx'"),
    ("no position", {"geometry": "H 0 0"}, "invalid_problem", ".geometry[0]", "'H 0 0'"),
    ("far away", {"geometry": "H 0 0 1e9"}, "invalid_problem", ".geometry[0]", "1000 angstrom"),
    ("one place", {"geometry": "H 0 0 0; H 0 0 0"}, "invalid_problem", ".geometry", "one place"),
    ("no atoms", {"geometry": ""}, "invalid_problem", ".geometry", "0 atoms"),
    ("not a list", {"geometry": 3}, "invalid_problem", ".geometry", "Expected"),
]


@pytest.mark.parametrize(("payload", "code", "place", "sentence"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_is_wrong_is_said_exactly(payload: dict[str, Any], code: str, place: str, sentence: str) -> None:
    refusal = judged(payload)
    assert isinstance(refusal, Refusal)
    found = refusal.rejected
    assert (found.code, found.place) == (code, f"$.problem{place}")
    assert sentence in found.message
    assert found.remedy


def test_energies_are_not_maximised() -> None:
    refusal = judged(H2, sense="max")
    assert isinstance(refusal, Refusal)
    assert refusal.rejected.place == "$.sense"


GEOMETRY: list[tuple[dict[str, Any], str, str]] = [
    ({"geometry": "H 0 0 0; H 0 0 1", "basis": "sto-99g"}, ".basis", "no basis set"),
    ({"geometry": "H 0 0 0; H 0 0 1", "basis": "H    S\n1.0,__import__('time').sleep(20)\n"}, ".basis", "no basis set"),
    ({"geometry": "H 0 0 0; H 0 0 1", "basis": "/etc/hostname"}, ".basis", "no basis set"),
    ({"geometry": "H 0 0 0; H 0 0 1", "basis": ""}, ".basis", "no basis set"),
    ({"geometry": "H 0 0 0; H 0 0 1", "basis": "x" * 100_000}, ".basis", "no basis set"),
    ({"geometry": "H 0 0 0; H 0 0 1", "multiplicity": 2}, ".multiplicity", "does not fit"),
    ({"geometry": "H 0 0 0", "charge": 1}, ".charge", "0 electrons"),
    ({"geometry": "O 0 0 0; H 0 0 1; H 0 1 0", "basis": "cc-pvdz"}, ".active_orbitals", "48 qubits"),
    ({"geometry": "H 0 0 0; H 0 0 1", "electrons": 2}, ".electrons", "does not go with geometry"),
]


@pytest.mark.parametrize(("payload", "place", "sentence"), GEOMETRY)
def test_what_is_wrong_with_a_geometry(payload: dict[str, Any], place: str, sentence: str) -> None:
    pytest.importorskip("pyscf")
    refusal = judged(payload)
    assert isinstance(refusal, Refusal)
    assert refusal.rejected.place == f"$.problem{place}"
    assert sentence in refusal.rejected.message


def test_a_geometry() -> None:
    pytest.importorskip("pyscf")
    outcome = solved(Molecule(geometry="H 0 0 0; H 0 0 0.735", basis="sto-3g").payload(), shots=0)
    assert outcome.status == "accepted"
    assert outcome.objective == pytest.approx(H2_EXACT, abs=1e-7)
    turned = Molecule(geometry=[("H", 0.0, 0.0, 0.735), ("h", 0.0, 0.0, 0.0)]).payload()
    assert instance(turned).digest == instance({"geometry": "H 0 0 0; H 0 0 0.735"}).digest


def test_a_geometry_without_pyscf(monkeypatch: pytest.MonkeyPatch) -> None:
    from qmosaic.processors.families.molecule import geometry

    def missing() -> Any:
        raise ImportError

    monkeypatch.setattr(geometry, "_loader", missing)
    refusal = judged({"geometry": "H 0 0 0; H 0 0 0.735"})
    assert isinstance(refusal, Refusal)
    assert refusal.rejected.place == "$.problem.geometry"
    assert "qmosaic[chemistry]" in refusal.rejected.remedy


@pytest.mark.skipif(not COMPUTED.exists(), reason="the public instances are not here")
@pytest.mark.parametrize(
    "name",
    [
        "h2_sto3g_r0.735",
        "h2_sto3g_r0.735_2q",
        "lih_sto3g_r1.595_cas2e2o",
        "lih_sto3g_r1.595_cas2e2o_2q",
        "lih_sto3g_r1.595_full",
    ],
)
def test_the_public_instances(name: str) -> None:
    said = orjson.loads((COMPUTED / f"{name}.pauli.json").read_bytes())
    files = [COMPUTED / f"{name}.pauli.json", COMPUTED / f"{name}.fcidump"]
    for file in files:
        if not file.exists():
            continue
        (problem,) = read(file.read_bytes(), file.name)
        outcome = solved(problem.problem, shots=0)
        assert outcome.reason == "improved"
        assert outcome.objective == pytest.approx(said["exact_energy_hartree"], abs=1e-6)
        assert outcome.baseline is not None
        assert outcome.baseline.objective == pytest.approx(said["hf_total_energy_hartree"], abs=1e-6)
        # And so has the prepared state, without the help of Lanczos.
        assert outcome.details["state_energy"] == pytest.approx(said["exact_energy_hartree"], abs=1e-5)


def test_the_active_space_of_a_file_is_that_asked_for() -> None:
    whole = {"integrals": random_integrals(4, 3), "electrons": 4}
    part = {**whole, "active_electrons": 2, "active_orbitals": 2}
    listed = {**whole, "active_electrons": 2, "active_orbitals": [1, 2]}
    assert instance(part).digest == instance(listed).digest
    assert instance(part).notes == ["active space: orbitals [1, 2], 2 electrons frozen in [0]"]
    assert instance(part).qubits == 4
    assert instance(part).hamiltonian.ground[0] >= instance(whole).hamiltonian.ground[0] - 1e-9


def test_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    def solve(problem: Molecule) -> Outcome:
        return solved(problem.payload(), shots=0)

    example.report(solve)
    out = capsys.readouterr().out
    assert out.count("accepted: improved") == len(example.CURVE)
    assert "-1.137306" in out
