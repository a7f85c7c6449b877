"""Portfolio problems for tests, as their producers write them, and a judge of its own that reads them literally."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import orjson
from hypothesis import strategies as st

from qmosaic.codecs.events import Problem
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.portfolio import PortfolioFamily, PortfolioInstance

FAMILY = PortfolioFamily()


def parsed(payload: dict[str, Any]) -> PortfolioInstance:
    found = FAMILY.parse(Problem(family="portfolio", problem=orjson.loads(orjson.dumps(payload))), Limits())
    assert isinstance(found, PortfolioInstance), found
    return found


@dataclass(frozen=True)
class Case:
    """A payload with equal weights, and what it says about selections (tuples of positions in the payload)."""

    payload: dict[str, Any]

    @property
    def n(self) -> int:
        return len(self.payload["returns"])

    def key(self, i: int) -> Any:
        return self.payload["assets"][i] if "assets" in self.payload else i

    def solution(self, chosen: tuple[int, ...]) -> dict[str, Any]:
        return {"assets": [self.key(i) for i in chosen], "weights": [1 / len(chosen)] * len(chosen)}

    def objective(self, chosen: tuple[int, ...]) -> float:
        mu, sigma, aversion = self.payload["returns"], self.payload["covariance"], self.payload["risk_aversion"]
        k = len(chosen)
        risk = sum(sigma[i][j] for i in chosen for j in chosen) / k**2
        return float(aversion * risk - (1 - aversion) * sum(mu[i] for i in chosen) / k)

    def allowed(self, chosen: tuple[int, ...]) -> bool:
        p, k = self.payload, len(chosen)
        least, most = p.get("cardinality", [1, self.n])
        keys = {self.key(i) for i in chosen}
        if not least <= k <= most or keys & set(p["exclude"]) or not keys >= set(p["must_hold"]):
            return False
        for sector, cap in p["sector_cap"].items():
            members = sum(p["sectors"][i] == sector for i in chosen)
            if members > (cap if isinstance(cap, int) else cap * k + 1e-9):
                return False
        return True

    def selections(self) -> list[tuple[int, ...]]:
        """All that are allowed."""
        every = (chosen for k in range(1, self.n + 1) for chosen in combinations(range(self.n), k))
        return [chosen for chosen in every if self.allowed(chosen)]


@st.composite
def cases(draw: st.DrawFn, most: int = 7) -> Case:
    """Any rules at all: contradictory ones, too."""
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    factors = rng.normal(size=(n, draw(st.integers(1, n)))) * 10.0 ** draw(st.integers(-4, 0))
    payload: dict[str, Any] = {
        "returns": (rng.normal(size=n) * 10.0 ** draw(st.integers(-4, 0))).tolist(),
        "covariance": (factors @ factors.T).tolist(),
        "risk_aversion": draw(st.sampled_from([0, 0.1, 0.5, 0.9, 1])),
    }
    if draw(st.booleans()):
        payload["assets"] = draw(st.permutations("ABCDEFG"))[:n]
    names: Any = payload.get("assets", range(n))
    some = st.lists(st.sampled_from(list(names)), max_size=2, unique=True)
    payload |= {"exclude": draw(some), "must_hold": draw(some)}
    if draw(st.booleans()):
        least = draw(st.integers(1, n))
        payload["cardinality"] = [least, draw(st.integers(least, n))]
    payload["sectors"] = draw(st.lists(st.sampled_from(["x", "y", None]), min_size=n, max_size=n))
    known = sorted({sector for sector in payload["sectors"] if sector})
    caps = st.one_of(st.integers(0, 3), st.sampled_from([0.25, 1 / 3, 0.5, 0.7, 1.0]))
    payload["sector_cap"] = {sector: draw(caps) for sector in known if draw(st.booleans())}
    return Case(payload)
