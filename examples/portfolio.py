"""Which assets to hold: prices in, a verified portfolio and its risk out.

qmosaic up                      # in another terminal
python examples/portfolio.py    # finds it; or give it the address of a broker
"""

from __future__ import annotations

import sys

import numpy as np

import qmosaic

SECTORS = {
    "Wind": "energy", "Solar": "energy", "Grid": "energy", "Coal": "energy",
    "Chips": "tech", "Cloud": "tech", "Games": "tech", "Robots": "tech",
    "Bread": "food", "Fruit": "food", "Fish": "food", "Cocoa": "food",
}  # fmt: skip


def prices(weeks: int = 156) -> list[list[float]]:
    """Weekly prices that move with the market, with their sector and on their own; the same at every call."""
    rng = np.random.default_rng(2024)
    sectors = sorted(set(SECTORS.values()))
    of = [sectors.index(sector) for sector in SECTORS.values()]
    market, sector = rng.normal(0, 0.015, (weeks, 1)), rng.normal(0, 0.015, (weeks, 3))[:, of]
    own = rng.normal(rng.uniform(0.0, 0.006, len(of)), rng.uniform(0.01, 0.03, len(of)), (weeks, len(of)))
    table: list[list[float]] = (100 * np.cumprod(1 + market + sector + own, axis=0)).round(2).tolist()
    return table


def problem() -> qmosaic.Portfolio:
    """Three to five of twelve, at most 40 % of a sector, no coal, the grid in any case, best weights from 5 to 40 %."""
    return qmosaic.Portfolio(
        prices=prices(),
        assets=list(SECTORS),
        risk_aversion=0.9,
        cardinality=(3, 5),
        exclude=["Coal"],
        must_hold=["Grid"],
        sectors=SECTORS,
        sector_cap=0.4,
        weights="optimal",
        bounds=(0.05, 0.4),
    )


def report(outcome: qmosaic.Outcome) -> str:
    """What came out, beside the classical baseline. Risk is a loss in per cent of the portfolio, a week."""
    lines = [f"{outcome.status} ({outcome.reason}), run on {outcome.target}: {outcome.backend}"]
    held = outcome.solution
    for asset, weight in zip(held["assets"], held["weights"], strict=True):
        lines.append(f"  {asset:8} {SECTORS[asset]:8} {weight:6.1%}")
    baseline = outcome.baseline.details if outcome.baseline else {}
    lines.append(f"{'per week':22} {'answer':>16} {'baseline':>16}")
    for measure in ("return", "volatility", "var_95", "cvar_95", "var_99", "cvar_99", "historical_cvar_95"):
        cells = [
            f"{side[measure]:8.2%}" + (f" ± {side[f'{measure}_error']:.2%}" if f"{measure}_error" in side else "")
            for side in (outcome.details, baseline)
            if measure in side
        ]
        lines.append(f"  {measure:20} " + " ".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def main(broker: str | None = None) -> None:
    with qmosaic.SyncClient(broker) as client:
        outcome = client.solve(problem(), deadline=20, target="quantum")
    print(report(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:2])
