"""The interface of every execution target: two stages (prepare, run), batches, no Kafka.

Conventions, checked at the boundary by `Result`'s constructor:
- a kernel is an `Ising`; energies include its offset and are minimised;
- QAOA state: prod_l exp(-i beta_l sum_q X_q) exp(-i gamma_l C) |+>, C = sum h_i Z_i + sum J_ij Z_i Z_j
  (Farhi, Goldstone, Gutmann 2014; the offset is left out of C, a global phase);
- samples are uint8 of shape (k, n), bit i of a sample is variable i, |0> is x = 0 is s = +1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.model import Ising

Target = Literal["classical", "gpu", "quantum"]


@dataclass(frozen=True, eq=False)
class Job:
    """One kernel for one backend. `gammas`, `betas`: QAOA angles in radians, shape (p,), p may be 0."""

    kernel: Ising
    shots: int
    seed: int
    gammas: Float64[np.ndarray, " p"] = field(default_factory=lambda: np.zeros(0))
    betas: Float64[np.ndarray, " p"] = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Circuit:
    """What was run, where it was a circuit: counts after compilation."""

    qubits: int
    depth: int
    two_qubit_gates: int
    shots: int


@dataclass(frozen=True, eq=False)
class Result:
    """Distinct samples, how often each was seen, and their energies (offset included)."""

    samples: UInt8[np.ndarray, "k n"]
    counts: Int64[np.ndarray, " k"]
    energies: Float64[np.ndarray, " k"]
    work_seconds: float
    circuit: Circuit | None = None

    def __post_init__(self) -> None:
        k = len(self.samples)
        for name, array, dtype, shape in (
            ("samples", self.samples, np.uint8, (k, self.samples.shape[-1])),
            ("counts", self.counts, np.int64, (k,)),
            ("energies", self.energies, np.float64, (k,)),
        ):
            if array.dtype != dtype or array.shape != shape:
                raise BackendError(
                    f"{name}: expected {np.dtype(dtype)}{list(shape)}, got {array.dtype}{list(array.shape)}"
                )
        if k == 0:
            raise BackendError("a result needs at least one sample")

    @classmethod
    def of_samples(
        cls,
        kernel: Ising,
        samples: UInt8[np.ndarray, "shots n"],
        work_seconds: float,
        circuit: Circuit | None = None,
    ) -> Result:
        """From raw samples: equal ones merged, energies computed here from the kernel."""
        # rows compared as packed bits: an eighth of the bytes to sort, in the same order
        _, first, counts = np.unique(np.packbits(samples, axis=1), axis=0, return_index=True, return_counts=True)
        distinct = samples[first]
        return cls(distinct, counts.astype(np.int64), kernel.energy(distinct), work_seconds, circuit)


@dataclass(frozen=True)
class Capabilities:
    """What a backend takes. `max_qubits` is of the kernel; `batch` the most jobs worth giving it at once."""

    target: Target
    max_qubits: int
    batch: int
    uses_angles: bool


def check(job: Job, name: str, capabilities: Capabilities) -> None:
    """What every `prepare` refuses. Raises BackendError; `name` is the backend's."""
    n = job.kernel.n
    if not 1 <= n <= capabilities.max_qubits:
        raise BackendError(
            f"{name} takes kernels of 1 to {capabilities.max_qubits} variables, got {n}",
            place="job.kernel",
            remedy="Reduce the problem further or choose a backend with a higher max_qubits.",
        )
    if job.shots < 1:
        raise BackendError(
            f"expected at least 1 shot, got {job.shots}", place="job.shots", remedy="Ask for one or more."
        )
    if not capabilities.uses_angles:
        return
    p = len(job.gammas)
    if p == 0 or job.gammas.shape != (p,) or job.betas.shape != (p,):
        raise BackendError(
            f"expected as many gammas as betas and at least one, got {job.gammas.shape} and {job.betas.shape}",
            place="job.gammas",
            remedy=f"{name} runs a QAOA circuit: give the job one pair of angles for each layer.",
        )
    if not (np.isfinite(job.gammas).all() and np.isfinite(job.betas).all()):
        raise BackendError("angles must be finite", place="job.gammas", remedy="Check how they were tuned.")


class Backend(Protocol):
    """One execution target. Instances are used by one thread (or process) at a time."""

    name: str
    capabilities: Capabilities

    def prepare(self, job: Job) -> Any:
        """Compile and place one job; what it returns is opaque and goes to `run`. Raises BackendError."""
        ...

    def run(self, batch: Sequence[Any]) -> list[Result]:
        """Run prepared jobs, results in their order. Raises BackendError for the batch as a whole.

        The same jobs with the same seeds give the same samples, whatever batch they are in.
        """
        ...

    def warm_up(self) -> None:
        """Do now what would make a first job slow (imports, compilation)."""
        ...

    def close(self) -> None:
        """Give back what is held; idempotent."""
        ...
