"""(o) Outcomes per second with traces and metrics on, against without either.

The problems and the client of (a). Three pipelines stand side by side: one without both, one whose spans go to files
and whose metrics are asked for every 5 s, and one that sends both to a collector, which takes everything and is a
process of its own. They take turns of some seconds, for a machine is not as fast in one minute as in the next; the two
that wait take little, and as much of each. After some turns all are started anew, in another order: of two pipelines
that are set alike one may be a third faster than the other for as long as they run, at equal processor time. A ratio is
the median over the turns of one after the other.

    python -m benchmarks.telemetry [--problems 1000] [--rounds 4] [--quick]
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.common import Row, cubic, parser, pipeline, print_table, solve_all, tell
from benchmarks.throughput import NODES, WARM_UP, WINDOW
from qmosaic.codecs.problems import MaxCut
from qmosaic.streams.client import Client
from qmosaic.streams.hops.processes import cpu_seconds
from qmosaic.streams.life.broker import HOST
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.settings import MetricsSettings
from tests.servers import free_ports

GOAL = 0.9
TURNS = 3
"""Of a pipeline, until it is started anew."""
SCRAPE_SECONDS = 5.0
EXPORT_MS = "5000"
"""Between two of a worker's pushes of metrics; a minute by default."""
OFF, FILES, COLLECTOR = "without", "files, and metrics every 5 s", "to a collector (OTLP)"
SINK = """
import http.server, sys
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextmanager
def collector() -> Iterator[str]:
    """The address of one that takes everything."""
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://{HOST}:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@asynccontextmanager
async def scraped(port: int) -> AsyncIterator[None]:
    """Metrics are asked for meanwhile."""

    async def ask() -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(
                    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:0\r\nAccept: application/openmetrics-text\r\n\r\n"
                )
                await reader.read()
                writer.close()
            await asyncio.sleep(SCRAPE_SECONDS)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()


class Turn(NamedTuple):
    """Outcomes per second, and the milliseconds of a processor that one took in all workers."""

    rate: float
    each: float


class Way:
    """A pipeline that runs, and its client."""

    def __init__(self, name: str, up: Supervisor, client: Client) -> None:
        self.name, self.client, self.turns = name, client, list[Turn]()
        self._pids = {child.instance: child.process.pid for child in up.children if child.process is not None}

    async def turn(self, problems: Sequence[MaxCut], window: int) -> None:
        """From the first problem on its way to the last outcome. What each worker took is told."""
        before, began = cpu_seconds(self._pids.values()), perf_counter()
        await solve_all(self.client, [(problem, None) for problem in problems], window)
        rate = len(problems) / (perf_counter() - began)
        after = cpu_seconds(self._pids.values())
        took = {name: 1000 / len(problems) * (after[pid] - before[pid]) for name, pid in self._pids.items()}
        self.turns.append(Turn(rate, sum(took.values())))
        each = ", ".join(f"{name} {ms:.2f}" for name, ms in took.items())
        tell(f"{self.name}: {rate:.1f} outcomes/s; ms each: {each}")


async def measured(problems: Sequence[MaxCut], window: int, number: int) -> dict[str, list[Turn]]:
    """The turns of each way in a round."""
    os.environ["OTEL_METRIC_EXPORT_INTERVAL"] = EXPORT_MS
    async with AsyncExitStack() as stack:
        (port,) = free_ports(1)
        await stack.enter_async_context(scraped(port))
        settings: dict[str, dict[str, Any]] = {
            OFF: {"spans_dir": None},
            FILES: {"metrics": MetricsSettings(port=port)},
            COLLECTOR: {"spans_dir": None, "otlp_endpoint": stack.enter_context(collector())},
        }
        names = list(settings)
        ways = []
        for name in names[number % 3 :] + names[: number % 3]:
            ways.append(Way(name, *await stack.enter_async_context(pipeline(**settings[name]))))
            await solve_all(ways[-1].client, [(cubic(-1 - k), None) for k in range(WARM_UP)], window)
        for turn in range(TURNS):
            for place in range(len(ways)):
                await ways[(turn + place) % len(ways)].turn(problems, window)
        return {way.name: way.turns for way in ways}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("outcomes per second with traces and metrics, and without")
    options.add_argument("--problems", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=4)
    given: Any = options.parse_args(arguments)
    count, rounds = (240, 1) if given.quick else (given.problems, given.rounds)
    problems = [cubic(seed, NODES) for seed in range(count)]
    found: dict[str, list[Turn]] = {OFF: [], FILES: [], COLLECTOR: []}
    for number in range(rounds):
        for way, turns in asyncio.run(measured(problems, min(WINDOW, count // 4), number)).items():
            found[way] += turns
    rows = []
    for way in (FILES, COLLECTOR):
        row = compared(way, [turn.rate for turn in found[way]], [turn.rate for turn in found[OFF]])
        rows.append(row.judged(f"ratio ≥ {GOAL:g}", row.ratio >= GOAL))
    for way in (FILES, COLLECTOR):
        of_processor = [turn.each for turn in found[way]], [turn.each for turn in found[OFF]]
        rows.append(compared(f"{way}: processor, ms each", *of_processor))
    print_table(f"(o) traces and metrics, {NODES}-node max-cut, outcomes/s", "on", "off", rows)


def compared(what: str, on: Sequence[float], off: Sequence[float]) -> Row:
    """The median of `off`, and it times the median ratio of turns that followed each other."""
    peer = median(off)
    return Row(what, peer * median(one / other for one, other in zip(on, off, strict=True)), peer)


if __name__ == "__main__":
    main()
