"""What hops tell of their work: spans listen, whatever else wants to know may. A hop knows of no telemetry besides.

A listener may have something for the headers of what is sent: that is how a trace goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

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

    def handled(self, batch: Sequence[Received], started: float) -> Batch:
        """A batch was handled, from `started` (seconds since the epoch) on."""
        ...

    def settled(
        self, problem: Received, arrived: Iterable[Received], topic: str, problem_id: str, attributes: Mapping[str, Any]
    ) -> End:
        """A problem ends by the records that `arrived` for it; its terminal event goes to `topic` (its full name)."""
        ...

    def repeated(self, problem: Received, problem_id: str) -> None:
        """A problem was sent again, and dropped."""
        ...
