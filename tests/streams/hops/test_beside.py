"""The process beside: time, memory and crashes of a piece of work are its own affair, and the next one goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from qmosaic.streams.hops.beside import Beside, BesideError, WorkError

MEBIBYTE = 1024 * 1024


@pytest.fixture
async def beside() -> AsyncIterator[Beside]:
    made = Beside(memory_bytes=64 * MEBIBYTE, seconds=0.5)
    yield made
    made.stop()


def soon() -> float:
    return time.time() + 60


def spin() -> None:
    while True:
        pass


def spin_and_catch() -> None:
    while True:
        with suppress(Exception):  # as a family may do
            while True:
                pass


def grow() -> int:
    return len(bytes(200 * MEBIBYTE))


def die(log: str) -> None:
    with Path(log).open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise ZeroDivisionError("of a family")


def leave() -> None:
    raise SystemExit(3)


class Odd(Exception):  # noqa: N818 - and cannot be made again from its arguments
    def __init__(self, *, why: str) -> None:
        super().__init__()


def unsendable() -> None:
    raise Odd(why="a plug-in")


def twice(value: int) -> int:
    return 2 * value


async def refused(beside: Beside, *work: object) -> str:
    with pytest.raises(BesideError) as caught:
        await beside.run(soon(), *work)  # type: ignore[arg-type]
    assert await beside.run(soon(), twice, 21) == 42
    return caught.value.code


@pytest.mark.parametrize("work", [spin, spin_and_catch])
async def test_work_without_end_is_ended(beside: Beside, work: object) -> None:
    assert await refused(beside, work) == "too_large"


async def test_work_that_takes_too_much_memory_is_ended(beside: Beside) -> None:
    assert await refused(beside, grow) == "too_large"


async def test_work_that_kills_its_process_is_tried_three_times(beside: Beside, tmp_path: Path) -> None:
    assert await refused(beside, die, str(tmp_path / "log")) == "worker_crashed"
    assert (tmp_path / "log").read_text() == "xxx"


@pytest.mark.parametrize(
    ("work", "said"), [(fail, "ZeroDivisionError: of a family"), (leave, "SystemExit: 3"), (unsendable, "Odd: ")]
)
async def test_what_work_raises_is_raised(beside: Beside, work: Callable[[], None], said: str) -> None:
    with pytest.raises(WorkError, match=said):
        await beside.run(soon(), work)
    assert await beside.run(soon(), twice, 21) == 42


async def test_the_most_urgent_goes_first_and_what_is_late_never_does(beside: Beside) -> None:
    order: list[int] = []

    async def one(number: int, deadline_at: float) -> None:
        order.append(await beside.run(deadline_at, twice, number))

    now = time.time()
    late = asyncio.create_task(beside.run(now - 1, twice, 0))
    tasks = [asyncio.create_task(one(k, now + 100 - k)) for k in range(5)]
    await asyncio.gather(*tasks)
    assert order == [8, 6, 4, 2, 0]
    with pytest.raises(BesideError) as caught:
        await late
    assert caught.value.code == "deadline_past"


async def test_what_kills_its_process_is_tried_again_after_all_others(beside: Beside, tmp_path: Path) -> None:
    now, log, before = time.time(), tmp_path / "log", []

    async def deadly() -> None:
        with pytest.raises(BesideError) as caught:
            await beside.run(now + 50, die, str(log))
        assert caught.value.code == "worker_crashed"

    async def one(number: int) -> None:
        assert await beside.run(now + 100, twice, number) == 2 * number
        before.append(log.read_text())

    await asyncio.gather(deadly(), *(one(k) for k in range(5)))
    assert before == ["x"] * 5  # once, as the most urgent; then all others
    assert log.read_text() == "xxx"
