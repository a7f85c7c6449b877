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

from benchmarks.common import Row, cubic, parser, print_table, tell
from benchmarks.throughput import NODES, WINDOW, ours
from qmosaic.codecs.problems import MaxCut
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
        yield f"http://{HOST}:{process.stdout.readline().strip()}"
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


async def rate(way: str, problems: Sequence[MaxCut], window: int) -> float:
    """Outcomes per second."""
    os.environ["OTEL_METRIC_EXPORT_INTERVAL"] = EXPORT_MS
    if way == COLLECTOR:
        with collector() as address:
            found, _ = await ours(problems, window, spans_dir=None, otlp_endpoint=address)
    elif way == FILES:
        (port,) = free_ports(1)
        async with scraped(port):
            found, _ = await ours(problems, window, metrics=MetricsSettings(port=port))
    else:
        found, _ = await ours(problems, window, spans_dir=None)
    tell(f"{way}: {found:.1f} outcomes/s")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("outcomes per second with traces and metrics, and without")
    options.add_argument("--problems", type=int, default=1500)
    options.add_argument("--rounds", type=int, default=3)
    given: Any = options.parse_args(arguments)
    count, rounds = (240, 1) if given.quick else (given.problems, given.rounds)
    problems = [cubic(seed, NODES) for seed in range(count)]
    rates: dict[str, list[float]] = {OFF: [], FILES: [], COLLECTOR: []}
    for _ in range(rounds):
        for way, found in rates.items():
            found.append(asyncio.run(rate(way, problems, min(WINDOW, count // 4))))
    off = median(rates[OFF])
    rows = [Row(way, median(rates[way]), off) for way in (FILES, COLLECTOR)]
    rows = [row.judged(f"ratio ≥ {GOAL:g}", row.ratio >= GOAL) for row in rows]
    print_table(f"(o) traces and metrics, {NODES}-node max-cut, outcomes/s", "on", "off", rows)


if __name__ == "__main__":
    main()
