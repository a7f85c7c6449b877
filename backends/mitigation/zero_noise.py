"""Zero-noise extrapolation by folded gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import msgspec
import numpy as np

from qmosaic.backends.base import Answer, Estimate, Expectations, Job
from qmosaic.backends.circuits.counting import unmeasured
from qmosaic.backends.mitigation.wrapper import Prepared, Wrapper, observed, summed, with_work
from qmosaic.codecs.models.circuit import Circuit, Operation, inverse

SCALES = (1, 3, 5)
"""How many times the noise."""
WEIGHTS = np.array([prod(other / (other - scale) for other in SCALES if other != scale) for scale in SCALES])
"""What the values at `SCALES` count in that of their parabola at 0: 15/8, -10/8, 3/8."""


class ZeroNoise(Wrapper):
    """Expectation values extrapolated to no noise; each of the three circuits takes all the job's shots.

    Their standard errors are those of the shots (2.3 times as large as without, where the three are alike), not what
    is left of the noise. A value may be outside of what is possible.
    """

    kind = "zne"

    def prepare(self, job: Job) -> Prepared:
        """Raises BackendError for what the inner backend refuses."""
        return Prepared(job, tuple(self.inner.prepare(each) for each in self._scaled(job)))

    async def run(self, batch: Sequence[Prepared]) -> list[Answer]:
        """All circuits of all jobs, in batches of the inner backend's size."""
        answers = iter(await self._answers([part for each in batch for part in each.parts]))
        return [_extrapolated([next(answers) for _ in each.parts]) for each in batch]

    def estimate(self, job: Job) -> Estimate:
        """The estimate of all its circuits; `fidelity` is that of the one as it is."""
        return summed(map(self.inner.estimate, self._scaled(job)))

    def _scaled(self, job: Job) -> list[Job]:
        """The job at each of the scales, all on the same qubits; as it is, where there is nothing to extrapolate."""
        if not observed(job):
            return [job]
        on = self.inner.placed(job).first
        seeds = [job.seed, *np.random.SeedSequence(job.seed % 2**64).generate_state(len(SCALES) - 1).tolist()]
        return [
            replace(job, kernel=folded(job.circuit, scale), seed=seed, on=on)
            for scale, seed in zip(SCALES, seeds, strict=True)
        ]


def folded(circuit: Circuit, scale: int) -> Circuit:
    """G, then G^-1 G until there are `scale` (odd) of them, each behind a barrier. Raises BackendError for a circuit
    that is not unitary."""
    there = unmeasured(circuit).operations
    back = tuple(step for operation in reversed(there) for step in inverse(operation))
    barrier = Operation("barrier", tuple(range(circuit.qubits)))
    fold = (barrier, *back, barrier, *there)
    return msgspec.structs.replace(circuit, operations=there + fold * (scale // 2))


def _extrapolated(answers: Sequence[Answer]) -> Answer:
    if len(answers) == 1:
        return answers[0]
    found = [answer for answer in answers if isinstance(answer, Expectations)]
    values = WEIGHTS @ [each.values for each in found]
    errors = np.sqrt(WEIGHTS**2 @ [each.errors**2 for each in found])
    circuit = found[0].circuit
    if circuit is not None:
        circuit = replace(circuit, shots=sum(each.circuit.shots for each in found if each.circuit is not None))
    return with_work(replace(found[0], values=values, errors=errors, circuit=circuit), found)
