"""Helpers: there when there is work, gone when there is none, and never a lost piece of it in between."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import psutil
import pytest

from qmosaic.streams.hops import helpers
from qmosaic.streams.hops.helpers import Helpers


def idle_for(seconds: float) -> None:
    """In a helper: from now on it goes after so long without work."""
    helpers.IDLE_SECONDS = seconds


def fail(kind: str) -> None:
    """Raise what can be sent, what cannot, and what is no Exception."""
    if kind == "plain":
        raise LookupError("nothing here")
    if kind == "exit":
        raise SystemExit(3)

    class LocalError(Exception):
        pass

    raise LocalError("of nobody else")


@pytest.fixture
def one() -> Iterator[Helpers]:
    with Helpers(1) as pool:
        yield pool


def test_one_process_does_one_thing_after_the_other(one: Helpers) -> None:
    assert len({one.submit(os.getpid).result(30) for _ in range(5)}) == 1
    assert one.submit(pow, 2, 10).result(30) == 1024
    assert one.submit(bytes, 5_000_000).result(30) == bytes(5_000_000)


def test_it_goes_when_there_is_nothing_to_do_and_the_next_is_another() -> None:
    with Helpers(1, partial(idle_for, 0.1)) as pool:
        first = pool.submit(os.getpid).result(30)
        psutil.Process(first).wait(30)
        assert pool.submit(os.getpid).result(30) != first


def test_no_work_is_lost_where_one_goes_just_then() -> None:
    with Helpers(2, partial(idle_for, 0.02)) as pool:
        for k in range(30):
            time.sleep(0.0015 * k)  # around the moment at which they go
            assert pool.submit(pow, k, 2).result(30) == k * k


def test_errors_come_back_with_their_place(one: Helpers) -> None:
    with pytest.raises(LookupError, match="nothing here") as caught:
        one.submit(fail, "plain").result(30)
    assert "in fail" in "".join(caught.value.__notes__)
    with pytest.raises(SystemExit):
        one.submit(fail, "exit").result(30)
    with pytest.raises(RuntimeError, match="LocalError: of nobody else"):
        one.submit(fail, "local").result(30)


def test_a_death_is_told_and_the_next_one_works(one: Helpers) -> None:
    for _ in range(2):
        with pytest.raises(BrokenProcessPool):
            one.submit(os.abort).result(30)
        assert one.submit(pow, 2, 3).result(30) == 8


def test_what_is_killed_takes_nothing_more(one: Helpers) -> None:
    process = psutil.Process(one.submit(os.getpid).result(30))
    sleeping = one.submit(time.sleep, 600)
    while not one._busy:
        time.sleep(0.01)
    one.kill()
    with pytest.raises(BrokenProcessPool):
        sleeping.result(30)
    process.wait(30)
    with pytest.raises(BrokenProcessPool):
        one.submit(pow, 2, 3).result(30)


def test_a_setup_that_fails_fails_the_work() -> None:
    with Helpers(1, partial(fail, "plain")) as pool, pytest.raises(LookupError):
        pool.submit(pow, 2, 3).result(30)
