"""Terminal events as they are written: what is too large is cut, and says so."""

from __future__ import annotations

from base64 import b64decode

import orjson
import pytest

from qmosaic.codecs.errors import Rejected
from qmosaic.processors.admit import Record, refuse
from qmosaic.processors.terminal import ORIGINAL_BYTES, rejection_verdict


@pytest.mark.parametrize(("size", "truncated"), [(10, False), (ORIGINAL_BYTES, False), (ORIGINAL_BYTES + 1, True)])
def test_a_rejection_keeps_the_beginning_of_a_large_record(size: int, truncated: bool) -> None:
    record = Record("problems", 3, 7, 0.0, b"1" * size)
    refusal = refuse(record, Rejected("invalid_event", "no object", "$", "Send one."))
    event = orjson.loads(rejection_verdict(record, refusal, "0" * 32, first=7).value)
    assert event["truncated"] is truncated
    assert record.value is not None
    assert b64decode(event["original"]) == record.value[:ORIGINAL_BYTES]
    assert event["source"] == {"topic": "problems", "partition": 3, "offset": 7}
