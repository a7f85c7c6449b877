"""A circuit at several points, as a round of a variational loop wants it: a job for each, and one answer of all.

Each point takes all the job's shots. The first has the job's seed, the others have seeds that follow from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qmosaic.backends.base import Answer, Backend, Estimate, Expectations, Figures, Job
from qmosaic.backends.mitigation.wrapper import summed, with_work
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit

MOST_POINTS = 64
"""Of one circuit."""


def at_each(job: Job) -> list[Job]:
    """The job at each point of its circuit; itself, where there is but one. Raises BackendError."""
    circuits = job.kernel.each if isinstance(job.kernel, Circuit) else ()
    if len(circuits) <= 1:
        return [job]
    if len(circuits) > MOST_POINTS or not circuits[0].observables:
        raise BackendError(
            f"a circuit at {len(circuits)} points with {len(circuits[0].observables)} observables",
            place="job.kernel.points",
            remedy=f"Ask for the observables of {MOST_POINTS} points at most.",
        )
    others = np.random.SeedSequence(job.seed % 2**64).generate_state(len(circuits) - 1).tolist()
    return [replace(job, kernel=one, seed=seed) for one, seed in zip(circuits, [job.seed, *others], strict=True)]


def combined(answers: Sequence[Answer]) -> Answer:
    """What the points say, one after the other, as one answer: of the circuits the largest depth and number of gates on
    two qubits, and the shots of all. Raises BackendError for what is no answer of several."""
    if len(answers) == 1:
        return answers[0]
    found = [answer for answer in answers if isinstance(answer, Expectations)]
    if len(found) < len(answers):
        raise BackendError("a backend answered a circuit with observables by samples", place="answer")
    values = np.concatenate([one.values for one in found])
    errors = np.concatenate([one.errors for one in found])
    whole = replace(found[0], values=values, errors=errors, circuit=_largest([one.circuit for one in found]))
    return with_work(whole, found)


def _largest(figures: Sequence[Figures | None]) -> Figures | None:
    known = [one for one in figures if one is not None]
    if not known:
        return None
    return Figures(
        known[0].qubits,
        max(one.depth for one in known),
        max(one.two_qubit_gates for one in known),
        sum(one.shots for one in known),
    )


def estimated(backend: Backend, jobs: Sequence[Job]) -> Estimate:
    """What they take on a backend, one after the other. Raises BackendError for what it refuses."""
    return summed(map(backend.estimate, jobs))
