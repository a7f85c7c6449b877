"""Folders that nobody else reads: the data folder, and those for a while, removed by the next start if not by us."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qmosaic.codecs.errors import SettingsError

UMASK = 0o077
"""What every process we start makes is its user's alone."""
OURS = frozenset({"broker", "crashes", "faust", "logs", "pipeline.json", "spans"})
"""What may be in a data folder."""
_PREFIX, _LOCK = "qm-", "qmosaic.lock"


def make_private(folder: Path) -> None:
    """Make a folder of mode 700; one that is there gets it too, and the files in it 600. Raises SettingsError.

    A folder of another user is refused: they could put files of theirs in the place of ours. Not so one of root's, who
    can anyway.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(folder):
            folder.chmod(0o700)
            for entry in folder.iterdir():
                if stat.S_ISREG(entry.lstat().st_mode):
                    entry.chmod(0o600)
    except OSError as error:
        raise SettingsError(f"cannot use {folder}: {error.strerror}", place="data_dir") from None


def make_data_folder(folder: Path) -> None:
    """The same; one that holds other things too keeps its mode, as ours are in private folders in it."""
    with suppress(OSError):
        if not OURS.issuperset(os.listdir(folder)):
            _is_ours(folder)
            return
    make_private(folder)


def _is_ours(folder: Path) -> bool:
    owner = folder.stat().st_uid
    if owner not in (os.geteuid(), 0):
        raise SettingsError(
            f"{folder} belongs to another user ({owner})",
            place="data_dir",
            remedy="Name a folder of your own, or change its owner.",
        )
    return owner == os.geteuid()


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder for a while. What one killed with -9 left behind goes when the next one is made.

    Its owner holds a lock on a file in it, which ends with the process, whatever ends that. The name is short: the path
    of a socket has some 100 characters.
    """
    _sweep()
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        new = Path(name) / "new"
        with new.open("xb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new.rename(new.with_name(_LOCK))  # only now, or another start would find it without an owner
            yield Path(name)


def _sweep() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):
            if path.parent.lstat().st_uid != os.geteuid():
                continue
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent)
