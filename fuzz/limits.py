"""What one input may take: memory of the process, and seconds of a processor."""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = 1024 * 1024 * 1024
"""Bytes of address space besides what the process has already."""


class TooLong(BaseException):
    """The seconds are over. No Exception: what the code catches must not be this."""


def confine_memory() -> None:
    """Of this process, from now on; an allocation beyond raises MemoryError."""
    (kib,) = re.findall(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    most = int(kib) * 1024 + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def within(seconds: float, run: Callable[[bytes], None], data: bytes) -> None:
    """`run(data)`. Raises TooLong, where the time is over."""
    signal.signal(signal.SIGPROF, _over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        run(data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _over(number: int, frame: Any) -> None:
    raise TooLong
