"""Terminal events as they are written: what is too large is cut, and says so; what the audit tells of backends."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.control import Run
from qmosaic.codecs.events.public import Attempt, Expected
from qmosaic.codecs.events.reasons import Sense
from qmosaic.processors.admit import Record, refuse
from qmosaic.processors.terminal import ORIGINAL_BYTES, evidence_of, outcome_verdict, rejection_verdict
from tests.processors.test_verify import FAIR, GOOD, ILLEGAL, POOR, bits, chosen, end, incumbent, proposal


@pytest.mark.parametrize(("size", "truncated"), [(10, False), (ORIGINAL_BYTES, False), (ORIGINAL_BYTES + 1, True)])
def test_a_rejection_keeps_the_beginning_of_a_large_record(size: int, truncated: bool) -> None:
    record = Record("problems", 3, 7, 0.0, b"1" * size)
    refusal = refuse(record, Rejected("invalid_event", "no object", "$", "Send one."))
    event = orjson.loads(rejection_verdict(record, refusal, "0" * 32, first=7).value)
    assert event["truncated"] is truncated
    assert record.value is not None
    assert b64decode(event["original"]) == record.value[:ORIGINAL_BYTES]
    assert event["source"] == {"topic": "problems", "partition": 3, "offset": 7}


FAILED = Attempt(target="quantum", backend="a", ended="execution_failed", seconds=2.0)
ANSWERED = Attempt(target="quantum", backend="b", ended="answered", seconds=0.5, cost_usd=0.3)


def told(sense: Sense, known: Any, answer: Any, *tried: Attempt, **changes: Any) -> list[Run]:
    """What the end of a problem tells whose incumbent and answer are these."""
    admission = chosen(sense)
    event = replace(proposal(admission, answer), kind="spins", variables=4, work_seconds=0.1, tried=list(tried))
    event = replace(event, **changes)
    verdict = outcome_verdict(end(admission, incumbent(admission, known), event), 10**6, proposal=event)
    return verdict.evidence.runs if verdict.evidence is not None else []


@pytest.mark.parametrize(
    ("sense", "answer", "gain"),
    [
        ("max", GOOD, 0.4),
        ("max", FAIR, 0.0),
        ("max", POOR, -0.4),  # the incumbent went out, and yet it is worse
        ("min", POOR, 0.4),
        ("min", GOOD, -0.4),
        ("max", ILLEGAL, 0.0),  # it is worth nothing, and nothing was lost
        ("max", bits(1, 1), 0.0),  # nor did this fit
    ],
)
def test_a_gain_is_paired_relative_and_signed(sense: Sense, answer: Any, gain: float) -> None:
    (run,) = told(sense, FAIR, answer, ANSWERED)
    assert (run.backend, run.answered, run.seconds, run.cost_usd) == ("b", True, 0.5, 0.3)
    assert run.gain == pytest.approx(gain)


def test_the_fidelity_of_a_run_is_told() -> None:
    (run,) = told("max", FAIR, GOOD, replace(ANSWERED, fidelity=0.8, expected=Expected(fidelity=0.7)))
    assert (run.fidelity, run.expected) == (0.8, Expected(fidelity=0.7))
    (run,) = told("max", FAIR, GOOD, ANSWERED)
    assert run.fidelity is None


def test_each_candidate_counts_as_what_it_was() -> None:
    runs = told("max", FAIR, GOOD, FAILED, ANSWERED)
    assert [(run.backend, run.answered, run.gain) for run in runs] == [
        ("a", False, 0.0),
        ("b", True, pytest.approx(0.4)),
    ]


@pytest.mark.parametrize("ended", ["over_budget", "deadline", "not_cached", "no_backend"])
def test_what_never_ran_does_not_count(ended: str) -> None:
    runs = told("max", FAIR, GOOD, replace(FAILED, ended=ended), ANSWERED)
    assert [run.backend for run in runs] == ["b"]


def test_what_was_had_before_does_not_count() -> None:
    assert told("max", FAIR, GOOD, replace(ANSWERED, cached=True), cached=True) == []
    assert [run.backend for run in told("max", FAIR, GOOD, FAILED, replace(ANSWERED, cached=True))] == ["a"]


def test_against_a_quick_answer_nothing_is_gained() -> None:
    (run,) = told("max", ILLEGAL, GOOD, ANSWERED)
    assert (run.gain, run.seconds) == (None, 0.5)


def test_equal_jobs_have_one_name() -> None:
    admission = chosen()
    names = set()
    for seed, digest in ((1, "k"), (1, "k"), (2, "k"), (1, "other")):
        ref = replace(admission.ref, seed=seed)
        event = replace(proposal(admission, GOOD), ref=ref, kernel_digest=digest, kind="spins", tried=[ANSWERED])
        found = evidence_of(end(admission, incumbent(admission, FAIR), event), event)
        assert found is not None
        names.add(found.job)
    assert len(names) == 3


def test_who_had_no_kernel_tells_nothing() -> None:
    admission = chosen()
    assert evidence_of(end(admission, incumbent(admission, FAIR, kernel=None), None), None) is None
