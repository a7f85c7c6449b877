"""(p) The live page while 1,000 outcomes a second arrive for a minute, and what audit says of each: how long a click
takes until it is answered, and the memory of the page's process. A real browser looks at it (chromium). Then what it
costs that somebody looks: outcomes a second of (a), of two pipelines side by side that take turns, one with a browser
at its page, and the processor time that an outcome takes of the pipelines, their brokers, their client and the page
together, which says the same and varies less. After some turns both are started anew, in the other order. A ratio is
the median over the turns of one after the other. The page that waits for its turn looks on at a pipeline without
work; what that takes is told. The browser has what nobody else wants of the processor, as it would be somewhere else.

    python -m benchmarks.page [--seconds 60] [--rounds 4] [--only load|cost] [--quick]
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
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil
from aiokafka import AIOKafkaProducer

from benchmarks.common import Figure, cubic, parser, percentiles, pipeline, print_figures, solve_all, tell
from benchmarks.throughput import NODES, WARM_UP, WINDOW
from qmosaic.codecs.events import wire
from qmosaic.codecs.problems import MaxCut
from qmosaic.streams.cli.page import beside
from qmosaic.streams.client import Client
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.broker import EmbeddedBroker
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.settings import Settings
from tests.streams.page.feeding import entry_of, outcome_of

TURNS = 3
"""Of a pipeline, until it is started anew."""
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


@asynccontextmanager
async def looking(address: str, folder: Path) -> AsyncIterator[psutil.Process]:
    """A browser looks at the page; the page's process."""
    from playwright.async_api import async_playwright

    script = folder / "chromium"
    script.write_text(f'#!/bin/sh\nexec chrt --idle 0 {CHROMIUM} "$@"\n')
    script.chmod(0o700)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=script, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(address)
        await page.locator(".state.good").wait_for(timeout=60_000)
        (process,) = [one for one in psutil.Process().children() if "qmosaic.streams.page.child" in one.cmdline()]
        yield process
        await browser.close()


class Turn(NamedTuple):
    """Outcomes a second; `each`: milliseconds of a processor an outcome, of all but the browser; `share` of a processor
    that the page's process took meanwhile, in percent, and its `memory` in MB."""

    outcomes: float
    each: float
    share: float
    memory: float


def spent() -> float:
    """Seconds of a processor so far, of this process and all below it but the browser."""
    own = psutil.Process()
    those = [one for one in own.children(recursive=True) if "chrom" not in one.name() and one.name() != "node"]
    return sum(times.user + times.system for one in [own, *those] for times in [one.cpu_times()])


async def turn(client: Client, problems: Sequence[MaxCut], window: int, page: psutil.Process) -> Turn:
    """From the first problem on its way to the last outcome."""
    began, before, first = time.monotonic(), page.cpu_times(), spent()
    await solve_all(client, [(problem, None) for problem in problems], window)
    seconds, after, last = time.monotonic() - began, page.cpu_times(), spent()
    share = 100 * (after.user + after.system - before.user - before.system) / seconds
    return Turn(len(problems) / seconds, 1000 * (last - first) / len(problems), share, memory_of(page.pid))


async def turns(problems: Sequence[MaxCut], window: int, number: int) -> dict[bool, list[Turn]]:
    """Of a pipeline at which somebody looks, and of one at which nobody does, in a round."""
    found: dict[bool, list[Turn]] = {False: [], True: []}
    async with AsyncExitStack() as stack:
        either = [await stack.enter_async_context(pipeline(spans_dir=None)) for _ in found]
        (_, alone), (up, watched) = either if number % 2 == 0 else reversed(either)
        folder = Path(up.settings.data_dir)
        address = await stack.enter_async_context(beside(up.settings, folder / "logs", tell))
        page = await stack.enter_async_context(looking(address, folder))
        for client in (alone, watched):
            await solve_all(client, [(cubic(-1 - k), None) for k in range(WARM_UP)], window)
        for place in range(TURNS):
            for looked_at in (False, True) if place % 2 == 0 else (True, False):
                one = await turn(watched if looked_at else alone, problems, window, page)
                found[looked_at].append(one)
                said = (
                    f"{one.outcomes:.1f} outcomes/s, {one.each:.2f} ms of a processor each, the page {one.share:.1f} %"
                )
                tell(f"{'with' if looked_at else 'without'} a browser: {said}")
    return found


def cost(rounds: int, count: int) -> list[Figure]:
    """Of a browser that looks."""
    problems = [cubic(seed, NODES) for seed in range(count)]
    found: dict[bool, list[Turn]] = {False: [], True: []}
    for number in range(rounds):
        for looked_at, those in asyncio.run(turns(problems, min(WINDOW, count // 4), number)).items():
            found[looked_at] += those
    pairs = list(zip(found[True], found[False], strict=True))
    rate = median(looked.outcomes / alone.outcomes for looked, alone in pairs)
    each = median(looked.each / alone.each for looked, alone in pairs)
    memory = max(one.memory for one in found[True])
    return [
        Figure("outcomes, nobody looks", median(one.outcomes for one in found[False]), "a second"),
        Figure("outcomes, a browser looks", rate, "of it", "≥ 0.97", rate >= 0.97),
        Figure("processor time an outcome, nobody looks", median(one.each for one in found[False]), "ms"),
        Figure("the same, a browser looks", each, "of it", "≤ 1.03", each <= 1.03),
        Figure("its process, of a processor", median(one.share for one in found[True]), "%"),
        Figure("the same, of a pipeline without work", median(one.share for one in found[False]), "%"),
        Figure("memory of its process, proportional", memory, "MB", "≤ 150 MB", memory <= 150),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print."""
    options = parser(__doc__ or "")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--only", choices=["load", "cost"])
    options.add_argument("--write", metavar="BROKER", help="only write, to this broker")
    given = options.parse_args(arguments)
    if given.write:
        asyncio.run(write(Settings(broker=given.write), given.seconds))
        return
    if CHROMIUM is None:
        sys.exit("no chromium here: apt-get install chromium")
    seconds = 8.0 if given.quick else given.seconds
    if given.only != "cost":
        print_figures(f"(p) the live page, {RATE} outcomes a second for {seconds:g} s", asyncio.run(measure(seconds)))
    if given.only != "load":
        rounds, count = (1, 240) if given.quick else (given.rounds, 1000)
        print_figures("(p) what it costs that somebody looks", cost(rounds, count))


if __name__ == "__main__":
    main()
