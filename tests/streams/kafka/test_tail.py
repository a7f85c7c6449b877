"""A tail whose reading has ended says so to whoever asks what is known."""

from __future__ import annotations

import asyncio

import pytest

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.processors.control.alive import Signs
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import Settings


async def test_knowledge_does_not_grow_old_in_silence() -> None:
    tail = Tail(Settings(), "backends.status", BackendStatus, Signs())
    assert tail.state == {}

    async def ends() -> None:
        raise ZeroDivisionError

    tail._task = asyncio.create_task(ends())
    await asyncio.wait({tail._task})
    with pytest.raises(ZeroDivisionError):
        _ = tail.state
