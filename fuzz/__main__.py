"""`python -m fuzz [--seconds 60] [--targets a,b] [--jobs 1]`: every target for so long, then a table.

A target's folder is .cache/fuzz/TARGET: its corpus, which the next run goes on with, and its findings, each an input
and what it does. The exit code says whether the fuzzers ran, not whether they found anything.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from fuzz.targets import MADE, TARGETS, make

FOLDER = MADE.parent
REPLAY_SECONDS = 60
PATIENCE = 240
"""Seconds that a worker may take besides: to import, to try its seeds, and for its last input."""


@dataclass
class Ran:
    """One target's run. `findings`: what each is, by its file."""

    name: str
    executions: int = 0
    seconds: float = 0.0
    corpus: int = 0
    findings: dict[str, str] = field(default_factory=dict)
    broken: str = ""


def fuzzed(name: str, seconds: int) -> Ran:
    """One target for so long, started again where an input ended its process."""
    folder, ran = FOLDER / name, Ran(name)
    shutil.rmtree(folder / "candidates", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "executions").write_bytes(bytes(8))
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        while (left := seconds - (time.monotonic() - began)) >= 1:
            before, work = _executions(folder), [sys.executable, "-m", "fuzz.worker", name, str(folder), str(int(left))]
            try:
                code = subprocess.run(work, stdout=log, stderr=log, timeout=left + PATIENCE, check=False).returncode
            except subprocess.TimeoutExpired:
                code = -1
            if code and _executions(folder) == before:
                ran.broken = f"ended with {code}, see {folder / 'log'}"
                break
    ran.seconds, ran.executions = time.monotonic() - began, _executions(folder)
    ran.corpus = sum(1 for _ in (folder / "corpus").glob("*"))
    _confirm(ran, folder)
    return ran


def _executions(folder: Path) -> int:
    return int(struct.unpack("<q", (folder / "executions").read_bytes())[0])


def _confirm(ran: Ran, folder: Path) -> None:
    """The candidates that are findings without instrumentation, too."""
    for path in sorted((folder / "candidates").glob("*")):
        if path.suffix == ".txt":
            continue
        try:
            done = subprocess.run(
                [sys.executable, "-m", "fuzz.replay", ran.name, str(path)],
                capture_output=True,
                text=True,
                timeout=REPLAY_SECONDS,
            )
            code, said = done.returncode, done.stdout.strip()
        except subprocess.TimeoutExpired:
            code, said = -1, f"not over in {REPLAY_SECONDS} s"
        if code:
            kept = folder / "findings" / path.name
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(path, kept)
            ran.findings[str(kept.relative_to(Path.cwd()))] = said or f"the process ended with {code}"


def main() -> int:
    """By the arguments."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--targets", default="*", help="comma-separated names, * and ? as in a shell")
    parser.add_argument("--jobs", type=int, default=1, help="targets at once")
    given = parser.parse_args()
    patterns = given.targets.split(",")
    names = [name for name in TARGETS if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if not names:
        parser.error(f"no such target; there are {', '.join(TARGETS)}")
    if not MADE.exists():
        process = get_context("spawn").Process(target=make)  # with JAX, which is nothing for a process with limits
        process.start()
        process.join()
    with ThreadPoolExecutor(given.jobs) as pool:
        all_ran = list(pool.map(lambda name: fuzzed(name, given.seconds), names))
    print(f"{'target':22} {'executions':>11} {'seconds':>8} {'corpus':>7} {'findings':>9}")
    for ran in all_ran:
        print(f"{ran.name:22} {ran.executions:11} {ran.seconds:8.0f} {ran.corpus:7} {len(ran.findings):9}")
    for ran in all_ran:
        for path, said in ran.findings.items():
            print(f"{ran.name}: {path}\n    {said}")
        if ran.broken:
            print(f"{ran.name} did not run: {ran.broken}", file=sys.stderr)
    return 1 if any(ran.broken for ran in all_ran) else 0


if __name__ == "__main__":
    sys.exit(main())
