"""The interface of every execution target: two stages (prepare, run), batches, no Kafka.

    backend = create("cirq.statevector")
    job = Job(kernel, shots=1000, seed=1)
    backend.estimate(job)                          # seconds, cost, fidelity; refuses what does not fit
    (answer,) = run_sync(backend, [backend.prepare(job)])

Conventions, checked at the boundary by `Result`'s constructor:
- a kernel is a `SpinPolynomial` to minimise, whose energies include its offset, or a `Circuit` to run;
- QAOA state: prod_l exp(-i beta_l sum_q X_q) exp(-i gamma_l C) |+>, C = sum h_i Z_i + sum J_ij Z_i Z_j + …
  (Farhi, Goldstone, Gutmann 2014; the offset is left out of C, a global phase);
  constraints that fix a number of ones are held by the circuit: start and mixer in `circuits.qaoa`;
- samples are uint8 of shape (k, n), bit i of a sample is variable i, |0> is x = 0 is s = +1.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.kernel import Kernel, Kind, kind_of, size_of
from qmosaic.codecs.models.polynomial import SpinPolynomial

Target = Literal["classical", "gpu", "quantum"]


@dataclass(frozen=True, eq=False)
class Job:
    """One kernel for one backend. `gammas`, `betas`: QAOA angles in radians, shape (p,), p may be 0.

    `shots` 0 asks for the exact expectation values of a circuit with observables. `on`: the machine's qubits that the
    kernel's start on, as `Backend.placed` numbers them; none: where the backend places them, if it does.
    """

    kernel: Kernel
    shots: int
    seed: int
    gammas: Float64[np.ndarray, " p"] = field(default_factory=lambda: np.zeros(0))
    betas: Float64[np.ndarray, " p"] = field(default_factory=lambda: np.zeros(0))
    on: tuple[int, ...] = ()

    @property
    def polynomial(self) -> SpinPolynomial:
        """The kernel, where it is one to minimise. Raises BackendError."""
        if not isinstance(self.kernel, SpinPolynomial):
            raise _unfit("a polynomial", "a circuit")
        return self.kernel

    @property
    def circuit(self) -> Circuit:
        """The kernel, where it is one to run. Raises BackendError."""
        if not isinstance(self.kernel, Circuit):
            raise _unfit("a circuit", "a polynomial")
        return self.kernel


def _unfit(expected: str, got: str) -> BackendError:
    return BackendError(f"expected {expected}, got {got}", place="job.kernel", remedy="Choose a backend that takes it.")


class Placed(NamedTuple):
    """The machine's qubits that a kernel's lie on, in the order of the kernel's: at the start, and where measured."""

    first: tuple[int, ...]
    last: tuple[int, ...]


@dataclass(frozen=True)
class Figures:
    """What was run, where it was a circuit: counts after compilation."""

    qubits: int
    depth: int
    two_qubit_gates: int
    shots: int


@dataclass(frozen=True)
class Usage:
    """What a run took of others: seconds in the vendor's queue and on the device, US dollars, the vendor's job id."""

    queue_seconds: float = 0.0
    device_seconds: float = 0.0
    cost: float = 0.0
    job_id: str = ""


@dataclass(frozen=True, eq=False)
class Result:
    """Distinct samples, how often each was seen, and their energies (offset included).

    Of a circuit: distinct values of its classical bits, bit i in column i, and energies of 0.
    """

    samples: UInt8[np.ndarray, "k n"]
    counts: Int64[np.ndarray, " k"]
    energies: Float64[np.ndarray, " k"]
    work_seconds: float
    circuit: Figures | None = None
    usage: Usage = Usage()

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
        kernel: SpinPolynomial,
        samples: UInt8[np.ndarray, "shots n"],
        work_seconds: float,
        circuit: Figures | None = None,
    ) -> Result:
        """From raw samples: equal ones merged, energies computed here from the kernel."""
        # rows compared as packed bits: an eighth of the bytes to sort, in the same order
        _, first, counts = np.unique(np.packbits(samples, axis=1), axis=0, return_index=True, return_counts=True)
        distinct = samples[first]
        return cls(distinct, counts.astype(np.int64), kernel.energy(distinct), work_seconds, circuit)


@dataclass(frozen=True, eq=False)
class Expectations:
    """The expectation value of each observable of a circuit, and the standard error of that (0: exact)."""

    values: Float64[np.ndarray, " v"]
    errors: Float64[np.ndarray, " v"]
    work_seconds: float
    circuit: Figures | None = None
    usage: Usage = Usage()

    def __post_init__(self) -> None:
        for name, array in (("values", self.values), ("errors", self.errors)):
            if array.dtype != np.float64 or array.shape != (len(self.values),):
                raise BackendError(f"{name}: expected float64[{len(self.values)}], got {array.dtype}{array.shape}")


Answer = Result | Expectations


@dataclass(frozen=True)
class Estimate:
    """What a job will take: seconds, US dollars, bytes, and the fidelity of its final state (1 without noise).

    `shots`: of all its circuits, where they are counted. Of a backend that is paid for, 0 means that it is not known.
    `jobs`: of how many runs it is the sum, each of which is sent to a vendor by itself.
    """

    seconds: float
    cost: float = 0.0
    fidelity: float = 1.0
    memory_bytes: int = 0
    shots: int = 0
    jobs: int = 1


@dataclass(frozen=True)
class Health:
    """Whether a job sent now would be taken, `message` if not; `queue_seconds`: how long it would wait there.
    `retuning`: it is taken, and waits there until the device is ready again."""

    ok: bool
    message: str = ""
    queue_seconds: float = 0.0
    retuning: bool = False


@dataclass(frozen=True)
class Capabilities:
    """What a backend takes, 0 for none. `max_qubits`: the largest polynomial (its variables); `max_circuit_qubits`: the
    largest circuit; the other three where Clifford or variational circuits, or polynomials of a small tree width,
    may be larger, or are all it takes. `batch`: the most jobs worth giving it at once.
    `paid`: every run costs, so none is started twice. `gates`: names of
    the gates that run as they are, none: any; `connectivity`: pairs of qubits that share a two-qubit gate, None: all;
    `noise`: what disturbs it, in words, or nothing."""

    target: Target
    max_qubits: int
    batch: int
    uses_angles: bool
    max_circuit_qubits: int = 0
    max_clifford_qubits: int = 0
    max_variational_qubits: int = 0
    max_narrow_qubits: int = 0
    paid: bool = False
    gates: tuple[str, ...] = ()
    connectivity: tuple[tuple[int, int], ...] | None = None
    noise: str = ""

    @property
    def sizes(self) -> dict[Kind, int]:
        """The most qubits by kind of kernel; a kind it does not take is not there."""
        every: dict[Kind, int] = {
            "spins": self.max_qubits,
            "narrow": max(self.max_qubits, self.max_narrow_qubits),
            "circuit": self.max_circuit_qubits,
            "clifford": max(self.max_circuit_qubits, self.max_clifford_qubits),
            "variational": max(self.max_circuit_qubits, self.max_variational_qubits),
        }
        return {kind: most for kind, most in every.items() if most}


def check(job: Job, name: str, capabilities: Capabilities) -> None:
    """What every `prepare` refuses. Raises BackendError; `name` is the backend's."""
    kind, size = kind_of(job.kernel), size_of(job.kernel)
    sizes = capabilities.sizes
    most = sizes.get(kind, sizes.get("clifford") if kind == "circuit" else None)
    if most is None:
        takes = " and ".join(sizes)
        raise BackendError(
            f"{name} takes {takes}, got {kind}", place="job.kernel", remedy="Choose a backend that takes it."
        )
    if not 1 <= size <= most:
        raise BackendError(
            f"{name} takes {kind} of 1 to {most} qubits, got {size}",
            place="job.kernel",
            remedy="Reduce the problem further or choose a backend that takes more.",
        )
    if isinstance(job.kernel, Circuit) and len(job.kernel.each) > 1:
        raise BackendError(
            f"{name} takes a circuit at one point, got {len(job.kernel.each)}",
            place="job.kernel.points",
            remedy="Make a job of each point: `points.at_each`.",
        )
    exact = isinstance(job.kernel, Circuit) and bool(job.kernel.observables)
    if job.shots < (0 if exact else 1):
        raise BackendError(
            f"expected at least 1 shot, got {job.shots}", place="job.shots", remedy="Ask for one or more."
        )
    if not capabilities.uses_angles or kind != "spins":
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
    """One execution target. Instances are used by one thread (or process) at a time.

    Subclass it and write `prepare` and `run`; the others have an answer that suits a simulator.
    """

    name: str
    capabilities: Capabilities

    def prepare(self, job: Job) -> Any:
        """Compile and place one job; what it returns is opaque and goes to `run`. Raises BackendError."""
        ...

    def run(self, batch: Sequence[Any]) -> Sequence[Answer] | Awaitable[Sequence[Answer]]:
        """Run prepared jobs, results in their order: `Expectations` for a circuit with
        observables. Raises BackendError for the batch as a whole. May be `async def`: `run_sync` and `run_async` call
        either.

        The same jobs with the same seeds give the same samples, whatever batch they are in (where the backend has a
        seed at all).
        """
        ...

    def estimate(self, job: Job) -> Estimate:
        """What the job will take, within a factor of a few; quick. Raises BackendError for what `prepare` would refuse,
        and for more memory than the machine has."""
        check(job, self.name, self.capabilities)
        return Estimate(seconds=0.0)

    def placed(self, job: Job) -> Placed:
        """Where a job's qubits will lie, by the numbers of `Capabilities.connectivity`; in their own order where that
        makes no difference, or is not known. Raises BackendError for what `prepare` would refuse."""
        own = tuple(range(size_of(job.kernel)))
        return Placed(own, own)

    def health(self) -> Health:
        """Whether it can take jobs now; may ask a server, for some seconds at most."""
        return Health(ok=True)

    def warm_up(self) -> None:
        """Do now what would make a first job slow (imports, compilation)."""
        return

    def close(self) -> None:
        """Give back what is held; idempotent."""
        return


def run_sync(backend: Backend, batch: Sequence[Any]) -> Sequence[Answer]:
    """`backend.run`, be it async or not, where no event loop runs. Raises BackendError."""
    found = backend.run(batch)
    return asyncio.run(_awaited(found)) if inspect.isawaitable(found) else found


async def run_async(backend: Backend, batch: Sequence[Any]) -> Sequence[Answer]:
    """`backend.run`, be it async or not (then in a thread), where an event loop runs. Raises BackendError."""
    if inspect.iscoroutinefunction(backend.run):
        return await _awaited(backend.run(batch))
    return await asyncio.to_thread(run_sync, backend, batch)


async def _awaited(found: Awaitable[Sequence[Answer]]) -> Sequence[Answer]:
    return await found
