"""The OR-Library's smallest market, where it is at hand: the answer is the best of all 169,911 selections of five."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from math import comb
from time import monotonic
from typing import Any

import numpy as np
import pytest

from qmosaic.codecs.formats.registry import read
from qmosaic.processors.families.base import Task
from tests.instances import INSTANCES
from tests.processors.families.portfolios import FAMILY, parsed

FILE = INSTANCES / "portfolio" / "orlib" / "port1.txt"
K = 5

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the public instances are not here")


@cache
def payload() -> dict[str, Any]:
    (problem,) = read(FILE.read_bytes(), FILE.name)
    return problem.problem


@cache
def enumerated() -> tuple[Any, Any, Any]:
    """Every selection of five as indices, its variance and its return."""
    mu, deviations = np.array(payload()["returns"]), np.array(payload()["deviations"])
    sigma = np.array(payload()["correlations"]) * np.outer(deviations, deviations)
    chosen = np.array(list(combinations(range(len(mu)), K)))
    assert len(chosen) == comb(31, K) == 169_911
    variance = sum(sigma[chosen[:, a], chosen[:, b]] for a in range(K) for b in range(K)) / K**2
    return chosen, variance, mu[chosen].mean(axis=1)


def answered(**rules: Any) -> tuple[float, set[int]]:
    instance = parsed(payload() | {"cardinality": K} | rules)
    (reduction,) = FAMILY.reduce([Task(instance.encode(), 1, 20.0, clock=monotonic)])
    solution = instance.solution(reduction.state)
    objective = instance.evaluate(solution).objective
    assert objective is not None
    return objective, set(solution["assets"])


@pytest.mark.parametrize("aversion", [0.1, 0.5, 0.9])
def test_the_incumbent_is_the_best_of_all(aversion: float) -> None:
    chosen, variance, gain = enumerated()
    values = aversion * variance - (1 - aversion) * gain
    objective, assets = answered(risk_aversion=aversion)
    assert objective == pytest.approx(values.min(), rel=1e-12)
    assert assets == set(chosen[values.argmin()].tolist())


def test_the_best_under_a_sector_cap_and_an_exclusion() -> None:
    chosen, variance, gain = enumerated()
    sectors = [f"s{i % 3}" for i in range(31)]
    members = np.stack([(chosen % 3 == s).sum(axis=1) for s in range(3)])
    allowed = (members <= 2).all(axis=0) & ~(chosen == 4).any(axis=1) & (chosen == 0).any(axis=1)
    values = np.where(allowed, 0.5 * variance - 0.5 * gain, np.inf)
    objective, assets = answered(sectors=sectors, sector_cap=0.4, exclude=[4], must_hold=[0])
    assert objective == pytest.approx(values.min(), rel=1e-12)
    assert assets == set(chosen[values.argmin()].tolist())
