"""Make the pictures of the live page anew: a pipeline with work in it, and a browser (chromium) that looks.

.venv/bin/python docs/images/make_page.py
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import networkx as nx
from playwright.async_api import Browser, async_playwright

import qmosaic
from qmosaic.codecs.formats.base import event_of
from qmosaic.codecs.formats.packed import unpacked
from qmosaic.codecs.formats.registry import read

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "data"
SECONDS = 100.0
TRACES = "http://127.0.0.1:16686"
CHROMIUM = shutil.which("chromium")


def problems() -> list[tuple[str, dict[str, Any]]]:
    """Some of what a day brings: graphs of many sizes, sequences, tours, circuits, and what is wrong."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name in ("karate.rud", "cities.tsp", "ghz.qasm", "cubic60.rud.gz"):
        data = unpacked((EXAMPLES / name).read_bytes(), name, 2**24)
        found += [(one.name, event_of(one, name.removesuffix(".gz"))) for one in read(data, name.removesuffix(".gz"))]
    for number in range(480):
        nodes = (10, 12, 16, 16, 20, 30, 60)[number % 7]
        graph: Any = nx.random_regular_graph(3, nodes, seed=number)
        edges = [[a, b, 1 + (a * b) % 3] for a, b in graph.edges]
        event: dict[str, Any] = {"family": "maxcut", "problem": {"edges": edges, "nodes": nodes}, "deadline": 20}
        event["tenant"] = ("acme/logistics", "acme/research", "umbrella")[number % 3]
        if number % 9 == 0:
            event = {"family": "labs", "problem": {"n": 12 + number % 18}, "deadline": 20}
        if number % 61 == 0:
            event["problem"] = {"edges": [[0, 0]]}
        found.append((f"{event['family']}-{nodes}-{number}", event))
    return found


async def main() -> None:
    """A pipeline, a page, work, pictures."""
    if CHROMIUM is None:
        sys.exit("no chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="qmosaic-page-") as folder:
        command = ["-m", "qmosaic.streams.cli.main", "up", "--json"]
        env = {**os.environ, "QMOSAIC_PAGE__TRACES": TRACES}
        up = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE
        )
        try:
            said: dict[str, Any] = {}
            assert up.stdout is not None
            while "broker" not in said:
                said = json.loads(await up.stdout.readline())
            await set_budgets(said["broker"], folder)
            async with (
                async_playwright() as playwright,
                qmosaic.Client(said["broker"]) as client,
            ):
                browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                await taken(browser, client, said["page"])
                await browser.close()
        finally:
            with suppress(ProcessLookupError):
                up.send_signal(signal.SIGINT)
            await up.wait()


async def set_budgets(broker: str, folder: str) -> None:
    """Budgets, and an order."""
    for arguments in (
        ["budget", "set", "tenant:acme", "--per", "month", "--usd", "500", "--why", "contract 7"],
        ["budget", "set", "all", "--per", "day", "--usd", "100", "--why", "until we know better"],
        ["backends", "drain", "annealing", "--why", "a new version"],
    ):
        command = ["-m", "qmosaic.streams.cli.main", *arguments, "--broker", broker]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=folder, stdout=asyncio.subprocess.DEVNULL
        )
        await process.wait()


async def work(client: qmosaic.Client) -> None:
    """The problems, evenly."""
    there = problems()
    for name, event in there:
        await client.submit(event | {"labels": {**event.get("labels", {}), "name": name}}, id=name)
        await asyncio.sleep(SECONDS / len(there))


async def taken(browser: Browser, client: qmosaic.Client, address: str) -> None:
    """All pictures, while the problems come."""
    working = asyncio.create_task(work(client))
    await asyncio.sleep(0.6 * SECONDS)
    for name, scheme, wide, high, where in (
        ("page-light", "light", 1280, 860, ""),
        ("page-dark", "dark", 1280, 860, ""),
        ("page-phone", "light", 375, 812, ""),
        ("page-problem", "light", 1280, 1000, "problem/karate"),
    ):
        options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": wide, "height": high}}
        page = await browser.new_page(**options, device_scale_factor=1.5 if wide < 500 else 1)
        await page.goto(address + where)
        if where:
            await page.get_by_role("img", name="drawn").scroll_into_view_if_needed()
            await page.wait_for_function("document.querySelector('img.picture').naturalWidth > 0")
            await page.evaluate("scrollTo(0, 0)")
        else:
            await page.locator(".cell-name a").first.wait_for()
            await page.wait_for_timeout(1500)
        await page.screenshot(path=HERE / f"{name}.png", full_page=wide > 500)
        await page.close()
    working.cancel()


if __name__ == "__main__":
    asyncio.run(main())
