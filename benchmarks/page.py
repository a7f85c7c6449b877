"""(p) The live page while 1,000 outcomes a second arrive for a minute, and what audit says of each: how long a click
takes until it is answered, and the memory of the page's process. A real browser looks at it (chromium).

    python -m benchmarks.page [--seconds 60] [--quick]
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from benchmarks.common import Figure, parser, percentiles, print_figures, tell
from qmosaic.codecs.events import wire
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.broker import EmbeddedBroker
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.settings import Settings
from tests.streams.page.feeding import entry_of, outcome_of

RATE = 1000
SHOWN_SECONDS = 3.0
STEPS = 20
"""Bunches of outcomes a second."""
CHROMIUM = shutil.which("chromium")
CLICK = """button => new Promise(done => {
  const began = performance.now();
  new MutationObserver(() => done(performance.now() - began)).observe(button, {attributeFilter: ["aria-pressed"]});
  button.click();
})"""


async def write(settings: Settings, seconds: float) -> None:
    """Outcomes and audit entries, spread over the partitions, evenly."""
    partitions = settings.topics.partitions
    async with AIOKafkaProducer(bootstrap_servers=settings.broker, linger_ms=5) as producer:
        began, number = time.monotonic(), 0
        while (now := time.monotonic() - began) < seconds:
            while number < now * RATE:
                status: Any = "fallback" if number % 7 == 0 else "accepted"
                name, place = f"problem-{number}", number % partitions
                one = outcome_of(name, status=status, objective=number, labels={"name": name})
                topic = topic_name(settings, f"outcomes.{status}")
                await producer.send(topic, wire.encode(one), key=name.encode(), partition=place)
                entry = wire.encode(entry_of(name, number // partitions, partition=place))
                await producer.send(topic_name(settings, "audit"), entry, key=name.encode(), partition=place)
                number += 1
            await asyncio.sleep(1 / STEPS)
        await producer.flush()
    print(number, flush=True)


def memory_of(pid: int) -> float:
    """Of a process, its share of what it shares with others, in MB."""
    said = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return float(said.split("\nPss:")[1].split()[0]) / 1000


async def look(address: str, pid: int, writer: asyncio.subprocess.Process) -> tuple[list[float], list[float], int]:
    """While it writes: milliseconds of clicks and memory, twice a second; and the last number that is shown then."""
    from playwright.async_api import async_playwright

    clicks: list[float] = []
    memory: list[float] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(address)
        button = page.locator("button[aria-pressed]")
        await page.locator(".cell-name a").first.wait_for(timeout=30_000)
        while writer.returncode is None:
            clicks.append(await button.evaluate(CLICK))
            memory.append(memory_of(pid))
            await asyncio.sleep(0.5)
        if await button.get_attribute("aria-pressed") == "true":
            await button.click()
        await asyncio.sleep(SHOWN_SECONDS)
        shown = await page.locator("td.cell-objective").all_inner_texts()
        await browser.close()
    return clicks, memory, max(int(float(text)) for text in shown)


async def started(arguments: Sequence[str], **options: Any) -> asyncio.subprocess.Process:
    """A Python of its own, which is read from."""
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, **options)


async def measure(seconds: float) -> list[Figure]:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="qmosaic-bench-") as folder:
        broker = EmbeddedBroker(Path(folder) / "broker")
        broker.start()
        settings = Settings(broker=broker.address, data_dir=folder)
        await create_topics(settings)
        env = {**os.environ, "QMOSAIC_BROKER": broker.address}
        page = await started(["-m", "qmosaic.streams.cli.main", "page", "--json"], cwd=folder, env=env)
        assert page.stdout is not None
        address = json.loads(await page.stdout.readline())["page"]
        writing = ["-m", "benchmarks.page", "--write", broker.address, "--seconds", str(seconds)]
        writer = await started(writing)
        try:
            tell(f"{RATE} outcomes a second for {seconds:g} s, at {address}")
            clicks, memory, last = await look(address, page.pid, writer)
            assert writer.stdout is not None
            written = int(await writer.stdout.read())
        finally:
            for process, number in ((writer, signal.SIGKILL), (page, signal.SIGINT)):
                if process.returncode is None:
                    process.send_signal(number)
                    await process.wait()
            broker.stop()
    median, p95 = percentiles(clicks)
    early, late = max(memory[: len(memory) // 3]), max(memory[-len(memory) // 3 :])
    rate = written / seconds
    return [
        Figure("outcomes written", rate, "a second", "≥ 950", rate >= 950),
        Figure("the last of them, shown within 3 s", written - 1 - last, "behind", "= 0", last == written - 1),
        Figure("a click answered, median", median, "ms"),
        Figure("a click answered, p95", p95, "ms", "≤ 200 ms", p95 <= 200),
        Figure("a click answered, the longest", max(clicks), "ms", "≤ 200 ms", max(clicks) <= 200),
        Figure("memory, proportional, the most", max(memory), "MB", "≤ 150 MB", max(memory) <= 150),
        Figure("memory, last third over first", late / early, "times", "≤ 1.1", late <= 1.1 * early),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print."""
    options = parser(__doc__ or "")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--write", metavar="BROKER", help="only write, to this broker")
    given = options.parse_args(arguments)
    if given.write:
        asyncio.run(write(Settings(broker=given.write), given.seconds))
        return
    if CHROMIUM is None:
        sys.exit("no chromium here: apt-get install chromium")
    seconds = 8.0 if given.quick else given.seconds
    print_figures(f"(p) the live page, {RATE} outcomes a second for {seconds:g} s", asyncio.run(measure(seconds)))


if __name__ == "__main__":
    main()
