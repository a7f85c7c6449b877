"""Results that were had before: equal but for chance, bounded, the least wanted goes first."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.hops import Answer, PaidResult
from qmosaic.processors.control.cache import OVERHEAD, PaidResults, Results, key_of
from tests.processors.control.test_books import job

ANSWER = Answer(circuit=None, energy=-1.0)


def test_what_makes_jobs_equal() -> None:
    one = job(1)
    other = msgspec.structs.replace(one, ref=msgspec.structs.replace(one.ref, seed=77, tenant="x", problem_id="y"))
    assert key_of(one) == key_of(other)
    route = msgspec.structs.replace(one.route, backend="zne(ionq/simulator)")
    for unequal in (
        msgspec.structs.replace(one, kernel_digest="another"),
        msgspec.structs.replace(one, gammas=[0.1]),
        msgspec.structs.replace(one, betas=[0.1]),
        msgspec.structs.replace(one, route=route),
        msgspec.structs.replace(one, ref=msgspec.structs.replace(one.ref, shots=7)),
    ):
        assert key_of(unequal) != key_of(one)


def test_the_one_that_was_not_asked_for_longest_goes_first() -> None:
    results = Results(3 * (OVERHEAD + 100))
    for name in "abc":
        results.put(name, ANSWER, 100)
    assert results.get("a") is ANSWER
    results.put("d", ANSWER, 100)
    assert [name for name in "abcd" if results.get(name)] == ["a", "c", "d"]
    results.put("e", ANSWER, 10**9)  # larger than all there may be
    assert results.get("e") is None
    assert len(results) == 3
    assert Results(0).get("a") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2000)), max_size=60), st.integers(0, 5000))
def test_bounded_whatever_comes(puts: list[tuple[str, int]], most: int) -> None:
    fold = PaidResults(most)
    state = fold.start
    for key, size in puts:
        state = fold.step(state, PaidResult(key=key, answer=ANSWER, size=size), 0.0)
        assert 0 <= state.bytes <= max(most, 0)
        assert (state.get(key) is not None) == (size + OVERHEAD <= most)
