"""What hops tell of their work: spans and metrics listen, whatever else wants to know may. A hop knows of no telemetry
besides.

A listener may have something for the headers of what is sent: that is how a trace goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from qmosaic.codecs.events.hops import Ref
from qmosaic.codecs.events.public import Outcome
from qmosaic.streams.kafka.records import Headers, Received, Step


class Batch(Protocol):
    """A micro-batch that was handled: what follows from it is being sent. `cause`: which of its records."""

    def decided(self, cause: int, attributes: Mapping[str, Any]) -> None:
        """What was found out about a record."""
        ...

    def did(self, cause: int, step: Step) -> None:
        """What was done for a record, while it was handled."""
        ...

    def sending(self, cause: int, topic: str, attributes: Mapping[str, Any]) -> Headers:
        """An event goes to a topic (its full name); what its headers are to say besides."""
        ...

    def sent(self) -> None:
        """All of it is on the broker."""
        ...


class Ended(NamedTuple):
    """The end of a problem by the records that `arrived` for it; its terminal event goes to `topic` (its full name).
    `ref` and `outcome`, less what is large of it, where it was a problem."""

    problem: Received
    arrived: Sequence[Received]
    topic: str
    problem_id: str
    attributes: Mapping[str, Any]
    ref: Ref | None = None
    outcome: Outcome | None = None


class End(Protocol):
    """The end of a problem, about to be written."""

    def headers(self) -> Headers:
        """What the headers of its terminal event are to say besides."""
        ...

    def written(self) -> None:
        """It is on the broker."""
        ...


class Sensor(Protocol):
    """Told by the shells."""

    def handled(self, batch: Sequence[Received], started: float, ended: float) -> Batch:
        """A batch was handled, from `started` to `ended` (seconds since the epoch)."""
        ...

    def settled(self, ended: Ended) -> End:
        """A problem ends."""
        ...

    def rounded(
        self,
        problem: Received,
        arrived: Sequence[Received],
        attributes: Mapping[str, Any],
        number: int,
        began: float,
    ) -> End:
        """A round of a problem is over, by the records that `arrived` for it; at the problem's end `settled` is told of
        these. It `began` at that time (seconds since the epoch). Its headers are those of the next round, if there is
        one."""
        ...

    def repeated(self, problem: Received, problem_id: str) -> None:
        """A problem was sent again, and dropped."""
        ...


class Several:
    """Several listeners as one."""

    def __init__(self, *listeners: Sensor) -> None:
        self._listeners = listeners

    def handled(self, batch: Sequence[Received], started: float, ended: float) -> Batch:
        """All of them hear it."""
        return _Batches([each.handled(batch, started, ended) for each in self._listeners])

    def settled(self, ended: Ended) -> End:
        """All of them hear it."""
        return _Ends([each.settled(ended) for each in self._listeners])

    def rounded(
        self,
        problem: Received,
        arrived: Sequence[Received],
        attributes: Mapping[str, Any],
        number: int,
        began: float,
    ) -> End:
        """All of them hear it."""
        told = (problem, list(arrived), attributes, number, began)
        return _Ends([each.rounded(*told) for each in self._listeners])

    def repeated(self, problem: Received, problem_id: str) -> None:
        """All of them hear it."""
        for each in self._listeners:
            each.repeated(problem, problem_id)


class _Batches:
    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def decided(self, cause: int, attributes: Mapping[str, Any]) -> None:
        for each in self._batches:
            each.decided(cause, attributes)

    def did(self, cause: int, step: Step) -> None:
        for each in self._batches:
            each.did(cause, step)

    def sending(self, cause: int, topic: str, attributes: Mapping[str, Any]) -> Headers:
        return [header for each in self._batches for header in each.sending(cause, topic, attributes)]

    def sent(self) -> None:
        for each in self._batches:
            each.sent()


class _Ends:
    def __init__(self, ends: Sequence[End]) -> None:
        self._ends = ends

    def headers(self) -> Headers:
        return [header for each in self._ends for header in each.headers()]

    def written(self) -> None:
        for each in self._ends:
            each.written()
