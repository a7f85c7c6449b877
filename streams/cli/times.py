"""Times as people write and read them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(text: str) -> float | None:
    """`30s`, `15m`, `2h`, `1d` in seconds; None for anything else."""
    try:
        seconds = float(text[:-1]) * UNITS[text[-1:]]
    except (ValueError, KeyError):
        return None
    return seconds if 0 <= seconds < 1e10 else None


def moment_of(text: str) -> float | None:
    """An RFC 3339 time (UTC unless it says) in seconds since the epoch; None for anything else."""
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def moment(at: float) -> str:
    """A time for people, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
