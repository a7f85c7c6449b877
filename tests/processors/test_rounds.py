"""Rounds: when there is another one, where it begins, what comes of all of them; each family through the pure core."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from time import monotonic
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from qmosaic.backends.registry import create
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Encoded, Failure, Incumbent, JobEvent, Proposal, Route
from qmosaic.codecs.events.public import Attempt, Outcome, Round, Timing, Timings
from qmosaic.codecs.events.reasons import MOST_ROUNDS
from qmosaic.codecs.models.bundle import array
from qmosaic.processors.admit import Admission, Defaults, Record, Refusal, admit
from qmosaic.processors.decisions import INTERIM
from qmosaic.processors.encode import encoded
from qmosaic.processors.execute import execute, job_id, proposal_of
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.rounds import MOST_TRIED, again, another, goes_on, joined, share_of, takes
from qmosaic.processors.terminal import Verdict, judge
from qmosaic.streams.observe.answers import answer_of

AT = 1_700_000_000.0
MOST = 10**7
ROUTE = Route(target="classical", backend="tabu", reason="rule", rule="all")
RNG = np.random.default_rng(5)
PLANE = RNG.integers(0, 100, (40, 2)).tolist()
ROOT = RNG.normal(size=(30, 30))
PROBLEMS: dict[str, dict[str, Any]] = {
    "maxcut": {"edges": [[i, (i + d) % 60, 1 + (i * d) % 3] for i in range(60) for d in (1, 7, 11, 23)]},
    "qubo": {"terms": [[i, (i * i + d) % 50, (-1) ** (i + d) * (1 + d)] for i in range(50) for d in (3, 8, 19)]},
    "ising": {"J": [[i, (i + d) % 60, (-1) ** (i * d // 7)] for i in range(60) for d in (1, 9, 25)]},
    "labs": {"n": 24},
    "portfolio": {
        "returns": RNG.normal(0.05, 0.02, 30).tolist(),
        "covariance": (ROOT @ ROOT.T / 30).tolist(),
        "risk_aversion": 0.5,
        "cardinality": 8,
    },
    "route": {"coordinates": PLANE},
}


def event(family: str, rounds: Any = 3, **more: Any) -> bytes:
    return wire.dumps({"id": "a", "family": family, "problem": PROBLEMS[family], "rounds": rounds, "seed": 1, **more})


def admitted(value: bytes) -> Admission:
    found = admit(Record("problems", 2, 7, AT, value), Limits(), Defaults())
    assert isinstance(found, Admission), found
    return found


def reduced(encoded_event: Encoded) -> tuple[Incumbent, JobEvent]:
    """What reduce and route make of an event."""
    ((incumbent, kernel),) = reduce_events(
        [encoded_event], now=AT, max_kernel_qubits=8, layers=1, share=0.02, max_seconds=0.3, clock=monotonic
    )
    assert kernel is not None
    job = JobEvent(
        ref=kernel.ref,
        job_id=job_id(kernel.ref, 1),
        attempt=1,
        route=ROUTE,
        kind=kernel.kind,
        variables=kernel.variables,
        kernel=kernel.kernel,
        kernel_digest=kernel.kernel_digest,
        work_seconds=0.1,
        gammas=kernel.gammas,
        betas=kernel.betas,
    )
    return incumbent, job


def judged(admission: Admission, incumbent: Incumbent | None, proposal: Proposal | None, **more: Any) -> Verdict:
    known = {"now": AT + 1, "queue": 0.0, "trace_id": "", "versions": {}, "tick": float, "until": AT + 29}
    return judge(admission, incumbent, proposal, MOST, **{**known, **more})


def rounds_of(admission: Admission) -> Iterator[tuple[Incumbent, Proposal, Verdict]]:
    """Round after round, up to the end."""
    given, interim = encoded(admission), None
    for k in range(200):
        incumbent, job = reduced(given)
        (proposal,) = execute([job], create)
        verdict = judged(admission, incumbent, proposal, interim=interim, now=AT + 0.1 * (k + 1))
        yield incumbent, proposal, verdict
        if verdict.onward is None:
            return
        interim = verdict.onward.interim
        given = wire.decode(verdict.onward.encoded, Encoded)
    raise AssertionError("it never ends")


def test_a_problem_that_had_the_most_rounds_there_are_says_so() -> None:
    admission = admitted(event("maxcut", rounds="deadline"))
    incumbent, job = reduced(encoded(admission))
    (proposal,) = execute([job], create)
    first = judged(admission, incumbent, proposal).onward
    assert first is not None
    assert isinstance(first.interim.best.rounds, list)
    best = replace(first.interim.best, rounds=first.interim.best.rounds * (MOST_ROUNDS - 1))
    interim = replace(first.interim, best=best)
    incumbent, job = reduced(replace(encoded(admission), ref=interim.ref, start=interim.state))
    (proposal,) = execute([job], create)
    last = judged(admission, incumbent, proposal, interim=interim)
    assert last.onward is None
    assert f"ended after {MOST_ROUNDS} rounds, the most that there are" in wire.decode(last.value, Outcome).notes
    told = answer_of(wire.decode(last.value, Outcome))
    assert told[-1].startswith("rounds … ")
    assert f"{MOST_ROUNDS} " in told[-1]


@pytest.mark.parametrize("family", PROBLEMS)
def test_each_family_goes_on_where_it_was_with_another_kernel(family: str) -> None:
    admission = admitted(event(family))
    steps = list(rounds_of(admission))
    outcome = wire.decode(steps[-1][2].value, Outcome)
    assert isinstance(outcome.rounds, list)
    assert [one.number for one in outcome.rounds] == [1, 2, 3]
    objectives = [one.objective for one in outcome.rounds if one.objective is not None]
    assert len(objectives) == 3
    sign = -1 if outcome.sense == "max" else 1
    assert all(sign * b <= sign * a for a, b in pairwise(objectives))
    again_judged = admission.instance.evaluate(outcome.solution)
    assert again_judged.feasible
    assert outcome.objective == pytest.approx(again_judged.objective)
    # the search begins at the best state: its incumbent is no worse
    for (_, _, verdict), (incumbent, *_) in pairwise(steps):
        assert verdict.topic == INTERIM
        assert verdict.onward is not None
        best = verdict.onward.interim.best.objective
        found = admission.instance.evaluate(admission.instance.solution(incumbent.state), incumbent.state)
        assert best is not None
        assert found.objective is not None
        assert sign * found.objective <= sign * best + 1e-9 * abs(best)
    digests = [incumbent.kernel_digest for incumbent, *_ in steps]
    assert len(set(digests)) == (2 if family == "route" else 3)  # eight moves are of half of the nodes
    assert all(one != other for one, other in pairwise(digests))
    tried = [array(incumbent.memory, "tried") for incumbent, *_ in steps if incumbent.memory is not None]
    first, second = (set(np.flatnonzero(one == k + 1)) for k, one in enumerate(tried[:2]))
    assert second
    assert len(first & second) < len(second)
    assert len({proposal.ref.seed for _, proposal, _ in steps}) == 3
    assert {incumbent.ref.digest for incumbent, *_ in steps} == {admission.ref.digest}


def test_variables_that_no_kernel_had_come_first() -> None:
    (first, _, _), (second, _, _), *_ = rounds_of(admitted(event("maxcut")))
    assert first.memory is not None
    assert second.memory is not None
    one, two = array(first.memory, "tried"), array(second.memory, "tried")
    assert (one > 0).sum() == 8
    assert set(np.flatnonzero(two == 2)).isdisjoint(np.flatnonzero(one == 1))  # 60 variables, kernels of 8


@pytest.mark.parametrize("family", ["maxcut", "labs", "portfolio"])
def test_a_memory_that_does_not_fit_is_none(family: str) -> None:
    """Internal topics are not signed: what is remembered may be anything."""
    admission = admitted(event(family))
    incumbent, _ = reduced(encoded(admission))
    assert incumbent.memory is not None
    for arrays in ({}, {"tried": incumbent.memory.arrays["tried"]}, dict.fromkeys(("tried", "samples"), _packed())):
        odd = msgspec.structs.replace(incumbent.memory, arrays=arrays, values={"agreed": "x", "populations": -1})
        given = replace(encoded(admission), start=incumbent.state, memory=odd)
        assert reduced(given)[0].kernel_digest


def _packed() -> Any:
    from qmosaic.codecs.models.arrays import pack

    return pack(np.zeros(3, np.float64))


def test_a_problem_without_rounds_remembers_nothing_and_has_all_the_time() -> None:
    admission = admitted(event("maxcut", 1))
    incumbent, job = reduced(encoded(admission))
    (proposal,) = execute([job], create)
    assert incumbent.memory is None
    assert share_of(admission.ref) == 1.0 != share_of(admitted(event("maxcut")).ref)
    verdict = judged(admission, incumbent, proposal)
    assert verdict.onward is None
    assert "rounds" not in msgspec.json.decode(verdict.value)


def test_a_circuit_has_no_rounds() -> None:
    problem = {"qasm": "OPENQASM 3.0; qubit[1] q; bit[1] c; c[0] = measure q[0];"}
    value = {"family": "circuit", "problem": problem, "rounds": 2}
    found = admit(Record("problems", 0, 0, AT, wire.dumps(value)), Limits(), Defaults())
    assert isinstance(found, Refusal), found
    assert (found.rejected.code, found.rejected.place) == ("invalid_event", "$.rounds")


@pytest.mark.parametrize("rounds", [0, 101, "forever", 1.5, True, None, [2]])
def test_what_is_no_number_of_rounds_is_refused(rounds: Any) -> None:
    found = admit(Record("problems", 0, 0, AT, event("maxcut", rounds)), Limits(), Defaults())
    assert isinstance(found, Refusal)
    assert found.rejected.place == "$.rounds"


# -- when there is another one -----------------------------------------------------------------------------------------


def rounds(*objectives: float | None) -> list[Round]:
    said: dict[str, Any] = {"status": "accepted", "reason": "equal", "improvement": 0, "target": None, "backend": None}
    return [Round(number=k + 1, objective=value, seconds=1.0, **said) for k, value in enumerate(objectives)]


def test_a_number_of_rounds() -> None:
    assert goes_on(3, "min", rounds(5, 5), True)
    assert not goes_on(3, "min", rounds(5, 5, 4), True)
    assert not goes_on(3, "min", rounds(5, 5), False)


def test_rounds_until_the_deadline() -> None:
    assert goes_on("deadline", "min", rounds(*[5] * 99), True)
    assert not goes_on("deadline", "min", rounds(*[5] * 100), True)
    assert not goes_on("deadline", "min", rounds(5), False)


def test_rounds_until_three_gain_nothing() -> None:
    assert goes_on("converged", "min", rounds(5, 5, 5), True)
    assert not goes_on("converged", "min", rounds(5, 5, 5, 5), True)
    assert goes_on("converged", "min", rounds(5, 5, 5, 4), True)
    assert goes_on("converged", "max", rounds(5, 5, 6, 6), True)
    assert not goes_on("converged", "max", rounds(5, 6, 6, 6, 6), True)


def test_what_a_round_takes_follows_the_last_one() -> None:
    # of 10 s the last one searched 4, and needed 1 besides: of the 5 that are left it searches 2
    assert takes(5.0, 4.0, 5.0) == pytest.approx(1.0 + 2.0)
    assert takes(5.0, 4.0, 0.5) > 0.5
    assert takes(5.0, 9.0, 5.0) == pytest.approx(2.5)


# -- what comes of them ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one() -> tuple[Admission, Incumbent, Proposal, Outcome]:
    admission = admitted(event("maxcut"))
    incumbent, job = reduced(encoded(admission))
    (proposal,) = execute([job], create)
    return admission, incumbent, proposal, wire.decode(judged(admission, incumbent, proposal, until=0.0).value, Outcome)


def test_the_outcome_is_that_of_the_best_round(one: tuple[Admission, Incumbent, Proposal, Outcome]) -> None:
    admission, incumbent, proposal, outcome = one
    own = replace(outcome, rounds=msgspec.UNSET, tried=[_tried(0.25)], timings=Timings({"reduce": Timing(1, 2)}, 5.0))
    own = replace(own, objective=100, reason="improved")
    first = joined(admission.ref, None, own, AT + 1)
    begins = another(admission, None, own, first, incumbent, proposal, AT + 1, AT + 29)
    assert begins is not None
    worse = replace(own, objective=90, status="fallback", reason="deadline", solution="worse")
    second = joined(admission.ref, begins, worse, AT + 3)
    assert (second.objective, second.reason, second.status) == (100, "improved", "accepted")
    assert isinstance(second.rounds, list)
    assert [(each.objective, each.reason, each.seconds) for each in second.rounds] == [
        (100, "improved", 1.0),
        (100, "deadline", 2.0),
    ]
    assert second.attempts == 2
    assert [each.cost_usd for each in second.rounds] == [0.25, 0.25]
    assert second.tried == [_tried(0.25)] * 2
    assert second.timings.hops == {"reduce": Timing(2, 4)}
    better = replace(own, objective=110, status="fallback", reason="worse_than_baseline", solution="better")
    assert joined(admission.ref, begins, better, AT + 3).solution == "better"
    equal = replace(own, objective=100, reason="equal", solution="equal")
    assert joined(admission.ref, begins, equal, AT + 3).solution == outcome.solution  # the first is
    nothing = replace(own, objective=None, feasible=False, solution=None)
    assert joined(admission.ref, begins, nothing, AT + 3).objective == 100


def _tried(usd: float) -> Attempt:
    return Attempt(target="quantum", backend="x", ended="answered", seconds=1.0, cost_usd=usd)


def test_attempts_that_are_told_are_bounded(one: tuple[Admission, Incumbent, Proposal, Outcome]) -> None:
    admission, incumbent, proposal, outcome = one
    tried = [_tried(float(k)) for k in range(150)]
    own = replace(outcome, tried=tried)
    first = joined(admission.ref, None, own, AT + 1)
    begins = another(admission, None, own, first, incumbent, proposal, AT + 1, AT + 29)
    second = joined(admission.ref, begins, own, AT + 1)
    assert isinstance(second.tried, list)
    assert len(second.tried) == MOST_TRIED
    assert second.tried[-1] == tried[-1]


def test_when_there_is_nothing_to_go_on_from(one: tuple[Admission, Incumbent, Proposal, Outcome]) -> None:
    admission, incumbent, proposal, _ = one

    def goes(incumbent: Incumbent | None, proposal: Proposal | None, until: float = AT + 29) -> bool:
        return judged(admission, incumbent, proposal, until=until).onward is not None

    assert goes(incumbent, proposal)
    searched_quickly = replace(incumbent, seconds=0.0)  # whatever else this machine does
    assert not goes(searched_quickly, proposal, until=AT + 1.2)
    assert not goes(None, proposal)
    assert not goes(incumbent, None)  # the clock
    assert not goes(replace(incumbent, memory=None), proposal)
    proven = replace(incumbent, kernel_digest=None, lift=None, memory=None)
    assert not goes(proven, None)
    for stage, follows in (("execute", True), ("route", True), ("control", True), ("reduce", False), ("encode", False)):
        failed = replace(proposal, answer=None, failure=Failure(stage, "execution_failed", "no"))
        assert goes(incumbent, failed) is follows


def test_a_round_that_cannot_be_written_is_the_last(one: tuple[Admission, Incumbent, Proposal, Outcome]) -> None:
    admission, incumbent, proposal, _ = one
    whole = judged(admission, incumbent, proposal)
    assert whole.onward is not None
    known: dict[str, Any] = {"now": AT + 1, "queue": 0.0, "trace_id": "", "versions": {}, "tick": float}
    less = judge(admission, incumbent, proposal, len(whole.value) - 1, until=AT + 29, **known)
    assert less.onward is None
    assert less.topic == "outcomes.accepted"


def test_each_round_is_evidence_of_its_own() -> None:
    steps = list(rounds_of(admitted(event("maxcut"))))
    evidence = [verdict.evidence for *_, verdict in steps]
    assert all(each is not None and len(each.runs) == 1 for each in evidence)
    assert len({each.job for each in evidence if each is not None}) == 3


def test_jobs_are_told_apart_by_their_round(one: tuple[Admission, Incumbent, Proposal, Outcome]) -> None:
    admission, incumbent, proposal, outcome = one
    first = joined(admission.ref, None, outcome, AT + 1)
    begins = another(admission, None, outcome, first, incumbent, proposal, AT + 1, AT + 29)
    assert begins is not None
    assert job_id(admission.ref, 1) == "2-7-1"
    assert job_id(begins.ref, 1) not in (job_id(admission.ref, k) for k in range(20))
    sent = again(admission, begins, incumbent)
    assert (sent.ref.round, sent.start, sent.memory) == (2, begins.state, incumbent.memory)
    assert sent.ref.max_cost == admission.ref.max_cost
    failed = proposal_of(reduced(sent)[1], Failure("execute", "execution_failed", "no"))
    assert failed.ref.round == 2
