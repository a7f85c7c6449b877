"""Knowledge is a fold over a log: who reads the same records in the same order knows the same."""

from __future__ import annotations

from typing import Protocol, TypeVar

State = TypeVar("State")
Event = TypeVar("Event", contravariant=True)


class Fold(Protocol[State, Event]):
    """`start`: what is known before the first event. `step` makes a new state and leaves the old one as it is."""

    @property
    def start(self) -> State: ...

    def step(self, state: State, event: Event, at: float) -> State:
        """What is known after an event. `at`: when it was written, seconds since the epoch."""
        ...
