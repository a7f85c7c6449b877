"""The line between the supervisor and a worker: settings come down, «ready» goes up, its end means stop. In between
the worker is asked, all the time, whether it is well.

A socket pair: when either process dies, however it dies, the other reads its end. So a worker never outlives
its supervisor, and nothing has to be looked for by process id.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress

import msgspec

from qmosaic.streams.life.memory import settle_memory
from qmosaic.streams.settings import Settings

READY = "ready"
"""What a worker says last of its start; before it, in a line each, what it does."""
ASK, WELL = b"?", "well"
"""A question of the supervisor's, and how the line begins on which it is answered: what is wrong follows."""
DRAIN_SECONDS = 15


class Lifeline:
    """The worker's end."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._stop = asyncio.Event()
        self._told = False
        self._drain_seconds = DRAIN_SECONDS
        self.troubles: Callable[[], Collection[str]] = tuple
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def _watch(self) -> None:
        """When whoever supervised us is gone, end soon, whatever the drain does, and work that blocks the loop."""
        line = select.poll()
        line.register(self._socket, 0)  # nothing but its end
        line.poll()
        if not self._drain_seconds:
            os._exit(0)
        signal.alarm(self._drain_seconds)  # SIGALRM ends a process

    def settings(self) -> Settings:
        """The first line: the settings the supervisor runs with."""
        with self._socket.makefile("rb") as lines:
            return msgspec.json.decode(lines.readline(), type=Settings)

    def ends_at_once(self) -> None:
        """There is nothing to drain here."""
        self._drain_seconds = 0

    def listen(self) -> None:
        """Stop on SIGTERM, and when the supervisor is gone. Ctrl-C is the supervisor's to handle."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._socket.setblocking(False)
        loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            try:
                data = self._socket.recv(64)
            except OSError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(self._socket)
                self._end()
            elif ASK in data:
                with suppress(OSError):
                    self._socket.send(f"{' '.join((WELL, *self.troubles()))}\n".encode())

    def _end(self) -> None:
        if not self._told:
            os._exit(0)  # in the middle of its start: there is nothing to drain
        self._stop.set()

    def started(self) -> None:
        """What start-up made stays: see `settle_memory`."""
        settle_memory()

    def shared_by(self, count: int) -> list[Lifeline]:
        """For so many stages of one process: it is ready when all of them are."""
        if count == 1:
            return [self]
        waiting = set(range(count))
        return [_Part(self, number, waiting) for number in range(count)]

    def ready(self) -> None:
        """Tell the supervisor, once, that this worker has its partitions."""
        if not self._told:
            self.step(READY)
            self._told = True

    def step(self, doing: str) -> None:
        """Tell the supervisor what is being done: this, too, is progress."""
        if not self._told:
            with suppress(OSError):
                self._socket.send(f"{doing}\n".encode())

    async def wait(self) -> None:
        """Until told to stop."""
        await self._stop.wait()


class _Part(Lifeline):
    """The lifeline as one of several stages sees it. `waiting`: of whom nothing was heard yet."""

    def __init__(self, whole: Lifeline, number: int, waiting: set[int]) -> None:
        self._whole, self._number, self._waiting = whole, number, waiting

    def started(self) -> None:
        """What start-up made stays, when the last one has started; it may be called by each."""
        self._whole.started()

    def ready(self) -> None:
        """It has its partitions."""
        self._waiting.discard(self._number)
        if not self._waiting:
            self._whole.ready()

    def step(self, doing: str) -> None:
        """Tell the supervisor."""
        self._whole.step(doing)

    async def wait(self) -> None:
        """Until told to stop."""
        await self._whole.wait()
