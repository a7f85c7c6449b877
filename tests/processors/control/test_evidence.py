"""The fold of evidence: what it counts and what not, in which order, how it fades; the page's example, recomputed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import sqrt
from statistics import mean
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.control import Evidence, Run
from qmosaic.codecs.events.evidence import Cell, Learned, Sums
from qmosaic.codecs.events.public import Expected
from qmosaic.processors.control import evidence
from qmosaic.processors.control.evidence import (
    FRESH,
    HALF_LIFE,
    MOST_CELLS,
    MOST_LATEST,
    PRIOR,
    PRIOR_DEVIATION,
    SHRINK,
    Evidences,
    Seen,
    Z,
    beliefs,
    calibration,
    gain_of,
    key_of,
    size_class,
    slower,
)
from qmosaic.processors.control.observed import MOST_OFF, MOST_OPEN
from qmosaic.processors.control.worth import Worth
from tests.servers import ROOT

NOON = 1_800_000_000.0
FOLD = Evidences()


def told(job: int, gain: float | None = 0.01, **given: Any) -> Evidence:
    of: dict[str, Any] = {"family": "maxcut", "backend": "device", "variables": 12, "work_seconds": 0.1} | given
    run = Run(
        target="quantum",
        backend=of["backend"],
        answered=of.get("answered", True),
        seconds=of.get("seconds", 0.1),
        cost_usd=of.get("cost_usd"),
        gain=gain,
        expected=of.get("expected"),
        fidelity=of.get("fidelity"),
    )
    return Evidence(
        family=of["family"],
        kind="spins",
        variables=of["variables"],
        job=str(job),
        work_seconds=of["work_seconds"],
        runs=[run],
    )


def folded(events: Sequence[tuple[Seen, float]], state: Learned = FOLD.start) -> Learned:
    for event, at in events:
        state = FOLD.step(state, event, at)
    return state


def cell_of(gains: Sequence[float], seconds: float = 0.0) -> Cell:
    """Gains so many seconds one after the other."""
    state = folded([(Seen(0, k, told(k, gain)), NOON + k * seconds) for k, gain in enumerate(gains)])
    (cell,) = state.cells.values()
    return cell


entries = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["maxcut", "labs"]),
        st.sampled_from(["device", "exact"]),
        st.none() | st.floats(-1, 1),
        st.floats(0, 3 * HALF_LIFE),
    ),
    max_size=FRESH - 1,  # so that nothing contradicts anything
)
Entries = list[tuple[int, str, str, float | None, float]]


def placed(given: Entries) -> list[tuple[Seen, float]]:
    """Each at the next offset of its partition."""
    ends, out = dict.fromkeys(range(3), 0), []
    for number, (partition, family, backend, gain, after) in enumerate(given):
        said = told(number, gain, family=family, backend=backend)
        out.append((Seen(partition, ends[partition], said), NOON + after))
        ends[partition] += 1
    return out


def numbers(state: Learned) -> dict[str, list[float]]:
    found = {}
    for key, cell in state.cells.items():
        gain = gain_of(cell, NOON + 3 * HALF_LIFE)
        sums = (evidence.faded(one, evidence.age(cell.at, NOON + 3 * HALF_LIFE)) for one in (cell.seconds, cell.usd))
        found[key] = [*gain, *(value for one in sums for value in (one.n, one.total))]
    return found


@given(entries, st.randoms(use_true_random=False))
def test_partitions_may_be_read_in_any_order(given: Entries, chance: Any) -> None:
    events = placed(given)
    left = {k: [event for event in events if event[0].partition == k] for k in range(3)}
    other = []
    while any(left.values()):
        other.append(left[chance.choice([k for k in left if left[k]])].pop(0))
    one, two = numbers(folded(events)), numbers(folded(other))
    assert one.keys() == two.keys()
    for key, values in one.items():
        assert values == pytest.approx(two[key], rel=1e-9, abs=1e-12)


@given(entries, st.integers(0, FRESH))
def test_who_goes_on_from_a_snapshot_knows_the_same(given: Entries, cut: int) -> None:
    events = placed(given)
    snapshot = msgspec.json.decode(msgspec.json.encode(folded(events[:cut])), type=Learned)
    assert folded(events[cut:], snapshot) == folded(events)


@given(entries)
def test_what_is_read_again_counts_nothing(given: Entries) -> None:
    events = placed(given)
    state = folded(events)
    unknown = msgspec.structs.replace(state, latest=())  # by their places alone
    assert folded(events, unknown) == unknown
    equal = [(seen._replace(offset=seen.offset + 100), at) for seen, at in events]  # other problems with equal jobs
    assert folded(equal, state).cells == state.cells


def of_problem(number: int, gains: Sequence[float], variables: int = 12, first: int = 0) -> list[tuple[Seen, float]]:
    """The rounds of one, each an entry."""
    rounds = [told(1000 * number + k, gain, variables=variables) for k, gain in enumerate(gains)]
    last = len(rounds) - 1
    return [(Seen(0, first + k, one, f"0-{number}", k < last), NOON) for k, one in enumerate(rounds)]


def test_rounds_of_a_problem_count_as_one_when_it_ends() -> None:
    first, *rest = of_problem(7, [0.06, 0.0, 0.03])
    going = folded([first, rest[0]])
    assert not going.cells
    state = folded([*rest[1:]], going)
    (cell,) = state.cells.values()
    assert not state.open
    assert (cell.fresh.n, cell.count, cell.seconds.n) == (1.0, 1, 1.0)
    assert gain_of(cell, NOON) == pytest.approx(gain_of(cell_of([0.03]), NOON))  # as one run with their mean
    (off,) = calibration(state).values()
    assert off.n == 1.0


def test_few_problems_of_many_rounds_prove_no_more_than_few_problems() -> None:
    """Fifty rounds of two problems that differ are two observations: the interval holds what lies between the two."""
    events = [*of_problem(1, [0.05] * 50), *of_problem(2, [0.01] * 50, first=50)]
    (cell,) = folded(events).cells.values()
    assert gain_of(cell, NOON) == pytest.approx(gain_of(cell_of([0.05, 0.01]), NOON))
    assert gain_of(cell, NOON).error > 3 * gain_of(cell_of([0.05, 0.01] * 50), NOON).error


def test_a_problem_has_its_weight_once_however_many_sizes_its_kernels_have() -> None:
    small, large = of_problem(1, [0.04], 8)[0][0], of_problem(1, [0.02] * 4, 12, first=1)[1:]
    state = folded([(small._replace(goes_on=True), NOON), *large])
    weights = {key.split("\n")[2]: cell.fresh.n for key, cell in state.cells.items()}
    assert weights == {"3": 0.25, "4": 0.75}


def test_a_problem_that_ends_without_a_last_run_counts_what_it_had() -> None:
    going = of_problem(1, [0.02, 0.04, 0.0])[:2]
    ended = folded([*going, (Seen(0, 2, None, "0-1"), NOON)])
    assert not ended.open
    (cell,) = ended.cells.values()
    assert cell.fresh.n == 1.0
    assert cell.fresh.total == pytest.approx(0.03)


def test_what_is_gathered_of_rounds_is_bounded() -> None:
    events = [(Seen(0, k, told(k), f"0-{k}", goes_on=True), NOON) for k in range(MOST_OPEN + 3)]
    state = folded(events)
    assert list(state.open) == [f"0-{k}" for k in range(3, MOST_OPEN + 3)]
    (cell,) = state.cells.values()
    assert cell.fresh.n == 3.0
    # whoever goes on from what was written knows what was gathered
    assert msgspec.json.decode(msgspec.json.encode(state), type=Learned) == state


def test_runs_count_as_what_they_were() -> None:
    failed = told(1, 0.0, answered=False, expected=Expected(cost_usd=0.3), seconds=5.0)
    unmeasured = told(2, None)
    state = folded([(Seen(0, 0, failed), NOON), (Seen(0, 1, unmeasured), NOON), (Seen(0, 2, None), NOON)])
    (cell,) = state.cells.values()
    assert (cell.fresh.n, cell.seconds.n, cell.usd.total) == (1.0, 2.0, 0.3)
    assert state.offsets == (3,)
    assert slower(state, "device", 12, NOON) == 1.0  # how long a failure takes says nothing about an answer's


def test_half_is_left_after_a_half_life() -> None:
    cell = cell_of([0.04] * 8)
    now, later = gain_of(cell, NOON), gain_of(cell, NOON + HALF_LIFE)
    assert (now.n, later.n) == (8.0, 4.0)
    assert later.mean < now.mean
    assert later.error > now.error
    long_ago = gain_of(cell, NOON + 1000 * HALF_LIFE)
    assert long_ago == pytest.approx(gain_of(None, NOON))


def test_what_is_written_late_counts_by_its_own_age() -> None:
    early, late = told(1, 0.02), told(2, 0.04)
    in_order = folded([(Seen(0, 0, early), NOON), (Seen(1, 0, late), NOON + HALF_LIFE)])
    turned = folded([(Seen(1, 0, late), NOON + HALF_LIFE), (Seen(0, 0, early), NOON)])
    (one,), (other,) = in_order.cells.values(), turned.cells.values()
    assert one == other


def test_gains_that_contradict_those_before_take_their_place() -> None:
    noisy = [0.03 + (0.01 if k % 2 else -0.01) for k in range(5 * FRESH)]
    assert gain_of(cell_of(noisy), NOON).n == 5 * FRESH
    gone = [gain - 0.03 for gain in noisy[: 2 * FRESH]]
    after = gain_of(cell_of([*noisy, *gone]), NOON)
    assert after.n == 2 * FRESH
    assert after.mean == pytest.approx(0.0, abs=1e-12)


@given(st.lists(st.integers(0, 10_000), max_size=600))
def test_it_stays_small(numbers_of: list[int]) -> None:
    events = [(Seen(0, k, told(k, backend=f"b{number}")), NOON + k) for k, number in enumerate(numbers_of)]
    state = folded(events)
    assert len(state.cells) <= MOST_CELLS
    assert len(state.calibrations) <= MOST_CELLS
    assert len(state.latest) <= MOST_LATEST
    if numbers_of:
        assert any(key.endswith(f"\nb{numbers_of[-1]}") for key in state.cells)


def test_a_name_that_is_no_name_is_passed_over() -> None:
    assert not folded([(Seen(0, 0, told(1, backend="x" * 1000)), NOON)]).cells


def test_an_estimate_corrects_itself() -> None:
    runs = [(Seen(0, k, told(k, seconds=0.8)), NOON) for k in range(12)]  # eight times as long as a simulator
    state = folded(runs)
    assert slower(state, "device", 12, NOON) == pytest.approx(8 ** (12 / (12 + SHRINK)))
    assert slower(state, "device", 12, NOON) < 8.0
    assert slower(state, "device", 40, NOON) == slower(state, "other", 12, NOON) == 1.0
    assert slower(state, "device", 12, NOON + 20 * HALF_LIFE) == pytest.approx(1.0, abs=1e-4)
    wild = folded([(Seen(0, k, told(k, seconds=1e8)), NOON) for k in range(500)])
    assert slower(wild, "device", 12, NOON) == pytest.approx(MOST_OFF)
    (off,) = calibration(state).values()
    assert (off.n, off.usd) == (12.0, 1.0)
    assert off.seconds == pytest.approx(8.0)
    assert list(calibration(state)) == ["device"]


def test_costs_and_gains_are_compared_with_what_was_expected() -> None:
    expected = Expected(seconds=0.1, cost_usd=0.2, gain=0.03)
    runs = [(Seen(0, k, told(k, 0.01, cost_usd=0.4, expected=expected)), NOON) for k in range(8)]
    (off,) = calibration(folded(runs)).values()
    assert off.gain == pytest.approx(-0.02)
    assert off.usd == pytest.approx(2.0)


def test_fidelities_are_compared_with_what_the_calibration_said() -> None:
    expected = Expected(fidelity=0.6)
    runs = [(Seen(0, k, told(k, expected=expected, fidelity=f)), NOON) for k, f in enumerate((0.5, 0.7, 0.75))]
    state = folded([*runs, (Seen(0, 3, told(3, fidelity=0.1)), NOON)])  # of the last one nothing was expected
    (off,) = calibration(state).values()
    assert off.fidelity == pytest.approx(0.05)
    assert next(iter(calibration(folded([(Seen(0, 0, told(0)), NOON)])).values())).fidelity is None


def test_how_good_estimates_are_is_told_by_backend_over_all_sizes() -> None:
    runs = [(Seen(0, k, told(k, seconds=s, variables=v)), NOON) for k, (s, v) in enumerate([(0.1, 4), (0.4, 30)])]
    (off,) = calibration(folded(runs)).values()
    assert off.seconds == pytest.approx(2.0)
    assert off.n == 2.0


def test_what_is_believed_is_told_by_cell() -> None:
    runs = [(Seen(0, k, told(k, 0.02, family="labs" if k > 1 else "maxcut")), NOON) for k in range(5)]
    first, second = beliefs(folded(runs), NOON)
    assert (first.family, first.kind, first.size, first.backend, first.gain.n) == ("labs", "spins", 4, "device", 3.0)
    assert second.family == "maxcut"
    low, high = first.gain.interval
    assert first.gain.mean == pytest.approx(0.02 * 3 / 5)
    assert low < first.gain.mean < high
    assert beliefs(Learned(cells={"x": Cell(), "a\nb\nc\nd": Cell(), "a\nb\n99999\nd": Cell()}), NOON) == []


@pytest.mark.parametrize(("variables", "expected"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (9, 4), (16, 4), (17, 5)])
def test_classes_of_size(variables: int, expected: int) -> None:
    assert size_class(variables) == expected


@given(st.floats(), st.floats(), st.floats(), st.floats(0, 1e12))
def test_nobody_s_numbers_end_it(n: float, total: float, squares: float, at: float) -> None:
    cell = Cell(at, Sums(n, total, squares), Sums(n, total, squares), 15, Sums(n, total, squares))
    gain_of(cell, NOON)
    state = Learned(cells={key_of("maxcut", "spins", 12, "device"): cell})
    folded([(Seen(0, 0, told(1)), NOON)], state)


def test_the_page_s_example() -> None:
    """Every number of the worked example follows from its gains by the formulas beside them."""
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    example = page.partition("## A worked example")[2].partition("\n## ")[0]
    row = r"^\| \d+ \| (\d+) \| (\d+) \| ([-+.\d]+) % \|"
    runs = [tuple(map(float, found)) for found in re.findall(row, example, re.MULTILINE)]
    gains = [gain for *_, gain in runs]
    assert gains == pytest.approx([100 * (answer - baseline) / baseline for baseline, answer, _ in runs])
    assert len(gains) == 6
    found = gain_of(cell_of([gain / 100 for gain in gains]), NOON)
    n = len(gains) + PRIOR
    shrunk = sum(gains) / n
    spread = (sum(gain * gain for gain in gains) + PRIOR * (100 * PRIOR_DEVIATION) ** 2) / n - shrunk * shrunk
    assert 100 * found.mean == pytest.approx(shrunk)
    assert 100 * found.error == pytest.approx(sqrt(spread / n))
    low, high = found.interval
    for name, value in (
        ("mean of what was measured", mean(gains)),
        ("believed mean", 100 * found.mean),
        ("standard error", 100 * found.error),
        ("lower end", 100 * low),
        ("upper end", 100 * high),
        ("worth", Worth().of(found.mean, 2.0, 0.3)),
        ("standard errors above the solver", Worth().of(found.mean, 2.0, 0.3) / (100 * found.error)),
        ("lower end a day later", 100 * gain_of(cell_of([g / 100 for g in gains]), NOON + HALF_LIFE).interval[0]),
    ):
        told_value = re.search(rf"^\| {name} \| [^|]* \| ([-+.\d]+)", example, re.MULTILINE)
        assert told_value is not None, name
        assert float(told_value[1]) == pytest.approx(value, abs=0.005), name
    assert Z == 1.645


def test_the_page_s_example_of_rounds() -> None:
    """What a problem of several rounds counts: the numbers of the second half of the worked example."""
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    example = page.partition("## A worked example")[2].partition("\n## ")[0]
    row = r"^\| \d+, round \d \| (\d+) \| (\d+) \| ([-+.\d]+) % \|"
    runs = [tuple(map(float, found)) for found in re.findall(row, example, re.MULTILINE)]
    rounds = [gain / 100 for *_, gain in runs]
    assert 100 * mean(rounds) == pytest.approx(mean(100 * (answer - base) / base for base, answer, _ in runs))
    six = [gain / 100 for gain in map(float, re.findall(r"^\| \d \| .* \| ([-+.\d]+) % \|$", example, re.MULTILINE))]
    assert (len(six), len(rounds)) == (6, 3)
    alone = [(Seen(1, k, told(k, gain)), NOON) for k, gain in enumerate(six)]
    (cell,) = folded([*alone, *of_problem(7, rounds)]).cells.values()
    found = gain_of(cell, NOON)
    assert found.n == 7.0
    for name, value in (
        ("what it counts", 100 * mean(rounds)),
        ("believed mean of seven", 100 * found.mean),
        ("standard error of seven", 100 * found.error),
        ("what it would be if each round counted", 100 * gain_of(cell_of([*six, *rounds]), NOON).error),
    ):
        said = re.search(rf"^\| {name} \| [^|]* \| ([-+.\d]+)", example, re.MULTILINE)
        assert said is not None, name
        assert float(said[1]) == pytest.approx(value, abs=0.005), name
