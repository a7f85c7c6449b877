"""What ends of problems have taught: sums by cell, as control keeps them on `control.state`."""

from __future__ import annotations

import msgspec


class Sums(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Of something that was measured: how often, the sum, and the sum of the squares. Each counts by its age."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one backend at kernels of one kind and size of one family.

    `at`: of its latest run, seconds since the epoch; all ages are counted to it. `gain`: over the baseline, relative;
    `fresh`: the latest `count` of them, not yet compared with those before. `seconds` and `usd`: what runs took.
    """

    at: float = 0.0
    gain: Sums = Sums()
    fresh: Sums = Sums()
    count: int = 0
    seconds: Sums = Sums()
    usd: Sums = Sums()


class Calibration(msgspec.Struct, frozen=True, array_like=True):
    """How wrong the estimates about one backend were at kernels of one size: logarithms of what it took over what was
    estimated, of seconds and dollars; and the gain and the fidelity over what was expected of them."""

    at: float = 0.0
    seconds: Sums = Sums()
    usd: Sums = Sums()
    gain: Sums = Sums()
    fidelity: Sums = Sums()


class Observed(msgspec.Struct, frozen=True, array_like=True):
    """What runs of one problem on one backend came to: how many, their gains, seconds and dollars; and how wrong what
    was expected of them was, as in `Calibration`."""

    runs: int = 0
    gain: Sums = Sums()
    seconds: Sums = Sums()
    usd: Sums = Sums()
    off_seconds: Sums = Sums()
    off_usd: Sums = Sums()
    off_gain: Sums = Sums()
    off_fidelity: Sums = Sums()


class Learned(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that was learned, up to `offsets` of the audit's partitions, by number: the next entries, not in it.

    `cells` by family, kind, size class and backend, `calibrations` by size class and backend, each with line feeds
    between them. `latest`: runs that would be nothing new. `open`: of problems that have rounds and have not ended, by
    the place of their record and by cell, what these came to.
    """

    offsets: tuple[int, ...] = ()
    cells: dict[str, Cell] = {}
    calibrations: dict[str, Calibration] = {}
    latest: tuple[str, ...] = ()
    open: dict[str, dict[str, Observed]] = {}
