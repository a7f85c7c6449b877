"""Times as people write and read them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.text import quoted
from qmosaic.streams.cli.common import USAGE, fail

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


def given_moment(text: str | None, place: str) -> float | None:
    """What an option says: a time, or an age from now on, in seconds since the epoch; exits with `USAGE` for anything
    else."""
    if text is None:
        return None
    age = seconds_of(text)
    found = time.time() - age if age is not None else moment_of(text)
    if found is None:
        remedy = "Write 15m, 2h, or 2026-01-31T12:00:00Z."
        fail(SettingsError(f"cannot read {place} {quoted(text, 60)}", place=place, remedy=remedy), USAGE)
    return found


def moment(at: float) -> str:
    """A time for people, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
