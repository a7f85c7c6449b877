"""What the clouds' compilers keep: gates on both sides of a barrier, and where qubits lie."""

import pytest

from qmosaic.backends.base import Job
from qmosaic.backends.circuits.sampled import KEY
from qmosaic.backends.clouds.remote import RemoteBackend
from qmosaic.backends.mitigation.zero_noise import folded
from qmosaic.backends.registry import create
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum

GATES = (
    *(Operation("ry", (q,), (0.3 + q,)) for q in range(4)),
    *(Operation("cx", (q, q + 1)) for q in range(3)),
    Operation("rzz", (0, 3), (0.4,)),
)
CIRCUIT = Circuit(4, 0, GATES, (PauliSum(4, ("ZZZZ", "XXII"), (1.0, 0.5)),))


@pytest.mark.parametrize("name", ["ionq/simulator", "aqt/default/simulator_noise", "google/willow_pink"])
def test_folds_are_not_cancelled_by_compiling(name: str) -> None:
    backend = create(name)
    assert isinstance(backend, RemoteBackend)
    counts = []
    for scale in (1, 3, 5):
        made = backend.prepare(Job(folded(CIRCUIT, scale), 100, 0))
        counts.append(made.figures.two_qubit_gates)
    assert counts == [counts[0], 3 * counts[0], 5 * counts[0]]


def test_google_tells_where_qubits_lie_and_starts_where_it_is_told() -> None:
    backend = create("google/willow_pink")
    assert isinstance(backend, RemoteBackend)
    job = Job(CIRCUIT, 100, 0)
    places = backend.placed(job)
    nodes = sorted({end for pair in backend.capabilities.connectivity or () for end in pair})
    assert set(places.first) <= set(nodes)
    again = Job(CIRCUIT, 100, 1, on=places.last)
    assert backend.placed(again).first == places.last
    ends = {str(each.circuit[-1].operations[0].qubits) for each in backend.prepare(job).circuits}
    assert len(ends) == 1  # all bases on the same qubits
    assert backend.prepare(job).circuits[0].circuit.all_measurement_key_names() == {KEY}
