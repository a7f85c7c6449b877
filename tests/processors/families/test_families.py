"""Every family: what the solvers minimise is what the producer asked, and nothing depends on how it was written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.registry import FAMILIES, family
from tests.processors.problems import SHAPES, Case, admitted, cases, decoded, model_of

FAST = settings(deadline=None, max_examples=100)


def bits_for(case: Case, data: st.DataObject) -> Any:
    return np.array(data.draw(st.lists(st.integers(0, 1), min_size=case.n, max_size=case.n)), dtype=np.uint8)


def test_the_quadratic_families_are_tested_here() -> None:
    assert SHAPES.keys() <= FAMILIES.keys()
    assert all(FAMILIES[name].name == name for name in FAMILIES)


@FAST
@given(cases(), st.data())
def test_energy_is_the_objective(case: Case, data: st.DataObject) -> None:
    admission, bits = case.admit(), bits_for(case, data)
    instance, model = admission.instance, model_of(admission)
    solution = decoded(admission, bits)
    judged = instance.evaluate(solution)
    assert judged.feasible
    assert judged.objective is not None
    assert judged.objective == pytest.approx(case.objective(solution), abs=1e-9 * case.scale)
    sign = -1 if instance.sense == "max" else 1
    assert model.n == instance.size == case.n
    assert float(model.energy(bits)) == pytest.approx(sign * judged.objective, abs=1e-9 * case.scale)


@FAST
@given(cases())
def test_decode_is_one_to_one_and_json(case: Case) -> None:
    admission = case.admit()
    zeros, ones = np.zeros(case.n, np.uint8), np.ones(case.n, np.uint8)
    off, on = (-1, 1) if case.family == "ising" else (1, 0)  # bit 0 is spin +1
    for bits, value in ((zeros, on), (ones, off)):
        solution = decoded(admission, bits)
        values = list(solution.values()) if case.names else solution
        assert values == [value] * case.n
        assert all(type(v) is int for v in values)
        if case.names:
            assert solution.keys() == set(case.names)


@FAST
@given(cases())
def test_quick_is_feasible_and_no_worse_than_a_guess(case: Case) -> None:
    admission = case.admit()
    model, solution = model_of(admission), admission.instance.quick()
    judged = admission.instance.evaluate(solution)
    assert judged.feasible
    assert judged.objective == pytest.approx(case.objective(solution), abs=1e-9 * case.scale)
    # Greedy by conditional expectation: never worse than the mean over all states, which is the offset.
    sign = -1 if case.sense == "max" else 1
    assert judged.objective is not None
    assert sign * judged.objective <= model.offset + 1e-9 * case.scale


@FAST
@given(cases(), st.data())
def test_the_order_of_writing_leaves_no_trace(case: Case, data: st.DataObject) -> None:
    turned = [(b, a, w) if data.draw(st.booleans()) else (a, b, w) for a, b, w in case.pairs]
    other = replace(case, pairs=tuple(data.draw(st.permutations(turned))))
    if case.names:  # the names in another order, and what belongs to them with them
        order = data.draw(st.permutations(range(case.n)))
        place = {old: new for new, old in enumerate(order)}
        other = replace(
            other,
            names=tuple(case.names[old] for old in order),
            pairs=tuple((place[a], place[b], w) for a, b, w in other.pairs),
            fields=None if case.fields is None else tuple(case.fields[old] for old in order),
        )
    one, two = case.admit(), other.admit()
    assert one.instance.digest == two.instance.digest
    assert model_of(one).digest == model_of(two).digest
    assert one.instance.quick() == two.instance.quick()


@FAST
@given(cases(), st.data())
def test_permuting_the_variables_permutes_the_energies(case: Case, data: st.DataObject) -> None:
    case = replace(case, names=None)
    place = data.draw(st.permutations(range(case.n)))  # variable i becomes place[i]
    back = [place.index(i) for i in range(case.n)]
    other = replace(
        case,
        pairs=tuple((place[a], place[b], w) for a, b, w in case.pairs),
        fields=None if case.fields is None else tuple(case.fields[i] for i in back),
    )
    bits = bits_for(case, data)
    one, two = model_of(case.admit()), model_of(other.admit())
    assert float(one.energy(bits)) == pytest.approx(float(two.energy(bits[back])), abs=1e-9 * case.scale)


@FAST
@given(cases(), st.data())
def test_the_digest_tells_every_change(case: Case, data: st.DataObject) -> None:
    digest = case.admit().instance.digest
    flipped = "max" if case.sense == "min" else "min"
    assert replace(case, sense=flipped).admit().instance.digest != digest
    if case.family != "maxcut":
        assert replace(case, offset=case.offset + 1).admit().instance.digest != digest
    if case.fields is not None:
        assert replace(case, fields=(case.fields[0] + 1, *case.fields[1:])).admit().instance.digest != digest
    if case.names:
        assert replace(case, names=(case.names[0] + "~~~~~", *case.names[1:])).admit().instance.digest != digest
        assert replace(case, names=None).admit().instance.digest != digest
    else:
        more = replace(case, n=case.n + 1, fields=None if case.fields is None else (*case.fields, 0.0))
        assert more.admit().instance.digest != digest
    assume(case.pairs)
    k = data.draw(st.integers(0, len(case.pairs) - 1))
    a, b, w = case.pairs[k]
    assert replace(case, pairs=(*case.pairs[:k], (a, b, w + 1), *case.pairs[k + 1 :])).admit().instance.digest != digest


def test_names_do_not_run_into_each_other() -> None:
    edge: dict[str, Any] = {"edges": []}
    one = admitted("maxcut", edge | {"nodes": ["a", "b\0c"]}).instance
    assert one.digest != admitted("maxcut", edge | {"nodes": ["a\0b", "c"]}).instance.digest


@pytest.mark.parametrize("name", SHAPES)
def test_families_do_not_share_digests(name: str) -> None:
    digests = {
        other: admitted(other, {SHAPES[other][0]: [[0, 1, 1.0]]}, sense="min").instance.digest for other in SHAPES
    }
    assert len(set(digests.values())) == len(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_the_sense_where_the_producer_says_none(name: str) -> None:
    pairs, _, sense, _ = SHAPES[name]
    assert admitted(name, {pairs: [[0, 1, 1]]}).instance.sense == sense


def test_an_edge_without_a_weight_weighs_one() -> None:
    bare, given_ = admitted("maxcut", {"edges": [[0, 1]]}), admitted("maxcut", {"edges": [[0, 1, 1.0]]})
    assert bare.ref.digest == given_.ref.digest


@pytest.mark.parametrize("name", SHAPES)
def test_repeated_pairs_are_summed_and_noted(name: str) -> None:
    pairs = SHAPES[name][0]
    instance = admitted(name, {pairs: [[0, 1, 1], [1, 0, 2], [1, 2, 1], [0, 1, 4]]}).instance
    assert instance.digest == admitted(name, {pairs: [[0, 1, 7], [1, 2, 1]]}).instance.digest
    (note,) = instance.notes
    assert note.startswith("2 repeated")
    assert admitted(name, {pairs: [[0, 1, 7]]}).instance.notes == []


def test_a_repeated_linear_term_of_a_qubo_is_summed_and_noted() -> None:
    instance = admitted("qubo", {"terms": [[0, 0, 0.1], [0, 0, 0.2], [0, 0, 0.3]]}).instance
    assert instance.notes == ["2 repeated terms summed into others"]
    other = admitted("qubo", {"terms": [[0, 0, 0.3], [0, 0, 0.1], [0, 0, 0.2]]}).instance
    assert instance.digest == other.digest


def test_the_size_comes_from_the_count_or_the_highest_index() -> None:
    assert model_of(admitted("maxcut", {"edges": [[0, 4]]})).n == 5
    assert model_of(admitted("maxcut", {"edges": [[0, 4]], "nodes": 9})).n == 9
    assert model_of(admitted("ising", {"h": [1, 0, 1]})).n == 3
    assert model_of(admitted("ising", {"h": {"b": 1}, "J": [["a", "c", 1]]})).n == 3


def test_a_field_by_name_that_is_missing_is_zero() -> None:
    assert model_of(admitted("ising", {"h": {"b": 2}, "J": [["a", "b", 1]]})).h.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("maxcut", [0, 2]), ("maxcut", [0]), ("qubo", [0.5, 0]), ("ising", [0, 1]), ("ising", [1, 1, 1])],
)
def test_a_solution_that_is_none_is_infeasible(name: str, wrong: list[float]) -> None:
    judged = admitted(name, {SHAPES[name][0]: [[0, 1, 1]]}).instance.evaluate(wrong)
    assert not judged.feasible
    assert judged.violations


def test_an_unknown_family_lists_the_choices() -> None:
    rejected = family("sudoku")
    assert not hasattr(rejected, "parse")
    assert "ising, labs, maxcut" in rejected.remedy


def test_limits_are_inclusive() -> None:
    problem = admitted("maxcut", {"edges": [[0, 1], [1, 2]]}).problem
    exact = Limits(variables=3, couplings=2)
    assert hasattr(FAMILIES["maxcut"].parse(problem, exact), "encode")
    for tight in (Limits(variables=2, couplings=2), Limits(variables=3, couplings=1)):
        rejected = FAMILIES["maxcut"].parse(problem, tight)
        assert getattr(rejected, "code", None) == "too_large"
