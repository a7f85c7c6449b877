"""(m) Seconds to the first answer, and what a pipeline takes that has nothing to do.

`qmosaic solve` of a 10-node max-cut, from the command to its end, with compiled programs and with none; `qmosaic up`
until it says ready; then its processes, memory and processor while nothing comes. One after the other, on the embedded
broker, each command in a process of its own. Beside it what importing Faust and Cirq takes in a bare interpreter.
During the warm-up of a pipeline with no programs, problems are sent as in (e): none may wait for the compiler.

    python -m benchmarks.start [--quick]
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import msgspec
import psutil

from benchmarks.common import Figure, cubic, parser, percentiles, print_figures, solve, tell
from qmosaic.streams import settings as settings_module
from qmosaic.streams.client import Client

QMOSAIC = str(Path(sys.executable).with_name("qmosaic"))
NODES = 10
LET_GO_SECONDS = 40.0
"""After which what is idle has let its helpers go."""
PAUSE = 0.05
UP_SECONDS = 120.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    given = parser("seconds to the first answer, and an idle pipeline").parse_args(arguments)
    runs, watch, count = (1, 5.0, 20) if given.quick else (3, 30.0, 200)
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="qmosaic-bench-") as folder:
        here = Path(folder)
        graph = cubic(1, NODES)
        (here / "graph.json").write_bytes(msgspec.json.encode({"family": "maxcut", "problem": graph.payload()}))
        for name in ("faust", "cirq"):
            command = [sys.executable, "-c", "import faust; faust.App" if name == "faust" else "import cirq"]
            seconds, cpu = min(timed(command, here) for _ in range(runs))
            rows += [Figure(f"import {name}, bare", seconds, "s"), Figure(f"import {name}, bare, CPU", cpu, "s")]
        warm = {"XDG_CACHE_HOME": str(here / "cache")}
        tell("compiling all programs, once")
        seconds, cpu = timed([QMOSAIC, "compile"], here, warm)
        rows.append(Figure("compile everything, CPU", cpu, "s"))
        command = [QMOSAIC, "solve", "graph.json", "--json"]
        seconds, cpu = min(timed(command, here, warm) for _ in range(runs))
        rows.append(Figure("solve, warm", seconds, "s", "≤ 6 s", seconds <= 6))
        rows.append(Figure("solve, warm, CPU", cpu, "s"))
        seconds, cpu = min(timed(command, here, {"XDG_CACHE_HOME": str(here / f"none{k}")}) for k in range(runs))
        rows.append(Figure("solve, nothing compiled", seconds, "s", "≤ 12 s", seconds <= 12))
        rows.append(Figure("solve, nothing compiled, CPU", cpu, "s"))
        rows += while_idle(here, warm, watch)
        rows += while_compiling(here, count)
    print_figures("(m) seconds to the first answer, and an idle pipeline, embedded broker", rows)


def timed(command: Sequence[str], here: Path, more: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Seconds by the clock, and of a processor, of a command with all that it starts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), monotonic()
    subprocess.run(command, cwd=here, check=True, capture_output=True, env={**os.environ, **(more or {})})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def up(here: Path, more: Mapping[str, str]) -> Iterator[tuple[psutil.Process, str, float]]:
    """`qmosaic up`: its process, the broker's address, and the seconds until it said ready."""
    began = monotonic()
    command = [QMOSAIC, "up", "--json"]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, env={**os.environ, **more}) as process:
        try:
            assert process.stdout is not None
            address = ""
            while not address:
                address = json.loads(process.stdout.readline()).get("broker", "")
            yield psutil.Process(process.pid), address, monotonic() - began
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()


def while_idle(here: Path, warm: Mapping[str, str], watch: float) -> list[Figure]:
    """Of a pipeline to which nothing comes."""
    with up(here, warm) as (process, _, seconds):
        sleep(LET_GO_SECONDS)
        every = [process, *process.children(recursive=True)]
        before = sum(cpu_of(each) for each in every)
        sleep(watch)
        busy = (sum(cpu_of(each) for each in every) - before) / watch
        memory = sum(each.memory_full_info().pss for each in every) / 2**30
    return [
        Figure("up, warm, until ready", seconds, "s", "≤ 4 s", seconds <= 4),
        Figure("idle: processes", len(every), "", "≤ 10", len(every) <= 10),
        Figure("idle: memory, proportional", memory, "GiB", "≤ 1.2 GiB", memory <= 1.2),
        Figure("idle: of a core", 100 * busy, "%", "≤ 4 %", busy <= 0.04),
    ]


def cpu_of(process: psutil.Process) -> float:
    """Seconds of a processor so far."""
    times = process.cpu_times()
    return times.user + times.system


def while_compiling(here: Path, count: int) -> list[Figure]:
    """Waiting as in (e), from the first moment of a pipeline that has no programs yet."""

    async def waits(address: str) -> list[float]:
        found = []
        settings = msgspec.structs.replace(settings_module.load({}), broker=address)
        async with Client(settings=settings) as client:
            for seed in range(count):
                await asyncio.sleep(PAUSE)
                start = monotonic()
                outcome = await solve(client, cubic(seed, 16))
                found.append(1000 * (monotonic() - start - sum(hop.work for hop in outcome.timings.hops.values())))
        return found

    nothing = {"XDG_CACHE_HOME": str(here / "nothing"), "QMOSAIC_DATA_DIR": str(here / "other")}
    with up(here, nothing) as (_, address, _):
        found = asyncio.run(waits(address))
    p50, p95 = percentiles(found)
    return [
        Figure("while it compiles: waiting p50", p50, "ms", "≤ 50 ms", p50 <= 50),
        Figure("while it compiles: waiting p95", p95, "ms", "≤ 50 ms", p95 <= 50),
        Figure("while it compiles: longest", max(found), "ms"),
    ]


if __name__ == "__main__":
    main()
