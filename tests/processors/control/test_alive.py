"""Who is alive: the fold over signs of life, whatever order and number they come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.processors.control.alive import MOST_WORKERS, Heard, Signs, alive

KINDS = st.dictionaries(st.sampled_from(["spins", "circuit"]), st.integers(0, 30), min_size=1)
SIGNS = st.lists(
    st.tuples(
        st.builds(
            BackendStatus,
            worker=st.sampled_from("abc"),
            target=st.sampled_from(["classical", "quantum"]),
            backends=st.dictionaries(st.sampled_from(["x", "y"]), KINDS, max_size=2),
            at=st.just(0.0),
        ),
        st.floats(0, 100),
    ),
    max_size=12,
)


def folded(signs: list[tuple[BackendStatus, float]]) -> Mapping[str, Heard]:
    state = Signs.start
    for status, at in signs:
        state = Signs().step(state, status, at)
    return state


@given(SIGNS, st.floats(0, 100))
def test_the_last_sign_of_each_worker_counts_for_as_long_as_it_is_fresh(signs: Any, at: float) -> None:
    last = {status.worker: (status, said) for status, said in signs}
    fresh = [status for status, said in last.values() if said >= at - 5]
    found = alive(folded(signs), at, 5.0)
    expected = {
        (status.target, name, kind): max(
            other.backends[name][kind]
            for other in fresh
            if other.target == status.target and kind in other.backends.get(name, {})
        )
        for status in fresh
        for name, sizes in status.backends.items()
        for kind in sizes
    }
    assert {
        (target, name, kind): most
        for target, backends in found.items()
        for name, sizes in backends.items()
        for kind, most in sizes.items()
    } == expected


@given(SIGNS)
def test_a_step_leaves_the_old_state_as_it_is(signs: Any) -> None:
    states = [Signs.start]
    for status, at in signs:
        before = dict(states[-1])
        states.append(Signs().step(states[-1], status, at))
        assert dict(states[-2]) == before
    assert Signs.start == {}


def test_workers_without_end_are_forgotten() -> None:
    signs = [(BackendStatus(worker=str(k), target="gpu", backends={}, at=0.0), float(k)) for k in range(1010)]
    state = folded(signs)
    assert len(state) == MOST_WORKERS
    assert "1009" in state
    assert "0" not in state
