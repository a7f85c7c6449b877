"""The assets that the filters leave, the rules of a selection among them, and its objective. NumPy, float64.

    f(S) = λ/k² Σ_{i,j in S} σ_ij − (1−λ)/k Σ_{i in S} μ_i,     k = |S|, equal weights 1/k, minimised

A selection is feasible if its size is one of `sizes`, it holds all that must be held, and no capped sector has more
members than its cap at that size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from qmosaic.codecs.models.bundle import Bundle, array, bundle

Selection = Bool[np.ndarray, " m"]


@dataclass(frozen=True, eq=False)
class Universe:
    """`sector` is the number of an asset's capped sector, -1 where it has none.

    `caps`: the most members of a sector, or where `shares` is set the share of the selection's size that they may be.
    `sizes`: the sizes that can be reached, ascending.
    """

    returns: Float64[np.ndarray, " m"]
    covariance: Float64[np.ndarray, "m m"]
    risk_aversion: float
    held: Bool[np.ndarray, " m"]
    sector: Int64[np.ndarray, " m"]
    caps: Float64[np.ndarray, " s"]
    shares: Bool[np.ndarray, " s"]
    sizes: Int64[np.ndarray, " z"]

    @property
    def m(self) -> int:
        """Number of assets."""
        return len(self.returns)

    def caps_at(self, size: int) -> Int64[np.ndarray, " s"]:
        """The most members of each sector in a selection of that size; a share is rounded down."""
        # the small part is for shares like 0.29 of 100, which is 28.999999999999996
        return np.asarray(np.where(self.shares, np.floor(self.caps * size + 1e-9), self.caps)).astype(np.int64)

    def room(self, size: int) -> Int64[np.ndarray, " m"]:
        """For each asset, the most members that its sector may have; `m` where it has none."""
        room: Int64[np.ndarray, " m"] = np.append(self.caps_at(size), self.m)[self.sector]
        return room

    @cached_property
    def together(self) -> Bool[np.ndarray, "m m"]:
        """Whether two assets are of the same capped sector (an asset without one is with itself alone)."""
        same = (self.sector[:, None] == self.sector) & (self.sector >= 0)[:, None]
        return np.asarray(same | np.eye(self.m, dtype=bool))

    def reach(self, size: int) -> int:
        """The largest selection under the caps of that size; -1 where what must be held breaks one."""
        caps, capped = self.caps_at(size), self.sector >= 0
        members = np.bincount(self.sector[capped], minlength=len(caps))
        if (np.bincount(self.sector[capped & self.held], minlength=len(caps)) > caps).any():
            return -1
        return int((~capped).sum() + np.minimum(members, caps).sum())

    def broken(self, chosen: Selection) -> list[str]:
        """What a selection breaks: `size`, `held`, and `sector N` for each sector over its cap."""
        k = int(chosen.sum())
        capped = chosen & (self.sector >= 0)
        over = np.bincount(self.sector[capped], minlength=len(self.caps)) > self.caps_at(k)
        return [
            *(["size"] if k not in self.sizes else []),
            *(["held"] if (self.held & ~chosen).any() else []),
            *(f"sector {s}" for s in np.flatnonzero(over)),
        ]

    def objective(self, chosen: Bool[np.ndarray, "*batch m"]) -> Float64[np.ndarray, "*batch"]:
        """f of selections that are not empty."""
        x = np.asarray(chosen, dtype=np.float64)
        k = x.sum(axis=-1)
        variance = ((x @ self.covariance) * x).sum(axis=-1) / k**2
        return np.asarray(self.risk_aversion * variance - (1 - self.risk_aversion) * (x @ self.returns) / k)

    def filled(self, order: Int64[np.ndarray, " m"], size: int) -> Selection:
        """What must be held, and then in this order whatever fits under the caps, up to the size.

        Reaches every size of `sizes`: what fits under caps of disjoint sectors is a matroid.
        """
        order = np.concatenate([order[self.held[order]], order[~self.held[order]]])
        rank = np.empty(self.m, np.int64)  # how many of the asset's sector come before it
        by_sector = np.argsort(self.sector[order], kind="stable")
        starts = np.searchsorted(self.sector[order][by_sector], self.sector[order][by_sector])
        rank[order[by_sector]] = np.arange(self.m) - starts
        fits = order[(rank < self.room(size))[order]]
        chosen = np.zeros(self.m, bool)
        chosen[fits[:size]] = True
        return chosen

    def greedy(self, size: int) -> Selection:
        """What must be held, and then again and again the asset that is best beside those chosen. O(size · m)."""
        chosen, room = self.held.copy(), self.room(size)
        sums, members = self.covariance[chosen].sum(axis=0), self.together[chosen].sum(axis=0)
        risk, reward = self.risk_aversion / size**2, (1 - self.risk_aversion) / size
        own = risk * np.diag(self.covariance) - reward * self.returns
        for _ in range(size - int(chosen.sum())):
            cost = np.where(chosen | (members >= room), np.inf, own + 2 * risk * sums)
            best = int(cost.argmin())
            chosen[best] = True
            sums = sums + self.covariance[best]
            members = members + self.together[best]
        return chosen

    def swaps(self, chosen: Selection) -> tuple[Int64[np.ndarray, " a"], Int64[np.ndarray, " b"], Any]:
        """Assets that may go (a), that may come (b), and what each exchange adds to f (inf where not allowed)."""
        k = int(chosen.sum())
        out, into = np.flatnonzero(chosen & ~self.held), np.flatnonzero(~chosen)
        risk, reward = self.risk_aversion / k**2, (1 - self.risk_aversion) / k
        sums, own = self.covariance[chosen].sum(axis=0), np.diag(self.covariance)
        leave = risk * (own - 2 * sums) + reward * self.returns
        enter = risk * (own + 2 * sums) - reward * self.returns
        change = leave[out, None] + enter[into] - 2 * risk * self.covariance[np.ix_(out, into)]
        full = self.together[chosen].sum(axis=0) >= self.room(k)
        return out, into, np.where(full[into] & ~self.together[np.ix_(out, into)], np.inf, change)

    def descended(self, chosen: Selection) -> Selection:
        """The best exchange, or one asset more or fewer where sizes are free, until none lowers f."""
        value = float(self.objective(chosen))
        while True:
            candidates = [self._swapped(chosen), *self._resized(chosen)]
            values = [float(self.objective(each)) for each in candidates]
            best = int(np.argmin(values))
            if values[best] >= value - 1e-12 * abs(value):
                return chosen
            chosen, value = candidates[best], values[best]

    def _swapped(self, chosen: Selection) -> Selection:
        out, into, change = self.swaps(chosen)
        if not change.size or not np.isfinite(change.min()):
            return chosen
        a, b = np.unravel_index(change.argmin(), change.shape)
        swapped = chosen.copy()
        swapped[[out[a], into[b]]] = False, True
        return swapped

    def _resized(self, chosen: Selection) -> list[Selection]:
        """The best selections with one asset more, and with one fewer."""
        k = int(chosen.sum())
        out = []
        for size in (k - 1, k + 1):
            if size not in self.sizes:
                continue
            flips = np.flatnonzero(~chosen if size > k else chosen & ~self.held)
            changed = np.tile(chosen, (len(flips), 1))
            changed[np.arange(len(flips)), flips] ^= True
            fits = (changed @ self.together.astype(np.int32) * changed <= self.room(size)).all(axis=1)
            if fits.any():
                changed = changed[fits]
                out.append(changed[self.objective(changed).argmin()])
        return out


def state_of(chosen: Selection) -> Bundle:
    """A selection as an incumbent's state."""
    return bundle({"chosen": chosen.astype(np.uint8)})


def pack_universe(universe: Universe) -> Bundle:
    """To the wire."""
    u = universe
    floats = {"returns": u.returns, "covariance": u.covariance, "caps": u.caps}
    flags = {"held": u.held.astype(np.uint8), "shares": u.shares.astype(np.uint8)}
    return bundle({**floats, **flags, "sector": u.sector, "sizes": u.sizes}, risk_aversion=u.risk_aversion)


def unpack_universe(packed: Bundle) -> Universe:
    """From the wire."""
    return Universe(
        returns=array(packed, "returns"),
        covariance=array(packed, "covariance"),
        risk_aversion=float(packed.values["risk_aversion"]),
        held=array(packed, "held").astype(bool),
        sector=array(packed, "sector"),
        caps=array(packed, "caps"),
        shares=array(packed, "shares").astype(bool),
        sizes=array(packed, "sizes"),
    )
