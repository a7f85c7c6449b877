"""From a portfolio's payload to its market and its rules, or to what exactly is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from qmosaic.codecs.problems.portfolio import Portfolio
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.payload import EXACT, WrongError, shown, twice, unwritable

ROUNDING = 1e-6
"""What an entry of a correlation matrix may be off: data is often rounded to six decimals."""
OPTIMAL = 512
"""The most assets whose weights are optimised: a second or two of an interior-point method."""

Names = tuple[str, ...] | None
Floats = Float64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Market:
    """All assets, by index or in the order of their sorted names. Per period; `history`: the returns that were."""

    names: Names
    returns: Floats
    covariance: Float64[np.ndarray, "n n"]
    history: Float64[np.ndarray, "t n"] | None

    @property
    def n(self) -> int:
        """Number of assets."""
        return len(self.returns)

    @cached_property
    def places(self) -> dict[int | str, int]:
        """The number of each asset, by what the producer calls it."""
        return {self.called(i): i for i in range(self.n)}

    def called(self, asset: int) -> Any:
        """What the producer calls it: its name, or its index."""
        return self.names[asset] if self.names else int(asset)


# --- the market -----------------------------------------------------------------------------------------------------


def read_market(given: Portfolio, limits: Limits) -> tuple[Market, Int64[np.ndarray, " n"], list[str]]:
    """The market, the place in the payload of each of its assets, and notes."""
    source = _source(given)
    n = len(given.prices[0]) if given.prices else len(given.returns or ())
    if n == 0:
        raise WrongError("there is no asset at all", f".{source}", "Send at least one asset.", "empty_problem")
    most = min(limits.variables, int((1 + np.sqrt(1 + 8.0 * limits.couplings)) / 2))
    if n > most:
        remedy = "Send fewer assets, or raise limits.variables and limits.couplings."
        raise WrongError(f"{n} assets, the limit is {most}", f".{source}", remedy, "too_large")
    names = _names(given.assets, n)
    history, notes = None, []
    if given.prices is not None:
        history = _history(_matrix(given.prices, (len(given.prices), n), ".prices"))
        with np.errstate(over="ignore", invalid="ignore"):
            returns, covariance = history.mean(axis=0), np.cov(history, rowvar=False).reshape(n, n)
        notes.append(f"expected returns and covariance of {len(history)} simple returns, divisor {len(history) - 1}")
    else:
        returns = _vector(given.returns or (), n, ".returns")
        covariance, off = _covariance(given, n)
        if off > 0:
            notes.append(f"covariance made symmetric: entries differed by {off:.3g} of a correlation at most")
    with np.errstate(over="ignore"):
        largest = np.float64(n) * n * np.abs(covariance).max() + n * np.abs(returns).max()
    if not np.isfinite(4 * largest):
        raise WrongError("the values add up to more than a float64 holds", f".{source}", "Scale the problem down.")
    if max(np.abs(returns).max(), np.abs(covariance).max(), *_largest(given)) >= EXACT:
        notes.append("numbers beyond 2^53 were rounded: they and the objective are float64")
    order = np.array(sorted(range(n), key=names.__getitem__)) if names else np.arange(n)
    return (
        Market(
            tuple(sorted(names)) if names else None,
            returns[order],
            covariance[np.ix_(order, order)],
            None if history is None else history[:, order],
        ),
        order,
        notes,
    )


def _largest(given: Portfolio) -> list[float]:
    """The largest price of each row."""
    return [max(row) for row in given.prices or ()]


def _source(given: Portfolio) -> str:
    """The field that tells how many assets there are, after a check that the market is given in one way."""
    ways = {
        "prices": ("prices",),
        "covariance": ("returns", "covariance"),
        "correlations": ("returns", "correlations", "deviations"),
    }
    have = {field for way in ways.values() for field in way if getattr(given, field) is not None}
    for way in ways.values():
        if have == set(way):
            return way[0]
    got = ", ".join(sorted(have)) or "none of them"
    raise WrongError(
        f"the market is given by {got}",
        "",
        "Send prices; or returns and covariance; or returns, correlations and deviations; and nothing besides.",
    )


def _names(assets: Sequence[str] | None, n: int) -> Names:
    if assets is None:
        return None
    if len(assets) != n:
        raise WrongError(f"{len(assets)} names for {n} assets", ".assets", "Name every asset, or leave assets out.")
    if (k := twice(list(assets))) is not None:
        raise WrongError(f"the name {shown(assets[k])} is there twice", f".assets[{k}]", "Names must differ.")
    check_names(assets, ".assets")
    return tuple(assets)


def check_names(names: Sequence[str], place: str) -> None:
    """Raises WrongError for a name that is no Unicode text."""
    if (k := unwritable(list(names))) is not None:
        raise WrongError(f"the name {shown(names[k])} is no Unicode text", place, "Send valid UTF-8.")


def _vector(values: Sequence[float], n: int, place: str) -> Floats:
    if len(values) != n:
        raise WrongError(f"expected {n} numbers, one an asset, got {len(values)}", place, "Send one for each asset.")
    out = np.array(values, dtype=np.float64)
    _finite(out, place)
    return out


def _matrix(rows: Sequence[Sequence[float]], shape: tuple[int, int], place: str) -> Float64[np.ndarray, "a n"]:
    if len(rows) != shape[0]:
        raise WrongError(f"expected {shape[0]} rows, got {len(rows)}", place, "Send one row for each asset.")
    for k, row in enumerate(rows):
        if len(row) != shape[1]:
            message = f"expected {shape[1]} numbers, one an asset, got {len(row)}"
            raise WrongError(message, f"{place}[{k}]", "Send one number for each asset in every row.")
    out = np.array(rows, dtype=np.float64).reshape(shape)
    _finite(out, place)
    return out


def _finite(values: Any, place: str) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        at = "".join(f"[{k}]" for k in bad[0])
        raise WrongError("the number is not finite", f"{place}{at}", "Send finite numbers; fill or drop what is NaN.")


def _history(prices: Float64[np.ndarray, "t n"]) -> Float64[np.ndarray, "t n"]:
    """Simple returns p[t] / p[t-1] − 1."""
    if len(prices) < 3:
        message = f"expected at least 3 rows, got {len(prices)}"
        raise WrongError(message, ".prices", "A covariance needs two returns, and so three prices, of every asset.")
    bad = np.argwhere(prices <= 0)
    if len(bad):
        t, i = bad[0]
        raise WrongError(
            f"the price {prices[t, i]:g} is not positive", f".prices[{t}][{i}]", "A return needs positive prices."
        )
    with np.errstate(over="ignore"):
        returns = prices[1:] / prices[:-1] - 1
        spread = returns.max() ** 2
    if not np.isfinite(spread):
        raise WrongError("a return is more than a float64 holds", ".prices", "Check the prices.")
    return np.asarray(returns)


def _covariance(given: Portfolio, n: int) -> tuple[Float64[np.ndarray, "n n"], float]:
    """Σ, exactly symmetric, and how far it was from that (on the scale of correlations)."""
    if given.covariance is not None:
        place = ".covariance"
        matrix = _matrix(given.covariance, (n, n), place)
        variances = np.diag(matrix)
        if len(bad := np.flatnonzero(variances < 0)):
            at = f"{place}[{bad[0]}][{bad[0]}]"
            raise WrongError(f"the variance {variances[bad[0]]:g} is negative", at, "A variance is at least 0.")
        deviations = np.sqrt(variances)
    else:
        place = ".correlations"
        matrix = _matrix(given.correlations or (), (n, n), place)
        deviations = _vector(given.deviations or (), n, ".deviations")
        if len(bad := np.flatnonzero(deviations < 0)):
            at = f".deviations[{bad[0]}]"
            raise WrongError(f"the deviation {deviations[bad[0]]:g} is negative", at, "A deviation is at least 0.")
        if len(bad := np.flatnonzero(np.abs(np.diag(matrix) - 1) > ROUNDING)):
            at = f"{place}[{bad[0]}][{bad[0]}]"
            message = f"the correlation of an asset with itself is {matrix[bad[0], bad[0]]:g}"
            raise WrongError(message, at, "It is 1. If these are covariances, send them as covariance.")
    pairs = np.outer(deviations, deviations)
    with np.errstate(over="ignore"):
        if not np.isfinite(2 * n * np.abs(pairs).max()):
            raise WrongError("the values are more than a float64 holds", place, "Scale the problem down.")
    correlations = _scaled(matrix, pairs) if given.covariance is not None else matrix
    if np.abs(correlations).max() > 2:
        i, j = np.unravel_index(np.abs(correlations).argmax(), correlations.shape)
        message = f"a correlation of {correlations[i, j]:g}"
        raise WrongError(message, f"{place}[{i}][{j}]", "It is between -1 and 1: correct it, or the variances.")
    off = np.abs(correlations - correlations.T)
    if off.max() > ROUNDING:
        i, j = np.unravel_index(off.argmax(), off.shape)
        message = f"not symmetric: {matrix[i, j]:g} here, {matrix[j, i]:g} at [{j}][{i}]"
        raise WrongError(message, f"{place}[{i}][{j}]", "Send a symmetric matrix.")
    correlations = (correlations + correlations.T) / 2
    _positive(correlations, matrix, place)
    if given.covariance is None:
        np.fill_diagonal(correlations, 1.0)
        return correlations * pairs, float(off.max())
    return (matrix + matrix.T) / 2, float(off.max())


def _scaled(matrix: Any, pairs: Any) -> Float64[np.ndarray, "n n"]:
    """Covariances as correlations; an asset without variance must be without covariances: infinite if it is not."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scaled = np.where(pairs > 0, matrix / pairs, np.where(matrix == 0, 0.0, np.inf))
    bad = np.argwhere(np.isinf(scaled) & (pairs == 0))
    if len(bad):
        i, j = bad[0]
        message = f"the covariance {matrix[i, j]:g} is of an asset whose variance is 0"
        raise WrongError(message, f".covariance[{i}][{j}]", "Correct the variance, or set its covariances to 0.")
    return np.asarray(scaled)


def _positive(correlations: Float64[np.ndarray, "n n"], matrix: Any, place: str) -> None:
    """Refuses what is no covariance: an eigenvalue below zero by more than rounding explains.

    Entries that are off by ε move the eigenvalues by n ε at most (Weyl). A Cholesky factor of the matrix moved up by
    that shows that it is sound, and takes a tenth of the time of eigenvalues.
    """
    n = len(correlations)
    try:
        np.linalg.cholesky(correlations + n * ROUNDING * np.eye(n))
    except np.linalg.LinAlgError:
        smallest = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])
        scaled = float(np.linalg.eigvalsh(correlations)[0])
        raise WrongError(
            f"not positive semidefinite: the smallest eigenvalue is {smallest:.6g} "
            f"({scaled:.6g} as correlations, where rounding explains {-n * ROUNDING:.1g})",
            place,
            "A portfolio would have a negative variance. Estimate from one common sample, or shrink the correlations.",
        ) from None


# --- the rules ------------------------------------------------------------------------------------------------------
