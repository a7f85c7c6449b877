"""Portfolio problems for tests, as their producers write them, and a judge of its own that reads them literally."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import orjson
from hypothesis import strategies as st

from qmosaic.codecs.events.public import Problem
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.portfolio.family import PortfolioFamily, PortfolioInstance

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
def cases(draw: st.DrawFn, most: int = 7, possible: bool = False, named: bool = False) -> Case:
    """Any rules at all, contradictory ones too, or (`possible`) rules that some selection keeps."""
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    factors = rng.normal(size=(n, draw(st.integers(1, n)))) * 10.0 ** draw(st.integers(-4, 0))
    payload: dict[str, Any] = {
        "returns": (rng.normal(size=n) * 10.0 ** draw(st.integers(-4, 0))).tolist(),
        "covariance": (factors @ factors.T).tolist(),
        "risk_aversion": draw(st.sampled_from([0, 0.1, 0.5, 0.9, 1])),
    }
    if named or draw(st.booleans()):
        payload["assets"] = draw(st.permutations("ABCDEFG"))[:n]
    payload["sectors"] = draw(st.lists(st.sampled_from(["x", "y", None]), min_size=n, max_size=n))
    if possible and not any(payload["sectors"]):
        payload["sectors"][0] = "x"  # caps need a sector
    return Case(payload | (_possible_rules(draw, payload) if possible else _any_rules(draw, payload)))


SHARES = [0.25, 1 / 3, 0.5, 0.7, 1.0]


def _any_rules(draw: st.DrawFn, payload: dict[str, Any]) -> dict[str, Any]:
    n = len(payload["returns"])
    some = st.lists(st.sampled_from(list(payload.get("assets", range(n)))), max_size=2, unique=True)
    rules: dict[str, Any] = {"exclude": draw(some), "must_hold": draw(some)}
    if draw(st.booleans()):
        least = draw(st.integers(1, n))
        rules["cardinality"] = [least, draw(st.integers(least, n))]
    known = sorted({sector for sector in payload["sectors"] if sector})
    caps = st.one_of(st.integers(0, 3), st.sampled_from(SHARES))
    return rules | {"sector_cap": {sector: draw(caps) for sector in known if draw(st.booleans())}}


def _possible_rules(draw: st.DrawFn, payload: dict[str, Any]) -> dict[str, Any]:
    """Rules that a drawn selection keeps. A range of sizes begins there, and grows only without caps: each is left."""
    n = len(payload["returns"])
    names = list(payload.get("assets", range(n)))
    chosen = draw(st.sets(st.integers(0, n - 1), min_size=1))
    others = [i for i in range(n) if i not in chosen]
    excluded = draw(st.lists(st.sampled_from(others), max_size=2, unique=True)) if others else []
    held = draw(st.lists(st.sampled_from(sorted(chosen)), max_size=2, unique=True))
    rules: dict[str, Any] = {"exclude": [names[i] for i in excluded], "must_hold": [names[i] for i in held]}
    k = most = len(chosen)
    caps: dict[str, Any] = {}
    for sector in sorted({sector for sector in payload["sectors"] if sector}):
        members = sum(payload["sectors"][i] == sector for i in chosen)
        if draw(st.booleans()):
            shares = [share for share in SHARES if members <= share * k + 1e-9]
            caps[sector] = draw(st.one_of(st.integers(members, members + 2), st.sampled_from(shares)))
    if draw(st.booleans()):
        if not caps:
            most = draw(st.integers(k, n - len(excluded)))
        rules["cardinality"] = [k, most]
    return rules | {"sector_cap": caps}
