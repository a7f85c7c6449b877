"""Circuits, as their users write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from qmosaic.codecs.problems.base import ProblemData, described


class Circuit(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """Circuit: OpenQASM 2 or 3, sampled (`shots`), or as expectation values of observables (0 shots: exact)."""

    family: ClassVar[str] = "circuit"
    example: ClassVar[dict[str, Any]] = {
        "qasm": 'OPENQASM 3; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
    }
    qasm: Annotated[str, described("the source, OpenQASM 2 or 3")]
    observables: Annotated[
        Sequence[Mapping[str, Any]],
        described('[{"name": …, "terms": {"ZZI": 0.5}}]: letter i acts on qubit i in the order of declaration'),
    ] = ()
    fidelity: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1)] | None,
        described("Hellinger fidelity of the counts to accept, 0 to 1; default 0.99, less where shots are few"),
    ] = None
