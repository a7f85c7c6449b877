"""One target, in a process of its own: `python -m fuzz.worker TARGET FOLDER SECONDS`.

libFuzzer's loop, by atheris: it keeps the inputs that reach new code. What it finds goes into FOLDER/candidates, the
shortest input for each place in the code, and the loop goes on; whoever started it runs them again without
instrumentation, which slows the code several times.
"""

from __future__ import annotations

import logging
import mmap
import shutil
import struct
import sys
import traceback
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import atheris

with atheris.instrument_imports(include=["qmosaic"]):
    from fuzz import limits
    from fuzz.targets import TARGETS, Target

SLOWER = 3.0
"""Of the instrumented code."""
SEED_SECONDS = 0.2
"""Of a processor, for an input to begin with."""
HANGS = 120
"""Seconds after which libFuzzer ends the process, where nothing else does."""


def place(error: BaseException) -> str:
    """What the error is, and the last lines of ours that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/qmosaic/" in frame.filename]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-1:]))
    return f"{type(error).__name__} at {where or 'the target'}"


class Fuzzer:
    """`count` is kept in a file, since libFuzzer ends the process when it will."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target, self._candidates = target, folder / "candidates"
        self._candidates.mkdir(exist_ok=True)
        self._sizes: dict[str, int] = {}
        with (folder / "executions").open("r+b") as file:
            self._count = mmap.mmap(file.fileno(), 8)

    def __call__(self, data: bytes) -> None:
        """One input."""
        struct.pack_into("<q", self._count, 0, struct.unpack_from("<q", self._count)[0] + 1)
        try:
            limits.within(SLOWER * self._target.seconds(data), self._target.run, data)
        except (Exception, limits.TooLong) as error:  # noqa: BLE001 - the finding
            self._keep(data, error)

    def _keep(self, data: bytes, error: BaseException) -> None:
        name = sha256(place(error).encode()).hexdigest()[:12]
        if len(data) < self._sizes.get(name, sys.maxsize):
            self._sizes[name] = len(data)
            (self._candidates / name).write_bytes(data)
            said = "".join(traceback.format_exception(error, limit=-12))
            (self._candidates / f"{name}.txt").write_text(f"{place(error)}\n\n{said}", encoding="utf-8")


def is_quick(target: Target, seed: bytes) -> bool:
    """Whether an input is one to begin with: of what takes long, there would be few changes."""
    try:
        limits.within(SEED_SECONDS, target.run, seed)
    except limits.TooLong:
        return False
    except Exception:  # noqa: BLE001 - a finding, and found again in a moment
        return True
    return True


def quoted(word: bytes) -> str:
    """A line of libFuzzer's dictionary."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


def main() -> None:
    """Until the seconds are over."""
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    target = TARGETS[name]
    logging.disable()  # a line an execution
    limits.confine_memory()
    shutil.rmtree(folder / "seeds", ignore_errors=True)
    for part in ("corpus", "seeds"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for seed in filter(partial(is_quick, target), target.seeds()):
        (folder / "seeds" / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    (folder / "words").write_text("\n".join(["# words", *map(quoted, target.words())]), encoding="ascii")
    fuzzer = Fuzzer(target, folder)
    options: dict[str, Any] = {}
    if (changed := target.mutate) is not None:

        def mutated(data: bytes, most: int, seed: int) -> bytes:
            draw = Random(seed)
            return bytes(atheris.Mutate(data, most) if draw.random() < 0.5 else changed(data, draw)[:most])

        options["custom_mutator"] = mutated
    arguments = [
        name,
        f"-max_total_time={seconds}",
        f"-timeout={HANGS}",
        "-rss_limit_mb=0",
        "-report_slow_units=1000",
        "-max_len=65536",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={folder / 'candidates'}/",
        str(folder / "corpus"),
        str(folder / "seeds"),
    ]
    atheris.Setup(arguments, fuzzer, **options)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
