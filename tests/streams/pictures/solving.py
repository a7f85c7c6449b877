"""From a problem event to its outcome without a broker: every hop's pure step called by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from qmosaic.backends.base import Backend
from qmosaic.backends.registry import create, target_of
from qmosaic.codecs.events.hops import JobEvent, Proposal, Route
from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.encode import encode
from qmosaic.processors.execute import execute, job_id
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.verify import settle

QUANTUM, BY_KIND = "cirq.statevector", {"narrow": "exact", "variational": "lanczos"}


def solved(
    family: str,
    payload: dict[str, Any],
    backend: str = "",
    make: Callable[[str], Backend] = create,
    **fields: Any,
) -> tuple[Problem, Outcome]:
    """The problem, and what comes of it by `backend`; by the kernel's kind where none is named."""
    value = orjson.dumps({"family": family, "problem": payload, "labels": {"name": family}, **fields})
    record = Record("problems", 0, 0, time.time(), value)
    admission = admit(record, Limits(), Defaults())
    assert isinstance(admission, Admission), admission
    (encoded,) = encode([record], Limits(), Defaults())
    assert encoded is not None
    ((incumbent, reduced),) = reduce_events(
        [encoded],
        now=record.timestamp,
        max_kernel_qubits=12,
        layers=1,
        share=0.1,
        max_seconds=1.0,
        clock=time.monotonic,
    )
    proposal = None
    if reduced is not None:
        name = backend or BY_KIND.get(reduced.kind, QUANTUM)
        job = JobEvent(
            ref=reduced.ref,
            job_id=job_id(reduced.ref, 1),
            attempt=1,
            route=Route(target=target_of(name), backend=name, reason="requested", rule=""),
            candidates=[],
            kind=reduced.kind,
            variables=reduced.variables,
            couplings=reduced.couplings,
            kernel=reduced.kernel,
            kernel_digest=reduced.kernel_digest,
            work_seconds=reduced.work_seconds,
            gammas=reduced.gammas,
            betas=reduced.betas,
        )
        (proposal,) = execute([job], make)
        assert isinstance(proposal, Proposal)
    outcome = settle(
        admission,
        incumbent,
        proposal,
        now=record.timestamp + 1,
        queue=0.0,
        trace_id="0" * 32,
        versions={},
        tick=time.monotonic,
    )
    return admission.problem, outcome
