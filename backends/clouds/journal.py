"""The journal of paid jobs: which entries count, of all that were written, and where they are kept."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from immutables import Map

from qmosaic.codecs.events.control import Submitted


class Counted(NamedTuple):
    """The entries that count, of all that were written, in their order, by job. What is read first is where it begins:
    what was before may be past its retention."""

    jobs: Map[str, tuple[Submitted, ...]] = Map()

    def after(self, entry: Submitted) -> Counted:
        """With the next one that was written; itself, where that does not count."""
        before = self.of(entry.client_id)
        if before and entry.revision != before[-1].revision + 1:
            return self
        return Counted(self.jobs.set(entry.client_id, (*before, entry)))

    def of(self, client_id: str) -> tuple[Submitted, ...]:
        """All of one job."""
        return self.jobs.get(client_id, ())


class Journal(Protocol):
    """Where entries are kept."""

    async def last(self, client_id: str) -> Submitted | None:
        """The latest entry that counts, whoever wrote it up to now."""
        ...

    async def append(self, entry: Submitted) -> bool:
        """Write an entry, durably when this returns; whether it counts."""
        ...


class Memory:
    """A journal for as long as the process lives."""

    def __init__(self) -> None:
        self.counted = Counted()

    async def last(self, client_id: str) -> Submitted | None:
        """The latest entry."""
        return next(reversed(self.counted.of(client_id)), None)

    async def append(self, entry: Submitted) -> bool:
        """Write an entry."""
        before, self.counted = self.counted, self.counted.after(entry)
        return self.counted is not before
