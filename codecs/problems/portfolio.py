"""Portfolio, as its users write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from qmosaic.codecs.problems.base import ProblemData, described

Matrix = Sequence[Sequence[float]]
Asset = int | str


class Portfolio(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """Portfolio: which assets to hold; risk_aversion · variance − (1 − risk_aversion) · return, minimised.

    The market is `returns` with `covariance`, or with `correlations` and `deviations`, or `prices`.
    """

    family: ClassVar[str] = "portfolio"
    example: ClassVar[dict[str, Any]] = {
        "assets": ["A", "B", "C"],
        "returns": [0.010, 0.004, 0.007],
        "covariance": [[0.0040, 0.0006, 0.0010], [0.0006, 0.0009, 0.0002], [0.0010, 0.0002, 0.0025]],
        "cardinality": 2,
    }
    returns: Annotated[Sequence[float] | None, described("expected return of each asset, a fraction per period")] = None
    covariance: Annotated[Matrix | None, described("of the returns, a row for each asset; fractions² per period")] = (
        None
    )
    correlations: Annotated[Matrix | None, described("instead of covariance: a row for each asset, 1 with itself")] = (
        None
    )
    deviations: Annotated[
        Sequence[float] | None, described("with correlations: standard deviation of each return, a fraction per period")
    ] = None
    prices: Annotated[
        Matrix | None, described("instead of all these: a row for each period, oldest first, a price for each asset")
    ] = None
    assets: Annotated[Sequence[str] | None, described("names; default: the assets are indices from 0")] = None
    risk_aversion: Annotated[float, described("λ, 0 (return alone) to 1 (variance alone)")] = 0.5
    cardinality: Annotated[
        int | tuple[int, int] | None, described("how many assets to hold, or [least, most]; default: any number")
    ] = None
    exclude: Annotated[Sequence[Asset], described("assets that must not be held, by name or index")] = ()
    must_hold: Annotated[Sequence[Asset], described("assets that must be held, by name or index")] = ()
    sectors: Annotated[
        Mapping[str, str] | Sequence[str | None] | None,
        described("asset → sector, or a sector for each asset (null: none)"),
    ] = None
    sector_cap: Annotated[
        int | float | Mapping[str, int | float] | None,
        described("most assets a sector: a count (2), or a share of the portfolio (0.4); for all or by sector"),
    ] = None
    weights: Annotated[
        Literal["equal", "optimal"], described("equal: 1/k each; optimal: best for the assets chosen, within bounds")
    ] = "equal"
    bounds: Annotated[
        tuple[float, float] | None, described("[least, most] weight of an asset held, with optimal; default [0.01, 1]")
    ] = None
