"""The circuit example through the pure core: both problems are verified, and the report says by what."""

from __future__ import annotations

from itertools import count
from math import cos, pi
from time import monotonic

import orjson
import pytest

from examples.circuit import problems, report
from qmosaic.backends.registry import create
from qmosaic.codecs.events.hops import JobEvent
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy
from qmosaic.processors.encode import encode
from qmosaic.processors.execute import execute
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.route import route
from qmosaic.processors.verify import settle


@pytest.mark.parametrize("name", problems())
def test_the_circuit_example(name: str) -> None:
    value = orjson.dumps({"family": "circuit", "shots": 4000, "problem": problems()[name].payload()})
    record, defaults = Record("problems", 0, 0, 1000.0, value), Defaults()
    admission = admit(record, Limits(), defaults)
    assert isinstance(admission, Admission)
    (encoded,) = encode([record], Limits(), defaults)
    assert encoded is not None
    ((incumbent, reduced),) = reduce_events(
        [encoded], now=1000.0, max_kernel_qubits=16, layers=2, share=0.5, max_seconds=5.0, clock=monotonic
    )
    assert reduced is not None
    sizes = create("cirq.statevector").capabilities.sizes
    (job,) = route([reduced], Facts(1000.0, {"quantum": {"cirq.statevector": sizes}}), Policy())
    assert isinstance(job, JobEvent)
    (proposal,) = execute([job], create)
    ticks = count()
    outcome = settle(
        admission, incumbent, proposal, now=1001.0, queue=0.0, trace_id="t", versions={}, tick=lambda: next(ticks)
    )
    assert (outcome.status, outcome.reason) == ("accepted", "verified")
    text = report(name, outcome)
    if name == "teleportation":
        assert outcome.details["reference"] == "jax.statevector"
        share = float(text.split("a 1 in ")[1].split("%")[0]) / 100
        assert share == pytest.approx((1 - cos(pi / 3)) / 2, abs=0.03)
    else:
        assert outcome.details["reference"] == "tableau"
        assert "exchange = 1.0" in text
