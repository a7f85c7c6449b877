"""Where the pipeline of a data folder runs: a file that `up` keeps locked, for the other commands to find it by.

The lock ends with the process, whatever ends that; what a file without one says is old.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from qmosaic.codecs.errors import BrokerError
from qmosaic.streams.life.folders import make_data_folder

NAME = "pipeline.json"


class Place(msgspec.Struct, frozen=True):
    """A pipeline that runs: `broker` empty while it starts, `page` where it serves none."""

    broker: str
    namespace: str
    pid: int
    since: float
    page: str = ""


class Holder:
    """The one who runs it."""

    def __init__(self, descriptor: int, namespace: str) -> None:
        self._descriptor, self._namespace = descriptor, namespace

    def announce(self, broker: str, page: str = "") -> None:
        """Say where it runs, and where its page is."""
        text = msgspec.json.encode(Place(broker, self._namespace, os.getpid(), time.time(), page))
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))


@contextmanager
def held(data_dir: Path, namespace: str) -> Iterator[Holder]:
    """Be the only one of this folder. Raises BrokerError where another is, SettingsError where it cannot be used."""
    make_data_folder(data_dir)
    descriptor = os.open(data_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _read(data_dir)
            who = "" if other is None else f": process {other.pid}, broker {other.broker or 'still to come'}"
            raise BrokerError(
                f"a pipeline of {data_dir} runs already{who}",
                place=str(data_dir),
                remedy="Use that one, stop it, or name another folder with QMOSAIC_DATA_DIR.",
            ) from None
        holder = Holder(descriptor, namespace)
        holder.announce("")
        yield holder
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def running(data_dir: Path) -> Place | None:
    """The pipeline of this folder, if one runs and has a broker."""
    try:
        descriptor = os.open(data_dir / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        found = _read(data_dir)
        return found if found is not None and found.broker else None
    finally:
        os.close(descriptor)
    return None  # nobody holds it


def _read(data_dir: Path) -> Place | None:
    try:
        return msgspec.json.decode((data_dir / NAME).read_bytes(), type=Place)
    except (OSError, msgspec.MsgspecError):
        return None
