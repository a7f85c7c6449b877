"""The route example through the pure core: every capital is reached, and its report shows both sides."""

from __future__ import annotations

from itertools import count
from time import monotonic

import orjson

from examples.route import CAPITALS, problem, report
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.encode import encode
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.verify import settle


def test_the_route_example() -> None:
    value = orjson.dumps({"family": "route", "problem": problem().payload()})
    record, defaults = Record("problems", 0, 0, 1000.0, value), Defaults(deadline_seconds=30.0, shots=1024)
    admission = admit(record, Limits(), defaults)
    assert isinstance(admission, Admission)
    (encoded,) = encode([record], Limits(), defaults)
    assert encoded is not None
    ((incumbent, job),) = reduce_events(
        [encoded], now=1000.0, max_kernel_qubits=16, layers=2, share=0.5, max_seconds=5.0, clock=monotonic
    )
    assert job is not None
    ticks = count()
    outcome = settle(
        admission, incumbent, None, now=1001.0, queue=0.0, trace_id="t", versions={}, tick=lambda: next(ticks)
    )
    assert (outcome.feasible, outcome.objective) == (True, 2972)
    towns = [town for route in outcome.solution["routes"] for town in route]
    assert sorted([*towns, "Erfurt"]) == sorted(CAPITALS)
    assert outcome.details == {"vehicles": 3, "loads": [19, 20, 17]}
    text = report(outcome)
    assert "20 pallets: Erfurt – Düsseldorf – Bremen" in text
    assert "2972 km; pyvrp alone: 2972 km" in text
