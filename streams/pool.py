"""What runs in a thread or a spawned process of a worker: module-level functions, bytes in and out."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

from qmosaic.backends.base import Backend
from qmosaic.backends.registry import create
from qmosaic.codecs import events
from qmosaic.codecs.events import JobEvent
from qmosaic.codecs.kernels import Kind
from qmosaic.processors.execute import execute
from qmosaic.streams.settings import Settings

_backends: dict[str, Backend] = {}


def stay_with_parent() -> None:
    """A pool's process ignores Ctrl-C (its parent drains it) and ends when its parent does, even by kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=watch, name="stay-with-parent", daemon=True).start()


def use_compilation_cache(directory: str) -> None:
    """Keep compiled JAX programs on disk between runs, however quickly they were compiled."""
    from jax import config

    set_option: Any = config.update  # ships without annotations

    set_option("jax_compilation_cache_dir", directory)
    set_option("jax_persistent_cache_min_compile_time_secs", 0.0)
    set_option("jax_persistent_cache_min_entry_size_bytes", -1)


def warm_reduce(settings: Settings) -> None:
    """Compile, or load, every program the reduce stage uses, before it takes partitions."""
    use_compilation_cache(str(settings.compilation_cache))
    from qmosaic.processors.families.registry import FAMILIES

    for family in FAMILIES.values():
        family.warm_up(settings.reduce.layers)


def warm_execute(names: Sequence[str], cache: str) -> dict[str, dict[Kind, int]]:
    """Load and warm the backends; what they are called and the largest kernel each takes, by kind."""
    if any(name.startswith("jax.") for name in names):
        use_compilation_cache(cache)
    for name in names:
        _backend(name).warm_up()
    return {name: _backend(name).capabilities.sizes for name in names}


def run_jobs(values: Sequence[bytes]) -> list[bytes]:
    """Job events to proposal events, in their order."""
    jobs = [events.decode(value, JobEvent) for value in values]
    return [events.encode(proposal) for proposal in execute(jobs, _backend)]


def _backend(name: str) -> Backend:
    if name not in _backends:
        _backends[name] = create(name)
    return _backends[name]
