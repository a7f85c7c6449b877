"""The processes that a supervisor keeps: which there are, what they share, how far they have come."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from qmosaic.codecs.events.control import Ailment
from qmosaic.streams.hops.processes import cpu_seconds
from qmosaic.streams.life.forks import Process
from qmosaic.streams.settings import Settings, needs_programs
from qmosaic.streams.topology import LIVES_IN

SILENT_SECONDS = 2.0
"""A worker whose event loop does not answer for so long hangs."""
PROGRESS_SECONDS = 5.0
"""Of a processor, taken by a worker and its processes, are a sign of progress; one that only waits takes less."""


class Progress(msgspec.Struct, frozen=True):
    """How far a start is: how many workers are ready, of how many, and what the others do; after how many seconds."""

    ready: int
    of: int
    waiting: dict[str, str]
    seconds: float

    def __str__(self) -> str:
        each = ", ".join(f"{instance} {doing}" for instance, doing in self.waiting.items())
        return f"{self.ready} of {self.of} ready, {self.seconds:.0f} s: {each}" if each else f"{self.ready} ready"


@dataclass(eq=False)
class Child:
    """One worker process and what is known of it."""

    stage: str
    instance: str
    guest: str | None = None  # another stage that lives in it
    process: Process | None = None
    line: socket.socket | None = None
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)  # it was, once
    is_back: bool = False  # and its process of now is
    asked_at: float | None = None  # whether it is well, and it has not answered yet
    says: tuple[Ailment, ...] = ()  # what is wrong with it
    starts: int = 0
    ends: int = 0
    started_at: float = 0.0
    cpu: float = 0.0
    progress_at: float = 0.0
    progress_cpu: float = 0.0
    doing: str = "starting"
    environment: dict[str, str] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    @property
    def stages(self) -> list[str]:
        """Its own, and its guest's."""
        return [self.stage, *([self.guest] if self.guest else [])]

    def troubles(self, now: float) -> Sequence[Ailment]:
        """What is wrong with it (`now`: of the monotonic clock); of its first start others tell."""
        if not self.is_ready.is_set():
            return ()
        if not self.is_back:
            return ("ended",)
        return ("silent",) if self.is_silent(now) else self.says

    def is_silent(self, now: float) -> bool:
        """Whether it was asked and has not answered."""
        return self.asked_at is not None and now - self.asked_at >= SILENT_SECONDS


def children_of(stages: Sequence[str], counts: Mapping[str, int], suffix: str) -> list[Child]:
    """One for each worker of each stage; a light stage lives in the process of another, unless its number is said."""
    guests = {host: stage for stage, host in LIVES_IN.items() if {stage, host} <= {*stages} and stage not in counts}
    return [
        Child(stage, f"{stage}{suffix}-{k}", guest=guests.get(stage))
        for stage in stages
        if stage not in guests.values()
        for k in range(counts.get(stage, 1))
    ]


def shared_by(settings: Settings, stages: Sequence[str]) -> dict[str, str]:
    """By stage, what its workers need besides what all need, in the order in which it should be imported."""
    found = {"reduce": "jax"}
    for target, names in settings.execute.backends.items():
        if any(map(needs_programs, names)) and target != "classical":
            found[f"execute.{target}"] = "jax"
    for target, names in settings.execute.backends.items():
        if target == "quantum" and any("cirq." in name for name in names):
            found[f"execute.{target}"] = "cirq"
    return {stage: name for stage, name in found.items() if stage in stages}


def note_progress(children: Sequence[Child], now: float) -> None:
    """Those that took some time of a processor since the last look are further."""
    taken = cpu_seconds(child.process.pid for child in children if child.process is not None)
    for child in children:
        if child.process is not None:
            child.cpu = taken[child.process.pid]
            if child.cpu - child.progress_cpu >= PROGRESS_SECONDS:
                child.progress_at, child.progress_cpu = now, child.cpu
