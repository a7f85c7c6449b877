"""The shell of the Faust workers, unmodified, over a simulated broker and app; mutations that each must be found."""

from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from qmosaic.streams.life.lane import Lane
from qmosaic.streams.life.worker import Worker, _Handled
from tests.simulation.workers import Workers

SEEDS = int(os.environ.get("QMOSAIC_SEEDS", "1000"))


def test_what_is_read_is_handled_whatever_fails() -> None:
    for seed in range(SEEDS):
        wrong = Workers(seed).run()
        assert not wrong, f"seed {seed}: {wrong}"


class Hasty(Worker):
    """Acknowledges a batch before what follows from it is on the broker."""

    async def _finish(self, batch: Any, handled: Any) -> None:
        for held in batch:
            held.message.ack(self.app.consumer)
        for part in handled:
            await self._publish(part)


class Careless(Worker):
    """What a handler cannot do is dropped."""

    def _put_aside(self, record: Any, error: BaseException) -> list[Any]:
        return []


class Forgetful(Worker):
    """A batch that a process died at is not tried again."""

    async def _tried(self, group: Any, lane: int) -> Any:
        try:
            sends = await self.handler.handle(group, lane)
        except (BrokenProcessPool, ValueError):
            sends = []
        return [_Handled(group, sends, self._clock(), self._clock())]


@pytest.mark.parametrize("worker", [Hasty, Careless, Forgetful])
def test_a_mutation_is_found(worker: type[Worker]) -> None:
    found = next((wrong[0] for seed in range(300) if (wrong := Workers(seed, worker).run())), "")
    assert "followed" in found


def test_who_follows_no_policy_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lane, "_follow", lambda lane: None)
    found = next((wrong[0] for seed in range(50) if (wrong := Workers(seed).run())), "")
    assert "was set" in found
