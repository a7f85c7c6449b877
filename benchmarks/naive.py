"""The peer of the pipeline: what one writes in an afternoon, problem after problem, without a pipeline.

The same work on each problem as the pipeline does: a tabu search of the same replicas, steps and rule to
stop, the whole problem as the kernel (it has no more variables than a kernel may have), the same candidate
angles, one circuit of as many shots, the better of the two answers. Plain NumPy, vectorised over the replicas
and over the states, and one Cirq circuit for each evaluation. Nothing of qmosaic is in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import pi
from typing import Any

import cirq
import numpy as np
from jaxtyping import Float64, UInt8


@dataclass(frozen=True, eq=False)
class Effort:
    """How much is spent on a problem.

    A search ends when `easy` replicas of a population have the best energy, or after `populations`. The candidates
    for the angles are the rows of `factors` times (`gammas`, `betas`), for couplings of typical field 1; each costs one
    evaluation of a circuit on `tuned_on` of the variables.
    """

    replicas: int
    steps: int
    easy: int
    populations: int
    gammas: Float64[np.ndarray, " p"]
    betas: Float64[np.ndarray, " p"]
    factors: Float64[np.ndarray, "k 2"]
    tuned_on: int
    shots: int


def solve(nodes: int, edges: Sequence[Sequence[int]], effort: Effort, seed: int) -> tuple[float, list[int]]:
    """The cut and the side of each node, for max-cut with weights 1."""
    rng = np.random.default_rng(seed)
    J = np.zeros((nodes, nodes))
    for u, v in edges:
        J[u, v] = J[v, u] = 0.5
    searched = search(J, effort, rng)
    measured = qaoa(J, effort, seed)
    best = max((searched, measured), key=lambda bits: cut(bits, edges))
    return cut(best, edges), best.tolist()


def cut(bits: UInt8[np.ndarray, " n"], edges: Sequence[Sequence[int]]) -> float:
    """How many edges have their ends on different sides."""
    return float(sum(bits[u] != bits[v] for u, v in edges))


def search(J: Float64[np.ndarray, "n n"], effort: Effort, rng: np.random.Generator) -> UInt8[np.ndarray, " n"]:
    """Populations of random starts, each replica improved by tabu search."""
    champion, lowest = np.ones(len(J)), np.inf
    for _ in range(effort.populations):
        spins = tabu(J, rng.choice([-1.0, 1.0], (effort.replicas, len(J))), effort.steps, rng)
        energies = ((spins @ J) * spins).sum(1) / 2
        if energies.min() < lowest:
            champion, lowest = spins[energies.argmin()], energies.min()
        if (energies <= lowest + 1e-9).sum() >= effort.easy:
            break
    return (champion < 0).astype(np.uint8)


def tabu(
    J: Float64[np.ndarray, "n n"], start: Float64[np.ndarray, "r n"], steps: int, rng: np.random.Generator
) -> Float64[np.ndarray, "r n"]:
    """One-flip tabu search of all replicas at once: the best sample on each one's way."""
    replicas, n = start.shape
    every, spins, best = np.arange(replicas), start.copy(), start.copy()
    fields, until = spins @ J, np.zeros((replicas, n), np.int64)
    energy, lowest = np.zeros(replicas), np.zeros(replicas)
    tenures = min(20, n // 4) + rng.integers(0, max(1, min(10, n // 8)), (steps, replicas))
    for now in range(steps):
        change = -2 * spins * fields
        allowed = (until <= now) | (energy[:, None] + change < lowest[:, None] - 1e-6)
        flip = np.where(allowed, change, np.inf).argmin(1)
        energy += change[every, flip]
        fields -= 2 * spins[every, flip][:, None] * J[flip]
        spins[every, flip] *= -1
        until[every, flip] = now + 1 + tenures[now]
        better = energy < lowest
        lowest[better], best[better] = energy[better], spins[better]
    return best


def qaoa(J: Float64[np.ndarray, "n n"], effort: Effort, seed: int) -> UInt8[np.ndarray, " n"]:
    """The best candidate's circuit, sampled: its best sample."""
    simulator = cirq.Simulator(seed=seed)
    part = J if effort.tuned_on >= len(J) else neighbourhood(J, effort.tuned_on)
    states = spins_of_states(len(part))
    diagonal = ((states @ part) * states).sum(1) / 2

    def energy(factors: Any) -> float:
        state = simulator.simulate(circuit(part, effort, factors)).final_state_vector
        return float((state.real**2 + state.imag**2) @ diagonal)

    best_factors = min(effort.factors, key=energy)
    whole = circuit(J, effort, best_factors)
    measured = whole + cirq.measure(*sorted(whole.all_qubits()), key="x")
    samples = simulator.run(measured, repetitions=effort.shots).measurements["x"]
    spins = 1.0 - 2.0 * samples
    best: UInt8[np.ndarray, " n"] = samples[((spins @ J) * spins).sum(1).argmin()].astype(np.uint8)
    return best


def circuit(J: Float64[np.ndarray, "n n"], effort: Effort, factors: Sequence[float]) -> cirq.Circuit:
    """QAOA: H on all, then for each layer exp(-i gamma C) and exp(-i beta sum X)."""
    qubits = cirq.LineQubit.range(len(J))
    gammas = factors[0] * effort.gammas / np.sqrt((J**2).sum() / len(J))
    betas = factors[1] * effort.betas
    made = cirq.Circuit(cirq.H.on_each(*qubits))
    for gamma, beta in zip(gammas, betas, strict=True):
        made.append(cirq.ZZ(qubits[u], qubits[v]) ** (2 * gamma * J[u, v] / pi) for u, v in np.argwhere(np.triu(J)))
        made.append(cirq.rx(2 * beta).on_each(*qubits))
    return made


def neighbourhood(J: Float64[np.ndarray, "n n"], size: int) -> Float64[np.ndarray, "m m"]:
    """The couplings among `size` variables, grown from the first by the strongest ties."""
    chosen = [0]
    while len(chosen) < size:
        ties = np.abs(J[chosen]).sum(0)
        ties[chosen] = -1
        chosen.append(int(ties.argmax()))
    return J[np.ix_(chosen, chosen)]


@lru_cache(maxsize=2)
def spins_of_states(n: int) -> Float64[np.ndarray, "states n"]:
    """All 2^n states, in Cirq's order."""
    return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1)
