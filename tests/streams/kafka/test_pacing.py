"""How long a consumer of a broker that never waits rests: by what it reads, what came, and who rang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from qmosaic.streams.kafka import pacing

Rests = Callable[[str], pacing._Rest]


@pytest.fixture
async def rests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Rests]:
    """Makes the rest of a consumer of a topic, where a supervisor's bells are."""
    monkeypatch.setenv(pacing.VARIABLE, str(tmp_path))
    with ExitStack() as stack:

        def make(topic: str) -> pacing._Rest:
            rest = pacing._Rest([topic])
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
