"""Portfolio: rules as their producer meant them, a search that finds the best, risk that a closed form confirms."""

from __future__ import annotations

from itertools import product
from statistics import NormalDist
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.models.arrays import pack_bits
from qmosaic.codecs.models.bundle import array, bundle
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.families.base import Limits, Reduction, Task
from qmosaic.processors.families.portfolio.family import PortfolioInstance
from qmosaic.processors.families.portfolio.risk import simulated
from qmosaic.processors.families.portfolio.universe import pack_universe, unpack_universe
from qmosaic.processors.families.portfolio.weights import Program, best, gap
from tests.processors.families.portfolios import FAMILY, Case, cases, parsed

FAST = settings(deadline=None, max_examples=100)
SLOW = settings(deadline=None, max_examples=25)


def reduced(instance: PortfolioInstance, seed: int = 1, max_qubits: int = 16) -> Reduction:
    (found,) = FAMILY.reduce([Task(instance.encode(), seed, 5.0, max_qubits=max_qubits, clock=monotonic)])
    return found


def answer(bits: Any) -> Answer:
    return Answer(
        bits=pack_bits(np.asarray(bits, np.uint8)), energy=0, confidence=1, circuit=None, samples=None, counts=None
    )


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


# --- the rules ------------------------------------------------------------------------------------------------------


@FAST
@given(cases())
def test_a_problem_is_one_if_some_selection_is_allowed(case: Case) -> None:
    found = FAMILY.parse(Problem(family="portfolio", problem=case.payload), Limits())
    allowed = case.selections()
    if not allowed:
        assert isinstance(found, Rejected)
        assert found.code == "invalid_problem"
        assert found.place.startswith("$.problem.")
    # a cardinality over what the filters leave is refused even where smaller selections of the range are left
    if isinstance(found, PortfolioInstance):
        assert {len(chosen) for chosen in allowed} == set(found.rules.universe.sizes.tolist())


@FAST
@given(cases(possible=True), st.data())
def test_a_solution_is_judged_by_the_payload(case: Case, data: st.DataObject) -> None:
    found = parsed(case.payload)
    chosen = tuple(sorted(data.draw(st.sets(st.integers(0, case.n - 1), min_size=1))))
    judged = found.evaluate(case.solution(chosen))
    assert judged.feasible == case.allowed(chosen)
    assert bool(judged.violations) != judged.feasible
    if judged.feasible:
        assert judged.objective == close(case.objective(chosen))


@FAST
@given(cases(possible=True))
def test_quick_is_feasible(case: Case) -> None:
    found = parsed(case.payload)
    assert found.evaluate(found.quick()).feasible


@FAST
@given(cases(possible=True, named=True), st.data())
def test_the_order_of_the_assets_leaves_no_trace(case: Case, data: st.DataObject) -> None:
    found = parsed(case.payload)
    order = data.draw(st.permutations(range(case.n)))
    p = case.payload
    turned = p | {name: [p[name][i] for i in order] for name in ("returns", "assets", "sectors")}
    turned["covariance"] = [[p["covariance"][i][j] for j in order] for i in order]
    other = parsed(turned)
    assert other.digest == found.digest
    assert other.quick() == found.quick()


# --- reduce ---------------------------------------------------------------------------------------------------------


@SLOW
@given(cases(possible=True), st.integers(2, 5))
def test_the_incumbent_is_the_best_and_the_kernel_its_neighbourhood(case: Case, max_qubits: int) -> None:
    found = parsed(case.payload)
    values = {chosen: case.objective(chosen) for chosen in case.selections()}
    reduction = reduced(found, max_qubits=max_qubits)
    judged = found.evaluate(found.solution(reduction.state))
    assert judged.feasible
    assert judged.objective == close(min(values.values()))
    kernel = reduction.kernel
    if kernel is None:
        assert len(values) == 1
        return
    assert isinstance(kernel, SpinPolynomial)
    variables = array(reduction.lift, "variables")
    assert kernel.n == len(variables) <= max_qubits
    assert kernel.constraints[0].cardinality == int(array(reduction.state, "chosen")[variables].sum())
    assert all(one.cardinality is None for one in kernel.constraints[1:])
    assert kernel.feasible(array(reduction.state, "chosen")[variables])
    for bits in product([0, 1], repeat=kernel.n):
        lifted = found.evaluate(found.answered(reduction.state, reduction.lift, answer(bits)))
        states = np.array(bits, np.uint8)
        if bool(kernel.feasible(states)):
            assert lifted.feasible
            assert lifted.objective == close(float(kernel.energy(states)))
        elif kernel.constraints[0].holds(states):
            assert not lifted.feasible


def test_reduce_is_deterministic_and_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(3)
    instances = []
    for n in (20, 25, 40):
        factors = rng.normal(size=(n, 2 * n)) * 0.02
        payload = {"returns": rng.normal(0.005, 0.003, n).tolist(), "covariance": (factors @ factors.T).tolist()}
        instances.append(parsed(payload | {"cardinality": [3, 6]}))
    together = FAMILY.reduce([Task(one.encode(), 7, 30.0, clock=monotonic) for one in instances])
    for one, found in zip(instances, together, strict=True):
        alone = reduced(one, seed=7)
        assert alone.state == found.state
        assert alone.kernel is not None
        assert found.kernel is not None
        assert alone.kernel.digest == found.kernel.digest
        assert alone.gammas.tolist() == pytest.approx(found.gammas.tolist())


def test_a_universe_comes_back_from_the_wire() -> None:
    universe = parsed(MARKET | {"cardinality": 2, "sectors": ["x", "x", None], "sector_cap": 0.5}).rules.universe
    back = unpack_universe(pack_universe(universe))
    for name in ("returns", "covariance", "held", "sector", "caps", "shares", "sizes"):
        assert (getattr(back, name) == getattr(universe, name)).all()
    assert back.risk_aversion == universe.risk_aversion


# --- answers --------------------------------------------------------------------------------------------------------

MARKET: dict[str, Any] = {
    "assets": ["A", "B", "C"],
    "returns": [0.010, 0.004, 0.007],
    "covariance": [[0.0040, 0.0006, 0.0010], [0.0006, 0.0009, 0.0002], [0.0010, 0.0002, 0.0025]],
}
SECTORS = {"sectors": ["x", "x", "y"]}
GOOD: dict[str, Any] = {"assets": ["A", "B"], "weights": [0.5, 0.5]}


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"assets": ["A", "C"]}, "an asset that must be held is not"),
        ({"assets": ["B", "D"]}, "an excluded asset is held"),
        ({"assets": ["B", "C"]}, "more assets of 'x' are held than its cap allows"),
        ({"assets": ["B"], "weights": [1.0]}, "1 assets are held, which the cardinality does not allow"),
        ({"assets": [], "weights": []}, "0 assets are held, which the cardinality does not allow"),
        ({"weights": [0.5, 0.6]}, "the weights do not add up to 1"),
        ({"weights": [0.4, 0.6]}, "the weights are not equal"),
        ({"assets": ["A", "E"]}, "an asset is unknown or there twice"),
        ({"assets": ["B", "B"]}, "an asset is unknown or there twice"),
        ({"assets": ["A", 1]}, "an asset is unknown or there twice"),
        ({"assets": ["A", ["B"]]}, "an asset is unknown or there twice"),
        ({"weights": [1.0]}, "a solution has a weight for each asset"),
        ({"weights": "half"}, "a solution has a weight for each asset"),
        ({"weights": [0.5, float("nan")]}, "a weight is no finite number"),
        ({"weights": [True, False]}, "a weight is no finite number"),
        ({"extra": 1}, "a solution has assets and weights"),
    ],
)
def test_every_change_that_matters_is_refused(change: dict[str, Any], violation: str) -> None:
    covariance = np.pad(np.array(MARKET["covariance"]), ((0, 1), (0, 1)))
    covariance[3, 3] = 0.001
    instance = parsed(
        {
            "assets": ["A", "B", "C", "D"],
            "returns": [*MARKET["returns"], 0.001],
            "covariance": covariance.tolist(),
            "cardinality": 2,
            "must_hold": ["B"],
            "exclude": ["D"],
            "sectors": {"B": "x", "C": "x"},
            "sector_cap": 1,
        }
    )
    assert instance.evaluate(GOOD).feasible
    judged = instance.evaluate(GOOD | change)
    assert not judged.feasible
    assert judged.objective is None
    assert violation in judged.violations


@pytest.mark.parametrize(
    ("weights", "violation"),
    [
        ([0.3, 0.3, 0.4], None),
        ([0.09, 0.41, 0.5], "a weight is out of its bounds"),
        ([0.3, 0.1, 0.6], "a weight is out of its bounds"),
        ([0.4, 0.4, 0.2], "the weights of a sector are over its share"),
    ],
)
def test_optimal_weights_keep_bounds_and_shares(weights: list[float], violation: str | None) -> None:
    rules = {"cardinality": 3, "weights": "optimal", "bounds": [0.1, 0.5], **SECTORS, "sector_cap": {"x": 0.7}}
    instance = parsed(MARKET | rules)
    assert instance.evaluate(instance.quick()).feasible
    judged = instance.evaluate({"assets": ["A", "B", "C"], "weights": weights})
    assert judged.violations == (() if violation is None else (violation,))


@pytest.mark.parametrize("aversion", [0, 0.3, 1])
@pytest.mark.parametrize("rank", [1, 6])
def test_the_weights_are_optimal(aversion: float, rank: int) -> None:
    rng = np.random.default_rng(4)
    factors = rng.normal(size=(6, rank)) * 0.05
    members = np.arange(6) < 3
    program = Program(rng.normal(0, 0.01, 6), factors @ factors.T, aversion, (0.02, 0.5), [(members, 0.55)])
    weights = best(program)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights.min() >= 0.02
    assert weights.max() <= 0.5
    assert weights[members].sum() <= 0.55 + 1e-9
    assert gap(program, weights) < 1e-9
    for _ in range(100):  # the bound holds for any other weights that are allowed
        other = rng.dirichlet(np.ones(6))
        if other.min() >= 0.02 and other.max() <= 0.5 and other[members].sum() <= 0.55:
            assert program.objective(weights) <= program.objective(other) + 1e-12
            assert program.objective(other) - gap(program, other) <= program.objective(weights) + 1e-12


def test_optimal_weights_beat_equal_ones_and_say_how_good_they_are() -> None:
    equal, optimal = parsed(MARKET), parsed(MARKET | {"weights": "optimal"})
    one, other = equal.evaluate(equal.quick()), optimal.evaluate(optimal.quick())
    assert one.objective is not None
    assert other.objective is not None
    assert other.objective < one.objective
    assert other.details["weights_gap"] < 1e-12
    assert "weights_gap" not in one.details


def test_an_answer_that_does_not_fit_is_an_error() -> None:
    instance = parsed(MARKET | {"cardinality": 2})
    reduction = reduced(instance)
    with pytest.raises(ValueError, match="expected 3 bits, got 2"):
        instance.answered(reduction.state, reduction.lift, answer([0, 1]))
    with pytest.raises(ValueError, match="expected 3 assets"):
        instance.solution(bundle({"chosen": np.ones(2, np.uint8)}))
    with pytest.raises(LookupError):
        instance.solution(bundle())
    # neither a size nor bounds: told by evaluate, not by the solver of the weights
    wrong = parsed(MARKET | {"cardinality": 2, "weights": "optimal"})
    solution = wrong.answered(reduction.state, reduction.lift, answer([0, 0, 0]))
    assert not wrong.evaluate(solution).feasible


# --- risk -----------------------------------------------------------------------------------------------------------


def test_risk_agrees_with_the_closed_form() -> None:
    rng = np.random.default_rng(11)
    factors = rng.normal(size=(8, 12)) * 0.02
    returns, covariance, weights = rng.normal(0.002, 0.001, 8), factors @ factors.T, np.full(8, 1 / 8)
    found = simulated(returns, covariance, weights, np.arange(8), seed=5)
    mean, deviation = returns @ weights, np.sqrt(weights @ covariance @ weights)
    for level in (95, 99):
        at = NormalDist().inv_cdf(level / 100)
        var = -mean + deviation * at
        cvar = -mean + deviation * NormalDist().pdf(at) / (1 - level / 100)
        assert abs(found[f"var_{level}"] - var) <= 3 * found[f"var_{level}_error"]
        assert abs(found[f"cvar_{level}"] - cvar) <= 3 * found[f"cvar_{level}_error"]
        # the errors are those of a sample of that size: σ √(α(1−α)/N) / φ for the quantile
        expected = deviation * np.sqrt(level / 100 * (1 - level / 100) / 20_000) / NormalDist().pdf(at)
        assert found[f"var_{level}_error"] == pytest.approx(expected, rel=0.35)


def test_portfolios_that_share_assets_share_scenarios() -> None:
    covariance, returns = np.diag([0.01, 0.01, 0.01]), np.zeros(3)
    risks = [
        simulated(returns[:2], covariance[:2, :2], np.full(2, 0.5), np.array(assets), seed)["var_95"]
        for seed in range(20)
        for assets in ([0, 1], [0, 2])
    ]
    one, other = np.array(risks).reshape(20, 2).T
    assert (one - other).std() < np.hypot(one.std(), other.std())


def test_a_riskless_asset_has_no_risk() -> None:
    judged = parsed({"returns": [0.01], "covariance": [[0.0]]}).evaluate({"assets": [0], "weights": [1.0]})
    assert judged.details["volatility"] == 0
    assert judged.details["cvar_99"] == pytest.approx(-0.01)
    assert judged.details["cvar_99_error"] == 0


def test_prices_give_sample_moments_and_the_risk_that_was() -> None:
    rng = np.random.default_rng(2)
    returns = rng.normal(0.001, 0.02, size=(400, 3))
    prices = 100 * np.vstack([np.ones(3), np.cumprod(1 + returns, axis=0)])
    instance = parsed({"prices": prices.tolist(), "cardinality": 3})
    universe = instance.rules.universe
    np.testing.assert_allclose(universe.returns, returns.mean(axis=0))
    np.testing.assert_allclose(universe.covariance, np.cov(returns, rowvar=False))
    details = instance.evaluate(instance.quick()).details
    losses = -returns.mean(axis=1)
    assert details["historical_var_95"] == pytest.approx(np.sort(losses)[379])
    assert details["historical_cvar_95"] == pytest.approx(np.sort(losses)[380:].mean())
    assert instance.notes == ["expected returns and covariance of 400 simple returns, divisor 399"]


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "place", "message"),
    [
        ({}, "", "the market is given by none of them"),
        ({"returns": [1]}, "", "the market is given by returns"),
        (MARKET | {"prices": [[1, 1, 1]]}, "", "the market is given by covariance, prices, returns"),
        ({"returns": [], "covariance": []}, ".returns", "there is no asset at all"),
        (MARKET | {"assets": ["A", "B"]}, ".assets", "2 names for 3 assets"),
        (MARKET | {"assets": ["A", "B", "A"]}, ".assets[2]", "the name 'A' is there twice"),
        ({"returns": [1, 2], "covariance": [[1, 0]] * 3}, ".covariance", "expected 2 rows, got 3"),
        (MARKET | {"covariance": [[1, 0, 0], [0, 1], [0, 0, 1]]}, ".covariance[1]", "expected 3 numbers, one an asset"),
        (MARKET | {"returns": [1, None, 2]}, ".returns[1]", "Expected `float`, got `null`"),
        (MARKET | {"returns": [1, "x", 2]}, ".returns[1]", "Expected `float`, got `str`"),
        (MARKET | {"returns": [1, float("nan"), 2]}, ".returns[1]", "the number is not finite"),
        (
            MARKET | {"covariance": [[1, 0, 0], [0, 1, float("inf")], [0, 0, 1]]},
            ".covariance[1][2]",
            "the number is not finite",
        ),
        (
            MARKET | {"covariance": [[1, 0.5, 0], [0.4, 1, 0], [0, 0, 1]]},
            ".covariance[0][1]",
            "not symmetric: 0.5 here",
        ),
        (
            MARKET | {"covariance": [[1, 0, 0], [0, -1, 0], [0, 0, 1]]},
            ".covariance[1][1]",
            "the variance -1 is negative",
        ),
        (
            MARKET | {"covariance": [[1, 2, 0], [2, 1, 0], [0, 0, 1]]},
            ".covariance",
            "not positive semidefinite: the smallest eigenvalue is -1 (-1 as correlations",
        ),
        (
            MARKET | {"covariance": [[0, 1, 0], [1, 1, 0], [0, 0, 1]]},
            ".covariance[0][1]",
            "the covariance 1 is of an asset whose variance is 0",
        ),
        (MARKET | {"covariance": [[1e308] * 3] * 3}, ".covariance", "the values are more than a float64 holds"),
        (
            {"returns": [1, 1], "deviations": [1, -1], "correlations": [[1, 0], [0, 1]]},
            ".deviations[1]",
            "the deviation -1 is negative",
        ),
        (
            {"returns": [1, 1], "deviations": [1, 1], "correlations": [[1, 0], [0, 2]]},
            ".correlations[1][1]",
            "the correlation of an asset with itself is 2",
        ),
        (
            {"returns": [1, 1], "deviations": [1, 1], "correlations": [[1, 1.5], [1.5, 1]]},
            ".correlations",
            "not positive semidefinite: the smallest eigenvalue is -0.5",
        ),
        (
            {"returns": [1, 1], "deviations": [1], "correlations": [[1, 0], [0, 1]]},
            ".deviations",
            "expected 2 numbers",
        ),
        ({"prices": [[1, 2], [1, 2]]}, ".prices", "expected at least 3 rows, got 2"),
        ({"prices": [[1, 2], [1, -2], [1, 2]]}, ".prices[1][1]", "the price -2 is not positive"),
        ({"prices": [[1, 2], [1, 2], [0, 2]]}, ".prices[2][0]", "the price 0 is not positive"),
        ({"prices": [[1, 2], [1, 2], [1]]}, ".prices[2]", "expected 2 numbers"),
        ({"prices": [[1, 2], [1, None], [1, 2]]}, ".prices[1][1]", "Expected `float`, got `null`"),
        ({"prices": [[1e-300], [1e300], [1]]}, ".prices", "a return is more than a float64 holds"),
        (MARKET | {"risk_aversion": 1.5}, ".risk_aversion", "1.5 is not between 0 and 1"),
        (MARKET | {"risk_aversion": float("nan")}, ".risk_aversion", "nan is not between 0 and 1"),
        (MARKET | {"cardinality": 0}, ".cardinality", "0 is not at least 1"),
        (MARKET | {"cardinality": 4}, ".cardinality", "4 to be held, and there are 3 assets"),
        (MARKET | {"cardinality": [2, 4]}, ".cardinality[1]", "4 to be held, and there are 3 assets"),
        (MARKET | {"cardinality": [2, 1]}, ".cardinality", "[2, 1] is not 1 ≤ least ≤ most"),
        (MARKET | {"cardinality": "two"}, ".cardinality", "Expected `int | array | null`"),
        (MARKET | {"cardinality": 3, "exclude": ["A"]}, ".cardinality", "3 to be held, and the filters leave 2 of 3"),
        (MARKET | {"exclude": ["A", "B", "C"]}, ".exclude", "every asset is excluded"),
        (MARKET | {"exclude": ["A", "D"]}, ".exclude[1]", "no asset is called 'D'"),
        (MARKET | {"must_hold": [1]}, ".must_hold[0]", "no asset is called 1"),
        ({"returns": [1], "covariance": [[1]], "exclude": [1]}, ".exclude[0]", "no asset is 1"),
        ({"returns": [1], "covariance": [[1]], "exclude": ["A"]}, ".exclude[0]", "no asset is 'A'"),
        (MARKET | {"must_hold": ["B", "A"], "exclude": ["A"]}, ".must_hold[1]", "'A' must be held and is excluded"),
        (
            MARKET | {"must_hold": ["A", "B"], "cardinality": 1},
            ".must_hold",
            "2 assets must be held, the cardinality is 1",
        ),
        (
            MARKET | SECTORS | {"must_hold": ["A", "B"], "sector_cap": 1},
            ".must_hold",
            "2 assets of 'x' must be held, its cap in a portfolio of 3 is 1",
        ),
        (
            MARKET | SECTORS | {"cardinality": 3, "sector_cap": 1},
            ".sector_cap",
            "under the sector caps at most 2 assets can be held, the cardinality is 3",
        ),
        (MARKET | SECTORS | {"cardinality": 2, "sector_cap": 0.4}, ".sector_cap", "at most 0 assets can be held"),
        (MARKET | SECTORS | {"sector_cap": {"z": 1}}, ".sector_cap", "no asset is of 'z'"),
        (MARKET | SECTORS | {"sector_cap": -1}, ".sector_cap", "-1 is neither a count nor a share"),
        (MARKET | SECTORS | {"sector_cap": {"x": 1.5}}, ".sector_cap.x", "1.5 is neither a count nor a share"),
        (MARKET | {"sector_cap": 1}, ".sector_cap", "there are no sectors"),
        (MARKET | {"sectors": ["x"]}, ".sectors", "1 sectors for 3 assets"),
        (MARKET | {"sectors": {"D": "x"}}, ".sectors.D", "no asset is called 'D'"),
        (MARKET | {"weights": "best"}, ".weights", "Invalid enum value 'best'"),
        (MARKET | {"bounds": [0, 1]}, ".bounds", "bounds without weights=optimal"),
        (MARKET | {"weights": "optimal", "bounds": [0.5, 0.2]}, ".bounds", "[0.5, 0.2] is not 0 ≤ least ≤ most ≤ 1"),
        (
            MARKET | {"weights": "optimal", "bounds": [0.4, 1], "cardinality": 3},
            ".bounds",
            "no 3 weights between 0.4 and 1 add up to 1",
        ),
        (MARKET | {"lambda": 1}, "", "Object contains unknown field `lambda`"),
        (MARKET | {"sense": "min"}, ".sense", "unknown field 'sense'"),
    ],
)
def test_bad_input(payload: dict[str, Any], place: str, message: str) -> None:
    found = FAMILY.parse(Problem(family="portfolio", problem=payload), Limits())
    assert isinstance(found, Rejected)
    assert found.code == ("empty_problem" if "no asset at all" in message else "invalid_problem")
    assert found.place == f"$.problem{place}"
    assert message in found.message
    assert found.remedy


def test_too_large_and_the_wrong_sense() -> None:
    found = FAMILY.parse(Problem(family="portfolio", problem=MARKET), Limits(variables=2))
    assert isinstance(found, Rejected)
    assert (found.code, found.place) == ("too_large", "$.problem.returns")
    assert isinstance(FAMILY.parse(Problem(family="portfolio", problem=MARKET), Limits(couplings=3)), PortfolioInstance)
    assert isinstance(FAMILY.parse(Problem(family="portfolio", problem=MARKET), Limits(couplings=2)), Rejected)
    turned = FAMILY.parse(Problem(family="portfolio", problem=MARKET, sense="max"), Limits())
    assert isinstance(turned, Rejected)
    assert turned.place == "$.sense"


def test_rounded_correlations_of_a_singular_sample_are_taken() -> None:
    rng = np.random.default_rng(6)
    correlations = np.asarray(np.corrcoef(rng.normal(size=(20, 5)))).round(
        6
    )  # rank 4: the others are zero but for rounding
    assert np.linalg.eigvalsh(correlations)[0] < -1e-7
    market = {"returns": [0.01] * 20, "deviations": [0.1] * 20, "correlations": correlations.tolist()}
    assert parsed(market).notes == []
    correlations[0, 1] += 5e-7
    assert "made symmetric" in parsed(market | {"correlations": correlations.tolist()}).notes[0]


def test_sizes_that_the_rules_forbid_are_left_out_and_told() -> None:
    instance = parsed(MARKET | SECTORS | {"cardinality": [1, 3], "sector_cap": {"x": 1}})
    assert instance.notes == ["of the sizes 1 to 3, 2 can be reached: 1 to 2"]
