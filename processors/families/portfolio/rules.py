"""The rules of a portfolio: bounds, cardinality, sectors, and sizes of positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from qmosaic.codecs.problems.portfolio import Portfolio
from qmosaic.processors.families.payload import QUOTED, WrongError, shown
from qmosaic.processors.families.portfolio.market import OPTIMAL, Floats, Market, check_names
from qmosaic.processors.families.portfolio.universe import Universe

BOUNDS = (0.01, 1.0)
"""The bounds of a weight, unless others are given: what is held is worth holding (Chang et al. 2000)."""


@dataclass(frozen=True, eq=False)
class Rules:
    """`admissible`: the assets that the filters leave, as numbers of the market; `universe` counts within these."""

    universe: Universe
    admissible: Int64[np.ndarray, " m"]
    sectors: tuple[str, ...]  # names of the universe's capped sectors
    bounds: tuple[float, float] | None  # None: equal weights
    notes: tuple[str, ...]


def read_rules(given: Portfolio, market: Market, order: Int64[np.ndarray, " n"], notes: list[str]) -> Rules:
    """The rules of a payload. Raises WrongError. `order`: the place in the payload of each of the market's assets."""
    if not 0 <= given.risk_aversion <= 1:
        message = f"{given.risk_aversion:g} is not between 0 and 1"
        raise WrongError(message, ".risk_aversion", "0 counts return alone, 1 variance alone.")
    bounds = _bounds(given)
    out = _marked(given.exclude, market, ".exclude")
    held = _marked(given.must_hold, market, ".must_hold")
    if (both := np.flatnonzero(held & out)).size:
        at = next(k for k, asset in enumerate(given.must_hold) if _number(asset, market, "") == both[0])
        message = f"{shown(market.called(both[0]))} must be held and is excluded"
        raise WrongError(message, f".must_hold[{at}]", "Take it out of must_hold or of exclude.")
    admissible = np.flatnonzero(~out)
    if not len(admissible):
        raise WrongError("every asset is excluded", ".exclude", "Leave at least one.")
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
            raise WrongError("bounds without weights=optimal", ".bounds", "Equal weights are 1/k: leave bounds out.")
        return None
    lo, hi = given.bounds or BOUNDS
    if not 0 <= lo <= hi <= 1:
        message = f"[{lo:g}, {hi:g}] is not 0 ≤ least ≤ most ≤ 1"
        raise WrongError(message, ".bounds", "Weights are fractions of the portfolio; none is short.")
    return lo, hi


def _number(asset: int | str, market: Market, place: str) -> int:
    if market.names is not None:
        if asset in market.places:
            return market.places[asset]
        raise WrongError(f"no asset is called {shown(asset)}", place, f"The assets are {_listed(market.names)}.")
    if isinstance(asset, int) and 0 <= asset < market.n:
        return asset
    raise WrongError(f"no asset is {shown(asset)}", place, f"Assets have no names here: use 0 to {market.n - 1}.")


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
        raise WrongError(message, ".cardinality", "Hold at least one asset.")
    if most > left:
        there = f"there are {n} assets" if left == n else f"the filters leave {left} of {n} assets"
        place = ".cardinality" if one else ".cardinality[1]"
        raise WrongError(f"{shown(most)} to be held, and {there}", place, f"Ask for {left} at most, or exclude fewer.")
    return least, most


def _sectors(
    given: Portfolio, market: Market, order: Int64[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " n"], tuple[str, ...], Floats, Bool[np.ndarray, " s"]]:
    """The capped sector of each asset of the market (-1: none), the sectors' names, caps, and which are shares."""
    of = _sector_of(given.sectors, market, order)
    known = sorted({name for name in of if name is not None})
    check_names(known, ".sectors")
    cap = given.sector_cap
    if cap is not None and not known:
        raise WrongError("there are no sectors", ".sector_cap", "Say in sectors which sector each asset is of.")
    if isinstance(cap, Mapping):
        members = set(known)
        for name in cap:
            if name not in members:
                raise WrongError(f"no asset is of {shown(name)}", ".sector_cap", f"The sectors are {_listed(known)}.")
        caps = dict(cap)
    else:
        caps = {} if cap is None else dict.fromkeys(known, cap)
    for name, value in caps.items():
        whole = isinstance(value, int)
        if not (value >= 0 if whole else 0 < value <= 1):
            place = f".sector_cap.{name}" if isinstance(cap, Mapping) else ".sector_cap"
            remedy = "A count is a whole number from 0, a share a fraction up to 1 such as 0.4."
            raise WrongError(f"{shown(value)} is neither a count nor a share", place, remedy)
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
            raise WrongError(message, ".sectors", "Send one for each asset, null where it has none.")
        out = [sectors[k] for k in order]
    return out


def _sizes(universe: Universe, sectors: Sequence[str], bounds: tuple[float, float] | None) -> Int64[np.ndarray, " z"]:
    """The sizes that all rules together allow; where there is none, the first rule that forbids them all says so."""
    sizes, held = universe.sizes, int(universe.held.sum())
    asked = f"{sizes[-1]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    if len(sizes := sizes[sizes >= held]) == 0:
        message = f"{held} assets must be held, the cardinality is {asked}"
        raise WrongError(message, ".must_hold", "Raise the cardinality, or take assets out.")
    reach = np.array([universe.reach(int(k)) for k in sizes])
    if (reach < 0).all():
        k = int(sizes[-1])
        inside = np.bincount(universe.sector[universe.held & (universe.sector >= 0)], minlength=len(sectors))
        s = int(np.flatnonzero(inside > universe.caps_at(k))[0])
        raise WrongError(
            f"{inside[s]} assets of {sectors[s]!r} must be held, its cap in a portfolio of {k} is "
            f"{universe.caps_at(k)[s]}",
            ".must_hold",
            "Raise the sector's cap, or take assets out of must_hold.",
        )
    fits = reach >= sizes
    if not fits.any():
        raise WrongError(
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
        raise WrongError(message, ".bounds", "The least weight may be 1/k at most, the most must be 1/k at least.")
    sizes = sizes[within]
    if sizes[-1] > OPTIMAL:
        message = f"optimal weights of up to {sizes[-1]} assets, the limit is {OPTIMAL}"
        raise WrongError(message, ".cardinality", "Ask for a smaller cardinality, or equal weights.", "too_large")
    return sizes
