"""Evidence, whether it pays: a fold over the audit. Gains over the baseline, seconds, dollars, by cell, and how sure.

A cell is a backend at kernels of one kind and size class of one family. A gain is paired: a backend's answer against
the incumbent of the same problem, relative to it, judged by the problem's own data. What was measured counts half after
`HALF_LIFE`, by the time of the audit's entries; and where the latest gains contradict those before them, those count no
more. Rounds of a problem count as one when it ends. Each entry counts once: the state says up to which offsets of the
audit it is folded.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import NamedTuple

from msgspec.structs import replace

from qmosaic.codecs.events.control import Evidence
from qmosaic.codecs.events.evidence import Calibration, Cell, Learned, Observed, Sums
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.control.observed import MOST_OFF, gathered, joined, observed

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
SHRINK = 4.0
"""Runs that it takes to correct an estimate half."""


class Seen(NamedTuple):
    """An entry of the audit where it stands, and what of it is evidence; of which problem, and whether another round of
    that follows."""

    partition: int
    offset: int
    evidence: Evidence | None
    problem: str = ""
    goes_on: bool = False


class Evidences:
    """The fold."""

    start = Learned()

    def step(self, state: Learned, event: Seen, at: float) -> Learned:
        """With one more entry, written `at` (seconds since the epoch); as it was, where it is in there already."""
        offsets = [*state.offsets, *[0] * (event.partition + 1 - len(state.offsets))]
        if event.offset < offsets[event.partition]:
            return state
        offsets[event.partition] = event.offset + 1
        state = replace(state, offsets=tuple(offsets))
        found, latest = _found(event.evidence, state.latest) if event.evidence is not None else ([], state.latest)
        if not found and event.problem not in state.open:
            return state
        cells, calibrations = dict(state.cells), dict(state.calibrations)
        still_open, told = gathered(state.open, event.problem, event.goes_on, found, _backend_of)
        for key, seen, _ in told:
            cells[key] = _measured(cells.get(key, Cell(at)), seen, at)
            key = _calibration_of(key)
            calibrations[key] = _calibrated(calibrations.get(key, Calibration(at)), seen, at)
        for table in (cells, calibrations):
            while len(table) > MOST_CELLS:
                del table[min(table, key=lambda key: table[key].at)]
        return Learned(state.offsets, cells, calibrations, latest, still_open)


def _found(said: Evidence, latest: tuple[str, ...]) -> tuple[list[tuple[str, Observed]], tuple[str, ...]]:
    """By cell, what runs tell that are not among the latest; and the latest with them."""
    found = []
    for run in said.runs:
        key, name = key_of(said.family, said.kind, said.variables, run.backend), f"{said.job} {run.backend}"
        if len(key) <= LONGEST_KEY and name not in latest:
            latest = (*latest[1 - MOST_LATEST :], name)
            found.append((key, observed(run, said.work_seconds)))
    return found, latest


def key_of(family: str, kind: Kind, variables: int, backend: str) -> str:
    """Of a cell."""
    return "\n".join((family, kind, str(size_class(variables)), backend))


def backend_key(variables: int, backend: str) -> str:
    """Of a calibration."""
    return f"{size_class(variables)}\n{backend}"


def _backend_of(key: str) -> str:
    return key.split("\n", 3)[-1]


def _calibration_of(key: str) -> str:
    return key.split("\n", 2)[-1]


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


def age(before: float, at: float) -> float:
    """What something counts when it is as old as from `before` to `at`, seconds since the epoch."""
    return float(0.5 ** min(max(0.0, at - before) / HALF_LIFE, 1000.0))


def _measured(cell: Cell, seen: Observed, at: float) -> Cell:
    fade, weight = age(cell.at, at), age(at, cell.at)
    cell = Cell(
        max(cell.at, at),
        faded(cell.gain, fade),
        joined(faded(cell.fresh, fade), faded(seen.gain, weight)),
        cell.count + (seen.gain.n > 0.0),
        joined(faded(cell.seconds, fade), faded(seen.seconds, weight)),
        joined(faded(cell.usd, fade), faded(seen.usd, weight)),
    )
    if cell.count < FRESH:
        return cell
    kept = cell.fresh if _contradicts(cell.fresh, cell.gain) else joined(cell.gain, cell.fresh)
    return replace(cell, gain=kept, fresh=Sums(), count=0)


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


def _calibrated(known: Calibration, seen: Observed, at: float) -> Calibration:
    fade, weight = age(known.at, at), age(at, known.at)
    return Calibration(
        max(known.at, at),
        joined(faded(known.seconds, fade), faded(seen.off_seconds, weight)),
        joined(faded(known.usd, fade), faded(seen.off_usd, weight)),
        joined(faded(known.gain, fade), faded(seen.off_gain, weight)),
        joined(faded(known.fidelity, fade), faded(seen.off_fidelity, weight)),
    )


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
    means; 1 where nothing is known), and by how much its gains and its fidelities are better, None where nothing is
    known of these; of how many runs with known seconds."""

    seconds: float
    usd: float
    gain: float
    fidelity: float | None
    n: float


def calibration(learned: Learned) -> dict[str, Off]:
    """By backend, of all sizes."""
    found: dict[str, Calibration] = {}
    for key, known in learned.calibrations.items():
        backend = key.partition("\n")[2]
        before = found.get(backend, Calibration())
        found[backend] = Calibration(
            0.0,
            joined(before.seconds, known.seconds),
            joined(before.usd, known.usd),
            joined(before.gain, known.gain),
            joined(before.fidelity, known.fidelity),
        )
    return {
        backend: Off(
            _factor(one.seconds),
            _factor(one.usd),
            mean_of(one.gain, 0.0).mean,
            mean_of(one.fidelity, 0.0).mean if one.fidelity.n > 0 else None,
            one.seconds.n,
        )
        for backend, one in found.items()
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
