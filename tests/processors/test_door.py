"""The door: whatever a record says, it is a problem that can be written back, or refused; never an exception."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.hostile_events import EVENTS, named
from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.wire import MAX_DEPTH, parse_problem
from qmosaic.processors import admit as door
from qmosaic.processors.admit import (
    LIGHT_BYTES,
    Admission,
    Defaults,
    Record,
    Refusal,
    admit,
    admit_safely,
    deadline_claimed,
    is_light,
    refuse,
)
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.quadratic.maxcut import MaxCutFamily

TRIANGLE = b'{"edges":[[0,1],[1,2],[2,0]]}'


def record(value: bytes | None) -> Record:
    return Record("problems", 0, 3, 1000.0, value)


def event(labels: bytes = b"{}", more: bytes = b"") -> bytes:
    return b'{"family":"maxcut","id":"mine","problem":%b,"labels":%b%b}' % (TRIANGLE, labels, more)


@pytest.mark.parametrize(
    ("inner", "place"),
    [
        (b'{"a":' * 254 + b"1" + b"}" * 254, "$.labels.a.a"),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "$.labels.a.a"),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "$.labels.a.0.0"),
        (b'{"b":[],"c":[[1],{"d":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}]}", "$.labels.c.1.d.0"),
    ],
)
def test_what_is_too_deep_to_be_written_back_is_refused_with_its_place(inner: bytes, place: str) -> None:
    refusal = admit(record(event(inner)), Limits(), Defaults())
    assert isinstance(refusal, Refusal)
    assert refusal.problem_id == "mine"
    assert refusal.rejected.code == "invalid_event"
    assert refusal.rejected.place.startswith(place)


def test_many_lists_beside_each_other_are_not_deep() -> None:
    flat = b'{"a":[' + b",".join([b'{"b":[]}'] * 5000) + b"]}"
    assert isinstance(admit(record(event(flat)), Limits(), Defaults()), Admission)
    text = b'{"a":"' + b"[" * 5000 + b'"}'
    assert isinstance(admit(record(event(text)), Limits(), Defaults()), Admission)


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), nested, max_size=3), st.integers(0, 300))
def test_what_is_read_can_be_written_back(labels: dict[str, object], deeper: int) -> None:
    value: object = labels
    for _ in range(deeper):
        value = [value]
    data = orjson.dumps({"family": "maxcut", "problem": {}, "labels": {"a": value}}) if deeper < 200 else None
    if data is None:
        data = b'{"family":"maxcut","problem":{},"labels":{"a":' + b"[" * deeper + b"]" * deeper + b"}}"
    found = parse_problem(data, 1_000_000)
    if isinstance(found, Problem):
        wire.encode(found)
    else:
        assert deeper + 20 > MAX_DEPTH // 2


def test_a_byte_order_mark_is_read_over() -> None:
    marked = b"\xef\xbb\xbf" + event()
    verdict = admit(record(marked), Limits(), Defaults())
    assert isinstance(verdict, Admission)
    assert verdict.ref.problem_id == "mine"
    assert wire.claimed_id(marked) == "mine"
    assert is_light(marked, Limits())
    broken = admit(record(b"\xef\xbb\xbf" + event(more=b',"shots":-1')), Limits(), Defaults())
    assert isinstance(broken, Refusal)
    assert broken.problem_id == "mine"


@pytest.mark.parametrize(
    "value",
    [
        event(more=b',"schema":"' + b"x" * 100_000 + b'"'),
        event(more=b',"deadline":"' + b"9" * 100_000 + b'"'),
        b'{"family":"' + b"x" * 100_000 + b'","problem":{}}',
        b'{"family":"maxcut","problem":{"' + b"y" * 100_000 + b'":1}}',
        event(more=b',"schema":[' + b"1e15," * 20_000 + b"1]"),
    ],
)
def test_a_refusal_quotes_a_little_of_what_was_sent(value: bytes) -> None:
    refusal = admit(record(value), Limits(), Defaults())
    assert isinstance(refusal, Refusal)
    said = refusal.rejected
    assert len(said.message) <= door.MESSAGE
    assert len(said.place) <= door.PLACE
    assert len(said.remedy) <= door.REMEDY


def test_a_family_that_raises_refuses_its_problem_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(self: MaxCutFamily, problem: Problem, limits: Limits) -> Rejected:
        raise RecursionError("too deep")

    monkeypatch.setattr(MaxCutFamily, "parse", parse)
    verdict, error = admit_safely(record(event(b'{"k":1}')), Limits(), Defaults())
    assert isinstance(verdict, Refusal)
    assert (verdict.problem_id, verdict.rejected.code) == ("mine", "stage_failed")
    assert "RecursionError" in verdict.rejected.message
    assert isinstance(error, RecursionError)


def test_labels_come_back_with_a_refusal_unless_they_are_large() -> None:
    small = admit(record(event(b'{"k":1}', b',"shots":-1')), Limits(), Defaults())
    large = admit(record(event(b'{"k":"%b"}' % (b"x" * 70_000), b',"shots":-1')), Limits(), Defaults())
    assert isinstance(small, Refusal)
    assert isinstance(large, Refusal)
    assert (small.labels, large.labels) == ({"k": 1}, {})


def test_light_is_what_is_small_and_of_a_family_that_knows_its_size() -> None:
    limits = Limits()
    assert is_light(None, limits)
    assert is_light(b"no JSON", limits)
    assert is_light(event(), limits)
    assert not is_light(event(b'{"k":"%b"}' % (b"x" * LIGHT_BYTES)), limits)
    assert not is_light(b'{"family":"somebody else\'s","problem":{}}', limits)
    loop = {"qasm": "OPENQASM 3;qubit[1000] q;for uint i in [0:99000] {barrier q;}"}
    assert not is_light(orjson.dumps({"family": "circuit", "problem": loop}), limits)
    # by other spellings of the same word
    assert not is_light(b'{"f\\u0061mily":"c\\u0069rcuit","problem":%b}' % orjson.dumps(loop), limits)


def test_a_deadline_is_known_before_the_problem_is() -> None:
    def claimed(value: bytes) -> float:
        return deadline_claimed(wire.envelope(value), 1000.0, Limits(), Defaults(deadline_seconds=30.0))

    assert claimed(b'{"deadline":5,"problem":{"a":[1e999]}}') == 1005.0
    assert claimed(b"nothing of the kind") == 1030.0
    assert claimed(b'{"deadline":-5}') == 1030.0
    assert claimed(b'{"deadline":"1970-01-01T00:20:00Z"}') == 1200.0


def test_a_refusal_by_hand_carries_the_id_that_is_claimed() -> None:
    rejected = Rejected("worker_crashed", "it died", "$", "tell us")
    assert refuse(record(event()), rejected).problem_id == "mine"
    assert refuse(record(None), rejected).problem_id == "problems-0-3"


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda junk: event()[:40] + junk + event()[50:]))
def test_arbitrary_bytes_are_refused_or_admitted(data: bytes) -> None:
    verdict, error = admit_safely(record(data), Limits(), Defaults())
    assert error is None
    is_light(data, Limits())
    if isinstance(verdict, Refusal):
        wire.encode(verdict.rejected)
        verdict.problem_id.encode()


@pytest.mark.parametrize("name", [name for name in EVENTS if "MiB" not in name and "Hamiltonian" not in name])
def test_no_single_event_raises(name: str) -> None:
    verdict, error = admit_safely(record(named(EVENTS[name](), "it")), Limits(), Defaults())
    assert error is None, name
    if isinstance(verdict, Admission):
        wire.encode(verdict.problem)
