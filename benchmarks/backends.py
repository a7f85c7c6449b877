"""Time per circuit of the state-vector backends against bare Cirq and against other simulators, in one run.

QAOA, p = 2, max-cut on random 3-regular graphs (all different), 1024 shots: until the samples are there.
(a) `cirq.statevector`, prepare and run, of problems whose structure it has seen, against `cirq.Simulator().run` of
the same circuits, built beforehand. (b) `jax.statevector`, its run with energies, against the best of cirq, qsimcirq,
qiskit-aer and pennylane-lightning, each with its best setting, circuits built and transpiled beforehand, in an
environment and a process of their own. (c) QAOA's gradient in evaluations of its value. (d) Exact energies of an Ising
chain in a transverse field after `DEPTH` layers of ry, rz and a chain of cx, one circuit at a time: `jax.statevector`,
`cirq.statevector` and `qsim`, prepared beforehand, and the peers of (b).

Contenders take turns of `TURN` seconds, never two at once, and the best run of each counts. Compilation and warm-up
are left out and told on the way. What would take longer than `LIMIT` seconds is left out, and named. Max-cut folds to a
qubit less.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Timer
from time import perf_counter
from types import TracebackType
from typing import Any

import cirq
import jax
import networkx as nx
import numpy as np

from benchmarks.common import Row, parser, print_table, tell
from qmosaic.backends.base import Backend, Job, Result, run_sync
from qmosaic.backends.on_cirq.statevector import CirqStatevector
from qmosaic.backends.on_jax import adjoint, qaoa
from qmosaic.backends.on_jax import costs as jax_costs
from qmosaic.backends.on_jax.statevector import JaxStatevector
from qmosaic.backends.registry import create
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.polynomial import SpinPolynomial

SHOTS, LAYERS = 1024, 2
SIZES, BATCHES = (8, 12, 16, 20, 24), (1, 16, 256)
LIMIT = 6.0
"""Seconds that a contender may be expected to take for one batch."""
DEPTH = 4
ROUNDS = 12
TURN = 0.02
"""Seconds in which a contender runs its batch again and again: else small ones would be measured with cold caches."""
HERE = Path(__file__).parent
PEERS = HERE.parent / ".cache" / "peers"
SETTINGS: dict[str, list[dict[str, int]]] = {
    "cirq": [{}],
    "qsim": [{"threads": threads, "fusion": fusion} for threads in (1, 2) for fusion in (2, 4)],
    "aer": [{"fusion": 5, "experiments": experiments} for experiments in (1, 2)],
    "lightning": [{}],
}


class Worker:
    """The peers' process."""

    def __init__(self) -> None:
        python, stamp, wanted = PEERS / "bin" / "python", PEERS / "installed", (HERE / "peers.txt").read_text()
        if not stamp.is_file() or stamp.read_text() != wanted:
            tell("installing the peers into .cache/peers")
            subprocess.run([sys.executable, "-m", "venv", PEERS], check=True, timeout=120)
            options = ["--quiet", "--disable-pip-version-check"]
            pip: list[str | Path] = [python, "-m", "pip", "install", *options, "-r", HERE / "peers.txt"]
            subprocess.run(pip, check=True, timeout=900)
            stamp.write_text(wanted)
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([python, HERE / "peer_worker.py"], stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(10)

    def ask(self, peer: str, setting: dict[str, int], jobs: Sequence[Job]) -> tuple[float, float]:
        """Seconds for the jobs, and the mean energy of all samples. Raises RuntimeError when no answer comes."""
        assert self._process.stdin
        assert self._process.stdout
        circuits = list(map(described, jobs))
        request = {"peer": peer, "setting": setting, "circuits": circuits, "shots": jobs[0].shots, "turn": TURN}
        timer = Timer(120, self._process.kill)
        timer.start()
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not answer:
            raise RuntimeError(f"{peer} ended, or did not answer for 120 s")
        found = json.loads(answer)
        return found["seconds"], found["energy"]


def described(job: Job) -> dict[str, Any]:
    """As `peer_worker` wants it."""
    if isinstance(job.kernel, Circuit):
        turns = [each.params[0] for each in job.kernel.operations if each.params]
        return {"n": job.kernel.qubits, "angles": np.reshape(turns, (DEPTH, 2, job.kernel.qubits)).tolist()}
    return {
        "n": job.polynomial.n,
        "edges": np.stack([job.polynomial.rows, job.polynomial.cols], axis=1).tolist(),
        "gammas": job.gammas.tolist(),
        "betas": job.betas.tolist(),
    }


def ansatz_of(n: int) -> Job:
    """Layers of ry, rz and a chain of cx, and the energy of an Ising chain in a transverse field."""
    rng, gates = np.random.default_rng(n), list[Operation]()
    for _ in range(DEPTH):
        gates += [Operation(name, (q,), (rng.uniform(-1, 1),)) for name in ("ry", "rz") for q in range(n)]
        gates += [Operation("cx", (q, q + 1)) for q in range(n - 1)]
    strings = ["I" * q + pauli + "I" * (n - q - len(pauli)) for pauli in ("ZZ", "X") for q in range(n + 1 - len(pauli))]
    return Job(Circuit(n, 0, tuple(gates), (PauliSum(n, tuple(strings), (1.0,) * len(strings)),)), 0, 1)


def jobs_of(n: int, count: int) -> list[Job]:
    """Max-cut on random 3-regular graphs with random angles."""
    rng, jobs = np.random.default_rng(n), []
    for seed in range(count):
        rows, cols = zip(*nx.random_regular_graph(3, n, seed=seed).edges, strict=True)
        kernel = SpinPolynomial.of(n, rows=rows, cols=cols, J=np.ones(len(rows)))
        jobs.append(Job(kernel, SHOTS, seed, *rng.uniform(-1, 1, (2, LAYERS))))
    return jobs


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = perf_counter()
    call()
    return perf_counter() - start


def turns(calls: dict[str, Callable[[], float]], expected: dict[str, float]) -> dict[str, float]:
    """The best of each contender's rounds, as many as fit a second; none where one is expected to take too long."""
    best: dict[str, float] = {}
    spent = dict.fromkeys(calls, 0.0)
    for _ in range(ROUNDS):
        for name, call in calls.items():
            if spent[name] < 1.0 and expected.get(name, 0.0) < LIMIT:
                seconds = call()
                spent[name] += seconds
                best[name] = min(best.get(name, np.inf), seconds)
    return best


def against_cirq(sizes: Sequence[int], batches: Sequence[int]) -> list[Row]:
    """(a)"""
    rows, backend = [], CirqStatevector()
    for n in sizes:
        expected: dict[str, float] = {}
        for batch in batches:
            jobs = jobs_of(n, batch)
            if max(expected.values(), default=0.0) * batch > LIMIT or n > 20:
                tell(f"(a) left out, too slow: {n} qubits, batch {batch}")
                continue
            circuits = [backend.prepare(job).circuit for job in jobs]  # and the structures are known from here on
            simulator = cirq.Simulator(dtype=np.complex64)

            def bare(circuits: Any = circuits, simulator: Any = simulator) -> float:
                return timed(lambda: [simulator.run(circuit, repetitions=SHOTS) for circuit in circuits])

            def ours(jobs: Any = jobs) -> float:
                return timed(lambda: run_sync(backend, [backend.prepare(job) for job in jobs]))

            found = turns({"ours": ours, "bare": bare}, {})
            expected = {name: seconds / batch for name, seconds in found.items()}
            row = Row(f"{n} qubits, batch of {batch}", found["ours"] / batch * 1e3, found["bare"] / batch * 1e3)
            rows.append(row.judged("<= 1.15", row.ratio <= 1.15))
    return rows


def energy_of(results: Sequence[Any]) -> float:
    """The mean of all samples, or of all values."""
    found = [each.energies @ each.counts / SHOTS if isinstance(each, Result) else each.values for each in results]
    return float(np.mean(found))


def ours(backend: Backend, prepared: Sequence[Any], name: str, energies: dict[str, float]) -> float:
    """Seconds of the fastest run of a turn."""
    seconds, until = np.inf, perf_counter() + TURN
    while seconds == np.inf or perf_counter() < until:
        start = perf_counter()
        results = run_sync(backend, prepared)
        seconds = min(seconds, perf_counter() - start)
    energies[name] = energy_of(results)
    return float(seconds)


def theirs(worker: Worker, jobs: Sequence[Job], energies: dict[str, float]) -> dict[str, Callable[[], float]]:
    """The same of each peer and setting."""

    def asked(peer: str, setting: dict[str, int]) -> float:
        seconds, energies[peer] = worker.ask(peer, setting, jobs)
        return seconds

    return {
        " ".join([peer, *(f"{key} {value}" for key, value in setting.items())]): partial(asked, peer, setting)
        for peer, settings in SETTINGS.items()
        for setting in settings
    }


def agree(energies: dict[str, float], most: float) -> None:
    """Raises RuntimeError for energies further apart."""
    if max(energies.values()) - min(energies.values()) > most:
        raise RuntimeError(f"they disagree: {energies}")


def best_of(found: dict[str, float], batch: int) -> dict[str, float]:
    """Milliseconds a circuit of each peer, at its best setting."""
    by_peer = {peer: [s for name, s in found.items() if name.split()[0] == peer] for peer in SETTINGS}
    return {peer: min(seconds) / batch * 1e3 for peer, seconds in by_peer.items() if seconds}


def values(sizes: Sequence[int]) -> list[Row]:
    """(d)"""
    rows = []
    with Worker() as worker:
        for n in sizes:
            job, energies = ansatz_of(n), dict[str, float]()
            calls = theirs(worker, [job], energies)
            for name in ("jax.statevector", "cirq.statevector", "qsim"):
                backend = create(name)
                calls[f"our {name}"] = partial(ours, backend, [backend.prepare(job)], f"our {name}", energies)
            for call in calls.values():
                call()  # compile
            found = turns(calls, {})
            agree(energies, 1e-3)
            shown = best_of(found, 1)
            best = min(shown, key=lambda peer: shown[peer])
            rows += [
                Row(f"{n} qubits, {name.removeprefix('our ')}, {best}", seconds * 1e3, shown[best])
                for name, seconds in found.items()
                if name.startswith("our ")
            ]
    return rows


def against_peers(sizes: Sequence[int], batches: Sequence[int]) -> tuple[list[Row], list[str]]:
    """(b): rows against the best peer, and a line for every peer."""
    rows, lines = [], []
    backend: Backend = JaxStatevector()
    with Worker() as worker:
        before: dict[str, float] = {}  # seconds a circuit, of fewer qubits or a smaller batch
        for n in sizes:
            before = {name: seconds * 16 * (n > 16) for name, seconds in before.items()}
            for batch in batches:
                jobs = jobs_of(n, batch)
                prepared = [backend.prepare(job) for job in jobs]
                if batch == 1:
                    first = timed(partial(run_sync, backend, prepared))
                    tell(f"(b) {n} qubits: compiled in {first:.1f} s")
                energies: dict[str, float] = {}
                calls = {"jax": partial(ours, backend, prepared, "jax", energies)} | theirs(worker, jobs, energies)
                expected = {name: seconds * batch for name, seconds in before.items()}
                if expected.get("jax", 0.0) >= LIMIT:
                    tell(f"(b) left out, too slow: {n} qubits, batch of {batch}")
                    continue
                found = turns(calls, expected)
                before |= {name: seconds / batch for name, seconds in found.items()}
                agree(energies, 1.0)
                mine, shown = found.pop("jax"), best_of(found, batch)
                line = ", ".join(
                    f"{peer} {shown[peer]:.2f}" if peer in shown else f"{peer} left out" for peer in SETTINGS
                )
                lines.append(f"{n} qubits, batch of {batch}: jax {mine / batch * 1e3:.2f}, {line}")
                tell(lines[-1])
                if shown:
                    best = min(shown, key=lambda peer: shown[peer])
                    row = Row(f"{n} qubits, batch of {batch}, {best}", mine / batch * 1e3, shown[best])
                    rows.append(row.judged("< 1", row.ratio < 1) if n <= 20 else row)
    return rows, lines


def gradients(sizes: Sequence[int]) -> list[Row]:
    """(c)"""
    rows = []
    for n in sizes:
        stack = jax_costs.stack([jobs_of(n, 1)[0].polynomial], rows=1)
        costs, sets = jax_costs.costs_of(stack), max(1, 2**16 >> n)
        for layers in (1, 2, 4):
            angles = np.random.default_rng(n).uniform(-1, 1, (2, 1, min(sets, 256), layers)).astype(np.float32)

            def best(f: Any, costs: Any = costs, folded: Any = stack.folded, angles: Any = angles) -> float:
                return timed(lambda: jax.block_until_ready(f(costs, folded, *angles)))  # type: ignore[no-untyped-call]

            best(qaoa.expectations), best(adjoint.expectations_and_gradients)
            values, slopes = [], []
            for _ in range(20):
                values.append(best(qaoa.expectations))
                slopes.append(best(adjoint.expectations_and_gradients))
            row = Row(f"{n} qubits, p = {layers}", min(slopes) * 1e3, min(values) * 1e3)
            rows.append(row.judged("<= 4", row.ratio <= 4))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    quick = parser("backends").parse_args(argv).quick
    sizes, batches = (SIZES[:1], BATCHES[:2]) if quick else (SIZES, BATCHES)
    print(f"QAOA, p = {LAYERS}, 3-regular max-cut, {SHOTS} shots, on {jax.devices()[0].device_kind}")
    rows, lines = against_peers(sizes, batches)
    print("\nms a circuit", *lines, sep="\n")
    print_table("(b) jax.statevector and the best peer", "jax, ms a circuit", "peer", rows)
    print_table("(a) cirq.statevector and bare Cirq", "ours, ms a circuit", "bare", against_cirq(sizes, batches))
    print_table("(c) gradients", "gradient, ms", "value", gradients(sizes[:4]))
    print_table("(d) exact energies of circuits", "ours, ms", "peer", values(sizes[:4]))


if __name__ == "__main__":
    main()
