"""Portfolios: weights beside what they contribute to the risk, and where the whole stands among its assets."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.codecs.problems import Portfolio
from qmosaic.streams.pictures import summary
from qmosaic.streams.pictures.sheet import Sheet, count, label, percent

LARGEST = 3000
"""Assets: the covariance of more is too large."""
BARS, MOST_IN_A_NAME = 16, 16


def picture(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """Draw it. Raises LookupError, TypeError, ValueError where the solution does not fit."""
    given = msgspec.convert(problem.problem, Portfolio)
    n = len(given.prices[0]) if given.prices else len(given.returns or ())
    held, weights = list(outcome.solution["assets"]), np.array(outcome.solution["weights"], dtype=np.float64)
    sheet.asked = f"portfolio: {len(held)} of {count(n, 'asset')}, risk aversion {given.risk_aversion:g}"
    if n > LARGEST:
        summary.large(sheet, count(n, "asset"), count(LARGEST, "asset"))
        return
    returns, covariance = _market(given)
    place: dict[Any, int] = {name: k for k, name in enumerate(given.assets if given.assets is not None else range(n))}
    chosen = np.array([place[name] for name in held], dtype=np.int64)
    if weights.shape != chosen.shape or not len(chosen):
        raise ValueError("expected a weight for each asset")
    marginal = weights * (covariance[np.ix_(chosen, chosen)] @ weights)
    variance = float(marginal.sum())
    risk = marginal / variance if variance > 0 else np.zeros(len(chosen))
    _bars(sheet, [label(name, MOST_IN_A_NAME) for name in held], weights, risk)
    _market_of(
        sheet, outcome, returns, covariance, chosen, float(returns[chosen] @ weights), float(np.sqrt(max(variance, 0)))
    )


def _market(given: Portfolio) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, "n n"]]:
    """Expected returns and covariance, as the problem gives them."""
    if given.prices is not None:
        prices = np.array(given.prices, dtype=np.float64)
        history = prices[1:] / prices[:-1] - 1
        n = history.shape[1]
        return history.mean(axis=0), np.cov(history, rowvar=False).reshape(n, n)
    returns = np.array(given.returns, dtype=np.float64)
    if given.covariance is not None:
        return returns, np.array(given.covariance, dtype=np.float64)
    deviations = np.array(given.deviations, dtype=np.float64)
    return returns, np.array(given.correlations, dtype=np.float64) * np.outer(deviations, deviations)


def _bars(sheet: Sheet, names: list[str], weights: Float64[np.ndarray, " k"], risk: Float64[np.ndarray, " k"]) -> None:
    ink = sheet.ink
    order = np.argsort(-weights, kind="stable")
    names, weights, risk = [names[k] for k in order], weights[order], risk[order]
    if len(names) > BARS:
        rest = len(names) - BARS + 1
        names = [*names[: BARS - 1], f"{rest} others"]
        weights = np.r_[weights[: BARS - 1], weights[BARS - 1 :].sum()]
        risk = np.r_[risk[: BARS - 1], risk[BARS - 1 :].sum()]
    axes = sheet.axes(0.13, 0.16, 0.52, 0.93)
    sheet.head(axes, "What is held, and what it contributes to the risk")
    at, high = np.arange(len(names)), 0.36
    axes.barh(at - high / 2, 100 * weights, high, color=ink.blue, label="weight")
    axes.barh(at + high / 2, 100 * risk, high, color=ink.orange, label="part of the variance", hatch="////",
              edgecolor=ink.page, linewidth=0)  # fmt: skip
    for k, (weight, part) in enumerate(zip(weights, risk, strict=True)):
        for shift, share in ((-high / 2, weight), (high / 2, part)):
            axes.annotate(
                f"{100 * share:.1f}".replace("-", "−"), (100 * max(share, 0.0), k + shift), (3, 0),
                textcoords="offset points", va="center", fontsize=min(7.5, 110 / len(names)), color=ink.muted,
            )  # fmt: skip
    axes.set_yticks(at, names)
    axes.invert_yaxis()
    axes.axvline(0, color=ink.faint, linewidth=0.8)
    axes.margins(x=0.12)
    axes.set_xlabel("share of the whole (%)", fontsize=8.5, color=ink.muted)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.45, -0.12), ncols=2, frameon=False, fontsize=8, labelcolor=ink.text
    )


def _market_of(
    sheet: Sheet,
    outcome: Outcome,
    returns: Float64[np.ndarray, " n"],
    covariance: Float64[np.ndarray, "n n"],
    chosen: Any,
    gain: float,
    deviation: float,
) -> None:
    ink = sheet.ink
    axes = sheet.axes(0.64, 0.16, 1.0, 0.93)
    sheet.head(axes, "Among all assets")
    spread = 100 * np.sqrt(np.clip(np.diag(covariance), 0, None))
    out = np.ones(len(returns), bool)
    out[chosen] = False
    axes.plot(
        spread[out], 100 * returns[out], "o", color=ink.muted, alpha=0.55, markersize=4, linewidth=0, label="not held"
    )
    axes.plot(spread[chosen], 100 * returns[chosen], "o", color=ink.blue, markersize=6, linewidth=0, label="held")
    base = outcome.baseline.details if outcome.baseline is not None else {}
    if "volatility" in base and "return" in base:
        axes.plot(
            100 * float(base["volatility"]), 100 * float(base["return"]), "D", markerfacecolor="none",
            markeredgecolor=ink.text, markersize=10, linewidth=0, label="the baseline",
        )  # fmt: skip
    axes.plot(100 * deviation, 100 * gain, "*", color=ink.red, markersize=14, markeredgecolor=ink.page, linewidth=0,
              label="this portfolio")  # fmt: skip
    axes.margins(0.12)
    sheet.labels(axes, "volatility (% per period)", "expected return (% per period)")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.45, -0.12),
        ncols=4,
        frameon=False,
        fontsize=8,
        labelcolor=ink.text,
        columnspacing=0.9,
        handletextpad=0.3,
    )
    tail = outcome.details.get("cvar_95")
    loss = f", expected shortfall in the worst 5 %: {percent(float(tail))}" if isinstance(tail, int | float) else ""
    sheet.remark = f"Per period of the data: return {percent(gain)}, volatility {percent(deviation)}{loss}"
