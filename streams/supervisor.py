"""Start everything, keep it running, stop it in order: the broker if it is ours, the topics, a process a worker.

A worker that ends is started again, at once the first time, then after a growing pause. On a stop the workers
drain in the order of the flow, then the broker goes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from qmosaic.codecs.errors import BrokerError
from qmosaic.streams import pacing
from qmosaic.streams.admin import create_topics
from qmosaic.streams.broker import EmbeddedBroker
from qmosaic.streams.settings import EMBEDDED, Settings
from qmosaic.streams.topology import PAID

READY_SECONDS = 300.0  # a first start compiles every program once
DRAIN_SECONDS = 15.0
HOPELESS_STARTS = 5  # a worker that ended that often before it ever was ready will not get there
STEADY_SECONDS = 30.0  # a worker that ran this long starts again without a pause
LONGEST_PAUSE = 10.0


@dataclass(eq=False)
class Child:
    """One worker process and what is known of it."""

    stage: str
    instance: str
    process: asyncio.subprocess.Process | None = None
    line: socket.socket | None = None
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0
    started_at: float = 0.0
    task: asyncio.Task[None] | None = None


class Supervisor:
    """`async with Supervisor(settings, ["encode", …]) as up:` has everything running and ready."""

    def __init__(
        self,
        settings: Settings,
        stages: Sequence[str],
        *,
        scale: dict[str, int] | None = None,
        suffix: str = "",
        logs: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
        create: bool = True,
    ) -> None:
        self.settings, self._logs, self._tell, self._create = settings, logs, tell, create
        self.broker: EmbeddedBroker | None = None
        self._watch: asyncio.Task[None] | None = None
        self._bell: tempfile.TemporaryDirectory[str] | None = None
        counts = scale or {}
        if not settings.paid.backends:
            stages = [stage for stage in stages if stage != PAID]
        self.children = [Child(stage, f"{stage}{suffix}-{k}") for stage in stages for k in range(counts.get(stage, 1))]

    async def __aenter__(self) -> Supervisor:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Broker, topics, workers; returns when every worker has its partitions. Raises BrokerError."""
        if self.settings.broker == EMBEDDED:
            self.broker = EmbeddedBroker(Path(self.settings.data_dir) / "broker", self.settings.embedded_port)
            self.broker.start()  # on the main thread: the broker ends when the thread that started it does
            self.settings = msgspec.structs.replace(self.settings, broker=self.broker.address)
            self._tell(f"embedded broker at {self.broker.address}")
            self._bell = tempfile.TemporaryDirectory(prefix="qm-")  # a short path: sockets allow 100 characters
            os.environ[pacing.VARIABLE] = self._bell.name
            self._watch = asyncio.create_task(self._keep_broker(self.broker), name="broker")
        if self._create:
            await create_topics(self.settings)
        for child in self.children:
            child.task = asyncio.create_task(self._keep(child), name=child.instance)
        await self._until_ready()

    async def _until_ready(self) -> None:
        until = time.monotonic() + READY_SECONDS
        while late := [child for child in self.children if not child.is_ready.is_set()]:
            hopeless = [child for child in late if child.starts >= HOPELESS_STARTS]
            if hopeless or time.monotonic() > until:
                names = ", ".join(child.instance for child in hopeless or late)
                raise BrokerError(
                    f"{names} {'cannot start' if hopeless else f'not ready after {READY_SECONDS:.0f} s'}",
                    place=self._last_words(hopeless or late),
                    remedy=f"Look at the logs{f' in {self._logs}' if self._logs else ''}.",
                )
            await asyncio.sleep(0.05)

    def _last_words(self, children: Sequence[Child]) -> str:
        if self._logs is None:
            return ""
        lines = (self._logs / f"{children[0].instance}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    async def stop(self) -> None:
        """Drain and stop; every wait bounded."""
        if self._watch is not None:
            self._watch.cancel()
        for child in self.children:
            if child.task is not None:
                child.task.cancel()  # nobody is started again
        for child in self.children:
            await self._end(child)
        if self.broker is not None:
            await asyncio.to_thread(self.broker.stop)
        if self._bell is not None:
            os.environ.pop(pacing.VARIABLE, None)
            self._bell.cleanup()

    async def _keep_broker(self, broker: EmbeddedBroker) -> None:
        while True:
            await asyncio.sleep(0.5)
            status = broker.poll()
            if status is not None:
                self._tell(f"the embedded broker ended with {status}, starting it again at {broker.address}")
                broker.start()

    async def _keep(self, child: Child) -> None:
        pause = 0.0
        while True:
            await self._spawn(child)
            assert child.process is not None
            code = await child.process.wait()
            steady = time.monotonic() - child.started_at > STEADY_SECONDS
            pause = 0.0 if steady or child.starts == 1 else min(LONGEST_PAUSE, max(0.25, pause * 2))
            self._tell(f"{child.instance} ended with {code}, starting again{f' in {pause:g} s' if pause else ''}")
            await asyncio.sleep(pause)

    async def _spawn(self, child: Child) -> None:
        ours, theirs = socket.socketpair()
        log = None
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            log = (self._logs / f"{child.instance}.log").open("ab")
        try:
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "qmosaic.streams.child",
                child.stage,
                child.instance,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log or sys.stderr,
                stderr=log or sys.stderr,
                pass_fds=[theirs.fileno()],
            )
        finally:
            theirs.close()
            if log is not None:
                log.close()
        child.starts += 1
        child.started_at = time.monotonic()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(ours, msgspec.json.encode(self.settings) + b"\n")
        if child.line is not None:
            child.line.close()
        child.line = ours
        loop.add_reader(ours, self._heard, child, ours)

    def _heard(self, child: Child, line: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = line.recv(16)
        if data:
            child.is_ready.set()
        else:
            asyncio.get_running_loop().remove_reader(line)

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), DRAIN_SECONDS)
            except TimeoutError:
                self._tell(f"{child.instance} does not stop, killing it")
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if child.line is not None:
            asyncio.get_running_loop().remove_reader(child.line)
            child.line.close()
            child.line = None
