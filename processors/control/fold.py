"""Knowledge is a fold over a log: who reads the same records in the same order knows the same."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

State = TypeVar("State")
Event = TypeVar("Event", contravariant=True)


class Fold(Protocol[State, Event]):
    """`start`: what is known before the first event. `step` makes a new state and leaves the old one as it is."""

    @property
    def start(self) -> State: ...

    def step(self, state: State, event: Event, at: float) -> State:
        """What is known after an event. `at`: when it was written, seconds since the epoch."""
        ...


One = TypeVar("One")
Other = TypeVar("Other")
Same = TypeVar("Same")


class Both(Generic[One, Other, Same]):
    """Two folds over the same events: a pair of states."""

    def __init__(self, one: Fold[One, Same], other: Fold[Other, Same]) -> None:
        self._one, self._other = one, other

    @property
    def start(self) -> tuple[One, Other]:
        return self._one.start, self._other.start

    def step(self, state: tuple[One, Other], event: Same, at: float) -> tuple[One, Other]:
        """Each makes its step."""
        return self._one.step(state[0], event, at), self._other.step(state[1], event, at)
