"""QAOA evaluations per second: ours (JAX, batched) against cirq.Simulator and qsim, in one run.

One evaluation is the energy expectation of one angle set for one kernel, p = 2, max-cut on a random
3-regular graph. The peers simulate one circuit at a time and take the expectation by the precomputed
diagonal, which was faster than their own `simulate_expectation_values` at every size; their circuits are
built beforehand (all different, so that qsim's cache of translated circuits is of no help), and qsim runs
with the best of 1 and 2 threads and of gate fusion up to 2, 3 and 4 qubits. Compilation and warm-up are
left out for all. Contenders take turns, and the best round of each counts: whatever else runs on the
machine slows all of them. Max-cut has no fields, so ours folds the symmetry and simulates one qubit less
(`jax_costs.fold`); with fields the ratios are about half.

    python -m benchmarks.qaoa [--rounds 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import cycle
from time import perf_counter
from typing import Any

import cirq
import jax
import networkx as nx
import numpy as np
from qsimcirq.qsim_simulator import QSimOptions, QSimSimulator

from qmosaic.backends.base import Job
from qmosaic.backends.circuits.qaoa_in_cirq import circuit_of
from qmosaic.backends.on_jax import costs as jax_costs
from qmosaic.backends.on_jax import qaoa
from qmosaic.backends.solvers.exact import energies
from qmosaic.codecs.models.polynomial import SpinPolynomial

LAYERS = 2
GOALS = {8: 100.0, 12: 30.0, 16: 4.0, 20: 1.0}
BATCH = {8: 256, 12: 16, 16: 2, 20: 1}
"""Angle sets in one compiled call: more brought nothing on two cores, and took longer than a quiet moment lasts."""
ROUND_SECONDS = 0.3


def regular_graph(n: int) -> SpinPolynomial:
    """Max-cut on a random 3-regular graph: one coupling of 1 for each edge."""
    rows, cols = zip(*nx.random_regular_graph(3, n, seed=n).edges, strict=True)
    return SpinPolynomial.of(n, rows=rows, cols=cols, J=np.ones(len(rows)))


def ours(kernel: SpinPolynomial, angles: np.ndarray) -> Callable[[], float]:
    """One call of it evaluates `BATCH` angle sets; the diagonal is computed once, as for the peers."""
    stack = jax_costs.stack([kernel], rows=1)
    costs = jax_costs.costs_of(stack)
    size = BATCH[kernel.n]
    gammas, betas = (np.resize(part, (1, size, LAYERS)).astype(np.float32) for part in angles)

    def evaluate() -> float:
        return float(np.asarray(qaoa.expectations(costs, stack.folded, gammas, betas))[0, 0])

    return evaluate


def peer(kernel: SpinPolynomial, angles: np.ndarray, simulator: Any) -> Callable[[], float]:
    """One call of it evaluates one angle set, the next of the list; returns the first's energy first."""
    diagonal = energies(kernel).astype(np.float32)
    circuits = cycle([circuit_of(Job(kernel, 1, 0, gammas, betas))[:-1] for gammas, betas in zip(*angles, strict=True)])

    def evaluate() -> float:
        state = simulator.simulate(next(circuits)).final_state_vector
        return float((state.real**2 + state.imag**2) @ diagonal)

    return evaluate


def contenders(kernel: SpinPolynomial, angles: np.ndarray) -> dict[str, tuple[int, Callable[[], float]]]:
    """Name to (evaluations in a call, call)."""
    found = {"jax": (BATCH[kernel.n], ours(kernel, angles))}
    found["cirq"] = (1, peer(kernel, angles, cirq.Simulator(dtype=np.complex64)))
    for threads in (1, 2):
        for fused in (2, 3, 4):
            options = QSimOptions(cpu_threads=threads, max_fused_gate_size=fused)
            found[f"qsim {threads} thread{'s' * (threads > 1)}, fusion {fused}"] = (
                1,
                peer(kernel, angles, QSimSimulator(options)),
            )
    return found


def seconds(call: Callable[[], float]) -> float:
    """Best time of one call in a round."""
    best, end = np.inf, perf_counter() + ROUND_SECONDS
    while perf_counter() < end:
        start = perf_counter()
        call()
        best = min(best, perf_counter() - start)
    return float(best)


def compare(n: int, rounds: int) -> dict[str, float]:
    """Evaluations per second of every contender, after checking that all agree."""
    kernel = regular_graph(n)
    angles = np.random.default_rng(n).uniform(-1, 1, size=(2, 64, LAYERS))
    entered = contenders(kernel, angles)
    answers = [call() for _, call in entered.values()]
    np.testing.assert_allclose(answers, answers[0], atol=1e-3)
    best = dict.fromkeys(entered, np.inf)
    for _ in range(rounds):
        for name, (size, call) in entered.items():
            best[name] = min(best[name], seconds(call) / size)
    return {name: 1 / time for name, time in best.items()}


def main() -> None:
    """Print the table; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description="QAOA evaluations per second")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"QAOA, p = {LAYERS}, 3-regular graphs, on {jax.devices()[0].device_kind}; evaluations/s")
    print(f"{'qubits':>6} {'batch':>6} {'jax':>10} {'cirq':>8} {'qsim':>8}  {'best peer':<26}{'ratio':>7} {'goal':>5}")
    met = True
    for n, goal in GOALS.items():
        rates = compare(n, rounds)
        jax_rate = rates.pop("jax")
        best = max(rates, key=partial(dict.__getitem__, rates))
        qsim = max(rate for name, rate in rates.items() if name.startswith("qsim"))
        ratio = jax_rate / rates[best]
        met &= ratio >= goal
        print(
            f"{n:>6} {BATCH[n]:>6} {jax_rate:>10.0f} {rates['cirq']:>8.1f} {qsim:>8.1f}  {best:<26}"
            f"{ratio:>7.1f} {goal:>5.0f}{'' if ratio >= goal else '  missed'}",
            flush=True,
        )
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
