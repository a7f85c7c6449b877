"""Control, unmodified, over a simulated broker: thousands of seeds of faults, and mutations that each must be found."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from qmosaic.processors.control import grants
from qmosaic.streams.exactly_once import service
from qmosaic.streams.hops.control import Control
from tests.simulation.control import ControlWorld

SEEDS = int(os.environ.get("QMOSAIC_SEEDS", "2000"))
AT_ONCE = 500


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_nothing_leaks_whatever_fails(first: int) -> None:
    for seed in range(first, min(first + AT_ONCE, SEEDS)):
        wrong = ControlWorld(seed).run()
        assert not wrong, f"seed {seed}: {wrong}"


# -- mutations: each breaks a promise, and some seed says so -----------------------------------------------------------


def first_wrong(control: type[Control] = Control, seeds: int = 300) -> str:
    return next((wrong[0] for seed in range(seeds) if (wrong := ControlWorld(seed, control).run())), "")


class Unfenced(Control):
    """Its producers have ids of their own."""

    async def _fence(self, number: int) -> Any:
        producer = self._clients.producer(transactional_id=f"{self.instance}-{id(self)}-{number}")
        await producer.start()
        return producer


class Forgetful(Control):
    """A new leader begins with empty books."""

    async def rebuild(self, fenced: Any, committed: Any) -> Any:
        found = await super().rebuild(fenced, committed)
        for kept in found.values():
            kept.ledger = self._books.start
        return found


class Hasty(Control):
    """It says where it stands without what follows."""

    async def _write(self, number: int, owned: Any, records: Any, written: Any, started: float) -> None:
        async with self.transaction(owned):
            await self.commit(number, owned, owned.positions, {})
        await super()._write(number, owned, records, written, started)


class Repeating(Control):
    """A new leader keeps what was learned, and reads the audit from its beginning."""

    async def rebuild(self, fenced: Any, committed: Any) -> Any:
        found = await super().rebuild(fenced, committed)
        for kept in found.values():
            known = msgspec.structs.replace(kept.ordered.learned, offsets=(), latest=())
            await self._learning.begin(known, self.clock())
        return found


class Unlearning(Control):
    """A new leader goes on where the last one was, without what it had learned."""

    async def rebuild(self, fenced: Any, committed: Any) -> Any:
        found = await super().rebuild(fenced, committed)
        for kept in found.values():
            await self._learning.begin(msgspec.structs.replace(kept.ordered.learned, cells={}), self.clock())
        return found


@pytest.mark.parametrize("control", [Unfenced, Forgetful, Hasty, Repeating, Unlearning])
def test_a_mutation_is_found(control: type[Control]) -> None:
    assert first_wrong(control) != ""


def test_who_grants_without_looking_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "shortage", lambda *_: None)
    assert "does not balance" in first_wrong()


def test_who_grants_all_at_once_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "next_at", lambda sent, rate, at, sends: at)
    assert "jobs may go in" in first_wrong()


class Unhurried(Control):
    """A new leader does not know what may have been sent."""

    async def rebuild(self, fenced: Any, committed: Any) -> Any:
        found = await super().rebuild(fenced, committed)
        for kept in found.values():
            kept.ledger = kept.ledger._replace(sent=self._books.start.sent)
        return found


def test_who_forgets_what_may_have_been_sent_is_found() -> None:
    assert "jobs may go in" in first_wrong(Unhurried)


def test_records_of_a_partition_that_was_lost_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.ExactlyOnce, "_read_again", lambda self, batches: None)
    assert first_wrong(seeds=1000) != ""
