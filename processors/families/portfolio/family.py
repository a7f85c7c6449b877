"""Portfolio: which k of n assets to hold.

    objective = λ w'Σw − (1−λ) μ'w,   minimised;   w_i = 1/k over the k assets chosen

Payload: the market (`returns` with `covariance`, or with `correlations` and `deviations`; or `prices`),
`risk_aversion` λ, `cardinality`, the filters `exclude`, `must_hold`, `sectors` and `sector_cap`, and `weights`:
`optimal` re-optimises the weights of the assets chosen within `bounds`. The solution is `{"assets": […], "weights":
[…]}`. Source: T.-J. Chang, N. Meade, J. E. Beasley, Y. M. Sharaiha, Computers & Operations Research 27 (2000) 1271.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float64, Int64

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.models.arrays import unpack_bits
from qmosaic.codecs.models.bundle import Bundle, array
from qmosaic.processors.families.base import QUICK, Evaluation, Limits, Reduction, Task, violated
from qmosaic.processors.families.payload import QUOTED, shown
from qmosaic.processors.families.portfolio.market import Market
from qmosaic.processors.families.portfolio.reading import read
from qmosaic.processors.families.portfolio.risk import historical, simulated
from qmosaic.processors.families.portfolio.rules import Rules
from qmosaic.processors.families.portfolio.universe import Selection, pack_universe, state_of
from qmosaic.processors.families.portfolio.weights import Program, best, gap

CLOSE = 1e-9
"""What weights may be off: they are sums and quotients of float64."""
NAMED = 50
"""Names of assets that an outcome tells at most."""
LIGHT, LIGHT_OPTIMAL = 2000, 30
"""Numbers up to which a problem is judged in a few milliseconds; and the assets whose weights are optimised in such."""
QUICK_SIZES = 8
"""Sizes that the quick answer tries."""


@dataclass(frozen=True, eq=False)
class PortfolioInstance:
    market: Market
    rules: Rules

    sense: Sense = "min"

    @property
    def notes(self) -> list[str]:
        return list(self.rules.notes)

    @property
    def size(self) -> int:
        # the search takes a fifth of a second for thirty assets, of all cores there are
        return QUICK + (self.rules.universe.m + 1) // 2

    @cached_property
    def digest(self) -> str:
        market, rules, universe = self.market, self.rules, self.rules.universe
        head = (market.names, universe.risk_aversion, rules.bounds, rules.sectors)
        hasher = sha256(msgspec.json.encode(("qmosaic.portfolio/1", head)))
        history = np.zeros((0, 0)) if market.history is None else market.history
        numbers = (market.returns, market.covariance, history, universe.caps)
        flags = (universe.held, universe.shares, rules.admissible, universe.sector, universe.sizes)
        for values in (*(each + 0.0 for each in numbers), *flags):
            hasher.update(msgspec.json.encode(values.shape) + np.ascontiguousarray(values).tobytes())
        return hasher.hexdigest()[:32]

    def encode(self) -> Bundle:
        return pack_universe(self.rules.universe)

    def quick(self) -> Any:
        universe = self.rules.universe
        spread = np.unique(np.linspace(0, len(universe.sizes) - 1, QUICK_SIZES).astype(int))
        found = [universe.greedy(int(k)) for k in universe.sizes[spread]]
        return self._solution(found[int(universe.objective(np.array(found)).argmin())])

    def solution(self, state: Bundle) -> Any:
        return self._solution(self._chosen(state))

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        return self.solution(self.lifted(state, lift, answer))

    def lifted(self, state: Bundle, lift: Bundle, answer: Answer) -> Bundle:
        if answer.bits is None:
            raise ValueError("expected a sample")
        variables, bits = array(lift, "variables"), unpack_bits(answer.bits)
        if variables.shape != bits.shape:
            raise ValueError(f"expected {variables.size} bits, got {bits.size}")
        chosen = self._chosen(state).copy()
        chosen[variables] = bits != 0
        return state_of(chosen)

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        assets, weights, misread = self._read(solution)
        if misread:
            return Evaluation(None, False, (misread,))
        violations = self._violations(assets, weights)
        if violations:
            return Evaluation(None, False, violations)
        program = self._program(assets)
        objective = program.objective(weights)
        return Evaluation(objective, True, details=self._details(assets, weights, program))

    def _chosen(self, state: Bundle) -> Selection:
        chosen: Selection = np.asarray(array(state, "chosen") != 0)
        if chosen.shape != (self.rules.universe.m,):
            raise ValueError(f"expected {self.rules.universe.m} assets, got {chosen.shape}")
        return chosen

    def _solution(self, chosen: Selection) -> dict[str, Any]:
        """The selection with its weights; equal ones where it breaks a rule, and best ones may not exist."""
        assets, k = self.rules.admissible[chosen], int(chosen.sum())
        equal = self.rules.bounds is None or bool(self.rules.universe.broken(chosen))
        weights = np.full(k, 1 / max(k, 1)) if equal else best(self._program(assets))
        return {"assets": [self.market.called(i) for i in assets.tolist()], "weights": weights.tolist()}

    def _program(self, assets: Int64[np.ndarray, " k"]) -> Program:
        """The program whose optimum are the best weights of some assets."""
        universe, market = self.rules.universe, self.market
        sector = universe.sector[np.searchsorted(self.rules.admissible, assets)]
        shares = [
            (sector == s, float(universe.caps[s])) for s in np.flatnonzero(universe.shares) if (sector == s).any()
        ]
        covariance = market.covariance[np.ix_(assets, assets)]
        bounds = self.rules.bounds or (0.0, 1.0)
        return Program(market.returns[assets], covariance, universe.risk_aversion, bounds, shares)

    def _read(self, solution: Any) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, " k"], str]:
        """Assets as numbers of the market, ascending, and their weights; or what does not fit."""
        nothing = np.zeros(0, np.int64), np.zeros(0)
        if not isinstance(solution, dict) or solution.keys() != {"assets", "weights"}:
            return *nothing, "a solution has assets and weights"
        place = self.market.places
        names, given = solution["assets"], solution["weights"]
        if not isinstance(names, list) or not isinstance(given, list) or len(names) != len(given):
            return *nothing, "a solution has a weight for each asset"
        if not all(type(each) in (int, str) and each in place for each in names) or len(set(names)) < len(names):
            return *nothing, "an asset is unknown or there twice"
        if not all(isinstance(w, int | float) and not isinstance(w, bool) and np.isfinite(w) for w in given):
            return *nothing, "a weight is no finite number"
        assets, weights = np.array([place[each] for each in names], np.int64), np.array(given, np.float64)
        order = np.argsort(assets)
        return assets[order], weights[order], ""

    def _violations(self, assets: Int64[np.ndarray, " k"], weights: Float64[np.ndarray, " k"]) -> tuple[str, ...]:
        """What the selection and its weights break."""
        rules, k = self.rules, len(assets)
        admitted: Bool[np.ndarray, " n"] = np.isin(assets, rules.admissible)
        chosen = np.isin(rules.admissible, assets)
        broken = rules.universe.broken(chosen)
        out = violated(
            [
                (bool(admitted.all()), "an excluded asset is held"),
                (k in rules.universe.sizes, f"{k} assets are held, which the cardinality does not allow"),
                ("held" not in broken, "an asset that must be held is not"),
                *(
                    (f"sector {s}" not in broken, f"more assets of {shown(name)} are held than its cap allows")
                    for s, name in enumerate(rules.sectors)
                ),
                (abs(weights.sum() - 1) <= CLOSE, "the weights do not add up to 1"),
            ]
        )
        if out:
            return out
        if rules.bounds is None:
            return violated([(bool((np.abs(weights - 1 / k) <= CLOSE).all()), "the weights are not equal")])
        lo, hi = rules.bounds
        within = bool((weights >= lo - CLOSE).all()) and bool((weights <= hi + CLOSE).all())
        over = any(weights[members].sum() > share + CLOSE for members, share in self._program(assets).shares)
        return violated(
            [(within, "a weight is out of its bounds"), (not over, "the weights of a sector are over its share")]
        )

    def _details(
        self, assets: Int64[np.ndarray, " k"], weights: Float64[np.ndarray, " k"], program: Program
    ) -> dict[str, Any]:
        """Return, volatility and risk, per period; with optimal weights, how far they can be from it at most."""
        market = self.market
        universe: dict[str, Any] = {"assets": market.n}
        if market.names is not None:  # so that a column that is none is noticed
            universe["names"] = [name[:QUOTED] for name in market.names[:NAMED]]
        out: dict[str, Any] = {
            "universe": universe,
            "return": float(program.returns @ weights),
            "volatility": float(np.sqrt(max(0.0, weights @ program.covariance @ weights))),
        }
        if self.rules.bounds is not None:
            out["weights_gap"] = gap(program, weights)
        out |= simulated(program.returns, program.covariance, weights, assets, int(self.digest[:12], 16))
        if self.market.history is not None:
            out |= historical(self.market.history[:, assets], weights)
        return out


class PortfolioFamily:
    name = "portfolio"
    exact_shots = False

    def parse(self, problem: Problem, limits: Limits) -> PortfolioInstance | Rejected:
        if problem.sense == "max":
            return Rejected("invalid_problem", "a portfolio's objective is minimised", "$.sense", "Leave sense out.")
        found = read(problem.problem, limits)
        return found if isinstance(found, Rejected) else PortfolioInstance(*found)

    def light(self, problem: Problem) -> bool:
        return _light(problem.problem)

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        from qmosaic.processors.families.portfolio import reduce as portfolio_reduce

        return portfolio_reduce.reduce(tasks)

    def warm_up(self, layers: int, slow: bool) -> None:
        from qmosaic.processors.families.portfolio import reduce as portfolio_reduce

        portfolio_reduce.warm_up(layers, slow)


def _light(payload: dict[str, Any]) -> bool:
    """Whether the market is small: entries, assets, and rules about them."""
    optimal = payload.get("weights") == "optimal"
    for name in ("returns", "prices", "covariance", "correlations", "deviations", "exclude", "must_hold", "sectors"):
        rows = payload.get(name)
        if not isinstance(rows, list | dict):
            continue
        widths = [len(row) if isinstance(row, list) else 1 for row in rows[:LIGHT]] if isinstance(rows, list) else []
        if len(rows) > LIGHT or sum(widths) > LIGHT or (optimal and max(widths, default=0) > LIGHT_OPTIMAL):
            return False
    return True
