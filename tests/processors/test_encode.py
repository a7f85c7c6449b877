"""Encode: one event a valid record, in order; an invalid one is left to verify."""

from __future__ import annotations

import orjson
from hypothesis import given, settings

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Encoded
from qmosaic.codecs.models.polynomial import PackedPolynomial, unpack_polynomial
from qmosaic.processors.admit import Admission, Record
from qmosaic.processors.encode import encode
from tests.processors.problems import DEFAULTS, LIMITS, Case, cases, judged, model_of


@settings(deadline=None, max_examples=40)
@given(cases())
def test_what_is_encoded_is_what_verify_admits(case: Case) -> None:
    value = orjson.dumps({"family": case.family, "problem": case.payload, "sense": case.sense})
    (encoded,) = encode([Record("problems", 3, 7, 1000.0, value)], LIMITS, DEFAULTS)
    verdict = judged(value)
    assert isinstance(verdict, Admission)
    assert encoded is not None
    read = wire.decode(wire.encode(encoded), Encoded)
    assert read.ref == verdict.ref
    assert isinstance(read.model, PackedPolynomial)
    assert unpack_polynomial(read.model).digest == model_of(verdict).digest
    assert read.size == case.n


def test_an_invalid_record_is_left_out_and_the_order_kept() -> None:
    good = b'{"family":"maxcut","problem":{"edges":[[0,1]]}}'
    records = [Record("problems", 0, k, 1000.0, value) for k, value in enumerate([good, b"nope", None, good])]
    encoded = encode(records, LIMITS, DEFAULTS)
    assert [event and event.ref.offset for event in encoded] == [0, None, None, 3]
