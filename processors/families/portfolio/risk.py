"""The risk picture of a portfolio: Monte Carlo value at risk and expected shortfall, with their standard errors.

    loss L = −w'r,   r ~ N(μ, Σ);   loss and return are fractions of the value invested, per period of the data
    VaR_α  = the α-quantile of L;   CVaR_α = VaR_α + E[(L − VaR_α)⁺] / (1 − α)

Positive is a loss. CVaR after Rockafellar and Uryasev (2000). NumPy, since the risk of an answer is only known where
the answer is verified, and the verifier loads no JAX.

Every asset draws its own normals from the seed, and Σ^½ is the symmetric root: portfolios that share assets share
most of their scenarios (common random numbers), so that two of them compare better than their errors say. Mean and
deviation of the scenarios are matched to the model's (moment matching, Barraquand 1995); the errors are those without
it, so they are on the safe side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

SCENARIOS = 20_000
ROOTED = 256
"""Assets up to which the root is taken. Beyond, they are mixed by their own deviations: moments are matched anyway."""
LEVELS = (95, 99)
"""Per cent."""


def simulated(
    returns: Float64[np.ndarray, " k"],
    covariance: Float64[np.ndarray, "k k"],
    weights: Float64[np.ndarray, " k"],
    assets: Int64[np.ndarray, " k"],
    seed: int,
    scenarios: int = SCENARIOS,
) -> dict[str, Any]:
    """`var_95`, `cvar_95`, `var_99`, `cvar_99`, each with `…_error`, of the chosen assets (their numbers: `assets`)."""
    if len(assets) <= ROOTED:
        values, vectors = np.linalg.eigh(covariance)
        shares = (vectors * np.sqrt(np.clip(values, 0, None))) @ (vectors.T @ weights)
    else:
        shares = np.sqrt(np.diag(covariance)) * weights
    shocks = np.zeros(scenarios)  # one asset after the other: all at once would take 160 kB each
    for share, asset in zip(shares, assets, strict=True):
        shocks += share * np.random.default_rng([seed, int(asset)]).standard_normal(scenarios)
    deviation = float(np.sqrt(max(0.0, weights @ covariance @ weights)))
    shocks = (shocks - shocks.mean()) * (deviation / (shocks.std() or 1.0))  # moment matching
    losses = np.sort(-(weights @ returns + shocks))
    out: dict[str, Any] = {"scenarios": scenarios}
    for level in LEVELS:
        out |= _measured(losses, level)
    return out


def _measured(losses: Float64[np.ndarray, " s"], level: int) -> dict[str, float]:
    """VaR and CVaR of sorted losses.

    The error of VaR is a quarter of the distance of the order statistics two binomial deviations below and above it,
    which supposes no distribution; that of CVaR is of the mean it is (Trindade et al. 2007).
    """
    count, alpha = len(losses), level / 100
    at, deviation = int(np.ceil(count * alpha)) - 1, np.sqrt(count * alpha * (1 - alpha))
    low, high = (int(np.clip(round(at + sign * deviation), 0, count - 1)) for sign in (-2, 2))
    var = losses[at]
    beyond = np.maximum(losses - var, 0) / (1 - alpha)
    return {
        f"var_{level}": float(var),
        f"var_{level}_error": float(losses[high] - losses[low]) / 4,
        f"cvar_{level}": float(var + beyond.mean()),
        f"cvar_{level}_error": float(beyond.std() / np.sqrt(count)),
    }


def historical(history: Float64[np.ndarray, "t k"], weights: Float64[np.ndarray, " k"]) -> dict[str, float]:
    """The same measures of the returns that were, one a row of `history`: no model, and no error told."""
    losses = np.sort(-(history @ weights))
    return {
        f"historical_{name}": value
        for level in LEVELS
        for name, value in _measured(losses, level).items()
        if not name.endswith("_error")
    }
