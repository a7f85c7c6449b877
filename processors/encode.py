"""Encode: a problem record to the compact model. What does not validate is left to verify, which rejects it."""

from __future__ import annotations

from collections.abc import Sequence

from qmosaic.codecs.events.hops import Encoded
from qmosaic.codecs.models.polynomial import SpinPolynomial, pack_polynomial
from qmosaic.processors.admit import Admission, Defaults, Record, admit_safely
from qmosaic.processors.families.base import Limits


def encode(records: Sequence[Record], limits: Limits, defaults: Defaults) -> list[Encoded | None]:
    """One event a record, None for an invalid one."""
    admissions = [admit_safely(record, limits, defaults)[0] for record in records]
    return [encoded(admission) if isinstance(admission, Admission) else None for admission in admissions]


def encoded(admission: Admission) -> Encoded:
    """The event of a valid problem."""
    model = admission.instance.encode()
    packed = pack_polynomial(model) if isinstance(model, SpinPolynomial) else model
    return Encoded(ref=admission.ref, model=packed, size=admission.instance.size)
