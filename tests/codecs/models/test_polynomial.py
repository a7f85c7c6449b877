"""The compact model: canonical whatever order it was given in, and its energy is the polynomial's."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qmosaic.codecs.events.wire import decode, encode
from qmosaic.codecs.models.polynomial import (
    Linear,
    PackedPolynomial,
    SpinPolynomial,
    bits_of,
    pack_polynomial,
    spins_of,
    unpack_polynomial,
)

FAST = settings(deadline=None, max_examples=80)
WEIGHTS = st.one_of(st.integers(-9, 9).map(float), st.floats(-1e3, 1e3).map(lambda x: x + 0.0))
Couplings = list[tuple[int, int, float]]


@st.composite
def models(draw: st.DrawFn) -> tuple[list[float], Couplings, float]:
    """Fields, couplings (any direction, repeated ones too) and offset."""
    n = draw(st.integers(1, 7))
    ends = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda pair: pair[0] != pair[1])
    pairs = draw(st.lists(ends, max_size=10)) if n > 1 else []
    h = draw(st.lists(WEIGHTS, min_size=n, max_size=n))
    return h, [(a, b, draw(WEIGHTS)) for a, b in pairs], draw(WEIGHTS)


def ising(h: list[float], couplings: Couplings, offset: float) -> SpinPolynomial:
    rows, cols, values = zip(*couplings, strict=True) if couplings else ((), (), ())
    return SpinPolynomial.of(len(h), h=h, rows=rows, cols=cols, J=values, offset=offset)


@FAST
@given(models(), st.data())
def test_the_order_of_couplings_leaves_no_trace(model: Any, data: st.DataObject) -> None:
    h, couplings, offset = model
    shuffled = [
        (b, a, w) if data.draw(st.booleans()) else (a, b, w) for a, b, w in data.draw(st.permutations(couplings))
    ]
    one, other = ising(h, couplings, offset), ising(h, shuffled, offset)
    assert one.digest == other.digest
    keys = one.rows.astype(int) * one.n + one.cols
    assert (one.rows < one.cols).all()
    assert (np.diff(keys) > 0).all()
    assert (one.J != 0).all()


def test_repeated_couplings_are_summed_and_a_sum_of_zero_vanishes() -> None:
    summed = SpinPolynomial.of(3, rows=[0, 1, 2, 1], cols=[1, 0, 1, 2], J=[1.5, 2, 1, -1])
    assert summed.digest == SpinPolynomial.of(3, rows=[0], cols=[1], J=[3.5]).digest


def test_the_rounding_of_a_sum_leaves_no_trace_of_the_order_either() -> None:
    digests = {SpinPolynomial.of(2, rows=[0] * 3, cols=[1] * 3, J=J).digest for J in permutations([0.1, 0.2, 0.3])}
    assert len(digests) == 1


@FAST
@given(models(), st.data())
def test_energy_is_the_polynomial(model: Any, data: st.DataObject) -> None:
    h, couplings, offset = model
    bits = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(h), max_size=len(h))), dtype=np.uint8)
    s = [1 - 2 * int(x) for x in bits]
    naive = offset + sum(w * s[i] for i, w in enumerate(h)) + sum(w * s[a] * s[b] for a, b, w in couplings)
    built = ising(h, couplings, offset)
    assert float(built.energy(bits)) == pytest.approx(naive, abs=1e-8)
    batch = np.array([[bits, 1 - bits], [bits, bits]])
    assert built.energy(batch).shape == (2, 2)
    assert built.energy(batch)[1, 1] == pytest.approx(naive, abs=1e-8)


@FAST
@given(models(), st.data())
def test_any_change_changes_the_digest(model: Any, data: st.DataObject) -> None:
    h, couplings, offset = model
    before = ising(h, couplings, offset)
    at = data.draw(st.integers(0, len(h) - 1))
    assert ising([*h[:at], h[at] + 1, *h[at + 1 :]], couplings, offset).digest != before.digest
    assert ising(h, couplings, offset + 1).digest != before.digest
    assert ising([*h, 0.0], couplings, offset).digest != before.digest
    assume(couplings)
    k = data.draw(st.integers(0, len(couplings) - 1))
    a, b, w = couplings[k]
    assert ising(h, [*couplings[:k], (a, b, w + 1), *couplings[k + 1 :]], offset).digest != before.digest


def test_a_negative_zero_is_a_zero() -> None:
    assert SpinPolynomial.of(1, h=[-0.0], offset=-0.0).digest == SpinPolynomial.of(1, h=[0.0], offset=0.0).digest


def test_the_digest_never_changes_between_releases() -> None:
    model = SpinPolynomial.of(3, h=[0.5, 0, -1], rows=[2, 0], cols=[1, 1], J=[0.25, -3], offset=7)
    assert model.digest == "e7cc17083cc835107410eb97982ef916"


@FAST
@given(models())
def test_it_comes_back_from_the_wire(model: Any) -> None:
    built = ising(*model)
    back = unpack_polynomial(decode(encode(pack_polynomial(built)), PackedPolynomial))
    assert back.digest == built.digest
    assert back.rows.dtype == np.int32


@pytest.mark.parametrize(
    ("rows", "cols", "h"),
    [([0], [0], None), ([0], [3], None), ([-1], [0], None), ([], [], [1.0]), ([], [], [[0.0] * 3])],
)
def test_what_is_no_model_is_a_value_error(rows: list[int], cols: list[int], h: Any) -> None:
    with pytest.raises(ValueError, match=r"couplings must join|expected shape"):
        SpinPolynomial.of(3, rows=rows, cols=cols, J=[1.0] * len(rows), h=h)


def test_density() -> None:
    assert SpinPolynomial.of(1).density == 0
    assert SpinPolynomial.of(4, rows=[0, 1], cols=[1, 2], J=[1, 1]).density == pytest.approx(2 / 6)


def test_a_zero_bit_is_spin_up() -> None:
    bits = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    assert spins_of(bits).tolist() == [[1, -1], [-1, 1]]
    np.testing.assert_array_equal(bits_of(spins_of(bits)), bits)


@st.composite
def polynomials(draw: st.DrawFn) -> tuple[int, list[tuple[tuple[int, ...], float]]]:
    """Terms of any order up to four, as anyone may write them: indices in any order, repeated ones too."""
    n = draw(st.integers(1, 6))
    term = st.tuples(st.lists(st.integers(0, n - 1), max_size=4).map(tuple), WEIGHTS)
    return n, draw(st.lists(term, max_size=12))


def product_of(indices: tuple[int, ...], spins: Any) -> float:
    return float(np.prod([spins[i] for i in indices]))


@FAST
@given(polynomials(), st.data())
def test_terms_of_any_order_have_the_energy_they_say(model: Any, data: st.DataObject) -> None:
    n, terms = model
    built = SpinPolynomial.of(n, higher=terms)
    spins = np.array(data.draw(st.lists(st.sampled_from([1, -1]), min_size=n, max_size=n)))
    expected = sum(value * product_of(indices, spins) for indices, value in terms)
    assert float(built.energy(bits_of(spins))) == pytest.approx(expected, abs=1e-9 * (1 + built.scale))
    for order, monomials in zip((3, 4), built.higher, strict=False):
        assert monomials.index.shape[1] >= order
        assert (np.diff(monomials.index, axis=1) > 0).all()
        assert (monomials.values != 0).all()


@FAST
@given(polynomials(), st.data())
def test_the_order_of_terms_leaves_no_trace(model: Any, data: st.DataObject) -> None:
    n, terms = model
    shuffled = [(tuple(data.draw(st.permutations(i))), value) for i, value in data.draw(st.permutations(terms))]
    one, other = (SpinPolynomial.of(n, higher=given) for given in (terms, shuffled))
    assert one.digest == other.digest
    assert one.order == other.order


def test_higher_terms_and_constraints_come_back_from_the_wire_and_count_in_the_digest() -> None:
    plain = SpinPolynomial.of(4, higher={(0, 1, 2): 1.5, (3, 2, 1, 0): -1})
    bound = SpinPolynomial.of(
        4,
        higher={(0, 1, 2): 1.5, (3, 2, 1, 0): -1},
        constraints=[Linear.exactly([0, 3], 1), Linear(np.array([1, 2], np.int32), np.array([2.0, 1]), -np.inf, 2)],
    )
    assert plain.order == 4
    assert plain.digest != bound.digest != SpinPolynomial.of(4, higher={(0, 1, 2): 1.5}).digest
    for model in (plain, bound):
        back = unpack_polynomial(decode(encode(pack_polynomial(model)), PackedPolynomial))
        assert back.digest == model.digest
    assert [one.cardinality for one in bound.constraints] == [1, None]
    kept = bound.feasible(np.array([[1, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 0], [0, 1, 0, 1]]))
    assert kept.tolist() == [True, False, False, True]


def test_a_term_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="the variable 3"):
        SpinPolynomial.of(3, higher={(0, 1, 3): 1.0})
