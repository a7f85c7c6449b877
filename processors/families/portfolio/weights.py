"""The best weights of assets that are chosen already: a small convex quadratic program.

    minimise   λ w'Σw − (1−λ) μ'w    over   Σ w = 1,  lo ≤ w ≤ hi,  weights of a capped sector ≤ its share

Solved by Clarabel (Goulart and Chen 2024, an interior-point method in Rust; CVXPY's default solver), loaded when it
is first needed: it takes a singular Σ as it is, reaches 1e-12, and needs NumPy and SciPy only. How good an answer is
does not rest on it: `gap` bounds what is left from the problem's numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

Weights = Float64[np.ndarray, " k"]


@dataclass(frozen=True, eq=False)
class Program:
    """`returns` μ, `covariance` Σ of the chosen assets, per period; `shares`: members of a sector, and its share."""

    returns: Float64[np.ndarray, " k"]
    covariance: Float64[np.ndarray, "k k"]
    risk_aversion: float
    bounds: tuple[float, float]
    shares: Sequence[tuple[Bool[np.ndarray, " k"], float]] = ()

    def objective(self, weights: Weights) -> float:
        """λ w'Σw − (1−λ) μ'w."""
        risk = float(weights @ self.covariance @ weights)
        return self.risk_aversion * risk - (1 - self.risk_aversion) * float(self.returns @ weights)

    def gradient(self, weights: Weights) -> Weights:
        """2λ Σw − (1−λ) μ."""
        return np.asarray(
            2 * self.risk_aversion * (self.covariance @ weights) - (1 - self.risk_aversion) * self.returns
        )


def best(program: Program) -> Weights:
    """The optimal weights; equal ones where those are no worse. 1/k must be within the bounds and the shares."""
    equal = np.full(len(program.returns), 1 / len(program.returns))
    solved = _solved(program)
    return equal if solved is None or program.objective(equal) <= program.objective(solved) else solved


def _solved(program: Program) -> Weights | None:
    import clarabel
    from scipy import sparse

    k = len(program.returns)
    lo, hi = program.bounds
    P = 2 * program.risk_aversion * program.covariance
    P = P + max(0.0, -float(np.linalg.eigvalsh(P)[0])) * np.eye(k)  # below zero is rounding: see `parse`
    q = -(1 - program.risk_aversion) * program.returns
    scale = max(np.abs(P).max(), np.abs(q).max()) or 1.0
    A = np.vstack([np.ones(k), -np.eye(k), np.eye(k), *(members for members, _ in program.shares)])
    b = np.concatenate([[1.0], np.full(k, -lo), np.full(k, hi), [share for _, share in program.shares]])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(len(b) - 1)]
    upper = sparse.csc_matrix(np.triu(P / scale))
    solution = clarabel.DefaultSolver(upper, q / scale, sparse.csc_matrix(A), b, cones, settings).solve()
    weights = np.clip(np.array(solution.x), lo, hi)
    return weights if np.isfinite(weights).all() and abs(weights.sum() - 1) < 1e-9 else None


def gap(program: Program, weights: Weights) -> float:
    """By how much other weights could lower the objective, at most: g'w − min_v g'v, g the gradient at `weights`.

    For a convex objective no v lies lower than that (Frank and Wolfe 1956). The minimum over bounds, shares and Σ v = 1
    is found greedily, the smallest g first: sectors do not overlap, so that the v form a base of a polymatroid.
    """
    g = program.gradient(weights)
    lo, hi = program.bounds
    v = np.full(len(g), lo)
    left = 1 - v.sum()
    for i in np.argsort(g, kind="stable"):
        room = min([hi - lo, left, *(share - v[members].sum() for members, share in program.shares if members[i])])
        v[i] += max(0.0, room)
        left -= max(0.0, room)
    return max(0.0, float(g @ (weights - v)))
