"""What a job will take, before it runs: gates, seconds, and bytes against those of this machine."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from qmosaic.backends.base import Capabilities, Estimate, Job, check
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.kernel import Kernel, size_of
from qmosaic.codecs.models.polynomial import SpinPolynomial

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@cache
def machine_bytes() -> int:
    """The memory this process may use: the machine's, or its container's where that is less."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in map(Path, _LIMITS):
        if limit.is_file() and (text := limit.read_text().strip()).isdigit():
            found = min(found, int(text))
    return found


def refuse_memory(name: str, job: Job, bytes_needed: int, there: int | None = None) -> None:
    """Refuse what does not fit into the bytes that are `there`, the machine's if not said. Raises BackendError."""
    there = there or machine_bytes()
    if bytes_needed > there:
        raise BackendError(
            f"{name} needs {bytes_needed / 2**30:.1f} GiB for {size_of(job.kernel)} qubits, "
            f"and this machine has {there / 2**30:.1f}",
            place="job.kernel",
            remedy="Reduce the problem further or choose a backend on a larger machine.",
        )


def gates_of(kernel: Kernel, layers: int) -> int:
    """Gates on one and two qubits of the circuit that runs: a term or a rotation of k letters is 2 (k - 1) CNOTs and a
    rotation; the terms of observables count once."""
    if isinstance(kernel, SpinPolynomial):
        terms = len(kernel.J) + sum((2 * one.order - 1) * len(one.values) for one in kernel.higher)
        return max(1, layers) * (2 * kernel.n + terms) + kernel.n
    steps = sum(max(1, 2 * len(step.pauli.replace("I", "")) - 1) for step in kernel.operations)
    return steps + sum(len(one.paulis) for one in kernel.observables)


def state_vector(
    job: Job,
    name: str,
    capabilities: Capabilities,
    *,
    amplitude_bytes: float,
    gate_seconds: float,
    amplitude_seconds: float,
    exponent: int = 1,
    machine: int | None = None,
) -> Estimate:
    """The estimate of a simulator that holds 2^(n exponent) amplitudes: `amplitude_bytes` each, all buffers counted,
    and for every gate `gate_seconds` and `amplitude_seconds` an amplitude. `machine`: bytes there are, if not the
    machine's. Raises BackendError for what does not fit."""
    check(job, name, capabilities)
    amplitudes = 2.0 ** (exponent * size_of(job.kernel))
    needed = int(amplitudes * amplitude_bytes)
    refuse_memory(name, job, needed, machine)
    gates = gates_of(job.kernel, len(job.gammas))
    return Estimate(seconds=gates * (gate_seconds + amplitude_seconds * amplitudes), memory_bytes=needed)
