"""Control at a record that it cannot decide about: it is put aside, what asked goes on elsewhere, others are granted.

Errors that nobody expects, and real kills.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaTimeoutError

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import JobEvent, Route
from qmosaic.codecs.events.ledger import Amounts
from qmosaic.processors.control.books import Books
from qmosaic.processors.control.breakers import Breaker, Known
from qmosaic.processors.control.ordered import Orders
from qmosaic.streams.hops.control import Control, Kept
from qmosaic.streams.hops.crashes import MOST
from qmosaic.streams.hops.decided import Round
from qmosaic.streams.kafka.records import Received
from qmosaic.streams.settings import PaidSettings, Settings
from tests.simulation.world import answers, sensor

BACKEND = "vendor"


def control_of(folder: Path, kind: type[Control] = Control) -> Control:
    settings = Settings(data_dir=str(folder), paid=PaidSettings(backends=(BACKEND,)))
    return kind(settings, "control-0", sensor(), lambda: None, is_known=lambda _: True, names=[BACKEND])


def job(name: str, offset: int, *candidates: Route) -> Received:
    _, reduced, _ = answers()
    now = time()
    ref = msgspec.structs.replace(
        reduced.ref, problem_id=name, partition=0, offset=offset, received_at=now, deadline_at=now + 60
    )
    event = JobEvent(
        ref=ref,
        job_id="",
        attempt=1,
        route=Route(target="quantum", backend=BACKEND, reason="rule", rule=""),
        candidates=list(candidates),
        quote=Amounts(10, None, None),
        kernel=reduced.kernel,
        kernel_digest=reduced.kernel_digest,
        work_seconds=0.1,
        gammas=[],
        betas=[],
    )
    return Received("jobs.priced", 0, offset, now, wire.encode(event), {})


def decided(control: Control, *records: Received) -> Round:
    nobody: Any = None  # it writes nothing
    kept = Kept(producer=nobody, ledger=Books().start, ordered=Orders().start)
    return control._decided(kept, records)


FREE = Route(target="classical", backend="exact", reason="rule", rule="")


class Stumbles(Control):
    """It has a bug, at one problem, when half of its decision is made."""

    def _decide(self, owned: Kept, record: Received, cause: int, out: Round) -> str | None:
        found = super()._decide(owned, record, cause, out)
        if b'"bad"' in (record.value or b""):
            raise KeyError("a bug")
        return found


@pytest.mark.parametrize(("candidates", "topic"), [((FREE,), "jobs.classical"), ((), "proposals")])
def test_an_error_is_one_jobs_own(tmp_path: Path, candidates: tuple[Route, ...], topic: str) -> None:
    found = decided(control_of(tmp_path, Stumbles), job("a", 0), job("bad", 1, *candidates), job("b", 2))
    assert [entry.problem_id for entry in found.entries if entry.event == "reserved"] == ["a", "b"]
    sent = {send.event.ref.problem_id: send.topic for send in found.sends}  # type: ignore[attr-defined]
    assert sent == {"a": "jobs.paid", "bad": topic, "b": "jobs.paid"}
    (told,) = found.audits
    assert (told.event, told.offset, told.reason) == ("put_aside", 1, "deciding about it raised KeyError")


def test_an_error_at_what_is_no_job_is_told(tmp_path: Path) -> None:
    class Broken(Control):
        def _decide(self, *given: Any) -> str | None:
            raise ZeroDivisionError

    found = decided(control_of(tmp_path, Broken), Received("jobs.ended", 0, 7, time(), b"{}", {}))
    assert [entry.offset for entry in found.audits] == [7]
    assert not found.sends


def test_what_is_passed_over_and_forged_goes_nowhere(tmp_path: Path) -> None:
    real = job("bad", 1, FREE)
    event = wire.decode(real.value or b"", JobEvent)
    forged = msgspec.structs.replace(event, ref=msgspec.structs.replace(event.ref, partition=-1))
    record = msgspec.structs.replace(real, value=wire.encode(forged))
    control = control_of(tmp_path)
    assert control._passed_over(real, 0, "worker_crashed", "it died").sends
    assert not control._passed_over(record, 0, "worker_crashed", "it died").sends


DIE = """
import os, sys
from pathlib import Path
from qmosaic.streams.hops.control import Control
from tests.streams.hops.test_control import control_of, decided, job

class Dies(Control):
    def _decide(self, owned, record, cause, out):
        if b'"bad"' in record.value:
            os.kill(os.getpid(), 9)
        return super()._decide(owned, record, cause, out)

decided(control_of(Path(sys.argv[1]), Dies), job("bad", 1), job("good", 2))
"""


def test_a_job_that_kills_control_is_passed_over(tmp_path: Path) -> None:
    for _ in range(MOST):
        found = decided(control_of(tmp_path / "other"), job("bad", 1))
        assert [send.topic for send in found.sends] == ["jobs.paid"]  # nobody has died there
        ended = subprocess.run([sys.executable, "-c", DIE, str(tmp_path)], check=False)
        assert ended.returncode == -9
    found = decided(control_of(tmp_path), job("bad", 1, FREE), job("good", 2))
    sent = {send.event.ref.problem_id: send.topic for send in found.sends}  # type: ignore[attr-defined]
    assert sent == {"good": "jobs.paid", "bad": "jobs.classical"}
    assert [entry.reason for entry in found.audits] == [f"control died {MOST} times at it"]


class Unwritten(Control):
    """Its first transaction fails."""

    fails = True

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.wrote: list[str] = []

    async def _write(
        self, number: int, owned: Kept, records: Sequence[Received], written: Round, started: float
    ) -> None:
        if self.fails:
            self.fails = False
            raise KafkaTimeoutError
        self.wrote += [entry.reason for entry in written.audits]


async def test_a_change_of_a_breaker_is_told_until_it_is_written_and_then_no_more(tmp_path: Path) -> None:
    control = control_of(tmp_path, Unwritten)
    assert isinstance(control, Unwritten)
    now = time()
    known: Any = SimpleNamespace(state=Known({BACKEND: Breaker(is_open=True, until=now + 5, times=1)}))
    nobody: Any = None
    control._breakers = known
    control.owned = {0: Kept(producer=nobody, ledger=Books().start, ordered=Orders().start, told_at=now + 60)}
    with pytest.raises(KafkaTimeoutError):
        await control.round({})
    await control.round({})
    await control.round({})
    assert control.wrote == ["opened"]
    known.state = Known({BACKEND: Breaker()})
    await control.round({})
    assert control.wrote == ["opened", "closed"]
