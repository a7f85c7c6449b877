"""Evidence, whether it pays: a fold over the audit. Gains over the baseline, seconds, dollars, by cell, and how sure.

A cell is a backend at kernels of one kind and size class of one family. A gain is paired: a backend's answer against
the incumbent of the same problem, relative to it, judged by the problem's own data. What was measured counts half after
`HALF_LIFE`, by the time of the audit's entries; and where the latest gains contradict those before them, those count no
more. Each entry counts once: the state says up to which offsets of the audit it is folded.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import NamedTuple

from msgspec.structs import replace

from qmosaic.codecs.events.control import Evidence, Run
from qmosaic.codecs.events.evidence import Calibration, Cell, Learned, Sums
from qmosaic.codecs.events.public import Expected
from qmosaic.codecs.models.kernel import Kind

HALF_LIFE = 86_400.0
"""Seconds after which what was measured counts half."""
FRESH = 16
"""So many of the latest gains are compared with those before; then they join them, or take their place."""
CONTRADICTION = 3.0
"""Standard errors of the difference from which on the latest gains contradict those before."""
PRIOR, PRIOR_DEVIATION = 2.0, 0.03
"""Before anything was measured: as if so many gains of 0 were, with this standard deviation."""
Z = 1.645
"""Standard errors on each side of the interval that holds the mean nine times in ten."""
MOST_CELLS, MOST_LATEST = 256, 256
LONGEST_KEY = 200
MOST_OFF = 64.0
"""Estimates are corrected by this factor at most, and by its inverse at least."""
SHRINK = 4.0
"""Runs that it takes to correct an estimate half."""
MOST_AMOUNT = 1e9
"""Of seconds and of dollars: beyond, it was not measured."""


class Seen(NamedTuple):
    """An entry of the audit where it stands, or what of it is evidence."""

    partition: int
    offset: int
    evidence: Evidence | None


class Evidences:
    """The fold."""

    start = Learned()

    def step(self, state: Learned, event: Seen, at: float) -> Learned:
        """With one more entry, written `at` (seconds since the epoch); as it was, where it is in there already."""
        offsets = [*state.offsets, *[0] * (event.partition + 1 - len(state.offsets))]
        if event.offset < offsets[event.partition]:
            return state
        offsets[event.partition] = event.offset + 1
        said = event.evidence
        if said is None or not said.runs:
            return replace(state, offsets=tuple(offsets))
        cells, calibrations, latest = dict(state.cells), dict(state.calibrations), state.latest
        for run in said.runs:
            key, backend = key_of(said.family, said.kind, said.variables, run.backend), run.backend
            name = f"{said.job} {backend}"
            if len(key) > LONGEST_KEY or name in latest:
                continue
            latest = (*latest[1 - MOST_LATEST :], name)
            cells[key] = _measured(cells.get(key, Cell(at)), run, at)
            key = backend_key(said.variables, backend)
            calibrations[key] = _calibrated(calibrations.get(key, Calibration(at)), run, said.work_seconds, at)
        for table in (cells, calibrations):
            while len(table) > MOST_CELLS:
                del table[min(table, key=lambda key: table[key].at)]
        return Learned(tuple(offsets), cells, calibrations, latest)


def key_of(family: str, kind: Kind, variables: int, backend: str) -> str:
    """Of a cell."""
    return "\n".join((family, kind, str(size_class(variables)), backend))


def backend_key(variables: int, backend: str) -> str:
    """Of a calibration."""
    return f"{size_class(variables)}\n{backend}"


def size_class(variables: int) -> int:
    """k for more than 2^(k-1) and up to 2^k variables."""
    return (max(1, variables) - 1).bit_length()


def is_new(before: Learned, after: Learned) -> bool:
    """Whether more was learned than where to read on."""
    return before.cells is not after.cells and before.cells != after.cells


# -- sums --------------------------------------------------------------------------------------------------------------


def faded(sums: Sums, factor: float) -> Sums:
    """Each counts that much less."""
    return Sums(sums.n * factor, sums.total * factor, sums.squares * factor)


def joined(one: Sums, other: Sums) -> Sums:
    """What both counted."""
    return Sums(one.n + other.n, one.total + other.total, one.squares + other.squares)


def age(before: float, at: float) -> float:
    """What something counts when it is as old as from `before` to `at`, seconds since the epoch."""
    return float(0.5 ** min(max(0.0, at - before) / HALF_LIFE, 1000.0))


def counted(sums: Sums, value: float | None, weight: float = 1.0) -> Sums:
    """With one more of them; None: it was not measured."""
    return sums if value is None else joined(sums, Sums(weight, weight * value, weight * value * value))


def _with(sums: Sums, fade: float, value: float | None, weight: float) -> Sums:
    return counted(faded(sums, fade), value, weight)


def _measured(cell: Cell, run: Run, at: float) -> Cell:
    fade, weight = age(cell.at, at), age(at, cell.at)
    cell = Cell(
        max(cell.at, at),
        faded(cell.gain, fade),
        _with(cell.fresh, fade, gained(run), weight),
        cell.count + (run.gain is not None),
        _with(cell.seconds, fade, took(run), weight),
        _with(cell.usd, fade, charged(run), weight),
    )
    if cell.count < FRESH:
        return cell
    kept = cell.fresh if _contradicts(cell.fresh, cell.gain) else joined(cell.gain, cell.fresh)
    return replace(cell, gain=kept, fresh=Sums(), count=0)


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


def _contradicts(fresh: Sums, before: Sums) -> bool:
    """Whether the latest gains are others than those before: two means, by their standard errors."""
    if fresh.n <= 0.0 or before.n < 1.0:
        return False
    spread = max(_variance(fresh), _variance(before))
    difference = fresh.total / fresh.n - before.total / before.n
    return difference * difference > CONTRADICTION * CONTRADICTION * spread * (1 / fresh.n + 1 / before.n)


def _variance(sums: Sums) -> float:
    mean = sums.total / sums.n
    return max(0.0, sums.squares / sums.n - mean * mean)


def _calibrated(known: Calibration, run: Run, estimate: float, at: float) -> Calibration:
    fade, weight, off = age(known.at, at), age(at, known.at), off_by(run, estimate)
    return Calibration(
        max(known.at, at),
        _with(known.seconds, fade, off.seconds, weight),
        _with(known.usd, fade, off.cost_usd, weight),
        _with(known.gain, fade, off.gain, weight),
    )


def off_by(run: Run, seconds: float | None) -> Expected:
    """How wrong what was expected of a run was: logarithms of what it took over what was expected, of seconds
    (`seconds` were) and dollars, and how much better than expected its answer was. None: one of both is not known."""
    expected = run.expected or Expected()
    better = run.gain - expected.gain if run.answered and run.gain is not None and expected.gain is not None else None
    return Expected(
        seconds=_ratio(run.seconds, seconds) if run.answered else None,
        cost_usd=_ratio(run.cost_usd, expected.cost_usd),
        gain=_bounded(better, -2.0, 2.0),
    )


def _ratio(real: float | None, estimate: float | None) -> float | None:
    """Its logarithm, within what a correction may be, twice."""
    if real is None or estimate is None or not (1e-9 < real < MOST_AMOUNT and 1e-9 < estimate < MOST_AMOUNT):
        return None
    return _bounded(log(real / estimate), -2 * log(MOST_OFF), 2 * log(MOST_OFF))


def _bounded(value: float | None, least: float, most: float) -> float | None:
    return None if value is None else min(max(value, least), most)


def _amount(value: float | None) -> float | None:
    return value if value is not None and 0.0 <= value < MOST_AMOUNT else None


# -- what is known of a cell -------------------------------------------------------------------------------------------


class Estimated(NamedTuple):
    """A mean, with its standard error, of `n` runs (each counted by its age)."""

    mean: float
    error: float
    n: float

    @property
    def interval(self) -> tuple[float, float]:
        """What holds the mean nine times in ten."""
        return self.mean - Z * self.error, self.mean + Z * self.error


def gain_of(cell: Cell | None, at: float) -> Estimated:
    """The gain over the baseline as it is believed to be at a moment: between nothing, which is believed of what was
    never measured, and the mean of what was."""
    return believed(Sums() if cell is None else faded(joined(cell.gain, cell.fresh), age(cell.at, at)))


def believed(sums: Sums, deviation: float = PRIOR_DEVIATION) -> Estimated:
    """The mean that is believed of something of which nothing is believed before: so many values of 0 besides."""
    n = max(0.0, sums.n) + PRIOR
    mean = sums.total / n
    spread = max(0.0, (sums.squares + PRIOR * deviation * deviation) / n - mean * mean)
    return Estimated(mean, sqrt(spread / n), sums.n)


def mean_of(sums: Sums, unknown: float) -> Estimated:
    """The mean of seconds or dollars; `unknown` where none was measured."""
    if sums.n <= 0.0:
        return Estimated(unknown, 0.0, 0.0)
    return Estimated(sums.total / sums.n, sqrt(_variance(sums) / (sums.n + 1.0)), sums.n)


def correction(sums: Sums, fade: float = 1.0) -> float:
    """The factor that corrects an estimate, by the logarithms of what it was off: 1 where nothing is known."""
    n = sums.n * fade
    if n <= 0.0:
        return 1.0
    return exp(min(max(sums.total * fade / (n + SHRINK), -log(MOST_OFF)), log(MOST_OFF)))


def slower(learned: Learned, backend: str, variables: int, at: float) -> float:
    """By how much a backend is slower than estimated at kernels of such a size."""
    known = learned.calibrations.get(backend_key(variables, backend))
    return 1.0 if known is None else correction(known.seconds, age(known.at, at))


class Off(NamedTuple):
    """How good the estimates about a backend are: the factors that its seconds and dollars are of them (geometric
    means; 1 where nothing is known), and by how much its gains are better; of how many runs with known seconds."""

    seconds: float
    usd: float
    gain: float
    n: float


def calibration(learned: Learned) -> dict[str, Off]:
    """By backend, of all sizes."""
    sums: dict[str, tuple[Sums, Sums, Sums]] = {}
    for key, known in learned.calibrations.items():
        backend = key.partition("\n")[2]
        before = sums.get(backend, (Sums(), Sums(), Sums()))
        seconds, usd, gain = map(joined, before, (known.seconds, known.usd, known.gain))
        sums[backend] = seconds, usd, gain
    return {
        backend: Off(_factor(seconds), _factor(usd), mean_of(gain, 0.0).mean, seconds.n)
        for backend, (seconds, usd, gain) in sums.items()
    }


def _factor(logarithms: Sums) -> float:
    return exp(min(max(mean_of(logarithms, 0.0).mean, -2 * log(MOST_OFF)), 2 * log(MOST_OFF)))


class Belief(NamedTuple):
    """What is believed of a cell at a moment: `at` is of its latest run."""

    family: str
    kind: str
    size: int
    backend: str
    gain: Estimated
    at: float


def beliefs(learned: Learned, at: float) -> list[Belief]:
    """Of every cell whose key is one, those with most runs first."""
    found = []
    for key, cell in learned.cells.items():
        parts = key.split("\n", 3)
        if len(parts) == 4 and parts[2].isdecimal() and len(parts[2]) < 5:
            family, kind, size, backend = parts
            found.append(Belief(family, kind, int(size), backend, gain_of(cell, at), cell.at))
    return sorted(found, key=lambda one: (-one.gain.n, one[:4]))
