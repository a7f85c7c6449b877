"""The portfolio example through the pure core: its rules hold, and its report shows both sides."""

from __future__ import annotations

from itertools import count
from time import monotonic

import orjson

from examples.portfolio import SECTORS, problem, report
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.encode import encode
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.verify import settle


def test_the_portfolio_example() -> None:
    value = orjson.dumps({"family": "portfolio", "problem": problem().payload()})
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
    assert outcome.feasible
    held = outcome.solution["assets"]
    assert "Grid" in held
    assert "Coal" not in held
    assert 3 <= len(held) <= 5
    for sector in set(SECTORS.values()):
        share = sum(w for a, w in zip(held, outcome.solution["weights"], strict=True) if SECTORS[a] == sector)
        assert share <= 0.4 + 1e-9
    text = report(outcome)
    assert "Grid     energy" in text
    assert text.count("±") == 8
