"""Patience with brokers that have none.

A Kafka broker holds an empty fetch for `fetch_max_wait_ms`. The embedded one (noida-db 0.2.3) answers at once,
and aiokafka asks again at once: 4,000 times a second, a core for nothing in every process. Here a consumer
whose broker answers an empty fetch early rests before it asks again: 1 ms after records, growing to 15 ms when
nothing comes. The processes that a supervisor started on its own broker need not rest in vain: whoever has
published rings the *bell* of the topic, a datagram to the socket of each of its consumers, and they wake up. So
they may rest longer: four seconds, and less where others, who ring no bell, write to what they read: half of one
where problems come, one where orders do. Who reads problems alone, encode, and finds some that nobody rang for
rings the bell for the others. Elsewhere what nobody rang for (signs of life) is no reason to hurry.
A real Kafka never answers early, so nothing changes there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from aiokafka.consumer.fetcher import Fetcher

SHORTEST, LONGEST, GROWTH = 0.001, 0.015, 1.3
LONGEST_OPEN, GROWTH_OPEN = {"problems": 0.5, "control.commands": 1.0}, 1.15
"""With a bell, of who reads what others write too: whoever waited t for it waits some 0.15 t more."""
LONGEST_TOLD = 1.0
"""The same, of who reads more than one topic: whoever reads the open one alone rings for it."""
LONGEST_RUNG, GROWTH_RUNG = 4.0, 8.0
"""With a bell, of who reads what only those write who ring it."""
EARLY = 0.2  # of fetch_max_wait_ms
LOOK_SECONDS = 4.0
"""Between two looks of a fetcher with a bell at what there might be to do; all that there is wakes it up, too."""
VARIABLE = "QMOSAIC_BELL"  # the folder, in the environment of a supervisor's workers

_original = Fetcher._proc_fetch_request
_rests: WeakKeyDictionary[Any, _Rest] = WeakKeyDictionary()


class _Rest:
    """One consumer's patience: how long it rests next, and the socket on which the bell rings."""

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = topics = list(topics)
        self.seconds, self._longest, self._growth = SHORTEST, LONGEST, GROWTH
        self._rung = asyncio.Event()
        self._all_ring = self._rings = self._in_vain = False
        self.bell: socket.socket | None = None
        folder = os.environ.get(VARIABLE)
        if folder:
            its = [
                seconds
                for name, seconds in LONGEST_OPEN.items()
                if any(topic == name or topic.endswith(f".{name}") for topic in topics)
            ]
            self._all_ring = not its
            self._rings = bool(its) and len(topics) == 1
            self._longest, self._growth = (min(its), GROWTH_OPEN) if its else (LONGEST_RUNG, GROWTH_RUNG)
            if its and not self._rings:
                self._longest = max(self._longest, LONGEST_TOLD)
            bell = self.bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            bell.setblocking(False)
            bell.bind(str(Path(folder) / ".".join([f"{os.getpid()}-{bell.fileno()}", *map(_name, topics)])))
            asyncio.get_running_loop().add_reader(bell, self._hear, bell)

    def _hear(self, bell: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                bell.recv(1)
                self._rung.set()

    def came(self) -> None:
        """Records: more may follow at once, unless those who hurry would have rung."""
        if not self._all_ring:
            self.seconds = SHORTEST
        if self._rings and self._in_vain:
            ring(self._topics)
        self._in_vain = False

    async def rest(self) -> None:
        """Until the bell rings or the time is over."""
        try:
            await asyncio.wait_for(self._rung.wait(), self.seconds)
        except TimeoutError:
            self._in_vain = True
        else:
            self.seconds, self._in_vain = SHORTEST, False  # it rang: what was published may take a moment to be there
        self._rung.clear()
        self.seconds = min(self._longest, self.seconds * self._growth)


async def _paced(self: Any, assignment: Any, node_id: Any, request: Any) -> bool:
    loop = asyncio.get_running_loop()
    asked = loop.time()
    has_records: bool = await _original(self, assignment, node_id, request)
    rest = _rests.get(self)
    if rest is None:
        rest = _rests[self] = _Rest(topic for topic, _ in request.topics)
        if rings():
            self._fetcher_timeout = LOOK_SECONDS
    if has_records:
        rest.came()
    elif loop.time() - asked < EARLY * self._fetch_max_wait_ms / 1000:
        try:
            await rest.rest()
        except asyncio.CancelledError:
            return False  # as the original: the consumer closes, or its partitions changed
    return has_records


def install() -> None:
    """Pace every consumer of this process. Idempotent."""
    Fetcher._proc_fetch_request = _paced


def rings() -> bool:
    """Whether this process has a bell: it belongs to a supervisor's own, embedded broker."""
    return VARIABLE in os.environ


def ring(topics: Iterable[str]) -> None:
    """Wake the consumers of these topics: something was published. Does nothing without a bell."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    with (
        suppress(FileNotFoundError),
        os.scandir(folder) as bells,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringing,
    ):
        ringing.setblocking(False)
        names = {_name(topic) for topic in topics}
        for bell in bells:
            if names.isdisjoint(bell.name.split(".")):
                continue
            try:
                ringing.sendto(b"!", bell.path)
            except BlockingIOError:
                pass  # it has rings enough to wake up from
            except OSError:
                with suppress(FileNotFoundError):
                    os.unlink(bell.path)  # its process is gone


def _name(topic: str) -> str:
    return f"{zlib.crc32(topic.encode()):08x}"
