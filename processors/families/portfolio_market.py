"""From a portfolio's payload to its market and its rules, or to what exactly is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from qmosaic.codecs.errors import RejectCode, Rejected
from qmosaic.codecs.problems.portfolio import Portfolio
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.checks import EXACT, QUOTED, converted, rejected, shown, twice, unwritable
from qmosaic.processors.families.portfolio_universe import Universe

ROUNDING = 1e-6
"""What an entry of a correlation matrix may be off: data is often rounded to six decimals."""
OPTIMAL = 512
"""The most assets whose weights are optimised: a second or two of an interior-point method."""
BOUNDS = (0.01, 1.0)
"""Of a weight, unless told otherwise: what is held is worth holding (Chang et al. 2000)."""

Names = tuple[str, ...] | None
Floats = Float64[np.ndarray, " n"]


class _WrongError(Exception):
    """Carries the `Rejected` out of the helpers; `read` returns it. `place` is inside the payload."""

    def __init__(self, message: str, place: str, remedy: str, code: RejectCode = "invalid_problem") -> None:
        super().__init__(message)
        self.rejected = rejected(code, message, place, remedy)


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


@dataclass(frozen=True, eq=False)
class Rules:
    """`admissible`: the assets that the filters leave, as numbers of the market; `universe` counts within these."""

    universe: Universe
    admissible: Int64[np.ndarray, " m"]
    sectors: tuple[str, ...]  # names of the universe's capped sectors
    bounds: tuple[float, float] | None  # None: equal weights
    notes: tuple[str, ...]


def read(payload: dict[str, Any], limits: Limits) -> tuple[Market, Rules] | Rejected:
    """The market and the rules of a payload. Everything that can be wrong with it is a `Rejected`."""
    try:
        if "sense" in payload:  # a field of the class, but of the event in an event
            raise _WrongError("unknown field 'sense'", ".sense", "A portfolio's objective is minimised.")
        given = converted(payload, Portfolio, "", "`qmosaic families show portfolio` lists the fields.")
        if isinstance(given, Rejected):
            return given
        market, order, notes = _market(given, limits)
        return market, _rules(given, market, order, notes)
    except _WrongError as error:
        return error.rejected


# --- the market -----------------------------------------------------------------------------------------------------


def _market(given: Portfolio, limits: Limits) -> tuple[Market, Int64[np.ndarray, " n"], list[str]]:
    """The market, the place in the payload of each of its assets, and notes."""
    source = _source(given)
    n = len(given.prices[0]) if given.prices else len(given.returns or ())
    if n == 0:
        raise _WrongError("there is no asset at all", f".{source}", "Send at least one asset.", "empty_problem")
    most = min(limits.variables, int((1 + np.sqrt(1 + 8.0 * limits.couplings)) / 2))
    if n > most:
        remedy = "Send fewer assets, or raise limits.variables and limits.couplings."
        raise _WrongError(f"{n} assets, the limit is {most}", f".{source}", remedy, "too_large")
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
        raise _WrongError("the values add up to more than a float64 holds", f".{source}", "Scale the problem down.")
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
    raise _WrongError(
        f"the market is given by {got}",
        "",
        "Send prices; or returns and covariance; or returns, correlations and deviations; and nothing besides.",
    )


def _names(assets: Sequence[str] | None, n: int) -> Names:
    if assets is None:
        return None
    if len(assets) != n:
        raise _WrongError(f"{len(assets)} names for {n} assets", ".assets", "Name every asset, or leave assets out.")
    if (k := twice(list(assets))) is not None:
        raise _WrongError(f"the name {shown(assets[k])} is there twice", f".assets[{k}]", "Names must differ.")
    _text(assets, ".assets")
    return tuple(assets)


def _text(names: Sequence[str], place: str) -> None:
    if (k := unwritable(list(names))) is not None:
        raise _WrongError(f"the name {shown(names[k])} is no Unicode text", place, "Send valid UTF-8.")


def _vector(values: Sequence[float], n: int, place: str) -> Floats:
    if len(values) != n:
        raise _WrongError(f"expected {n} numbers, one an asset, got {len(values)}", place, "Send one for each asset.")
    out = np.array(values, dtype=np.float64)
    _finite(out, place)
    return out


def _matrix(rows: Sequence[Sequence[float]], shape: tuple[int, int], place: str) -> Float64[np.ndarray, "a n"]:
    if len(rows) != shape[0]:
        raise _WrongError(f"expected {shape[0]} rows, got {len(rows)}", place, "Send one row for each asset.")
    for k, row in enumerate(rows):
        if len(row) != shape[1]:
            message = f"expected {shape[1]} numbers, one an asset, got {len(row)}"
            raise _WrongError(message, f"{place}[{k}]", "Send one number for each asset in every row.")
    out = np.array(rows, dtype=np.float64).reshape(shape)
    _finite(out, place)
    return out


def _finite(values: Any, place: str) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        at = "".join(f"[{k}]" for k in bad[0])
        raise _WrongError("the number is not finite", f"{place}{at}", "Send finite numbers; fill or drop what is NaN.")


def _history(prices: Float64[np.ndarray, "t n"]) -> Float64[np.ndarray, "t n"]:
    """Simple returns p[t] / p[t-1] − 1."""
    if len(prices) < 3:
        message = f"expected at least 3 rows, got {len(prices)}"
        raise _WrongError(message, ".prices", "A covariance needs two returns, and so three prices, of every asset.")
    bad = np.argwhere(prices <= 0)
    if len(bad):
        t, i = bad[0]
        raise _WrongError(
            f"the price {prices[t, i]:g} is not positive", f".prices[{t}][{i}]", "A return needs positive prices."
        )
    with np.errstate(over="ignore"):
        returns = prices[1:] / prices[:-1] - 1
        spread = returns.max() ** 2
    if not np.isfinite(spread):
        raise _WrongError("a return is more than a float64 holds", ".prices", "Check the prices.")
    return np.asarray(returns)


def _covariance(given: Portfolio, n: int) -> tuple[Float64[np.ndarray, "n n"], float]:
    """Σ, exactly symmetric, and how far it was from that (on the scale of correlations)."""
    if given.covariance is not None:
        place = ".covariance"
        matrix = _matrix(given.covariance, (n, n), place)
        variances = np.diag(matrix)
        if len(bad := np.flatnonzero(variances < 0)):
            at = f"{place}[{bad[0]}][{bad[0]}]"
            raise _WrongError(f"the variance {variances[bad[0]]:g} is negative", at, "A variance is at least 0.")
        deviations = np.sqrt(variances)
    else:
        place = ".correlations"
        matrix = _matrix(given.correlations or (), (n, n), place)
        deviations = _vector(given.deviations or (), n, ".deviations")
        if len(bad := np.flatnonzero(deviations < 0)):
            at = f".deviations[{bad[0]}]"
            raise _WrongError(f"the deviation {deviations[bad[0]]:g} is negative", at, "A deviation is at least 0.")
        if len(bad := np.flatnonzero(np.abs(np.diag(matrix) - 1) > ROUNDING)):
            at = f"{place}[{bad[0]}][{bad[0]}]"
            message = f"the correlation of an asset with itself is {matrix[bad[0], bad[0]]:g}"
            raise _WrongError(message, at, "It is 1. If these are covariances, send them as covariance.")
    pairs = np.outer(deviations, deviations)
    with np.errstate(over="ignore"):
        if not np.isfinite(2 * n * np.abs(pairs).max()):
            raise _WrongError("the values are more than a float64 holds", place, "Scale the problem down.")
    correlations = _scaled(matrix, pairs) if given.covariance is not None else matrix
    if np.abs(correlations).max() > 2:
        i, j = np.unravel_index(np.abs(correlations).argmax(), correlations.shape)
        message = f"a correlation of {correlations[i, j]:g}"
        raise _WrongError(message, f"{place}[{i}][{j}]", "It is between -1 and 1: correct it, or the variances.")
    off = np.abs(correlations - correlations.T)
    if off.max() > ROUNDING:
        i, j = np.unravel_index(off.argmax(), off.shape)
        message = f"not symmetric: {matrix[i, j]:g} here, {matrix[j, i]:g} at [{j}][{i}]"
        raise _WrongError(message, f"{place}[{i}][{j}]", "Send a symmetric matrix.")
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
        raise _WrongError(message, f".covariance[{i}][{j}]", "Correct the variance, or set its covariances to 0.")
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
        raise _WrongError(
            f"not positive semidefinite: the smallest eigenvalue is {smallest:.6g} "
            f"({scaled:.6g} as correlations, where rounding explains {-n * ROUNDING:.1g})",
            place,
            "A portfolio would have a negative variance. Estimate from one common sample, or shrink the correlations.",
        ) from None


# --- the rules ------------------------------------------------------------------------------------------------------


def _rules(given: Portfolio, market: Market, order: Int64[np.ndarray, " n"], notes: list[str]) -> Rules:
    if not 0 <= given.risk_aversion <= 1:
        message = f"{given.risk_aversion:g} is not between 0 and 1"
        raise _WrongError(message, ".risk_aversion", "0 counts return alone, 1 variance alone.")
    bounds = _bounds(given)
    out = _marked(given.exclude, market, ".exclude")
    held = _marked(given.must_hold, market, ".must_hold")
    if (both := np.flatnonzero(held & out)).size:
        at = next(k for k, asset in enumerate(given.must_hold) if _number(asset, market, "") == both[0])
        message = f"{shown(market.called(both[0]))} must be held and is excluded"
        raise _WrongError(message, f".must_hold[{at}]", "Take it out of must_hold or of exclude.")
    admissible = np.flatnonzero(~out)
    if not len(admissible):
        raise _WrongError("every asset is excluded", ".exclude", "Leave at least one.")
    least, most = _cardinality(given, market.n, len(admissible))
    sector, sectors, caps, shares = _sectors(given, market, order)
    sector = sector[admissible]
    universe = Universe(
        returns=market.returns[admissible],
        covariance=market.covariance[np.ix_(admissible, admissible)],
        risk_aversion=float(given.risk_aversion),
        held=held[admissible],
        sector=sector,
        caps=caps,
        shares=shares,
        sizes=np.arange(least, most + 1),
    )
    sizes = _sizes(universe, sectors, bounds)
    if given.cardinality is not None and len(sizes) < most - least + 1:
        notes.append(f"of the sizes {least} to {most}, {len(sizes)} can be reached: {sizes[0]} to {sizes[-1]}")
    return Rules(replace(universe, sizes=sizes), admissible, sectors, bounds, tuple(notes))


def _bounds(given: Portfolio) -> tuple[float, float] | None:
    if given.weights == "equal":
        if given.bounds is not None:
            raise _WrongError("bounds without weights=optimal", ".bounds", "Equal weights are 1/k: leave bounds out.")
        return None
    lo, hi = given.bounds or BOUNDS
    if not 0 <= lo <= hi <= 1:
        message = f"[{lo:g}, {hi:g}] is not 0 ≤ least ≤ most ≤ 1"
        raise _WrongError(message, ".bounds", "Weights are fractions of the portfolio; none is short.")
    return lo, hi


def _number(asset: int | str, market: Market, place: str) -> int:
    if market.names is not None:
        if asset in market.places:
            return market.places[asset]
        raise _WrongError(f"no asset is called {shown(asset)}", place, f"The assets are {_listed(market.names)}.")
    if isinstance(asset, int) and 0 <= asset < market.n:
        return asset
    raise _WrongError(f"no asset is {shown(asset)}", place, f"Assets have no names here: use 0 to {market.n - 1}.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name if len(name) <= QUOTED else f"{name[:QUOTED]}…" for name in names[:12]) + (
        f" and {len(names) - 12} others" if len(names) > 12 else ""
    )


def _marked(assets: Sequence[int | str], market: Market, place: str) -> Bool[np.ndarray, " n"]:
    marks = np.zeros(market.n, bool)
    marks[[_number(asset, market, f"{place}[{k}]") for k, asset in enumerate(assets)]] = True
    return marks


def _cardinality(given: Portfolio, n: int, left: int) -> tuple[int, int]:
    if given.cardinality is None:
        return 1, left
    one = isinstance(given.cardinality, int)
    least, most = (given.cardinality,) * 2 if isinstance(given.cardinality, int) else given.cardinality
    if not 1 <= least <= most:
        message = f"{shown(least)} is not at least 1" if one else f"{shown([least, most])} is not 1 ≤ least ≤ most"
        raise _WrongError(message, ".cardinality", "Hold at least one asset.")
    if most > left:
        there = f"there are {n} assets" if left == n else f"the filters leave {left} of {n} assets"
        place = ".cardinality" if one else ".cardinality[1]"
        raise _WrongError(f"{shown(most)} to be held, and {there}", place, f"Ask for {left} at most, or exclude fewer.")
    return least, most


def _sectors(
    given: Portfolio, market: Market, order: Int64[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " n"], tuple[str, ...], Floats, Bool[np.ndarray, " s"]]:
    """The capped sector of each asset of the market (-1: none), the sectors' names, caps, and which are shares."""
    of = _sector_of(given.sectors, market, order)
    known = sorted({name for name in of if name is not None})
    _text(known, ".sectors")
    cap = given.sector_cap
    if cap is not None and not known:
        raise _WrongError("there are no sectors", ".sector_cap", "Say in sectors which sector each asset is of.")
    if isinstance(cap, Mapping):
        members = set(known)
        for name in cap:
            if name not in members:
                raise _WrongError(f"no asset is of {shown(name)}", ".sector_cap", f"The sectors are {_listed(known)}.")
        caps = dict(cap)
    else:
        caps = {} if cap is None else dict.fromkeys(known, cap)
    for name, value in caps.items():
        whole = isinstance(value, int)
        if not (value >= 0 if whole else 0 < value <= 1):
            place = f".sector_cap.{name}" if isinstance(cap, Mapping) else ".sector_cap"
            remedy = "A count is a whole number from 0, a share a fraction up to 1 such as 0.4."
            raise _WrongError(f"{shown(value)} is neither a count nor a share", place, remedy)
    names = tuple(sorted(caps))
    place_of = {name: k for k, name in enumerate(names)}
    sector = np.array([place_of.get(name, -1) if name is not None else -1 for name in of], dtype=np.int64)
    shares = np.array([not isinstance(caps[name], int) for name in names], dtype=bool)
    limits = np.array([float(min(caps[name], market.n)) for name in names], dtype=np.float64)
    return sector, names, limits, shares


def _sector_of(
    sectors: Mapping[str, str] | Sequence[str | None] | None, market: Market, order: Int64[np.ndarray, " n"]
) -> list[str | None]:
    out: list[str | None] = [None] * market.n
    if isinstance(sectors, Mapping):
        for asset, name in sectors.items():
            # one spelling only, so that no asset has two sectors: 1, and neither 01 nor another script's digit
            number = market.names is None and asset.isascii() and asset.isdecimal() and len(asset) < 10
            key = int(asset) if number and str(int(asset)) == asset else asset
            out[_number(key, market, f".sectors.{asset}")] = name
    elif sectors is not None:
        if len(sectors) != market.n:
            message = f"{len(sectors)} sectors for {market.n} assets"
            raise _WrongError(message, ".sectors", "Send one for each asset, null where it has none.")
        out = [sectors[k] for k in order]
    return out


def _sizes(universe: Universe, sectors: Sequence[str], bounds: tuple[float, float] | None) -> Int64[np.ndarray, " z"]:
    """The sizes that all rules together allow; where there is none, the first rule that forbids them all says so."""
    sizes, held = universe.sizes, int(universe.held.sum())
    asked = f"{sizes[-1]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    if len(sizes := sizes[sizes >= held]) == 0:
        message = f"{held} assets must be held, the cardinality is {asked}"
        raise _WrongError(message, ".must_hold", "Raise the cardinality, or take assets out.")
    reach = np.array([universe.reach(int(k)) for k in sizes])
    if (reach < 0).all():
        k = int(sizes[-1])
        inside = np.bincount(universe.sector[universe.held & (universe.sector >= 0)], minlength=len(sectors))
        s = int(np.flatnonzero(inside > universe.caps_at(k))[0])
        raise _WrongError(
            f"{inside[s]} assets of {sectors[s]!r} must be held, its cap in a portfolio of {k} is "
            f"{universe.caps_at(k)[s]}",
            ".must_hold",
            "Raise the sector's cap, or take assets out of must_hold.",
        )
    fits = reach >= sizes
    if not fits.any():
        raise _WrongError(
            f"under the sector caps at most {reach.max()} assets can be held, the cardinality is {asked}",
            ".sector_cap",
            "Raise the caps, or lower the cardinality.",
        )
    sizes = sizes[fits]
    if bounds is None:
        return sizes
    lo, hi = bounds
    within = (sizes * lo <= 1 + 1e-12) & (sizes * hi >= 1 - 1e-12)
    if not within.any():
        message = f"no {asked} weights between {lo:g} and {hi:g} add up to 1"
        raise _WrongError(message, ".bounds", "The least weight may be 1/k at most, the most must be 1/k at least.")
    sizes = sizes[within]
    if sizes[-1] > OPTIMAL:
        message = f"optimal weights of up to {sizes[-1]} assets, the limit is {OPTIMAL}"
        raise _WrongError(message, ".cardinality", "Ask for a smaller cardinality, or equal weights.", "too_large")
    return sizes
