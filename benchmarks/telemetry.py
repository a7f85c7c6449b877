"""(o) Outcomes per second with traces and metrics on, against without either.

The problems and the client of (a). A round is a pipeline without both, one whose spans go to files and whose metrics
are asked for every 5 s, and one that sends both to a collector, which takes everything and is a process of its
own. Rounds follow each other in the same run, and the median of each counts.

    python -m benchmarks.telemetry [--problems 1500] [--rounds 3] [--quick]
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from statistics import median
from typing import Any

from benchmarks.common import Row, cubic, parser, pipeline, print_table, tell
from benchmarks.throughput import NODES, WARM_UP, WINDOW, rate_of
from qmosaic.codecs.problems import MaxCut
from qmosaic.streams.hops.processes import cpu_seconds
from qmosaic.streams.life.broker import HOST
from qmosaic.streams.settings import MetricsSettings
from tests.servers import free_ports

GOAL = 0.9
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


async def rate(way: str, problems: Sequence[MaxCut], window: int) -> tuple[float, float]:
    """Outcomes per second, and the milliseconds of a processor that one took in all processes of the pipeline."""
    os.environ["OTEL_METRIC_EXPORT_INTERVAL"] = EXPORT_MS
    if way == COLLECTOR:
        with collector() as address:
            return await measured(way, problems, window, spans_dir=None, otlp_endpoint=address)
    if way == FILES:
        (port,) = free_ports(1)
        async with scraped(port):
            return await measured(way, problems, window, metrics=MetricsSettings(port=port))
    return await measured(way, problems, window, spans_dir=None)


async def measured(way: str, problems: Sequence[MaxCut], window: int, **more: Any) -> tuple[float, float]:
    """The same, with these settings. What each worker took is told."""
    async with pipeline(**more) as (up, client):
        pids = {child.instance: child.process.pid for child in up.children if child.process is not None}
        before = cpu_seconds(pids.values())
        found, _ = await rate_of(client, problems, window)
        after = cpu_seconds(pids.values())
    each = 1000 / (len(problems) + WARM_UP)
    took = {name: each * (after[pid] - before[pid]) for name, pid in pids.items()}
    tell(f"{way}: {found:.1f} outcomes/s; ms each: {', '.join(f'{name} {ms:.2f}' for name, ms in took.items())}")
    return found, sum(took.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("outcomes per second with traces and metrics, and without")
    options.add_argument("--problems", type=int, default=1500)
    options.add_argument("--rounds", type=int, default=3)
    given: Any = options.parse_args(arguments)
    count, rounds = (240, 1) if given.quick else (given.problems, given.rounds)
    problems = [cubic(seed, NODES) for seed in range(count)]
    found: dict[str, list[tuple[float, float]]] = {OFF: [], FILES: [], COLLECTOR: []}
    for _ in range(rounds):
        for way, each in found.items():
            each.append(asyncio.run(rate(way, problems, min(WINDOW, count // 4))))
    rates = {way: median(one for one, _ in each) for way, each in found.items()}
    took = {way: median(ms for _, ms in each) for way, each in found.items()}
    rows = [Row(way, rates[way], rates[OFF]) for way in (FILES, COLLECTOR)]
    rows = [row.judged(f"ratio ≥ {GOAL:g}", row.ratio >= GOAL) for row in rows]
    rows += [Row(f"{way}: processor, ms each", took[way], took[OFF]) for way in (FILES, COLLECTOR)]
    print_table(f"(o) traces and metrics, {NODES}-node max-cut, outcomes/s", "on", "off", rows)


if __name__ == "__main__":
    main()
