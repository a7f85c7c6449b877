"""Variational rounds through the pure core: a backend evaluates, the optimiser's state goes from round to round."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from time import monotonic
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from qmosaic.backends.registry import create
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Encoded, Failure, Incumbent, JobEvent, Proposal, Route
from qmosaic.codecs.events.public import Outcome, Round
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.kernel import unpack_kernel
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.encode import encoded
from qmosaic.processors.execute import execute, job_id, proposal_of
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.molecule.family import MoleculeInstance
from qmosaic.processors.families.molecule.optimiser import POINTS, Optimiser
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.rounds import goes_on, seed_of
from qmosaic.processors.terminal import Verdict, judge
from tests.variational import Loop, in_process

AT = 1_700_000_000.0
MOST = 10**7
H2 = {
    "hamiltonian": [
        ["IIII", -0.09886396978427353],
        ["IIIZ", -0.22278593040418454],
        ["IIZI", -0.22278593040418454],
        ["IIZZ", 0.17434844185575668],
        ["IZII", 0.17119774903432952],
        ["IZIZ", 0.12054482205301799],
        ["IZZI", 0.16586702410589198],
        ["XXYY", -0.045322202052874],
        ["XYYX", 0.045322202052874],
        ["YXXY", 0.045322202052874],
        ["YYXX", -0.045322202052874],
        ["ZIII", 0.17119774903432952],
        ["ZIIZ", 0.16586702410589198],
        ["ZIZI", 0.12054482205301799],
        ["ZZII", 0.16862219158920938],
    ],
    "electrons": 2,
}
"""H2 in STO-3G, 0.7414 angstrom."""
EXACT, HARTREE_FOCK = -1.1372702, -1.1166844
SINGLE = 2e-6
"""Backends work in single precision; verify computes anew what is exact."""
_backend = cache(create)


def admitted(rounds: Any = "converged", shots: int = 0, problem: dict[str, Any] = H2) -> Admission:
    value = {"id": "a", "family": "molecule", "problem": problem, "rounds": rounds, "seed": 1, "shots": shots}
    found = admit(Record("problems", 2, 7, AT, wire.dumps(value)), Limits(), Defaults())
    assert isinstance(found, Admission), found
    return found


def reduced(event: Encoded, backend: str) -> tuple[Incumbent, JobEvent]:
    ((incumbent, kernel),) = reduce_events(
        [event], now=AT, max_kernel_qubits=8, layers=1, share=0.5, max_seconds=1.0, clock=monotonic
    )
    assert kernel is not None
    return incumbent, JobEvent(
        ref=kernel.ref,
        job_id=job_id(kernel.ref, 1),
        attempt=1,
        route=Route(target="quantum", backend=backend, reason="rule", rule="all"),
        kind=kernel.kind,
        variables=kernel.variables,
        kernel=kernel.kernel,
        kernel_digest=kernel.kernel_digest,
        work_seconds=kernel.work_seconds,
        gammas=[],
        betas=[],
    )


class Step(msgspec.Struct):
    """One round: what decided it, and the verdict."""

    given: Encoded
    incumbent: Incumbent
    job: JobEvent
    proposal: Proposal
    verdict: Verdict


def rounds_of(admission: Admission, backend: str, fails: tuple[int, ...] = ()) -> Iterator[Step]:
    """Round after round, up to the end; in some the backend `fails`."""
    given, interim = encoded(admission), None
    for k in range(1, 200):
        incumbent, job = reduced(given, backend)
        (proposal,) = execute([job], _backend)
        if k in fails:
            proposal = proposal_of(job, Failure("execute", "execution_failed", "no"))
        known: dict[str, Any] = {"queue": 0.0, "trace_id": "", "versions": {}, "tick": float}
        verdict = judge(
            admission, incumbent, proposal, MOST, interim=interim, now=AT + 0.01 * k, until=AT + 29, **known
        )
        yield Step(given, incumbent, job, proposal, verdict)
        if verdict.onward is None:
            return
        interim, given = verdict.onward.interim, wire.decode(verdict.onward.encoded, Encoded)
    raise AssertionError("it never ends")


def outcome_of(steps: list[Step]) -> tuple[Outcome, list[Round]]:
    outcome = wire.decode(steps[-1].verdict.value, Outcome)
    assert isinstance(outcome.rounds, list)
    return outcome, outcome.rounds


def beside(admission: Admission, backend: str, turns: int, seed: int | None = None) -> Loop:
    """The loop in this process, with the seeds of the rounds; or with those of another seed."""
    instance, ref = admission.instance, admission.ref
    assert isinstance(instance, MoleculeInstance)
    seed = ref.seed if seed is None else seed
    return in_process(instance, _backend(backend), ref.shots, turns, lambda k: seed_of(ref.digest, seed, k))


@pytest.mark.parametrize(
    ("backend", "shots"),
    [
        ("cirq.density", 0),
        ("cirq.statevector", 0),
        ("cirq.density/depolarizing=0.001,readout=0.005", 16384),
        ("cirq.device/willow_pink", 16384),
    ],
)
def test_it_reaches_what_the_optimiser_reaches_in_one_process(backend: str, shots: int) -> None:
    admission = admitted(shots=shots)
    steps = list(rounds_of(admission, backend))
    outcome, rounds = outcome_of(steps)
    loop = beside(admission, backend, 200)
    # the same seeds: turn by turn the same energies, whoever samples
    assert [one.proposed for one in rounds] == pytest.approx([turn.energy for turn in loop.turns], abs=SINGLE)
    assert [one.error for one in rounds] == pytest.approx([turn.error for turn in loop.turns], abs=SINGLE)
    # other seeds: within three standard errors of their difference
    other = beside(admission, backend, 200, seed=99).turns[-1]
    last = rounds[-1]
    assert last.proposed is not None
    assert abs(last.proposed - other.energy) <= 3 * np.hypot(last.error, other.error) + SINGLE
    assert len(rounds) >= 2
    assert outcome.baseline is not None
    assert outcome.baseline.objective == pytest.approx(HARTREE_FOCK, abs=1e-6)
    if shots == 0:
        assert outcome.objective == pytest.approx(EXACT, abs=1e-5)
        assert (outcome.reason, outcome.status) == ("improved", "accepted")
    assert outcome.details["state_energy"] == pytest.approx(EXACT, abs=1e-3) or outcome.status == "fallback"


def test_a_round_is_a_turn_of_the_optimiser_from_hartree_fock_on() -> None:
    steps = list(rounds_of(admitted(rounds=3), "cirq.density"))
    outcome, rounds = outcome_of(steps)
    assert [one.number for one in rounds] == [1, 2, 3]
    assert rounds[0].proposed == pytest.approx(HARTREE_FOCK, abs=1e-6)
    assert rounds[0].reason == "equal"
    operations = []
    for step in steps:
        kernel = unpack_kernel(step.job.kernel)
        assert isinstance(kernel, Circuit)
        assert (len(kernel.each), kernel.variational) == (POINTS, False)
        operations.append(len(kernel.operations))
        assert step.proposal.answer is not None
        assert len(step.proposal.answer.values) == POINTS
    assert operations[0] == 1
    states = [Optimiser.of(step.incumbent.memory) for step in steps if step.incumbent.memory is not None]
    assert [one.turns for one in states] == [0, 1, 2]
    assert not states[0].angles.any()
    assert outcome.circuit is not None
    assert len({step.proposal.ref.seed for step in steps}) == 3


def test_reduce_twice_is_the_same_turn() -> None:
    """A hop may run twice on an event: the turn is counted by what verify sends, not by who reads it."""
    for step in rounds_of(admitted(), "cirq.density"):
        incumbent, job = reduced(step.given, "cirq.density")
        assert incumbent.memory == step.incumbent.memory
        assert incumbent.lift == step.incumbent.lift
        assert job.kernel_digest == step.job.kernel_digest


def test_a_round_that_fails_is_a_turn_that_was_not_taken() -> None:
    failing = list(rounds_of(admitted(rounds=5), "cirq.density", fails=(1, 3)))
    outcome, rounds = outcome_of(failing)
    assert [one.reason for one in rounds] == [
        "execution_failed",
        "equal",
        "execution_failed",
        "improved",
        "improved",
    ]
    turns = [Optimiser.of(step.incumbent.memory).turns for step in failing if step.incumbent.memory is not None]
    assert turns == [0, 0, 1, 1, 2]
    assert outcome.objective == pytest.approx(EXACT, abs=1e-5)


def test_an_answer_that_does_not_fit_moves_nothing() -> None:
    admission = admitted()
    first = next(rounds_of(admission, "cirq.density"))
    assert first.proposal.answer is not None
    known: dict[str, Any] = {"queue": 0.0, "trace_id": "", "versions": {}, "tick": float, "now": AT, "until": AT + 29}
    for values in ([], [-1.1], [-1.1] * 5, [-1.1] * 7, [float("nan"), *[-1.1] * 5], [-1e300] * 6):
        answer = replace(first.proposal.answer, values=values, errors=[0.0] * len(values))
        proposal = replace(first.proposal, answer=answer)
        verdict = judge(admission, first.incumbent, proposal, MOST, **known)
        assert verdict.onward is not None
        assert verdict.onward.interim.state == first.incumbent.memory
        assert verdict.status == "fallback" or values == [-1.1]


def test_a_state_that_does_not_fit_begins_anew() -> None:
    admission = admitted()
    first = next(rounds_of(admission, "cirq.density"))
    for odd in (Optimiser(np.ones(3)).packed(), replace(Optimiser(np.ones(1)).packed(), values={}), None):
        incumbent, job = reduced(replace(first.given, start=odd, memory=odd), "cirq.density")
        assert job.kernel_digest == first.job.kernel_digest
        assert incumbent.memory == first.incumbent.memory


def test_a_memory_that_is_none_is_the_end() -> None:
    admission = admitted()
    first = next(rounds_of(admission, "cirq.density"))
    known: dict[str, Any] = {"queue": 0.0, "trace_id": "", "versions": {}, "tick": float, "now": AT, "until": AT + 29}
    for memory in (None, replace(Optimiser(np.ones(1)).packed(), values={})):
        verdict = judge(admission, replace(first.incumbent, memory=memory), first.proposal, MOST, **known)
        assert verdict.onward is None


def test_a_lower_energy_that_is_not_lower_by_its_error_is_no_better() -> None:
    """Else the best of a hundred rounds would be the luckiest."""
    steps = list(rounds_of(admitted(rounds=12, shots=8192), "cirq.density"))
    _, rounds = outcome_of(steps)
    turns = [Optimiser.of(step.incumbent.memory).turns for step in steps if step.incumbent.memory is not None]
    assert turns == list(range(12))  # the optimiser goes on, better or not
    best = [one.objective for one in rounds if one.objective is not None]
    kept = best[0]
    for one in rounds:
        assert one.objective is not None
        assert one.objective == kept or one.objective < kept - one.error
        kept = one.objective
    assert any(one.proposed is not None and one.proposed < (one.objective or 0) for one in rounds)


def test_without_rounds_reduce_searches_as_it_did() -> None:
    incumbent, job = reduced(encoded(admitted(rounds=1)), "cirq.density")
    kernel = unpack_kernel(job.kernel)
    assert isinstance(kernel, Circuit)
    assert (incumbent.memory, kernel.points, kernel.variational) == (None, msgspec.UNSET, True)
    assert incumbent.lift is not None
    assert incumbent.lift.values["energy"] == pytest.approx(EXACT, abs=1e-6)


def test_a_bare_hamiltonian_has_rounds_too() -> None:
    for extra in ([], [["XY", 0.05], ["YX", 0.11]]):
        problem = {"hamiltonian": [["IZ", 0.4], ["ZI", 0.3], ["XX", 0.2], ["XI", 0.1], ["ZZ", 0.05], *extra]}
        outcome, rounds = outcome_of(list(rounds_of(admitted(problem=problem), "cirq.density")))
        assert outcome.reason == "improved"
        assert outcome.baseline is not None
        gained, possible = outcome.improvement, (outcome.baseline.objective or 0) - outcome.details["exact"]
        assert gained is not None
        assert gained > 0.9 * possible > 0.01
        assert rounds[-1].proposed == pytest.approx(outcome.objective, abs=SINGLE)


def test_the_optimisers_word_counts() -> None:
    assert not goes_on("converged", "min", [], True, converged=True)
    assert goes_on("converged", "min", [], True, converged=False)
    assert goes_on("deadline", "min", [], True, converged=True)
    assert not goes_on("converged", "min", [], False, converged=False)
