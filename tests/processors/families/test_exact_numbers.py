"""Right numbers: whole ones are added exactly or a note says otherwise, and a proof is one beside large penalties."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.models.polynomial import SpinPolynomial, pack_polynomial, unpack_polynomial
from qmosaic.processors.families.base import Instance, Limits, Task
from qmosaic.processors.families.registry import known
from qmosaic.processors.spins.lift import apply, bits_of_state
from qmosaic.processors.spins.presolve import presolve
from qmosaic.processors.verify import gain

FAST = settings(deadline=None, max_examples=100)
NONE = np.zeros(0, np.uint8)


def parsed(name: str, payload: dict[str, Any], sense: Any = None) -> Instance:
    found = known(name).parse(Problem(family=name, problem=payload, sense=sense), Limits())
    assert not isinstance(found, Rejected), found
    return found


def reduced(name: str, payload: dict[str, Any], sense: Any = None) -> tuple[Any, Any]:
    """What reduce ends with: the incumbent's objective, and the kernel."""
    instance = parsed(name, payload, sense)
    (found,) = known(name).reduce([Task(instance.encode(), 1, 5.0, clock=monotonic)])
    return instance.evaluate(instance.solution(found.state)).objective, found.kernel


def energy(model: SpinPolynomial, bits: Any) -> Fraction:
    """Without any rounding, and without the offset."""
    s = [1 - 2 * int(bit) for bit in bits]
    linear = sum((Fraction(h) * x for h, x in zip(model.h.tolist(), s, strict=True)), Fraction(0))
    pairs = zip(model.J.tolist(), model.rows.tolist(), model.cols.tolist(), strict=True)
    return linear + sum((Fraction(J) * s[a] * s[b] for J, a, b in pairs), Fraction(0))


def states(n: int) -> list[Any]:
    return [np.array(bits, np.uint8) for bits in product((0, 1), repeat=n)]


RING = [[0, 1, -1], [1, 2, 1], [2, 3, -7], [3, 4, -(10**14)], [4, 5, 3], [5, 6, 8], [0, 6, 10**14]]


@pytest.mark.parametrize(
    ("name", "payload", "sense"),
    [
        ("ising", {"h": [0, -1, 0, 0, -4, 0, 0], "J": RING}, "min"),
        ("ising", {"h": [3, -1, 2], "J": [[0, 1, 2 * 10**15], [1, 2, -3], [0, 2, 2 * 10**15 + 1]]}, "min"),
        ("ising", {"h": [1, 0, 0, 5], "J": [[0, 1, 10**15], [1, 2, 1], [2, 3, -(10**15)], [0, 3, 2]]}, "max"),
        ("maxcut", {"edges": [[0, 1, 10**15], [1, 2, 10**15 + 1], [0, 2, 10**15 + 3], [2, 3, -1], [3, 0, 7]]}, "max"),
        ("qubo", {"terms": [[0, 0, -3], [0, 1, 10**14], [1, 1, -4], [1, 2, 10**14], [2, 2, -2], [0, 2, 1]]}, "min"),
    ],
)
def test_small_numbers_are_not_lost_beside_large_ones(name: str, payload: dict[str, Any], sense: Any) -> None:
    instance = parsed(name, payload, sense)
    found, kernel = reduced(name, payload, sense)
    values = [instance.evaluate(instance.solution(_state(bits))).objective for bits in states(instance.size)]
    assert found == (min(values) if sense == "min" else max(values))  # type: ignore[type-var]
    assert type(found) is int
    assert kernel is None
    assert instance.notes == []


def _state(bits: Any) -> Any:
    from qmosaic.processors.spins.lift import state_of

    return state_of(bits)


def test_the_ring_with_a_penalty() -> None:
    assert reduced("ising", {"h": [0, -1, 0, 0, -4, 0, 0], "J": RING}) == (-200000000000023, None)


VALUES = st.one_of(
    st.integers(-4, 4).map(float),
    st.integers(-4, 4).map(lambda k: k * 1e14),
    st.floats(-1e3, 1e3),
    st.sampled_from([1e-300, 1e300, -1e16, 0.1, -0.3]),
)


@st.composite
def models(draw: st.DrawFn) -> SpinPolynomial:
    n = draw(st.integers(1, 7))
    pairs = [(i, j) for i in range(n) for j in range(i)]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=10, unique=True)) if pairs else []
    values = draw(st.lists(VALUES, min_size=len(edges), max_size=len(edges)))
    h = draw(st.lists(VALUES, min_size=n, max_size=n))
    return SpinPolynomial.of(n, h=h, rows=[i for i, _ in edges], cols=[j for _, j in edges], J=values)


@FAST
@given(models())
def test_presolve_loses_nothing_at_any_scale(model: SpinPolynomial) -> None:
    solved = presolve(model)
    nothing = np.zeros(model.n, np.uint8)
    least = min(energy(model, bits) for bits in states(model.n))
    lifted = [energy(model, apply(solved.lift, nothing, bits)) for bits in states(solved.core.n)]
    assert min(lifted) == least
    assert solved.proven == (solved.core.n == 0)


def test_a_strong_coupling_ties_its_ends() -> None:
    """A complete graph of four with one strong edge: nothing has few neighbours, but two are as one."""
    rows, cols = np.triu_indices(4, 1)
    model = SpinPolynomial.of(4, h=[1, 2, 3, 4], rows=rows, cols=cols, J=[1e15, 1, 2, 3, -1, 2])
    solved = presolve(model)
    assert solved.proven
    bits = apply(solved.lift, np.zeros(4, np.uint8), NONE)
    assert energy(model, bits) == min(energy(model, each) for each in states(4))


def test_what_rounding_could_change_is_no_proof() -> None:
    """Fields of a QUBO are sums. Beside 1e16 the small ones are rounded: the model is not the problem."""
    payload = {"terms": [[0, 0, -0.3], [0, 1, 1e16], [1, 1, -0.2], [1, 2, 1e16], [2, 2, -0.1]]}
    model = parsed("qubo", payload).encode()
    assert isinstance(model, SpinPolynomial)
    assert model.error > 0
    assert unpack_polynomial(pack_polynomial(model)).error == model.error
    assert not presolve(model).proven
    objective, kernel = reduced("qubo", payload)
    assert kernel is not None
    assert objective <= 0
    ordinary = {"terms": [[0, 0, -0.3], [0, 1, 1.1], [1, 1, -0.2], [1, 2, 1.7], [2, 2, -0.1]]}
    assert reduced("qubo", ordinary) == (pytest.approx(-0.4), None)


def test_a_kernel_of_what_is_not_proven_has_the_incumbents_energy() -> None:
    payload = {"terms": [[0, 0, -0.3], [0, 1, 1e16], [1, 1, -0.2]]}
    instance = parsed("qubo", payload)
    model: Any = instance.encode()
    (found,) = known("qubo").reduce([Task(model, 1, 1.0, clock=monotonic)])
    kernel: Any = found.kernel
    assert kernel.n == 2
    whole = bits_of_state(found.state)
    assert kernel.energy(whole) == model.energy(whole)


@FAST
@given(
    st.sampled_from(["maxcut", "qubo", "ising"]),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(-(2**47), 2**47)), min_size=1, max_size=20),
    st.lists(st.integers(0, 1), min_size=6, max_size=6),
)
def test_whole_numbers_are_added_exactly(name: str, terms: list[tuple[int, int, int]], bits: list[int]) -> None:
    terms = [(a, b, w) for a, b, w in terms if a != b]
    key, count = {"maxcut": ("edges", "nodes"), "qubo": ("terms", "variables"), "ising": ("J", "variables")}[name]
    instance = parsed(name, {key: [list(term) for term in terms], count: 6})
    spins = [1 - 2 * b for b in bits]
    judged = instance.evaluate(spins if name == "ising" else bits)
    cut = sum(w for a, b, w in terms if bits[a] != bits[b])
    both = sum(w for a, b, w in terms if bits[a] and bits[b])
    aligned = sum(w * spins[a] * spins[b] for a, b, w in terms)
    assert judged.objective == {"maxcut": cut, "qubo": both, "ising": aligned}[name]
    assert type(judged.objective) is int
    assert instance.notes == [] or instance.notes[0].endswith("summed into others")


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("maxcut", {"edges": [[0, 1, 2**53 + 1]]}),
        ("maxcut", {"edges": [[0, 1, 2**64 + 2**11]]}),
        ("maxcut", {"edges": [[0, 1, 2**52], [1, 2, 2**52 + 1]]}),
        ("qubo", {"terms": [[0, 0, 10**16 + 1], [0, 1, -3]]}),
        ("qubo", {"terms": [[0, 1, 1]], "offset": 2**53 + 1}),
        ("ising", {"h": [-(2**60) - 1, 1]}),
        ("portfolio", {"returns": [2**53 + 1, 1], "covariance": [[1, 0], [0, 1]]}),
        ("portfolio", {"prices": [[2**53 + 1, 1], [2**53 + 3, 2], [2**53 + 9, 1]]}),
    ],
)
def test_what_is_rounded_is_noted(name: str, payload: dict[str, Any]) -> None:
    assert any("2^53" in note for note in parsed(name, payload).notes)


def test_large_terms_that_cancel_leave_what_is_small() -> None:
    instance = parsed("ising", {"J": [[0, 1, 1e16], [1, 2, -1e16], [0, 2, 0.5]], "h": [0.25, 0, 0]})
    assert instance.evaluate([1, 1, 1]).objective == 0.75


def test_exact_objectives_are_compared_exactly() -> None:
    assert gain("min", -200000000000023, -200000000000021) == 2
    assert gain("max", 200000000000021, 200000000000023) == -2
    assert gain("min", -200000000000023.0, -200000000000021.0) == 0.0


@pytest.mark.parametrize("names", [["A", "B"], ["trade_date", "A"], ["x" * 500, "y"]])
def test_a_portfolio_tells_the_assets_it_saw(names: list[str]) -> None:
    instance = parsed("portfolio", {"assets": names, "returns": [0.1, 0.2], "covariance": [[1, 0], [0, 1]]})
    details = instance.evaluate(instance.quick()).details
    assert details["universe"] == {"assets": 2, "names": sorted(name[:60] for name in names)}
    many = {"assets": [f"{k:04}" for k in range(300)], "returns": [0.1] * 300, "covariance": np.eye(300).tolist()}
    instance = parsed("portfolio", many)
    universe = instance.evaluate(instance.quick()).details["universe"]
    assert (universe["assets"], len(universe["names"])) == (300, 50)
