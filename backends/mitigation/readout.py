"""Error mitigation around any backend: the same jobs, answered with less of the error.

    readout(cirq.density/readout=0.03)             readout errors, measured once and inverted
    zne(cirq.density/depolarizing=0.002)           zero-noise extrapolation of expectation values
    readout(zne(…))                                both: readout errors first, then what the gates do

**Readout.** Two more circuits, all qubits in |0> and all in |1>, tell for each qubit how often either is read wrongly.
They run on the qubits that the job is measured on, where the backend tells its `placed`.
- *Counts*: the confusion among the values that were seen is inverted (M3: Nation, Kang, Sundaresan and Gambetta, PRX
  Quantum 2 (2021) 040326); the nearest distribution to that (Smolin, Gambetta and Smith, Phys. Rev. Lett. 108 (2012)
  070502) becomes counts again, as many as there were shots.
- *Expectation values*: a measured Z is a + b Z, so instead of each letter of a Pauli string (P - a) / b is measured.
  That is the inverse of all confusion, exactly, and needs no more circuits. The error of a and b is part of the
  standard errors.

**Zero noise.** A circuit G runs as G, as G G^-1 G and as G G^-1 G G^-1 G, which is the same but for 1, 3 and 5 times
the noise (global folding: Giurgica-Tiron et al., IEEE QCE 2020), and the parabola through the three values is read at 0
(Richardson; Temme, Bravyi and Gambetta, Phys. Rev. Lett. 119 (2017) 180509). A straight line would be half as noisy,
but values fall off exponentially, and at 5 times the noise that is no line. Barriers part the folds: a backend that
compiles must not optimise across them. All three run on the same qubits. Samples cannot be extrapolated: they are the
inner backend's, as they are. What a fold undoes or adds up is not noise of that kind: coherent errors, such as wrong
angles of gates, do not grow by 3 and 5, and leave a value too low or too high.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import msgspec

from qmosaic.backends.base import Answer, Backend, Estimate, Expectations, Job
from qmosaic.backends.circuits.counting import is_final, measured
from qmosaic.backends.mitigation import confusion
from qmosaic.backends.mitigation.confusion import Confusion
from qmosaic.backends.mitigation.wrapper import Prepared, Wrapper, observed, summed, with_work
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation
from qmosaic.codecs.models.kernel import size_of

CALIBRATION_SHOTS = 8192
"""Shots of each of the two calibration circuits."""
CALIBRATION_SEED = 2104
CALIBRATION_SECONDS = 3600.0
"""How long a calibration holds: devices drift."""
MAX_VALUES = 4096
"""Different values of the bits: their confusion is a matrix."""
MAX_TERMS = 2**16
"""Pauli strings: one on w qubits takes 2^w."""


class Readout(Wrapper):
    """Readout errors inverted. A calibration is one of the qubits that `placed` tells, and holds for an hour."""

    kind = "readout"

    def __init__(self, inner: Backend) -> None:
        """Raises BackendError for a backend that takes no circuits."""
        super().__init__(inner)
        if "readout(" in inner.name:
            raise BackendError(
                "readout errors would be put right twice", place=self.name, remedy="Leave one readout(…) out."
            )
        if not {"circuit", "clifford"} & inner.capabilities.sizes.keys():
            raise BackendError(
                f"{inner.name} takes no circuits, so how it reads qubits cannot be measured",
                place=self.name,
                remedy="Leave readout(…) out.",
            )
        self._known: dict[tuple[int, ...], tuple[float, Confusion]] = {}

    def prepare(self, job: Job) -> Prepared:
        """Raises BackendError, besides, for measurements in the middle and for more than can be inverted."""
        prepared = self.inner.prepare(job)
        if message := _too_much(job):
            raise BackendError(f"{self.name}: {message}", place="job", remedy=f"Ask for less, or {self.inner.name}.")
        return Prepared(job, (prepared,), self.inner.placed(job).last)

    async def run(self, batch: Sequence[Prepared]) -> list[Answer]:
        """The calibrations that are missing run first; they are in the usage of the first answer."""
        spent = await self._calibrate({each.on for each in batch})
        answers = await self._answers([await asyncio.to_thread(self._part, each) for each in batch])
        found = await asyncio.to_thread(lambda: list(map(self._corrected, batch, answers)))
        if spent:
            found[0] = with_work(found[0], [found[0], *spent])
        return found

    def estimate(self, job: Job) -> Estimate:
        """With the calibration, unless one holds. What is measured instead of the observables may need a circuit more
        than they do (of random sums of 5 to 9 strings on 4 qubits: 4 in 1,000)."""
        on = self.inner.placed(job).last
        calibration = [] if self._holds(on) else _calibration(on)
        return summed(map(self.inner.estimate, (job, *calibration)))

    def close(self) -> None:
        """Forgets the calibrations."""
        super().close()
        self._known.clear()

    def _holds(self, on: tuple[int, ...]) -> bool:
        return on in self._known and monotonic() - self._known[on][0] < CALIBRATION_SECONDS

    async def _calibrate(self, places: set[tuple[int, ...]]) -> list[Answer]:
        wanted = sorted(on for on in places if not self._holds(on))
        jobs = [job for on in wanted for job in _calibration(on)]
        answers = await self._answers([await asyncio.to_thread(self.inner.prepare, job) for job in jobs])
        for on, zeros, ones in zip(wanted, answers[::2], answers[1::2], strict=True):
            self._known[on] = monotonic(), Confusion.of(zeros, ones)
        return answers

    def _part(self, prepared: Prepared) -> Any:
        """What is run: of a circuit with observables, one with others."""
        job, parts, on = prepared
        if not observed(job):
            return parts[0]
        _, found = self._known[on]
        observables = tuple(found.observables(job.circuit.observables))
        circuit = msgspec.structs.replace(job.circuit, observables=observables, variational=False)
        return self.inner.prepare(replace(job, kernel=circuit))

    def _corrected(self, prepared: Prepared, answer: Answer) -> Answer:
        job = prepared.job
        if isinstance(answer, Expectations):
            values, errors = confusion.settled(answer, len(job.circuit.observables))
            return replace(answer, values=values, errors=errors)
        qubits = bits = list(range(size_of(job.kernel)))
        if isinstance(job.kernel, Circuit):
            qubits, bits = measured(job.kernel)
        _, found = self._known[prepared.on]
        counts = found.counts(answer.samples[:, bits], answer.counts, qubits)
        kept = counts > 0
        return replace(answer, samples=answer.samples[kept], counts=counts[kept], energies=answer.energies[kept])


def _calibration(on: tuple[int, ...]) -> list[Job]:
    n = len(on)
    measure = Operation("measure", tuple(range(n)), bits=tuple(range(n)))
    flips = tuple(Operation("x", (q,)) for q in range(n))
    circuits = (Circuit(n, n, (measure,)), Circuit(n, n, (*flips, measure)))
    return [Job(circuit, CALIBRATION_SHOTS, CALIBRATION_SEED + k, on=on) for k, circuit in enumerate(circuits)]


def _too_much(job: Job) -> str:
    """What of a job cannot be corrected, or nothing."""
    if observed(job):
        terms = confusion.terms(job.circuit.observables)
        return f"its observables take {terms} Pauli strings, {MAX_TERMS} are the most" if terms > MAX_TERMS else ""
    if isinstance(job.kernel, Circuit) and not is_final(job.kernel):
        return "measured in the middle, where a wrong reading may already have been acted upon"
    width = job.kernel.bits if isinstance(job.kernel, Circuit) else job.kernel.n
    values = min(job.shots, 2**width)
    return f"up to {values} different values, {MAX_VALUES} are the most" if values > MAX_VALUES else ""
