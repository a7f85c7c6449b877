"""What supervisors tell of their workers: the last word of each counts, while it is fresh."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.control import Trouble, WorkersStatus
from qmosaic.processors.overview.troubles import (
    MOST_SUPERVISORS,
    MOST_TROUBLES,
    Troubles,
    troubles_now,
    troubles_step,
)

NOW, STALE = 1_800_000_000.0, 15.0
ENDED, LOST = Trouble("route-0", "ended", NOW - 9), Trouble("encode-0", "collector", NOW - 8)


def after(*told: tuple[str, list[Trouble], float]) -> Troubles:
    state: Troubles = Troubles()
    for supervisor, troubles, at in told:
        state = troubles_step(state, WorkersStatus(supervisor=supervisor, troubles=troubles), at)
    return state


def test_the_last_word_of_each_supervisor_counts_while_it_is_fresh() -> None:
    state = after(("a", [ENDED], NOW - 9), ("b", [LOST], NOW - 3), ("a", [ENDED, LOST], NOW - 2))
    assert troubles_now(state, NOW, STALE) == [LOST, LOST, ENDED]
    assert troubles_now(state, NOW + 12.5, STALE) == [LOST, ENDED]
    assert troubles_now(after(("a", [ENDED], NOW), ("a", [], NOW)), NOW, STALE) == []


@given(st.lists(st.builds(Trouble, st.text(max_size=300), st.just("stuck"), st.floats(allow_nan=False))), st.text())
def test_whatever_is_told_is_bounded(troubles: list[Trouble], supervisor: str) -> None:
    for one in troubles_now(after((supervisor, troubles, NOW)), NOW, STALE):
        assert len(one.worker) <= 200
        assert 0 <= one.since <= NOW


def test_what_is_kept_is_bounded() -> None:
    state = after(
        *((f"s{number}", [ENDED] * (MOST_TROUBLES + 1), NOW + number) for number in range(MOST_SUPERVISORS + 9))
    )
    assert len(state) == MOST_SUPERVISORS
    assert "s8" not in state
    assert len(state["s9"].troubles) == MOST_TROUBLES
