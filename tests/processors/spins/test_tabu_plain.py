"""The search that needs no compiler: as good on small problems, right on all, and taken while there are no programs."""

from __future__ import annotations

from time import monotonic
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.backends import programs
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.families.base import Limits, Model, Task
from qmosaic.processors.families.labs.reduce import WALKS, plain_walks
from qmosaic.processors.families.labs.sequences import energy
from qmosaic.processors.families.registry import FAMILIES
from qmosaic.processors.spins import tabu_plain
from qmosaic.processors.spins.engine import reduce
from qmosaic.streams.cli.demo import demo_problems


def models(higher: bool) -> st.SearchStrategy[SpinPolynomial]:
    def made(n: int, seed: int) -> SpinPolynomial:
        rng = np.random.default_rng(seed)
        rows, cols = np.triu_indices(n, 1)
        kept = rng.random(len(rows)) < 0.5
        more = {tuple(sorted(rng.choice(n, 3, replace=False).tolist())): float(rng.normal()) for _ in range(n)}
        return SpinPolynomial.of(
            n,
            h=rng.normal(size=n),
            rows=rows[kept],
            cols=cols[kept],
            J=rng.normal(size=kept.sum()),
            higher=more if higher else {},
        )

    return st.builds(made, st.integers(3, 10), st.integers(0, 2**20))


@given(st.booleans().flatmap(models), st.integers(0, 2**20))
def test_a_round_ends_no_higher_than_it_began_and_downhill(model: SpinPolynomial, seed: int) -> None:
    starts = (1 - 2 * np.random.default_rng(seed).integers(0, 2, (8, model.n))).astype(np.int8)
    found = tabu_plain.improve(model, starts, seed)
    assert found.dtype == np.int8
    assert set(np.unique(found)) <= {-1, 1}
    energies = model.energy((found < 0).astype(np.uint8))
    assert (energies <= model.energy((starts < 0).astype(np.uint8)) + 1e-9).all()
    flipped = model.energy((found[energies.argmin()] * (1 - 2 * np.eye(model.n, dtype=np.int8)) < 0).astype(np.uint8))
    assert (flipped >= energies.min() - 1e-9).all()  # the best of all is lower than all around it
    assert (tabu_plain.improve(model, starts, seed) == found).all()


@pytest.fixture
def nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker of a first start: no program may be called."""
    monkeypatch.setattr(programs, "may_be_called", lambda: False)
    monkeypatch.setattr(programs.Program, "ready", lambda self, *args: False)

    def called(self: programs.Program, *args: object) -> None:
        raise AssertionError(f"{self._name} would be compiled")

    monkeypatch.setattr(programs.Program, "__call__", called)


def task(model: Model) -> Task:
    return Task(
        model=model,
        seed=3,
        seconds=2.0,
        shots=100,
        target="auto",
        max_qubits=6,
        layers=2,
        clock=monotonic,
    )


@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize("higher", [False, True])
def test_problems_are_reduced_without_a_program(higher: bool) -> None:
    rng = np.random.default_rng(5)
    rows, cols = np.triu_indices(14, 1)
    more = {(0, 3, 7): 1.0, (2, 5, 11): -1.0} if higher else {}
    model = SpinPolynomial.of(14, rows=rows, cols=cols, J=rng.normal(size=len(rows)), higher=more)
    (found,) = reduce([task(model)], max_kernel_qubits=6)
    every = (np.arange(2**14)[:, None] >> np.arange(14) & 1).astype(np.uint8)
    assert found.energy == pytest.approx(model.energy(every).min())
    assert found.kernel is not None
    assert len(found.gammas) == len(found.betas) == 2


def test_plain_walks_over_sequences_end_low() -> None:
    first = (1 - 2 * np.random.default_rng(0).integers(0, 2, (WALKS, 13))).astype(np.int8)
    found = plain_walks(first, 0)
    assert energy(found.astype(np.int64)).min() == 6  # the Barker sequence
    assert (energy(found.astype(np.int64)) <= energy(first.astype(np.int64))).all()


@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize("event", demo_problems(), ids=lambda event: event["labels"]["name"])
def test_no_family_calls_a_program_that_is_not_there(event: dict[str, Any]) -> None:
    admission = admit(Record("problems", 0, 0, 0.0, orjson.dumps(event)), Limits(), Defaults())
    assert isinstance(admission, Admission)
    instance = admission.instance
    (found,) = FAMILIES[event["family"]].reduce([task(instance.encode())])
    assert found.seconds >= 0
    if event["family"] != "circuit":
        assert instance.solution(found.state) is not None


def test_every_family_is_among_them() -> None:
    assert {event["family"] for event in demo_problems()} == {*FAMILIES}
