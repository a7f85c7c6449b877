"""The hop encode: problems to compact models; what may take long, in a process beside."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from qmosaic.codecs.events.hops import Encoded
from qmosaic.codecs.events.wire import envelope
from qmosaic.processors.admit import deadline_claimed, is_light
from qmosaic.processors.encode import encode
from qmosaic.streams.hops.beside import Beside, BesideError
from qmosaic.streams.hops.hop import RANKS, Look, log
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.logs import about

# Of problems, encoded on the event loop: some 20 ms. A thread would have to take turns with the loop for Python's lock.
INLINE_BYTES = 128 * 1024

# The lanes of encode: what takes milliseconds, and what is encoded in a process beside.
LIGHT, HEAVY = 0, 1
LANES = (LIGHT,)


class Encode:
    """problems → problems.encoded; what is not valid is left to verify."""

    def __init__(self, settings: Settings, stage: str, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._settings, self._clock = settings, clock
        self._limits, self._defaults = settings.limits, settings.defaults

    async def start(self) -> None:
        beside = self._settings.beside
        self._beside = Beside(beside.memory_bytes, beside.seconds, self._clock)

    def look(self, record: Received) -> Look:
        # By what the event itself says: headers of strangers are theirs.
        said = envelope(record.value)
        deadline_at = deadline_claimed(said, record.timestamp, self._limits, self._defaults)
        light = is_light(record.value, self._limits)
        rank, tenant = (RANKS.get(said.priority, 1), said.tenant) if said else (1, "")
        return Look(LIGHT if light else HEAVY, rank, deadline_at, tenant)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        if lane == HEAVY:
            encoded = [await self._encode_beside(record) for record in batch]
        elif sum(len(m.value or b"") for m in batch) <= INLINE_BYTES:
            encoded = encode(batch, self._limits, self._defaults)
        else:
            encoded = await asyncio.to_thread(encode, batch, self._limits, self._defaults)
        return [
            Send("problems.encoded", event, cause, key=event.ref.problem_id, size=event.size)
            for cause, event in enumerate(encoded)
            if event is not None
        ]

    async def _encode_beside(self, record: Received) -> Encoded | None:
        try:
            # What is too late was dropped just now, and there is nothing before it in this lane.
            encoded = await self._beside.run(math.inf, encode, [record], self._limits, self._defaults)
        except BesideError as error:
            place = record.topic, record.partition, record.offset
            log.warning("%s %s:%s is not encoded: %s", *place, error, extra=about(record))
            return None  # verify finds the same, and refuses it
        return encoded[0]

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        self._beside.stop()
