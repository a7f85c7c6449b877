"""What the leader of control learns from the audit, and when it writes that down.

A snapshot holds what was learned and the offsets of the audit up to which it is folded, in one record. Whoever leads
next goes on from there: each entry counts once, whatever died in between. Nobody waits for it, so it follows lazily.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Evidence
from qmosaic.codecs.events.evidence import Learned
from qmosaic.processors.control.evidence import Evidences, Seen, is_new
from qmosaic.streams.kafka.connect import Clients
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import Settings

log = logging.getLogger("qmosaic.control")

LOOK_SECONDS, WAIT_MS = 2.0, 2000
"""Between two looks at the audit; and how long a broker holds one that finds nothing."""
SOON_SECONDS, LATER_SECONDS = 2.0, 60.0
"""Between two snapshots: while much is new, and at the latest."""
MUCH = 0.02
"""So many more runs, in parts of those known."""


class _Entry(msgspec.Struct):
    """Of an audit entry, what is evidence, and of which problem."""

    event: str = ""
    partition: int = 0
    offset: int = 0
    evidence: Evidence | None = None


class _From(Evidences):
    """The fold, from what is known already."""

    def __init__(self, start: Learned) -> None:
        self.start = start


class _Audit(Tail[Learned, Seen]):
    """With each entry its place."""

    def _event(self, record: ConsumerRecord) -> Seen:
        one = wire.decode(record.value or b"", _Entry)
        is_of = one.event in ("round", "settled")
        problem = f"{one.partition}-{one.offset}" if is_of else ""
        return Seen(record.partition, record.offset, one.evidence, problem, goes_on=one.event == "round")


class Learning:
    """One leader's. `begin` when it leads, `stop` when it does not."""

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings, self._clients = settings, clients
        self._written, self._written_at = Learned(), 0.0
        self._tail: _Audit | None = None
        self._starting: asyncio.Task[object] | None = None

    @property
    def known(self) -> Learned:
        """What was written last."""
        return self._written

    async def begin(self, known: Learned, at: float) -> None:
        """From what was written last, at a time (seconds since the epoch)."""
        await self.stop()
        self._written, self._written_at = known, at
        self._follow()

    def _follow(self) -> None:
        self._tail = _Audit(
            self._settings,
            "audit",
            Seen,
            _From(self._written),
            isolation="read_committed",
            wait_ms=WAIT_MS,
            offsets=dict(enumerate(self._written.offsets)),
            rest_seconds=LOOK_SECONDS,
            clients=self._clients,
        )
        self._starting = asyncio.create_task(self._tail.begin(), name="learning")

    def due(self, at: float) -> Learned | None:
        """What is to be written now, if anything is."""
        if self._tail is None or at - self._written_at < SOON_SECONDS:
            return None
        learned = self._tail.state
        if not is_new(self._written, learned):
            return None
        before, after = (sum(cell.seconds.n for cell in one.cells.values()) for one in (self._written, learned))
        return learned if after - before >= MUCH * before or at - self._written_at >= LATER_SECONDS else None

    def wrote(self, learned: Learned, at: float) -> None:
        """It is committed."""
        self._written, self._written_at = learned, at

    async def look(self) -> None:
        """Begin again where the broker was away when it began."""
        starting = self._starting
        if starting is None or not starting.done() or starting.cancelled() or starting.exception() is None:
            return
        error = starting.exception()
        if not isinstance(error, (KafkaError, BrokerError, OSError, TimeoutError)):
            starting.result()
        log.warning("the audit cannot be followed, and is tried again: %s", error)
        await self.stop()
        self._follow()

    async def stop(self) -> None:
        """Follow no more; bounded."""
        if self._starting is not None:
            self._starting.cancel()
        if self._tail is not None:
            await self._tail.stop()
        self._starting = self._tail = None
