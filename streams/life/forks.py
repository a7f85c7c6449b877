"""The supervisor's side of the zygote: it asks for workers, and hears when they end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from qmosaic.streams.life.folders import UMASK
from qmosaic.streams.life.zygote import LARGEST, Ended, Fork, Forked, Load

SUPPORTED = sys.platform == "linux"
UNKNOWN = -256
"""The exit code of a process whose zygote is gone: nobody heard it."""
STOP_SECONDS = 5.0


class ZygoteError(Exception):
    """There is none to ask."""


class Process(Protocol):
    """What the supervisor knows of a worker's process, however it was made."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class ForkedProcess:
    """A fork of the zygote."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        """Its exit code, negative for a signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        """Ask it to end. Raises ProcessLookupError."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it. Raises ProcessLookupError."""
        self._signal(signal.SIGKILL)

    def ended(self, code: int) -> None:
        """Heard of its end; once."""
        if self.returncode is None:
            self.returncode = code
            self._ended.set()

    def _signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)


class Forks:
    """One zygote at a time; a new one when that has died."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._loaded: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._line: socket.socket | None = None
        self._asked: deque[asyncio.Future[ForkedProcess]] = deque()
        self._living: dict[int, ForkedProcess] = {}

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether a worker with this environment can be a fork."""
        return SUPPORTED and dict(environment) == self._environment

    async def start(self, words: int) -> None:
        """Start the zygote; it imports while others are waited for. `words`: where it writes what it has to say."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setblocking(False)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "qmosaic.streams.life.zygote", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                pass_fds=[theirs.fileno()],
                env=self._environment,
                umask=UMASK,
            )
        asyncio.get_running_loop().add_reader(self._line, self._heard, self._line)

    async def load(self, name: str) -> None:
        """Let it import more, for the workers that are asked for after this."""
        self._loaded.append(name)
        with suppress(OSError):  # it died; the next one will
            await self._send(msgspec.json.encode(Load((name,))), [])

    async def worker(self, stage: str, instance: str, line: int, words: int) -> ForkedProcess:
        """A new worker. Raises ZygoteError where there is no zygote, and none can be made, or it died."""
        if self._line is None:
            await self.start(words)
            await self._send(msgspec.json.encode(Load(tuple(self._loaded))), [])
        asked: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        try:
            await self._send(msgspec.json.encode(Fork(stage, instance)), [line, words])
        except OSError as error:
            self._asked.remove(asked)
            raise ZygoteError(str(error)) from None
        return await asked

    async def stop(self) -> None:
        """Let it go; its forks have ended or end by their lifelines."""
        if self._line is not None:
            asyncio.get_running_loop().remove_reader(self._line)
            self._line.close()
            self._line = None
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        while self._line is not None:
            try:
                socket.send_fds(self._line, [message], list(descriptors))
                return
            except BlockingIOError:  # it imports, and does not read
                await asyncio.sleep(0.01)
        raise BrokenPipeError("the zygote has ended")

    def _heard(self, line: socket.socket) -> None:
        while True:
            try:
                data = line.recv(LARGEST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost(line)
                return
            said = msgspec.json.decode(data, type=Forked | Ended)
            if isinstance(said, Forked):
                process = self._living[said.pid] = ForkedProcess(said.pid)
                asked = self._asked.popleft()
                if not asked.done():
                    asked.set_result(process)
            elif (ended := self._living.pop(said.pid, None)) is not None:
                ended.ended(said.code)

    def _lost(self, line: socket.socket) -> None:
        """It died. Its workers go on; that they end is seen (pidfd_open(2)), how, nobody will hear."""
        asyncio.get_running_loop().remove_reader(line)
        line.close()
        self._line = None
        while self._asked:
            asked = self._asked.popleft()
            if not asked.done():
                asked.set_exception(ZygoteError("it died"))
        for process in self._living.values():
            _watch(process)
        self._living.clear()


def _watch(process: ForkedProcess) -> None:
    loop = asyncio.get_running_loop()
    try:
        seen = os.pidfd_open(process.pid)
    except ProcessLookupError:
        process.ended(UNKNOWN)
        return

    def gone() -> None:
        loop.remove_reader(seen)
        os.close(seen)
        process.ended(UNKNOWN)

    loop.add_reader(seen, gone)
