"""What a problem tells of the backends that had its kernels: rounds are alike, and count as one observation.

All runs of one problem on one backend together weigh as much as the single run of a problem without rounds, and what
they tell is their mean: clusters are collapsed to one value each, which is right however alike the rounds are (Cameron
and Miller 2015, "A Practitioner's Guide to Cluster-Robust Inference"). Where they fall into several cells, each has its
share of that weight. What they come to is known when the problem ends; until then they are gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import log
from typing import Generic, NamedTuple, TypeVar

from qmosaic.codecs.events.control import Run
from qmosaic.codecs.events.evidence import Observed, Sums
from qmosaic.codecs.events.public import Expected

MOST_OPEN = 256
"""Problems whose rounds are gathered at once; beyond, the first of them counts as if it had ended."""
MOST_OFF = 64.0
"""Estimates are corrected by this factor at most, and by its inverse at least."""
MOST_AMOUNT = 1e9
"""Of seconds and of dollars: beyond, it was not measured."""
K = TypeVar("K")


class Told(NamedTuple, Generic[K]):
    """What a problem tells of a cell, all of it of weight `share`: 1 where all its runs on the backend are of it."""

    cell: K
    seen: Observed
    share: float


Open = Mapping[str, dict[K, Observed]]
"""By problem and cell, what its rounds came to so far; the problem of which one was heard first comes first."""


def gathered(
    known: Open[K], problem: str, goes_on: bool, found: Iterable[tuple[K, Observed]], backend_of: Callable[[K], str]
) -> tuple[dict[str, dict[K, Observed]], list[Told[K]]]:
    """With what was `found` of one more round of a problem, which `goes_on` or has ended: what is still gathered, and
    what ended problems tell."""
    after = dict(known)
    cells = dict(after.get(problem, {}))
    for key, seen in found:
        cells[key] = together(cells.get(key, Observed()), seen)
    after[problem] = cells
    over = [problem] if not goes_on else []
    over += list(after)[: max(0, len(after) - len(over) - MOST_OPEN)]
    return after, [told for name in over for told in collapsed(after.pop(name), backend_of)]


def collapsed(cells: Mapping[K, Observed], backend_of: Callable[[K], str]) -> list[Told[K]]:
    """What one problem tells of each cell: means, of the weight that its runs there have among those of the backend."""
    runs: dict[str, int] = {}
    for key, seen in cells.items():
        runs[backend_of(key)] = runs.get(backend_of(key), 0) + seen.runs
    shares = {key: seen.runs / runs[backend_of(key)] for key, seen in cells.items() if seen.runs}
    return [Told(key, _as_one(cells[key], share), share) for key, share in shares.items()]


def _as_one(seen: Observed, share: float) -> Observed:
    def mean(of: Sums) -> Sums:
        return counted(Sums(), of.total / of.n if of.n else None, share)

    return Observed(
        seen.runs,
        mean(seen.gain),
        mean(seen.seconds),
        mean(seen.usd),
        mean(seen.off_seconds),
        mean(seen.off_usd),
        mean(seen.off_gain),
        mean(seen.off_fidelity),
    )


def together(one: Observed, other: Observed) -> Observed:
    """Runs of one problem, and more of it."""
    return Observed(
        one.runs + other.runs,
        joined(one.gain, other.gain),
        joined(one.seconds, other.seconds),
        joined(one.usd, other.usd),
        joined(one.off_seconds, other.off_seconds),
        joined(one.off_usd, other.off_usd),
        joined(one.off_gain, other.off_gain),
        joined(one.off_fidelity, other.off_fidelity),
    )


def observed(run: Run, estimate: float | None) -> Observed:
    """What one run tells; `estimate`: the seconds that were expected of it."""
    off = off_by(run, estimate)
    return Observed(
        runs=1,
        gain=counted(Sums(), gained(run)),
        seconds=counted(Sums(), took(run)),
        usd=counted(Sums(), charged(run)),
        off_seconds=counted(Sums(), off.seconds),
        off_usd=counted(Sums(), off.cost_usd),
        off_gain=counted(Sums(), off.gain),
        off_fidelity=counted(Sums(), off.fidelity),
    )


def joined(one: Sums, other: Sums) -> Sums:
    """What both counted."""
    return Sums(one.n + other.n, one.total + other.total, one.squares + other.squares)


def counted(sums: Sums, value: float | None, weight: float = 1.0) -> Sums:
    """With one more of them; None: it was not measured."""
    return sums if value is None else joined(sums, Sums(weight, weight * value, weight * value * value))


def gained(run: Run) -> float | None:
    """The gain of a run, within 100 %; None: there is nothing to compare."""
    return _bounded(run.gain, -1.0, 1.0)


def took(run: Run) -> float | None:
    """The seconds of a run; None: nobody measured them."""
    return _amount(run.seconds)


def charged(run: Run) -> float | None:
    """The dollars of a run; None: what is told is no amount. A failed job is booked in full, unless it tells better."""
    if run.cost_usd is not None:
        return _amount(run.cost_usd)
    return _amount(run.expected.cost_usd) if run.expected is not None and run.expected.cost_usd is not None else 0.0


def off_by(run: Run, seconds: float | None) -> Expected:
    """How wrong what was expected of a run was: logarithms of what it took over what was expected, of seconds
    (`seconds` were) and dollars, and how much better than expected its answer and its fidelity were. None: one of both
    is not known."""
    expected = run.expected or Expected()
    return Expected(
        seconds=_ratio(run.seconds, seconds) if run.answered else None,
        cost_usd=_ratio(run.cost_usd, expected.cost_usd),
        gain=_more(run.gain, expected.gain) if run.answered else None,
        fidelity=_more(run.fidelity, expected.fidelity) if run.answered else None,
    )


def _more(real: float | None, estimate: float | None) -> float | None:
    return None if real is None or estimate is None else _bounded(real - estimate, -2.0, 2.0)


def _ratio(real: float | None, estimate: float | None) -> float | None:
    """Its logarithm, within what a correction may be, twice."""
    if real is None or estimate is None or not (1e-9 < real < MOST_AMOUNT and 1e-9 < estimate < MOST_AMOUNT):
        return None
    return _bounded(log(real / estimate), -2 * log(MOST_OFF), 2 * log(MOST_OFF))


def _bounded(value: float | None, least: float, most: float) -> float | None:
    return None if value is None else min(max(value, least), most)


def _amount(value: float | None) -> float | None:
    return value if value is not None and 0.0 <= value < MOST_AMOUNT else None
