"""LABS: the polynomial is the energy, wrong answers and inputs are told, and short sequences come out optimal."""

from __future__ import annotations

from itertools import count
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends.conformance.samples import job_of
from qmosaic.backends.solvers.exact import Exact
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.models.arrays import pack_bits
from qmosaic.codecs.models.polynomial import SpinPolynomial, bits_of, spins_of
from qmosaic.processors.families.base import Limits, Task
from qmosaic.processors.families.labs import family, reduce, sequences
from qmosaic.processors.families.labs.family import LabsFamily, LabsInstance
from qmosaic.processors.families.labs.sequences import polynomial
from qmosaic.processors.spins.lift import bits_of_state, state_of
from tests.processors.problems import admitted, refused

FAST = settings(deadline=None, max_examples=50)
OPTIMA = dict(enumerate([1, 2, 2, 7, 3, 8, 12, 13, 5, 10, 6, 19, 15, 24, 32, 25, 29, 26], start=3))
"""Packebusch and Mertens 2016, table 1."""


@st.composite
def drawn(draw: st.DrawFn) -> list[int]:
    return draw(st.lists(st.sampled_from([1, -1]), min_size=3, max_size=24))


def solved(sequence: list[int]) -> dict[str, list[int]]:
    return {"sequence": sequence, "run_lengths": sequences.run_lengths(sequence)}


def replaced(sequence: list[int], i: int, value: Any) -> list[Any]:
    return [value if j == i else s for j, s in enumerate(sequence)]


def objective(sequence: list[int]) -> int:
    """By the definition."""
    n = len(sequence)
    return sum(sum(sequence[i] * sequence[i + k] for i in range(n - k)) ** 2 for k in range(1, n))


@FAST
@given(drawn())
def test_energy_is_the_objective(sequence: list[int]) -> None:
    n, bits = len(sequence), bits_of(np.array(sequence))
    instance = LabsInstance(n)
    solution = instance.solution(state_of(bits))
    judged = instance.evaluate(solution)
    assert solution["sequence"] == sequence
    assert judged.feasible
    assert judged.objective == objective(sequence)
    assert judged.details == {"merit_factor": n**2 / (2 * objective(sequence))}
    assert float(polynomial(n).energy(bits)) == objective(sequence)


@FAST
@given(drawn())
def test_changes_of_all_flips(sequence: list[int]) -> None:
    rows = np.array([sequence])
    assert sequences.energy(rows)[0] == objective(sequence)
    for i, change in enumerate(sequences.flips(rows)[0]):
        turned = [-s if j == i else s for j, s in enumerate(sequence)]
        assert change == objective(turned) - objective(sequence)


@FAST
@given(drawn())
def test_symmetries(sequence: list[int]) -> None:
    instance = LabsInstance(len(sequence))
    for image in (
        sequence[::-1],
        [-s for s in sequence],
        [s * (-1) ** i for i, s in enumerate(sequence)],
    ):
        assert instance.evaluate(solved(image)).objective == objective(sequence)


@pytest.mark.parametrize("n", [3, 4, 7, 20, 33])
def test_the_polynomial_is_canonical_and_of_order_four(n: int) -> None:
    model = polynomial(n)
    couplings = [((int(i), int(j)), float(v)) for i, j, v in zip(model.rows, model.cols, model.J, strict=True)]
    quartic = [(row, v) for t in model.higher for row, v in zip(t.index.tolist(), t.values.tolist(), strict=True)]
    again = SpinPolynomial.of(n, higher=[*couplings, *quartic], offset=model.offset)
    assert again.digest == model.digest
    assert model.order == (4 if n > 3 else 2)
    assert sequences.terms(n) == len(couplings) + len(quartic)


@FAST
@given(drawn(), st.data())
def test_every_change_to_an_answer_is_seen(sequence: list[int], data: st.DataObject) -> None:
    instance, good = LabsInstance(len(sequence)), solved(sequence)
    i = data.draw(st.integers(0, len(sequence) - 1))
    wrong: list[Any] = [
        {"sequence": sequence},
        {**good, "energy": 1},
        {**good, "sequence": [-s if j == i else s for j, s in enumerate(sequence)]},  # the run lengths are others
        {**good, "run_lengths": [*good["run_lengths"], 1]},
        *(solved(replaced(sequence, i, value)) for value in (0, 2, True, 1.0, "1", None)),
        solved(sequence[:-1]),
        solved([*sequence, 1]),
        sequence,
        None,
    ]
    for solution in wrong:
        judged = instance.evaluate(solution)
        assert not judged.feasible
        assert judged.violations


@pytest.mark.parametrize("n", [3, 4, 13, 40, 101, family.MOST])
def test_quick_is_feasible_and_better_than_a_random_sequence(n: int) -> None:
    instance = LabsInstance(n)
    judged = instance.evaluate(instance.quick())
    assert judged.feasible
    assert judged.objective is not None
    assert judged.objective <= n * (n - 1) / 2


@pytest.mark.parametrize(
    ("payload", "code", "place"),
    [
        ({}, "invalid_problem", "$.problem.n"),
        ({"n": 2}, "invalid_problem", "$.problem.n"),
        ({"n": -7}, "invalid_problem", "$.problem.n"),
        ({"n": True}, "invalid_problem", "$.problem.n"),
        ({"n": 20.0}, "invalid_problem", "$.problem.n"),
        ({"n": "20"}, "invalid_problem", "$.problem.n"),
        ({"n": None}, "invalid_problem", "$.problem.n"),
        ({"n": [20]}, "invalid_problem", "$.problem.n"),
        ({"n": 20, "m": 1}, "invalid_problem", "$.problem.m"),
        ({"n": 10**9}, "too_large", "$.problem.n"),
        ({"n": 12}, "too_large", "$.problem.n"),  # by the limits of these tests: 60 couplings
    ],
)
def test_bad_input(payload: dict[str, Any], code: str, place: str) -> None:
    verdict = refused("labs", payload)
    assert (verdict.rejected.code, verdict.rejected.place) == (code, place)
    assert verdict.rejected.remedy


def test_it_cannot_be_maximised() -> None:
    assert refused("labs", {"n": 5}, sense="max").rejected.place == "$.sense"


def test_the_digest_is_of_the_length() -> None:
    assert admitted("labs", {"n": 5}).instance.digest == LabsInstance(5).digest != LabsInstance(6).digest


def test_the_longest_one_passes_the_default_limits() -> None:
    assert sequences.terms(family.MOST) <= Limits().couplings


def energy_of(bits: Any) -> int:
    return objective(spins_of(bits).tolist())


def test_short_sequences_are_optimal() -> None:
    found = reduce.reduce([Task(polynomial(n), seed=n, seconds=10.0, clock=monotonic) for n in OPTIMA])
    assert {n: energy_of(bits_of_state(one.state)) for n, one in zip(OPTIMA, found, strict=True)} == OPTIMA


def test_the_kernel_is_the_problem_around_the_incumbent() -> None:
    task = Task(polynomial(20), seed=3, seconds=10.0, max_qubits=9, clock=monotonic)
    (found,) = reduce.reduce([task])
    (again,) = LabsFamily().reduce([task])
    assert again.state == found.state
    kernel = found.kernel
    assert isinstance(kernel, SpinPolynomial)
    assert (kernel.n, kernel.order) == (9, 4)
    assert len(found.gammas) == len(found.betas) == 2
    solver, instance = Exact(), LabsInstance(20)
    (result,) = solver.run([solver.prepare(job_of(kernel))])
    for sample, energy in zip(result.samples, result.energies, strict=True):
        answer = Answer(circuit=None, bits=pack_bits(sample), energy=float(energy))
        solution = instance.answered(found.state, found.lift, answer)
        assert instance.evaluate(solution).objective == pytest.approx(energy)
    assert result.energies.min() == pytest.approx(OPTIMA[20])
    with pytest.raises(ValueError, match="expected 9 bits"):
        instance.answered(found.state, found.lift, Answer(circuit=None, bits=pack_bits(np.zeros(8, np.uint8))))


def test_the_clock_ends_the_search_after_a_round() -> None:
    ticks = count()
    champion = reduce.search(31, 0, 1.0, lambda: float(next(ticks)))
    assert next(ticks) == 2
    assert objective(champion.tolist()) < 31 * 30 / 2


def test_a_batch_takes_the_time_of_one() -> None:
    ticks = count()
    tasks = [Task(polynomial(60), seed=k, seconds=12.0, clock=lambda: float(next(ticks))) for k in range(3)]
    assert len(reduce.reduce(tasks)) == 3
    assert next(ticks) < 30  # and what each asks the clock besides; it was 36 and more, and nobody's answer in time
