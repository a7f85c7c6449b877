"""Start everything, keep it running, stop it: the broker if it is ours, the topics, a process a worker.

A worker that ends is started again, at once the first time, then after a growing pause. On a stop all workers drain at
once, then the broker goes: what lies between two of them is in the log, where the next start finds it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, get_args

import msgspec

from qmosaic.backends.kept import is_complete
from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events.control import Ailment
from qmosaic.codecs.text import shown
from qmosaic.streams.kafka import pacing
from qmosaic.streams.life.broker import EmbeddedBroker
from qmosaic.streams.life.children import Child, Progress, children_of, note_progress, shared_by
from qmosaic.streams.life.endpoint import Endpoint
from qmosaic.streams.life.environment import of_all, of_worker
from qmosaic.streams.life.folders import UMASK, make_data_folder, make_private, scratch
from qmosaic.streams.life.forks import SUPPORTED, Forks, Process, ZygoteError
from qmosaic.streams.life.lifeline import READY, WELL
from qmosaic.streams.life.retention import keep_forgetting
from qmosaic.streams.life.topics import create_topics, refuse_a_second
from qmosaic.streams.life.troubles import keep_telling
from qmosaic.streams.settings import EMBEDDED, Settings
from qmosaic.streams.topology import PAID
from qmosaic.streams.watch import serving
from qmosaic.streams.watch.logs import last_lines, open_log, trim

READY_SECONDS = 300.0
"""A start is given up that long after the last sign of progress: a step that a worker tells, or time of a processor."""
LOOK_SECONDS, SAY_SECONDS = 1.0, 5.0
DRAIN_SECONDS = 15.0
COMPILER_STARTS = 3
HOPELESS_ENDS = 5  # a worker that ended that often before it ever was ready will not get there
STEADY_SECONDS = 30.0  # a worker that ran this long starts again without a pause
LONGEST_PAUSE = 10.0


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
        progress: Callable[[Progress], None] | None = None,
        create: bool = True,
        alone: bool = False,
    ) -> None:
        """`tell`: a line about what happens; `progress`: whenever a start is further, else it is told now and then.
        `alone`: refuse to start where workers of the same names are at work already."""
        self.settings, self._logs, self._tell, self._create = settings, logs, tell, create
        self._progress, self._alone = progress, alone
        self.broker: EmbeddedBroker | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._open = ExitStack()
        self._forks = Forks({})
        counts = scale or {}
        if not settings.paid.backends:
            stages = [stage for stage in stages if stage != PAID]
        self.children = children_of(stages, counts, suffix)

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
        """Broker, topics, workers; returns when a problem would be answered. Raises BrokerError, SettingsError."""
        data = Path(self.settings.data_dir)
        make_data_folder(data)
        if self._logs is not None:
            make_private(self._logs)
        if self.settings.broker == EMBEDDED:
            os.environ[pacing.VARIABLE] = str(self._open.enter_context(scratch()))
            self._open.callback(os.environ.pop, pacing.VARIABLE, None)
        if self.settings.metrics.port:
            folder = os.environ[serving.VARIABLE] = str(self._open.enter_context(scratch()))
            self._open.callback(os.environ.pop, serving.VARIABLE, None)
            endpoint = Endpoint(self.settings.metrics, Path(folder), self.children)
            await endpoint.start()
            self._open.callback(endpoint.stop)
        self._forks = Forks(of_all(os.environ))
        if SUPPORTED:
            with self._words("zygote") as words:
                await self._forks.start(words.fileno())  # it imports while the broker starts
        if self.settings.broker == EMBEDDED:
            self.broker = EmbeddedBroker(data / "broker", self.settings.embedded_port)
            self.broker.start()  # on the main thread: the broker ends when the thread that started it does
            self.settings = msgspec.structs.replace(self.settings, broker=self.broker.address)
            self._tell(f"embedded broker at {self.broker.address}")
            self._watches.append(asyncio.create_task(self._keep_broker(self.broker), name="broker"))
        if self._create:
            await create_topics(self.settings)
        if self._alone and self.broker is None:
            workers = {
                f"{stage}{child.instance.removeprefix(child.stage)}": stage
                for child in self.children
                for stage in child.stages
            }
            await refuse_a_second(self.settings, workers, self._tell)
        if self.broker is not None:
            self._watches.append(asyncio.create_task(keep_forgetting(self.settings), name="retention"))
        self._watches.append(asyncio.create_task(self._keep_logs(), name="logs"))
        await self._start_workers()
        self._watches.append(asyncio.create_task(keep_telling(self.settings, self.children), name="troubles"))
        needed = "jax" in shared_by(self.settings, [child.stage for child in self.children]).values()
        if needed and not is_complete(self.settings.compiled_programs, self.settings.usual_programs):
            self._tell("some programs are still to be compiled; that is done behind, and takes a minute or two")
            self._watches.append(asyncio.create_task(self._compile(), name="compile"))
        await self._until_ready(self._at_once())

    async def _start_workers(self) -> None:
        """First those that need the least, then what the others share is imported, once."""
        shared = shared_by(self.settings, [child.stage for child in self.children])
        for name in ("", *dict.fromkeys(shared.values())):
            if name and SUPPORTED:
                await self._forks.load(name)
            for child in self.children:
                if shared.get(child.stage, "") == name:
                    child.environment = of_worker(os.environ, child.stage, self.settings)
                    child.task = asyncio.create_task(self._keep(child), name=child.instance)
            await asyncio.sleep(0)  # they ask for their processes in this order

    def _words(self, name: str) -> IO[Any]:
        """Where a process writes what it has to say: its log, or our own standard error."""
        if self._logs is None:
            return os.fdopen(os.dup(sys.stderr.fileno()), "w")
        return open_log(self._logs / f"{name}.log")

    async def _compile(self) -> None:
        """What is not compiled yet, behind all else. What it has compiled is there for all, at once and for ever."""
        began = time.monotonic()
        for _ in range(COMPILER_STARTS):
            ours, theirs = socket.socketpair()
            with ours, self._words("compile") as words:
                with theirs:
                    process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "qmosaic.streams.life.compile", str(theirs.fileno())),
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=words,
                        stderr=words,
                        pass_fds=[theirs.fileno()],
                        env=of_all(os.environ),
                        umask=UMASK,
                    )
                await asyncio.get_running_loop().run_in_executor(None, ours.sendall, _line_of(self.settings))
                code = await process.wait()
            if code == 0:
                self._tell(f"all programs are compiled, after {time.monotonic() - began:.0f} s")
                return
            self._tell(f"the compiler ended with {code}")

    async def workers_ready(self) -> None:
        """Until every worker has its partitions. Raises BrokerError."""
        await self._until_ready(self.children)

    async def all_ready(self) -> None:
        """The same, and all programs are compiled."""
        await self.workers_ready()
        for watch in self._watches:
            if watch.get_name() == "compile":
                await watch

    def _at_once(self) -> list[Child]:
        """Those without whom no problem would be answered: Cirq may be loaded behind, if there are other backends."""
        shared = shared_by(self.settings, [child.stage for child in self.children])
        early = [child for child in self.children if shared.get(child.stage) != "cirq"]
        return early if any(child.stage.startswith("execute.") for child in early) else self.children

    async def _until_ready(self, wanted: Sequence[Child]) -> None:
        began = looked = said = time.monotonic()
        known: dict[str, str] = {}
        while late := [child for child in wanted if not child.is_ready.is_set()]:
            for child in late:
                if child.task is not None and child.task.done():
                    child.task.result()  # it cannot even be spawned
            if (now := time.monotonic()) - looked >= LOOK_SECONDS:
                looked = now
                note_progress(late, now)
            hopeless = [child for child in late if child.ends >= HOPELESS_ENDS]
            stuck = [child for child in late if child.starts and now - child.progress_at > READY_SECONDS]
            if hopeless or stuck:
                names = ", ".join(child.instance for child in hopeless or stuck)
                raise BrokerError(
                    f"{names} {'cannot start' if hopeless else f'not ready: no progress for {READY_SECONDS:.0f} s'}",
                    place=self._last_words(hopeless or stuck),
                    remedy=f"Look at the logs{f' in {self._logs}' if self._logs else ''}.",
                )
            doing = {child.instance: child.doing for child in late}
            how_far = Progress(len(wanted) - len(late), len(wanted), doing, now - began)
            if self._progress is not None and doing != known:
                self._progress(how_far)
            if now - said >= SAY_SECONDS:
                said = now
                (self._progress or self._said)(how_far)
            known = doing
            await asyncio.sleep(0.05)

    def _said(self, how_far: Progress) -> None:
        self._tell(str(how_far))

    def _last_words(self, children: Sequence[Child]) -> str:
        if self._logs is None:
            return ""
        lines = last_lines(self._logs / f"{children[0].instance}.log")
        return shown(lines[-1]) if lines else ""

    async def stop(self) -> None:
        """Drain and stop; every wait bounded."""
        for watch in self._watches:
            watch.cancel()
        for child in self.children:
            if child.task is not None:
                child.task.cancel()  # nobody is started again
        await asyncio.gather(*map(self._end, self.children))
        await self._forks.stop()
        if self.broker is not None:
            await asyncio.to_thread(self.broker.stop)
        self._trim_logs()
        self._open.close()

    async def _keep_broker(self, broker: EmbeddedBroker) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            status = broker.poll()
            if status is not None:
                self._tell(f"the embedded broker ended with {status}, starting it again at {broker.address}")
                try:
                    broker.start()
                except BrokerError as error:
                    self._tell(shown(str(error)))
                    await asyncio.sleep(LONGEST_PAUSE)

    async def _keep_logs(self) -> None:
        while True:
            self._trim_logs()
            await asyncio.sleep(LOOK_SECONDS)

    def _trim_logs(self) -> None:
        if self._logs is not None:
            for child in self.children:
                trim(self._logs / f"{child.instance}.log", self.settings.log_bytes)
        if self.broker is not None:
            trim(self.broker.log_file, self.settings.log_bytes)

    async def _keep(self, child: Child) -> None:
        pause = 0.0
        while True:
            await self._spawn(child)
            assert child.process is not None
            code = await child.process.wait()
            child.ends += 1
            child.is_back = False
            steady = time.monotonic() - child.started_at > STEADY_SECONDS
            pause = 0.0 if steady or child.starts == 1 else min(LONGEST_PAUSE, max(0.25, pause * 2))
            self._tell(f"{child.instance} ended with {code}, starting again{f' in {pause:g} s' if pause else ''}")
            await asyncio.sleep(pause)

    async def _spawn(self, child: Child) -> None:
        _hang_up(child)
        child.line, theirs = socket.socketpair()
        child.line.setblocking(False)
        log = self._words(child.instance)
        try:
            child.process = await self._made(child, theirs.fileno(), log.fileno())
        finally:
            theirs.close()
            log.close()
        child.starts += 1
        child.asked_at, child.says = None, ()
        child.doing = "starting"
        child.started_at = child.progress_at = time.monotonic()
        child.progress_cpu = 0.0
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # it has ended by now
            await loop.sock_sendall(child.line, _line_of(self.settings))
        loop.add_reader(child.line, self._heard, child, child.line)

    async def _made(self, child: Child, line: int, words: int) -> Process:
        """A fork of the zygote, or, where there is none for it, a new interpreter."""
        if self._forks.fits(child.environment):
            try:
                return await self._forks.worker("+".join(child.stages), child.instance, line, words)
            except ZygoteError as error:
                self._tell(f"{child.instance} is started without a zygote: {error}")
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "qmosaic.streams.life.child", "+".join(child.stages), child.instance, str(line)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            pass_fds=[line],
            env=child.environment,
            umask=UMASK,
        )

    def _heard(self, child: Child, line: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = line.recv(4096)
        for doing in data.decode(errors="replace").splitlines():
            if doing == READY:
                child.is_back = True
                child.is_ready.set()
            elif doing.startswith(WELL):
                child.asked_at = None
                child.says = tuple(one for one in get_args(Ailment) if one in doing.split())
            else:
                child.doing, child.progress_at = shown(doing), time.monotonic()
        if not data:
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
        _hang_up(child)


def _line_of(settings: Settings) -> bytes:
    """The first line on a lifeline."""
    return msgspec.json.encode(settings) + b"\n"


def _hang_up(child: Child) -> None:
    if child.line is not None:
        asyncio.get_running_loop().remove_reader(child.line)
        child.line.close()
        child.line = None
