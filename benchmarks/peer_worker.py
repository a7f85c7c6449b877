"""The peers' side of `benchmarks.backends`, run by an interpreter of their own (`peers.txt`). Imports nothing of ours.

A request is a line of JSON, and so is its answer:
    {"peer": "aer", "setting": {...}, "circuits": [{"n", "edges", "gammas", "betas"}, ...], "shots": 1024, "turn": 0.1}
    {"peer": "aer", "setting": {...}, "circuits": [{"n", "angles"}, ...], "shots": 0, "turn": 0.1}
    {"seconds": of the whole batch, "energy": the mean of all samples, or of all circuits' values}
`turn`: seconds in which it is run again and again; the fastest counts.
A circuit is QAOA's for max-cut, or with `angles` (layers, 2, n) layers of ry, rz and a chain of cx, of which the exact
energy of an Ising chain in a transverse field is asked. Circuits are built and transpiled before the clock starts; what
is timed is their run, until the samples or the values are there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np

Run = Callable[[], list[np.ndarray]]
"""Samples of every circuit, shape (shots, n), or its value."""


def cirq_circuit(n: int, edges: Any, gammas: Any, betas: Any) -> Any:
    """Max-cut QAOA: exp(-i gamma ZZ), exp(-i beta X)."""
    import cirq

    qubits = cirq.LineQubit.range(n)
    circuit = cirq.Circuit(cirq.H.on_each(*qubits))
    for gamma, beta in zip(gammas, betas, strict=True):
        turn = cirq.ZZPowGate(exponent=2 * gamma / np.pi, global_shift=-0.5)
        circuit += [turn(qubits[i], qubits[j]) for i, j in edges]
        circuit += cirq.Moment(cirq.rx(2 * beta).on_each(*qubits))
    return circuit + cirq.Moment(cirq.measure(*qubits, key="x"))


def of_cirq(circuits: list[Any], shots: int, simulator: Any) -> Run:
    """A simulator with Cirq's interface, one circuit after the other."""
    built = [cirq_circuit(**each) for each in circuits]
    return lambda: [simulator.run(each, repetitions=shots).measurements["x"] for each in built]


def cirq(circuits: list[Any], shots: int) -> Run:
    """cirq.Simulator, complex64."""
    import cirq

    return of_cirq(circuits, shots, cirq.Simulator(dtype=np.complex64))


def qsim(circuits: list[Any], shots: int, threads: int, fusion: int) -> Run:
    """qsimcirq."""
    from qsimcirq.qsim_simulator import QSimOptions, QSimSimulator

    return of_cirq(circuits, shots, QSimSimulator(QSimOptions(cpu_threads=threads, max_fused_gate_size=fusion)))


def aer_simulator(fusion: int, experiments: int) -> Any:
    """`experiments`: circuits at once, else threads within one."""
    from qiskit_aer import AerSimulator

    return AerSimulator(
        method="statevector",
        precision="single",
        max_parallel_threads=2,
        max_parallel_experiments=experiments,
        fusion_max_qubit=fusion,
    )


def aer(circuits: list[Any], shots: int, fusion: int, experiments: int) -> Run:
    """qiskit-aer: a batch is one call."""
    from qiskit import QuantumCircuit, transpile

    simulator = aer_simulator(fusion, experiments)
    built = []
    for each in circuits:
        made = QuantumCircuit(each["n"])
        made.h(range(each["n"]))
        for gamma, beta in zip(each["gammas"], each["betas"], strict=True):
            for i, j in each["edges"]:
                made.rzz(2 * gamma, i, j)
            made.rx(2 * beta, range(each["n"]))
        made.measure_all()
        built.append(made)
    built = transpile(built, simulator, optimization_level=0)

    def run() -> list[np.ndarray]:
        result = simulator.run(built, shots=shots).result()
        found = []
        for place, each in enumerate(circuits):
            states, seen = zip(*result.data(place)["counts"].items(), strict=True)
            drawn = np.repeat(np.array([int(state, 16) for state in states]), seen)
            found.append((drawn[:, None] >> np.arange(each["n"])) & 1)
        return found

    return run


def lightning(circuits: list[Any], shots: int) -> Run:
    """pennylane-lightning, complex64: tapes given to the device at once, past PennyLane's own transformations."""
    import pennylane as qml

    device = qml.device("lightning.qubit", wires=circuits[0]["n"], c_dtype=np.complex64)
    tapes = []
    for each in circuits:
        wires = range(each["n"])
        gates: list[Any] = [qml.Hadamard(i) for i in wires]
        for gamma, beta in zip(each["gammas"], each["betas"], strict=True):
            gates += [qml.IsingZZ(2 * gamma, (i, j)) for i, j in each["edges"]]
            gates += [qml.RX(2 * beta, i) for i in wires]
        tapes.append(qml.tape.QuantumScript(gates, [qml.sample(wires=list(wires))], shots=shots))
    return lambda: [np.asarray(found) for found in device.execute(tapes)]


PEERS: dict[str, Callable[..., Run]] = {"cirq": cirq, "qsim": qsim, "aer": aer, "lightning": lightning}


def ansatz(n: int, angles: Any) -> list[tuple[str, tuple[int, ...], float]]:
    """Gates: name, qubits, angle."""
    gates: list[tuple[str, tuple[int, ...], float]] = []
    for ry, rz in angles:
        gates += [("ry", (i,), angle) for i, angle in enumerate(ry)]
        gates += [("rz", (i,), angle) for i, angle in enumerate(rz)]
        gates += [("cx", (i, i + 1), 0.0) for i in range(n - 1)]
    return gates


def values_of_cirq(circuits: list[Any], simulator: Any) -> Run:
    """A simulator with Cirq's interface."""
    import cirq

    built = []
    for each in circuits:
        on = cirq.LineQubit.range(each["n"])
        turns: dict[str, Any] = {"ry": cirq.ry, "rz": cirq.rz, "cx": lambda _: cirq.CNOT}
        circuit = cirq.Circuit(turns[name](angle)(*(on[i] for i in at)) for name, at, angle in ansatz(**each))
        energy = sum((cirq.Z(a) * cirq.Z(b) for a, b in pairwise(on)), cirq.PauliSum()) + sum(map(cirq.X, on))
        built.append((circuit, energy))
    return lambda: [np.real(simulator.simulate_expectation_values(*each)) for each in built]


def values_cirq(circuits: list[Any]) -> Run:
    """cirq.Simulator, complex64."""
    import cirq

    return values_of_cirq(circuits, cirq.Simulator(dtype=np.complex64))


def values_qsim(circuits: list[Any], threads: int, fusion: int) -> Run:
    """qsimcirq."""
    from qsimcirq.qsim_simulator import QSimOptions, QSimSimulator

    return values_of_cirq(circuits, QSimSimulator(QSimOptions(cpu_threads=threads, max_fused_gate_size=fusion)))


def values_aer(circuits: list[Any], fusion: int, experiments: int) -> Run:
    """qiskit-aer."""
    from qiskit import QuantumCircuit, transpile
    from qiskit.quantum_info import SparsePauliOp

    simulator = aer_simulator(fusion, experiments)
    built = []
    for each in circuits:
        n, made = each["n"], QuantumCircuit(each["n"])
        for name, at, angle in ansatz(**each):
            getattr(made, name)(*([angle] if name != "cx" else []), *at)
        terms = [("ZZ", [i, i + 1], 1.0) for i in range(n - 1)] + [("X", [i], 1.0) for i in range(n)]
        made.save_expectation_value(SparsePauliOp.from_sparse_list(terms, n), range(n))
        built.append(made)
    built = transpile(built, simulator, optimization_level=0)

    def run() -> list[np.ndarray]:
        result = simulator.run(built).result()
        return [np.array(result.data(place)["expectation_value"]) for place in range(len(circuits))]

    return run


def values_lightning(circuits: list[Any]) -> Run:
    """pennylane-lightning, complex64."""
    import pennylane as qml

    n = circuits[0]["n"]
    device = qml.device("lightning.qubit", wires=n, c_dtype=np.complex64)
    strings = [qml.Z(i) @ qml.Z(i + 1) for i in range(n - 1)] + [qml.X(i) for i in range(n)]
    energy, turns, tapes = qml.Hamiltonian([1.0] * len(strings), strings), {"ry": qml.RY, "rz": qml.RZ}, []
    for each in circuits:
        gates = [qml.CNOT(at) if name == "cx" else turns[name](angle, at[0]) for name, at, angle in ansatz(**each)]
        tapes.append(qml.tape.QuantumScript(gates, [qml.expval(energy)]))
    return lambda: [np.asarray(found) for found in device.execute(tapes)]


VALUES: dict[str, Callable[..., Run]] = {
    "cirq": values_cirq,
    "qsim": values_qsim,
    "aer": values_aer,
    "lightning": values_lightning,
}


@cache
def prepared(peer: str, setting: str, circuits: str, shots: int) -> Run:
    """Built once for all rounds; the first run pays for caches."""
    if shots:
        return PEERS[peer](json.loads(circuits), shots, **json.loads(setting))
    return VALUES[peer](json.loads(circuits), **json.loads(setting))


def answer(request: dict[str, Any]) -> dict[str, float]:
    """To one request."""
    circuits = request["circuits"]
    run = prepared(request["peer"], json.dumps(request["setting"]), json.dumps(circuits), request["shots"])
    samples: list[np.ndarray] = []
    seconds, until = float("inf"), perf_counter() + request["turn"]
    while not samples or perf_counter() < until:
        start = perf_counter()
        samples = run()
        seconds = min(seconds, perf_counter() - start)
    if not request["shots"]:
        return {"seconds": seconds, "energy": float(np.mean(samples))}
    energies = [
        1 - 2 * (samples[k][:, i] != samples[k][:, j]).mean()
        for k, each in enumerate(circuits)
        for i, j in each["edges"]
    ]
    return {"seconds": seconds, "energy": float(np.sum(energies)) / len(circuits)}


def main() -> None:
    """Until stdin ends."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
