"""What runs in a thread or a spawned process of a worker: module-level functions, bytes in and out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any

from qmosaic.backends.base import Backend
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Encoded, Incumbent, JobEvent, Reduced
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.execute import execute
from qmosaic.processors.reduce import reduce_events
from qmosaic.streams.settings import ReduceSettings, Settings

_backends = threading.local()
"""Instances by name; each thread has its own, since a backend is used by one at a time."""


def use_compilation_cache(directory: str) -> None:
    """Keep compiled JAX programs on disk between runs, however quickly they were compiled."""
    from jax import config

    set_option: Any = config.update  # ships without annotations

    set_option("jax_compilation_cache_dir", directory)
    set_option("jax_persistent_cache_min_compile_time_secs", 0.0)
    set_option("jax_persistent_cache_min_entry_size_bytes", -1)


def warm_reduce(settings: Settings, slow: bool) -> None:
    """Compile, or load, what the reduce stage uses, before it takes partitions; `slow`: in its process."""
    use_compilation_cache(str(settings.compilation_cache))
    from qmosaic.processors.families.registry import FAMILIES

    for family in FAMILIES.values():
        family.warm_up(settings.reduce.layers, slow)


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


def warm_execute(names: Sequence[str], cache: str) -> dict[str, dict[Kind, int]]:
    """Load and warm the backends; what they are called and the largest kernel each takes, by kind."""
    if any(name.startswith("jax.") for name in names):
        use_compilation_cache(cache)
    for name in names:
        if _backend(name).capabilities.paid:
            raise BackendError(f"{name} is paid", place="execute.backends", remedy="Name it in paid.backends.")
        _backend(name).warm_up()
    return {name: _backend(name).capabilities.sizes for name in names}


def run_jobs(values: Sequence[bytes]) -> list[bytes]:
    """Job events to proposal events, in their order."""
    jobs = [wire.decode(value, JobEvent) for value in values]
    return [wire.encode(proposal) for proposal in execute(jobs, _backend)]


def _backend(name: str) -> Backend:
    if name not in vars(_backends):
        vars(_backends)[name] = create(name)
    found: Backend = vars(_backends)[name]
    return found
