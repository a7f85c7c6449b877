"""The picture of a solution, drawn in a process of its own: matplotlib is large, and what it draws is a stranger's.

`python -m qmosaic.streams.page.drawing` reads a `Request` as JSON and writes an SVG.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections import OrderedDict
from importlib.util import find_spec

import msgspec

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.streams.kafka.repeats import first_outcome
from qmosaic.streams.life.environment import of_process
from qmosaic.streams.observe.story import problem_at
from qmosaic.streams.settings import Settings

MOST_BYTES = 2 * 1024 * 1024
"""Of a picture."""
KEPT = 12
"""Pictures that are kept."""
SECONDS, MEMORY_BYTES = 20, 1024 * 1024 * 1024
NICE = 10


class Request(msgspec.Struct, frozen=True):
    """What is to be drawn, and for which background."""

    problem: Problem
    outcome: Outcome
    dark: bool


class Pictures:
    """Pictures by where their problem arrived, drawn one at a time; the latest are kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: OrderedDict[tuple[int, int, bool], bytes] = OrderedDict()
        self._one = asyncio.Lock()

    async def of(self, partition: int, offset: int, dark: bool) -> bytes | None:
        """An SVG; None where there is nothing to draw, nothing to draw it with, or it took too much. Raises KafkaError,
        OSError, TimeoutError where the topics cannot be read."""
        key = partition, offset, dark
        async with self._one:
            if key not in self._kept:
                drawn = await self._drawn(*key)
                if drawn is None:
                    return None
                self._kept[key] = drawn
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    async def _drawn(self, partition: int, offset: int, dark: bool) -> bytes | None:
        if find_spec("matplotlib") is None:
            return None
        async with asyncio.timeout(SECONDS):
            problem = await problem_at(self._settings, partition, offset)
            outcome = await first_outcome(self._settings, partition, offset) if problem is not None else None
        if problem is None or not isinstance(outcome, Outcome):
            return None
        return await drawn(Request(problem, outcome, dark))


async def drawn(request: Request) -> bytes | None:
    """By a process that has `SECONDS`; None where it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "qmosaic.streams.page.drawing"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=of_process(os.environ),
    )
    try:
        picture, _ = await asyncio.wait_for(process.communicate(wire.encode(request)), SECONDS)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return picture if process.returncode == 0 and 0 < len(picture) <= MOST_BYTES else None


def main() -> None:
    """In the process: it takes what it may, and no more, and leaves nothing behind where it dies."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    request = wire.decode(sys.stdin.buffer.read(), Request)
    from qmosaic.streams.pictures.draw import draw

    sys.stdout.buffer.write(draw(request.problem, request.outcome, dark=request.dark))


if __name__ == "__main__":
    main()
