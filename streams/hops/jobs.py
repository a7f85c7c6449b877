"""What runs in a thread or a spawned process of a worker: module-level functions, bytes in and out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, perf_counter

from qmosaic.backends.base import Backend
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Encoded, Incumbent, JobEvent, Reduced
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.execute import execute
from qmosaic.processors.reduce import reduce_events
from qmosaic.streams.settings import ReduceSettings, Settings, needs_programs

_backends = threading.local()
"""Instances by name; each thread has its own, since a backend is used by one at a time."""


def use_programs(folder: Path, usual: str, waits: bool = False) -> None:
    """Compiled JAX programs from the folder; `waits`: what is not there is compiled here, before anything else."""
    from qmosaic.backends import programs

    programs.store(folder, waits=waits, usual=usual)


def compile_all(settings: Settings) -> None:
    """Compile what is usual, what small problems need first, and say that it is done."""
    use_programs(settings.compiled_programs, settings.usual_programs, waits=True)
    from qmosaic.backends import programs
    from qmosaic.processors.families.registry import FAMILIES

    names = [name for names in settings.execute.backends.values() for name in names]
    for slow in (False, True):
        for family in FAMILIES.values():
            family.warm_up(settings.reduce.layers, slow)
        if not slow:
            for name in filter(needs_programs, names):
                create(name).warm_up()
    programs.completed()


def run_reduce(values: Sequence[bytes], settings: ReduceSettings, now: float) -> list[tuple[Incumbent, Reduced | None]]:
    """Encoded events to incumbents and kernels, in their order."""
    return reduce_events(
        [wire.decode(value, Encoded) for value in values],
        now=now,
        max_kernel_qubits=settings.max_kernel_qubits,
        layers=settings.layers,
        share=settings.share,
        max_seconds=settings.max_seconds,
        clock=monotonic,
    )


def sizes_of(names: Sequence[str]) -> dict[str, dict[Kind, int]]:
    """Load the backends: what they are called and the largest kernel each takes, by kind. Raises BackendError."""
    for name in names:
        if _backend(name).capabilities.paid:
            raise BackendError(f"{name} is paid", place="execute.backends", remedy="Name it in paid.backends.")
    return {name: _backend(name).capabilities.sizes for name in names}


def loaded(names: Sequence[str]) -> dict[str, dict[Kind, int]]:
    """The same, and what would make a first job slow is done."""
    sizes = sizes_of(names)
    for name in names:
        _backend(name).warm_up()
    return sizes


def compiled() -> bool:
    """Whether all usual programs are."""
    from qmosaic.backends import programs

    return programs.complete()


def run_jobs(values: Sequence[bytes]) -> list[bytes]:
    """Job events to proposal events, in their order."""
    jobs = [wire.decode(value, JobEvent) for value in values]
    return [wire.encode(proposal) for proposal in execute(jobs, _backend, perf_counter)]


def _backend(name: str) -> Backend:
    if name not in vars(_backends):
        vars(_backends)[name] = create(name)
    found: Backend = vars(_backends)[name]
    return found
