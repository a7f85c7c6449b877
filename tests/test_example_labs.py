"""The LABS example through the pure core, the job on a simulated quantum computer included."""

from __future__ import annotations

from itertools import count
from time import monotonic

import numpy as np
import orjson

from examples.labs import problem, report
from qmosaic.backends.base import Job, Result
from qmosaic.backends.on_cirq.statevector import CirqStatevector
from qmosaic.codecs.events.hops import Proposal, Route
from qmosaic.codecs.models.kernel import unpack_kernel
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.encode import encode
from qmosaic.processors.execute import answer_of
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.verify import settle


def test_the_labs_example() -> None:
    value = orjson.dumps({"family": "labs", "problem": problem().payload()})
    record, defaults = Record("problems", 0, 0, 1000.0, value), Defaults(deadline_seconds=30.0, shots=256)
    admission = admit(record, Limits(), defaults)
    assert isinstance(admission, Admission)
    (encoded,) = encode([record], Limits(), defaults)
    assert encoded is not None
    ((incumbent, reduced),) = reduce_events(
        [encoded], now=1000.0, max_kernel_qubits=8, layers=1, share=0.5, max_seconds=5.0, clock=monotonic
    )
    assert reduced is not None
    backend = CirqStatevector()
    kernel = unpack_kernel(reduced.kernel)
    job = Job(kernel, 256, 0, np.array(reduced.gammas), np.array(reduced.betas))
    (result,) = backend.run([backend.prepare(job)])
    assert isinstance(result, Result)
    route = Route(target="quantum", backend=backend.name, reason="requested", rule="")
    answer = answer_of(kernel, result)
    proposal = Proposal(
        ref=reduced.ref, kernel_digest=reduced.kernel_digest, route=route, attempt=1, answer=answer, failure=None
    )
    ticks = count()
    outcome = settle(
        admission, incumbent, proposal, now=1001.0, queue=0.0, trace_id="t", versions={}, tick=lambda: next(ticks)
    )
    assert outcome.feasible
    assert outcome.baseline is not None
    assert outcome.baseline.objective == 26
    assert outcome.circuit is not None
    assert outcome.circuit.two_qubit_gates > 0
    assert "baseline 26, merit factor 7.69" in report(outcome)
