"""How long a consumer of a broker that never waits rests: by what it reads, what came, and who rang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from qmosaic.streams.kafka import pacing

Rests = Callable[..., pacing._Rest]


@pytest.fixture
async def rests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Rests]:
    """Makes the rest of a consumer of topics, where a supervisor's bells are."""
    monkeypatch.setenv(pacing.VARIABLE, str(tmp_path))
    with ExitStack() as stack:

        def make(*topics: str) -> pacing._Rest:
            rest = pacing._Rest(topics)
            assert rest.bell is not None
            stack.enter_context(rest.bell)
            stack.callback(asyncio.get_running_loop().remove_reader, rest.bell)
            return rest

        yield make


@pytest.mark.parametrize(
    ("topic", "seconds"),
    [("problems", pacing.SHORTEST), ("test.problems", pacing.SHORTEST), ("backends.status", pacing.LONGEST_RUNG)],
)
async def test_what_nobody_rang_for_is_no_reason_to_hurry(rests: Rests, topic: str, seconds: float) -> None:
    rest = rests(topic)
    rest.seconds = pacing.LONGEST_RUNG
    rest.came()
    assert rest.seconds == seconds


async def test_after_a_ring_a_consumer_looks_soon_and_again(rests: Rests) -> None:
    rest = rests("backends.status")
    rest.seconds = pacing.LONGEST_RUNG
    pacing.ring(["backends.status"])
    await rest.rest()
    assert rest.seconds < 2 * pacing.GROWTH_RUNG * pacing.SHORTEST


async def test_a_ring_for_another_topic_is_not_heard(rests: Rests) -> None:
    rest = rests("backends.status")
    rest.seconds = pacing.SHORTEST
    pacing.ring(["problems"])
    await rest.rest()
    assert rest.seconds == pacing.SHORTEST * pacing.GROWTH_RUNG


async def test_who_finds_problems_that_nobody_rang_for_rings_for_the_others(rests: Rests) -> None:
    encode, verify = rests("problems"), rests("incumbents", "problems")
    encode.seconds, verify.seconds = pacing.SHORTEST, 60.0
    resting = asyncio.create_task(verify.rest())
    await encode.rest()  # in vain
    encode.came()
    await asyncio.wait_for(resting, 10)
    assert verify.seconds < 2 * pacing.SHORTEST


async def test_who_was_woken_up_by_the_bell_does_not_ring_it(rests: Rests) -> None:
    encode, verify = rests("problems"), rests("incumbents", "problems")
    encode.seconds = 60.0
    pacing.ring(["problems"])
    await asyncio.gather(encode.rest(), verify.rest())
    encode.came()
    verify.seconds = pacing.SHORTEST
    await verify.rest()
    assert verify._in_vain


async def test_who_is_told_of_problems_rests_longer(rests: Rests) -> None:
    encode, verify = rests("problems"), rests("incumbents", "problems")
    for rest in (encode, verify):
        rest.seconds = 0.001
        for _ in range(100):
            rest.seconds = min(rest._longest, rest.seconds * rest._growth)
    assert (encode.seconds, verify.seconds) == (pacing.LONGEST_OPEN["problems"], pacing.LONGEST_TOLD)
