"""What the fuzzers begin with: what the code makes, and the literals that stand in its tests; and words of the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.hostile_events import EVENTS
from fuzz.mutate import dumped
from qmosaic.codecs.problems.base import ProblemData
from qmosaic.codecs.problems.circuit import Circuit
from qmosaic.codecs.problems.ising import Ising
from qmosaic.codecs.problems.labs import Labs
from qmosaic.codecs.problems.maxcut import MaxCut
from qmosaic.codecs.problems.molecule import Molecule
from qmosaic.codecs.problems.portfolio import Portfolio
from qmosaic.codecs.problems.qubo import Qubo
from qmosaic.codecs.problems.route import Route

ROOT = Path(__file__).parents[1]
MOST_BYTES = 64 * 1024
PROBLEMS: dict[str, type[ProblemData]] = {
    kind.family: kind for kind in (MaxCut, Qubo, Ising, Labs, Portfolio, Route, Molecule, Circuit)
}


def literals(*patterns: str) -> Iterator[Any]:
    """Every constant, list and dict of the files that can be evaluated by itself."""
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant | ast.Dict):
                    try:
                        yield ast.literal_eval(node)
                    except (ValueError, TypeError):
                        continue


def texts(*patterns: str) -> list[bytes]:
    """The longer ones that are text or bytes."""
    return sorted(one for one in _spelled(patterns) if 8 <= len(one) <= MOST_BYTES)


def words(*patterns: str) -> list[bytes]:
    """The short ones: what the code compares its input with."""
    return sorted(one for one in _spelled(patterns) if 1 <= len(one) <= 24 and b"\n" not in one)[:400]


def _spelled(patterns: Sequence[str]) -> set[bytes]:
    found = (one for one in literals(*patterns) if isinstance(one, str | bytes))
    return {one.encode(errors="surrogatepass") if isinstance(one, str) else one for one in found}


def fields(family: str) -> list[str]:
    """Of a family's payload."""
    return [one.encode_name for one in msgspec.structs.fields(PROBLEMS[family]) if one.name != "sense"]


def problem_events(family: str) -> list[bytes]:
    """The family's example, with and without all options, and the payloads in the tests."""
    known = set(fields(family))
    given = literals("tests/processors/**/*.py", "tests/codecs/**/*.py", "tests/streams/**/*.py", "examples/*.py")
    payloads = [PROBLEMS[family].example]
    payloads += [one for one in given if isinstance(one, dict) and one and known >= {str(key) for key in one}]
    if family == "circuit":
        payloads += [{"qasm": source} for source in programs()]
    whole = {"id": "a", "deadline": 5, "shots": 100, "seed": 1, "tenant": "t", "priority": "low", "sense": "min"}
    events = [{**whole, "labels": {"a": [1]}, "family": family, "problem": PROBLEMS[family].example}]
    events += [{"family": family, "problem": one} for one in payloads]
    return [dumped(one) for one in events]


def hostile_events(family: str) -> list[bytes]:
    """The small ones of those that once hurt."""
    mark = b'"family":"%b"' % family.encode()
    made = (make() for make in EVENTS.values())
    return [one for one in made if len(one) <= MOST_BYTES and mark in one[:200]]


def programs() -> list[str]:
    """OpenQASM in the tests, with the head that they put before it."""
    out = []
    for one in texts(
        "tests/codecs/qasm/test_qasm.py",
        "tests/codecs/qasm/test_modifiers.py",
        "tests/processors/families/test_circuit.py",
    ):
        source = one.decode(errors="replace")
        if "OPENQASM" in source:
            out.append(source)
        elif ";" in source:
            out += [
                f'OPENQASM {version};include "{file}";{source}'
                for version, file in (("2.0", "qelib1.inc"), ("3", "stdgates.inc"))
            ]
    return out


def files() -> list[bytes]:
    """Of every format: the fuzzer of a format keeps those that take it somewhere. Documents of JSON stand in the tests
    as Python's literals."""
    golden = [path.read_bytes() for path in sorted((ROOT / "tests/codecs/golden").glob("*.json"))]
    documents = [one for one in literals("tests/codecs/formats/*.py") if isinstance(one, dict) and one]
    return [
        *texts("tests/codecs/formats/*.py"),
        *golden,
        *map(dumped, documents),
    ]


def internal_events(problems: Sequence[bytes]) -> Iterator[msgspec.Struct]:
    """What the hops make of these problems, one after the other; with JAX, so in a process of its own."""
    import time

    from qmosaic.codecs.events import hops, wire
    from qmosaic.processors.admit import Defaults, Record
    from qmosaic.processors.control.facts import Facts
    from qmosaic.processors.control.policy import Policy
    from qmosaic.processors.encode import encode
    from qmosaic.processors.families.base import Limits
    from qmosaic.processors.route import route
    from qmosaic.streams.hops.jobs import run_jobs, run_reduce
    from qmosaic.streams.settings import ReduceSettings

    now = time.time()
    for offset, value in enumerate(problems):
        (encoded,) = encode([Record("problems", 0, offset, now, value)], Limits(), Defaults(deadline_seconds=3))
        if encoded is None:
            continue
        yield encoded
        ((incumbent, reduced),) = run_reduce([wire.encode(encoded)], ReduceSettings(), now)
        yield incumbent
        if reduced is None:
            continue
        yield reduced
        alive: Any = {
            "quantum": {
                "cirq.statevector": dict.fromkeys(("spins", "narrow", "circuit", "clifford", "variational"), 20)
            }
        }
        for job in route([reduced], Facts(now, alive), Policy()):
            yield job
            if isinstance(job, hops.JobEvent):
                yield wire.decode(run_jobs([wire.encode(job)])[0], hops.Proposal)
