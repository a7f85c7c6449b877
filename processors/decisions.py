"""What the join of a partition is about: its inputs, what is open, what it has decided, and what the log says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from qmosaic.codecs.events.hops import Interim, Ref
from qmosaic.processors.admit import Admission, Refusal

Input = Literal["problems", "incumbents", "proposals"]
REJECTED = "problems.rejected"
INTERIM = "problems.interim"
INPUTS: tuple[Input, ...] = ("problems", "incumbents", "proposals")


@dataclass(frozen=True, eq=False)
class Arrived:
    """An event and the record it came in; `record` is the shell's own, handed back with the decision."""

    event: Any
    record: Any


@dataclass(eq=False)
class Open:
    """A problem that is not settled yet. `admission` None: it is admitted again from its record when it is judged."""

    ref: Ref
    admission: Admission | None
    record: Any
    incumbents: list[Arrived] = field(default_factory=list)
    proposals: list[Arrived] = field(default_factory=list)
    interim: Interim | None = None  # what the rounds before came to

    @property
    def round(self) -> int:
        """The one that is on."""
        return 1 if self.interim is None else self.interim.ref.round

    def takes(self, number: int) -> bool:
        """Whether an event of a round is of use: of this one, or of the next, which may have been seen to begin by a
        transaction that was aborted."""
        return number == self.round or (self.ref.rounds != 1 and number == self.round + 1)

    def now(self, arrived: list[Arrived]) -> list[Arrived]:
        """Those of the round that is on."""
        return [one for one in arrived if one.event.ref.round == self.round]


@dataclass(frozen=True, eq=False)
class Decision:
    """A problem to settle now, with what is known: `cause` is the record that decided, None for the clock."""

    open: Open
    incumbent: Arrived | None
    proposal: Arrived | None
    cause: Arrived | None


@dataclass(frozen=True, eq=False)
class Reject:
    """A record to reject now."""

    refusal: Refusal
    offset: int
    record: Any


@dataclass(frozen=True, eq=False)
class Unread:
    """A record whose time is over before anybody knew whether it is a problem at all."""

    offset: int
    record: Any


@dataclass(frozen=True, eq=False)
class Duplicate:
    """A record that says again what is known already: dropped, with an audit entry."""

    problem_id: str
    offset: int
    first_offset: int
    record: Any


class Settled(msgspec.Struct, frozen=True):
    """A terminal event in the log. `topic`, `position`: where it stands; `offset`: of its problem record."""

    problem_id: str
    digest: str
    offset: int
    at: float
    topic: str
    position: int


@dataclass(frozen=True, eq=False)
class Began:
    """A round that began, as the log says: at this position of it."""

    interim: Interim
    position: int
