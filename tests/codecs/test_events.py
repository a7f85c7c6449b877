"""Events on the wire: published ones stay readable for ever; what is no problem is told exactly why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.errors import RejectCode, Rejected
from qmosaic.codecs.events import control, hops, ledger, reasons, wire
from qmosaic.codecs.events.hops import Answer, Failure, Proposal, Ref, Route
from qmosaic.codecs.events.public import Outcome, Problem, Rejection, Timing
from qmosaic.codecs.schemas import EVENTS

GOLDEN = Path(__file__).parent / "golden"
PUBLIC: dict[str, Any] = {
    "problem-1": Problem,
    "outcome-1": Outcome,
    "outcome-1-paid": Outcome,
    "outcome-1-chain": Outcome,
    "problem-1-rounds": Problem,
    "outcome-1-rounds": Outcome,
    "rejection-1": Rejection,
}
MAX_BYTES = 10_000


def golden(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads((GOLDEN / f"{name}.json").read_bytes())
    return loaded


def test_every_golden_file_has_a_type() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == PUBLIC.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_published_event_is_read_and_written_as_ever(name: str) -> None:
    """Never edit a golden file: a change that breaks this needs a new major version and a file of its own."""
    event = wire.decode((GOLDEN / f"{name}.json").read_bytes(), PUBLIC[name])
    assert orjson.loads(wire.encode(event)) == golden(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_unknown_fields_are_ignored(name: str) -> None:
    known = golden(name)
    more = orjson.dumps(known | {"a_field_of_tomorrow": {"x": [1]}})
    assert orjson.loads(wire.encode(wire.decode(more, PUBLIC[name]))) == known


@pytest.mark.parametrize("name", PUBLIC)
def test_an_unknown_major_version_is_refused(name: str) -> None:
    known = golden(name)
    other = orjson.dumps(known | {"schema": known["schema"].replace("/1", "/2")})
    with pytest.raises(msgspec.ValidationError, match="schema"):
        wire.decode(other, PUBLIC[name])


def test_only_family_and_problem_are_required() -> None:
    problem = wire.parse_problem(b'{"family": "maxcut", "problem": {}}', MAX_BYTES)
    assert problem == Problem(family="maxcut", problem={})
    assert (problem.schema, problem.target, problem.tenant, problem.priority) == (
        "qmosaic.problem/1",
        "auto",
        "default",
        "normal",
    )
    assert (problem.id, problem.deadline, problem.shots, problem.seed, problem.sense) == (None,) * 5


MIN = b'{"family":"maxcut","problem":{}'
BAD: list[tuple[bytes | None, str, str, str]] = [
    (None, "empty_value", "$", "JSON object"),
    (b"", "empty_value", "$", "JSON object"),
    (b" \n\t", "empty_value", "$", "JSON object"),
    (b'{"family":"\xff"}', "not_utf8", "byte 11", "UTF-8"),
    (b"\xef\xbb\xbf\xc3", "not_utf8", "byte 3", "UTF-8"),
    (b'{"family":\n  nope}', "not_json", "line 2 column 3", "finite"),
    (b'{"family":"maxcut","problem":{"edges":[[0,1,NaN]]}}', "not_json", "line 1 column 45", "finite"),
    (b'{"family":"maxcut","problem":{"edges":[[0,1,1e999]]}}', "not_json", "line 1 column 45", "finite"),
    (b'{"family":"maxcut","problem":{"edges":[[0,1,-Infinity]]}}', "not_json", "line 1 column 46", "finite"),
    (b"[" * 5000 + b"]" * 5000, "not_json", "line 1 column 1026", "finite"),
    (b'"text"', "invalid_event", "$", "family"),
    (b"[]", "invalid_event", "$", "family"),
    (b"{}", "invalid_event", "$", "docs/events.md"),
    (b'{"family":"maxcut"}', "invalid_event", "$", "docs/events.md"),
    (b'{"family":1,"problem":{}}', "invalid_event", "$.family", "docs/events.md"),
    (b'{"family":"maxcut","problem":[]}', "invalid_event", "$.problem", "docs/events.md"),
    (MIN + b',"target":"abacus"}', "invalid_event", "$.target", "docs/events.md"),
    (MIN + b',"priority":1}', "invalid_event", "$.priority", "docs/events.md"),
    (MIN + b',"shots":1.5}', "invalid_event", "$.shots", "docs/events.md"),
    (MIN + b',"deadline":true}', "invalid_event", "$.deadline", "docs/events.md"),
    (MIN + b',"labels":null}', "invalid_event", "$.labels", "docs/events.md"),
    (MIN + b',"schema":"qmosaic.problem/2"}', "unsupported_schema", "$.schema", "'qmosaic.problem/1'"),
    (MIN + b',"schema":"acme.problem/1"}', "unsupported_schema", "$.schema", "'qmosaic.problem/1'"),
    (MIN + b',"schema":null}', "unsupported_schema", "$.schema", "'qmosaic.problem/1'"),
    (MIN + b" " * MAX_BYTES + b"}", "too_large", "$", "limits.event_bytes"),
]


@pytest.mark.parametrize(("data", "code", "place", "remedy"), BAD)
def test_what_is_no_problem_is_told_exactly_why(data: bytes | None, code: str, place: str, remedy: str) -> None:
    # The deep one is over the limit of the others.
    rejected = wire.parse_problem(data, 20_000 if data and data.startswith(b"[[") else MAX_BYTES)
    assert isinstance(rejected, Rejected)
    assert (rejected.code, rejected.place) == (code, place)
    assert remedy in rejected.remedy
    assert rejected.message


def test_the_limit_of_bytes_is_inclusive() -> None:
    data = MIN + b"}"
    assert isinstance(wire.parse_problem(data, len(data)), Problem)
    assert isinstance(wire.parse_problem(data, len(data) - 1), Rejected)


def test_what_was_written_before_there_was_usage_is_read() -> None:
    old = {name: value for name, value in golden("outcome-1").items() if name != "usage"}
    assert wire.decode(orjson.dumps(old), Outcome).usage is None
    assert wire.decode(b'{"circuit":null,"values":[0.5],"errors":[0.1]}', Answer).usage is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(Problem.__struct_fields__, JSON))


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.binary(max_size=30), FIELDS.map(lambda d: msgspec.json.encode(d))))
def test_no_bytes_whatever_raise(data: bytes) -> None:
    assert isinstance(wire.parse_problem(data, MAX_BYTES), Problem | Rejected)
    claimed = wire.claimed_id(data)
    assert claimed is None or 1 <= len(claimed) <= 256


@pytest.mark.parametrize(
    ("data", "claimed"),
    [
        (b'{"id":"a","schema":"x/9"}', "a"),
        (b'{"id":1}', None),
        (b'{"id":""}', None),
        (b'{"id":"' + b"a" * 257 + b'"}', None),
        (b"[]", None),
        (b"nope", None),
        (b'{"id":"\xff"}', None),
        (None, None),
        (b'{"x":' + b"[" * 1023 + b"]" * 1023 + b',"id":"a"}', "a"),  # deeper than msgspec goes
        # Deep and large: to take it to pieces as a whole is not worth its name.
        (b'{"x":' + b"[" * 1023 + b"]" * 1023 + b',"id":"a","y":"' + b"y" * wire.DEEP_BYTES + b'"}', None),
    ],
)
def test_the_id_that_a_record_claims(data: bytes | None, claimed: str | None) -> None:
    assert wire.claimed_id(data) == claimed


def test_an_internal_event_comes_back() -> None:
    ref = Ref(
        problem_id="é",
        partition=3,
        offset=2**40,
        family="maxcut",
        digest="d",
        tenant="t",
        priority="low",
        target="gpu",
        shots=1,
        seed=2**31 - 1,
        received_at=1.5,
        deadline_at=2.5,
        timings={"encode": Timing(0.1, 0.2)},
    )
    route = Route(target="gpu", backend="jax.statevector", reason="rule", rule="medium")
    failure = Failure("execute", "execution_failed", "no memory")
    event = Proposal(ref=ref, kernel_digest=None, route=route, attempt=1, answer=None, failure=failure)
    assert wire.decode(wire.encode(event), Proposal) == event


@pytest.mark.parametrize(
    ("value", "text"), [(564.0, b"564"), (-3.0, b"-3"), (0.5, b"0.5"), (2.0**53, b"9007199254740992.0")]
)
def test_a_whole_number_prints_as_one(value: float, text: bytes) -> None:
    assert orjson.dumps(wire.number(value)) == text


def test_the_documentation_names_every_field_and_every_word_of_the_closed_enums() -> None:
    text = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
    words = {*get_args(RejectCode), *get_args(reasons.OutcomeReason), *get_args(reasons.RouteReason)}
    fields = {name for kind in PUBLIC.values() for name in kind.__struct_fields__}
    assert not {word for word in words | fields | set(EVENTS) if f"`{word}`" not in text}
    rows = set(re.findall(r"^\| (?:accepted \| |fallback \| )?`(\w+)` \|", text, re.MULTILINE))
    assert rows >= words


INTERNAL: list[Any] = [hops.Encoded, hops.Incumbent, hops.Reduced, hops.JobEvent, hops.Proposal, hops.PaidResult]
INTERNAL += [control.Submitted, control.AuditEntry, control.BackendStatus, control.WorkersStatus, control.DeadLetter]
INTERNAL += [hops.Interim, control.ControlState, ledger.LedgerEntry, ledger.JobEnded]
FILES = sorted((GOLDEN / "internal").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_internal_events_are_as_they_were(file: Path) -> None:
    """Workers of one release: a change is meant, and these files change with it."""
    kind = next(kind for kind in INTERNAL if kind.schema == f"qmosaic.{file.stem.partition('-')[0]}/1")
    event: msgspec.Struct = wire.decode(file.read_bytes(), kind)
    assert orjson.loads(wire.encode(event)) == orjson.loads(file.read_bytes())


def test_every_internal_event_has_a_file() -> None:
    assert {file.stem.partition("-")[0] for file in FILES} == {kind.schema[8:-2] for kind in INTERNAL}
