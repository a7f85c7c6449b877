"""A circuit at several points: what each says, as one answer."""

from __future__ import annotations

from math import cos

import msgspec
import numpy as np
import pytest

from qmosaic.backends.base import Expectations, Job, run_sync
from qmosaic.backends.kinds import kind_in, work_seconds
from qmosaic.backends.points import MOST_POINTS, at_each, combined, estimated
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events import wire
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum

Z = PauliSum(1, ("Z",), (1.0,))
ANGLES = (0.0, 0.5, 1.25)


def turned(angle: float) -> tuple[Operation, ...]:
    return (Operation("ry", (0,), (angle,)),) if angle else ()


SINGLE = Circuit(1, 0, turned(0.0), (Z,))
SEVERAL = msgspec.structs.replace(SINGLE, points=tuple(map(turned, ANGLES[1:])))


@pytest.mark.parametrize("name", ["cirq.statevector", "cirq.density", "jax.statevector", "zne(cirq.density)"])
def test_each_point_is_answered_in_its_order(name: str) -> None:
    backend = create(name)
    jobs = at_each(Job(SEVERAL, 0, 3))
    answer = combined(run_sync(backend, [backend.prepare(job) for job in jobs]))
    assert isinstance(answer, Expectations)
    assert answer.values == pytest.approx([cos(angle) for angle in ANGLES], abs=1e-5)


def test_each_point_takes_all_the_shots_and_a_seed_of_its_own() -> None:
    backend = create("cirq.density")
    jobs = at_each(Job(SEVERAL, 1000, 7))
    assert jobs[0].seed == 7
    assert len({job.seed for job in jobs}) == 3
    assert [job.seed for job in at_each(Job(SEVERAL, 1000, 7))] == [job.seed for job in jobs]
    answer = combined(run_sync(backend, [backend.prepare(job) for job in jobs]))
    assert isinstance(answer, Expectations)
    assert (answer.errors[1:] > 0).all()
    assert answer.circuit is not None
    assert answer.circuit.shots == 3000
    one = backend.estimate(jobs[1]).seconds
    assert estimated(backend, jobs).seconds == pytest.approx(sum(backend.estimate(job).seconds for job in jobs))
    assert one < estimated(backend, jobs).seconds


def test_a_circuit_at_one_point_is_what_it_was() -> None:
    job = Job(SINGLE, 10, 1)
    assert at_each(job) == [job]
    assert b"points" not in wire.encode(SINGLE)
    assert wire.decode(wire.encode(SEVERAL), Circuit) == SEVERAL
    assert SEVERAL.each[0] == SINGLE
    assert len({SINGLE.digest, SEVERAL.digest, SEVERAL.each[1].digest}) == 3


def test_its_kind_and_its_work_are_those_of_all_points() -> None:
    assert kind_in(SINGLE) == "clifford"
    assert kind_in(SEVERAL) == "circuit"
    assert work_seconds(SEVERAL, 10) == pytest.approx(sum(work_seconds(each, 10) for each in SEVERAL.each))


def test_what_a_backend_cannot_take_is_refused() -> None:
    for name in ("cirq.statevector", "cirq.density", "jax.statevector"):
        with pytest.raises(BackendError, match="at one point, got 3"):
            create(name).prepare(Job(SEVERAL, 10, 1))
    many = msgspec.structs.replace(SINGLE, points=((),) * MOST_POINTS)
    with pytest.raises(BackendError, match=f"{MOST_POINTS + 1} points"):
        at_each(Job(many, 10, 1))
    sampled = Circuit(1, 1, (Operation("measure", (0,), bits=(0,)),), points=((),))
    with pytest.raises(BackendError, match="0 observables"):
        at_each(Job(sampled, 10, 1))


def test_samples_are_no_answer_of_several_points() -> None:
    circuit = Circuit(1, 1, (Operation("measure", (0,), bits=(0,)),))
    backend = create("cirq.statevector")
    samples = run_sync(backend, [backend.prepare(Job(circuit, 4, 1))])
    assert combined(samples) is samples[0]
    values = Expectations(np.zeros(1), np.zeros(1), 0.0)
    with pytest.raises(BackendError, match="by samples"):
        combined([values, samples[0]])
