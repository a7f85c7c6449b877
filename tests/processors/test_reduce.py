"""Reduce on events: which lane a kernel's run takes, and that a mixed batch comes back in its order."""

from __future__ import annotations

from time import monotonic
from typing import Any

import networkx as nx
import numpy as np
import orjson
import pytest
from msgspec.structs import replace

from qmosaic.backends.kinds import work_seconds
from qmosaic.backends.registry import create
from qmosaic.codecs.events.hops import Encoded, JobEvent
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.admit import Admission, Record, admit
from qmosaic.processors.control.alive import Alive
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy
from qmosaic.processors.encode import encode
from qmosaic.processors.execute import execute
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.route import route
from qmosaic.processors.verify import settle
from tests.processors.problems import DEFAULTS, LIMITS

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0], q[1]; measure q -> c;'

LADDER: Any = nx.circular_ladder_graph(20)
DENSE: Any = nx.gnp_random_graph(40, 0.6, seed=1)


def test_work_is_told_in_seconds() -> None:
    rows, cols = np.triu_indices(16, 1)
    assert work_seconds(SpinPolynomial.of(16, rows=rows, cols=cols, J=np.ones(120)), 1000) == 0.1
    few = Circuit(4, 4, tuple(Operation("h", (k,)) for k in range(4)))
    assert 0 < work_seconds(few, 1000) < 0.1
    energy = PauliSum(8, ("ZZIIIIII",), (1.0,))
    rotations = tuple(Operation("rotation", tuple(range(8)), (0.1,), "XXXYZZZZ") for _ in range(200))
    long = Circuit(8, 0, rotations, (energy,), variational=True)
    assert work_seconds(long, 1000) > 0.1
    assert work_seconds(Circuit(22, 22, few.operations * 20), 1000) > 0.1


@pytest.mark.parametrize(
    ("middle", "shots", "small"),
    [(2, 1000, True), (14, 1000, True), (18, 1000, False), (18, 10, True), (72, 1000, False), (5000, 1000, False)],
)
def test_measurements_in_the_middle_arework_seconds(middle: int, shots: int, small: bool) -> None:
    """Seventy of them on two qubits took five seconds, in the lane of the small ones."""
    measurements = tuple(Operation("measure", (0,), bits=(k,)) for k in range(middle))
    last = Operation("measure", (1,), bits=(middle,))
    flip = Operation("x", (1,), condition=((0,), 1))
    assert (work_seconds(Circuit(2, middle + 1, (*measurements, flip, last)), shots) <= 0.1) == small


def test_a_mixed_batch_comes_back_in_order() -> None:
    events = [
        {"family": "circuit", "problem": {"qasm": BELL}},
        {"family": "maxcut", "problem": {"edges": [[0, 1], [1, 2]]}},
        {"family": "labs", "problem": {"n": 5}},
        {"family": "ising", "problem": {"h": [1, -1], "J": [[0, 1, 0.5]]}},
    ]
    records = [Record("problems", 0, k, 1000.0, orjson.dumps(event)) for k, event in enumerate(events)]
    encoded = [one for one in encode(records, LIMITS, DEFAULTS) if isinstance(one, Encoded)]
    pairs = reduce_events(
        encoded, now=1000.0, max_kernel_qubits=8, layers=1, share=0.5, max_seconds=2.0, clock=monotonic
    )
    assert [incumbent.ref.family for incumbent, _ in pairs] == ["circuit", "maxcut", "labs", "ising"]
    kinds = [reduced.kind if reduced else None for _, reduced in pairs]
    assert kinds == ["clifford", None, "spins", None]  # presolve has solved the chain and the pair
    for incumbent, reduced in pairs:
        assert (reduced is None) == (incumbent.kernel_digest is None)


@pytest.mark.parametrize(("graph", "kind", "backend"), [(LADDER, "narrow", "exact"), (DENSE, "spins", "tabu")])
def test_a_sparse_kernel_is_solved_exactly_beyond_26_variables(graph: Any, kind: str, backend: str) -> None:
    limits = replace(LIMITS, couplings=500)
    problem = {"edges": [list(edge) for edge in graph.edges]}
    record = Record("problems", 0, 0, 1000.0, orjson.dumps({"family": "maxcut", "problem": problem}))
    encoded = [one for one in encode([record], limits, DEFAULTS) if isinstance(one, Encoded)]
    ((incumbent, reduced),) = reduce_events(
        encoded, now=1000.0, max_kernel_qubits=60, layers=1, share=0.5, max_seconds=0.5, clock=monotonic
    )
    assert reduced is not None
    assert (reduced.variables, reduced.kind) == (len(graph), kind)
    names = ("exact", "tabu")
    alive: Alive = {"classical": {name: create(name).capabilities.sizes for name in names}}
    (job,) = route([reduced], Facts(1000.0, alive), Policy())
    assert isinstance(job, JobEvent)
    assert job.route.backend == backend
    (proposal,) = execute([job], create)
    assert proposal.answer is not None
    admission = admit(record, limits, DEFAULTS)
    assert isinstance(admission, Admission)
    outcome = settle(admission, incumbent, proposal, now=1001.0, queue=0.0, trace_id="", versions={}, tick=lambda: 0.0)
    assert outcome.status == "accepted"
    if graph is LADDER:
        assert outcome.objective == graph.number_of_edges()  # of even rings: bipartite
