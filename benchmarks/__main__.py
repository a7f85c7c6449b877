"""Run the benchmarks, each in a process of its own: `python -m benchmarks [a b c … | names] [--quick]`.

Exit code 0 unless one broke; a goal that was missed is printed as such.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

from benchmarks.common import parser

NAMES = {
    "a": "throughput",
    "b": "hop",
    "c": "qaoa",
    "d": "memory",
    "e": "latency",
    "f": "mixed",
    "g": "targets",
    "h": "backends",
    "i": "mitigation",
    "j": "overload",
    "k": "hostile",
    "l": "failover",
    "m": "start",
    "n": "control",
    "o": "telemetry",
    "p": "page",
    "q": "evidence",
    "r": "rounds",
    "s": "report",
    "t": "baselines",
    "u": "variational",
}


def main() -> None:
    """All of them, or those named; one that is alone runs in this process."""
    options = parser("the benchmarks")
    # not `choices`: argparse would hold the empty default against them
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(f"{k} {v}" for k, v in NAMES.items()))
    given = options.parse_args()
    names = [NAMES.get(name, name) for name in given.names or NAMES]
    unknown = set(names) - set(NAMES.values())
    if unknown:
        options.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    if len(names) == 1:
        run(names[0], given.quick)
        return
    flags = ["--quick"] if given.quick else []
    broke = [name for name in names if subprocess.run([sys.executable, "-m", "benchmarks", name, *flags]).returncode]
    if broke:
        sys.exit(f"broke: {', '.join(broke)}")


def run(name: str, quick: bool) -> None:
    """One benchmark, here."""
    if name != "qaoa":
        import_module(f"benchmarks.{name}").main(["--quick"] if quick else [])
        return
    sys.argv = ["benchmarks.qaoa", *(["--rounds", "1"] if quick else [])]
    try:
        import_module("benchmarks.qaoa").main()
    except SystemExit as end:
        if not isinstance(end.code, bool):  # a bool says whether a goal was missed, which its table says, too
            raise


if __name__ == "__main__":
    main()
