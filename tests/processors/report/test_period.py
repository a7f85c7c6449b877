"""The fold of a period: what counts, of whom, when; and that its means are those of docs/evidence.md."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.control import Evidence, Run
from qmosaic.codecs.events.public import Expected
from qmosaic.processors.control.policy import Policy, Special
from qmosaic.processors.control.worth import Worth
from qmosaic.processors.report import period
from qmosaic.processors.report.findings import BY, By, Row, findings
from qmosaic.processors.report.period import OTHER, Detail, Entry, Period, Periods
from qmosaic.processors.report.spending import Spending
from tests.processors.report.fixtures import (
    DAY,
    HOSTILE,
    IONQ,
    NOON,
    PAGE,
    SOLVER,
    folded,
    found,
    run_of,
    settled,
    told,
)
from tests.servers import ROOT


def rows(state: Period, *by: By) -> dict[tuple[str, ...], Row]:
    names: tuple[By, ...] = by or ("backend",)
    said = findings(state, Spending(), NOON, names)
    return {tuple(row.by[name] for name in names): row for row in said.rows}


def test_the_example_of_the_page_is_a_row_of_the_report() -> None:
    row = rows(folded(*(settled(str(k), run_of(gain=gain)) for k, gain in enumerate(PAGE))))[IONQ,]
    assert row.gain is not None
    assert row.worth is not None
    told = dict(re.findall(r"^\| ([a-z ]+) \| .* \| (-?[\d.]+)[^|]*\|$", page_example(), re.MULTILINE))
    assert 100 * row.gain.mean == pytest.approx(float(told["believed mean"]), abs=0.005)
    assert 100 * row.gain.low == pytest.approx(float(told["lower end"]), abs=0.005)
    assert 100 * row.gain.high == pytest.approx(float(told["upper end"]), abs=0.005)
    assert row.worth.mean == pytest.approx(float(told["worth"]), abs=0.005)
    assert (row.verdict, row.micros, row.seconds, row.better) == ("paid", 1_800_000, 2.0, 5)


def page_example() -> str:
    text = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    return text.partition("## A worked example")[2].partition("\n## ")[0]


def test_a_period_does_not_fade() -> None:
    first = folded(settled("a", run_of()))
    later = Periods(lambda _: Worth()).step(first, told(settled("b", run_of())), NOON + 100 * DAY)
    assert rows(later)[IONQ,].gain == rows(folded(settled("a", run_of()), settled("b", run_of())))[IONQ,].gain


def test_only_what_was_written_in_the_period_counts() -> None:
    events = [settled(str(k), run_of()) for k in range(5)]  # a second after another
    state = folded(*events, fold=Periods(lambda _: Worth(), NOON + 1, NOON + 3))
    assert (rows(state)[IONQ,].runs, state.since, state.until) == (2, NOON + 1, NOON + 2)


@pytest.mark.parametrize(("tenant", "count"), [(None, 4), ("acme", 2), ("acme/lab", 1), ("acm", 0), ("other", 1)])
def test_of_a_tenant_and_what_lies_under_it(tenant: str | None, count: int) -> None:
    events = [settled(f"{k}", run_of(), tenant=name) for k, name in enumerate(("acme", "acme/lab", "acmes", "other"))]
    assert (
        sum(row.runs for row in rows(folded(*events, fold=Periods(lambda _: Worth(), tenant=tenant))).values()) == count
    )


def test_an_equal_job_again_costs_and_proves_nothing() -> None:
    row = rows(folded(settled("same", run_of()), settled("same", run_of())))[IONQ,]
    assert (row.runs, row.compared, row.micros) == (2, 1, 600_000)


def test_a_failed_job_is_booked_as_it_was_quoted_and_gains_nothing() -> None:
    run = run_of(gain=0.0, answered=False, cost_usd=None, expected=Expected(cost_usd=0.3))
    row = rows(folded(settled("f", run)))[IONQ,]
    assert (row.runs, row.answered, row.compared, row.micros, row.better) == (1, 0, 1, 300_000, 0)


def test_where_nothing_can_be_compared_nothing_is_said() -> None:
    row = rows(folded(settled("c", run_of(gain=None))))[IONQ,]
    assert (row.gain, row.worth, row.verdict, row.compared) == (None, None, "not_compared", 0)


def test_worth_is_by_the_weights_of_tenant_and_family() -> None:
    policy = Policy(families={"labs": Special(worth=Worth(percent=100.0))})
    fold = Periods(policy.worth_of)
    state = folded(settled("a", run_of()), settled("b", run_of(), family="labs"), fold=fold)
    both = rows(state, "family")
    cheap, dear = both["maxcut",].worth, both["labs",].worth
    assert cheap is not None
    assert dear is not None
    assert dear.mean + 0.32 == pytest.approx(100 * (cheap.mean + 0.32))


def test_verdicts_need_the_whole_interval() -> None:
    verdicts = {key: row.verdict for key, row in rows(folded(*(settled(f"{k}", run_of()) for k in range(2)))).items()}
    assert verdicts == {(IONQ,): "unclear"}
    many = folded(*(settled(f"{k}", run_of(gain=-0.02)) for k in range(30)))
    assert rows(many)[IONQ,].verdict == "did_not_pay"


def test_what_a_classical_backend_gains_as_well_did_not_pay() -> None:
    device = [settled(f"d{k}", run_of(gain=0.03, cost_usd=0.0)) for k in range(30)]
    solver = [settled(f"s{k}", run_of(SOLVER, 0.05)) for k in range(30)]
    alone, beside = rows(folded(*device))[IONQ,], rows(folded(*device, *solver))
    assert (alone.verdict, alone.over_classical) == ("paid", None)
    over = beside[IONQ,].over_classical
    assert over is not None
    assert over.high < 0
    assert (beside[IONQ,].verdict, beside[SOLVER,].verdict, beside[SOLVER,].over_classical) == (
        *("did_not_pay", "paid"),
        None,
    )
    elsewhere = [settled(f"s{k}", run_of(SOLVER, 0.05), family="labs") for k in range(30)]
    assert rows(folded(*device, *elsewhere), "family", "backend")["maxcut", IONQ].over_classical is None
    assert rows(folded(*device, *solver), "target")["quantum",].verdict == "did_not_pay"
    assert rows(folded(*device, *solver), "family")["maxcut",].over_classical is None


def test_what_was_expected_against_what_came() -> None:
    expected = Expected(seconds=1.0, cost_usd=0.6, gain=0.01, fidelity=0.5)
    runs = [
        settled(f"{k}", run_of(seconds=s, gain=0.03, expected=expected, fidelity=0.4)) for k, s in enumerate((1.0, 4.0))
    ]
    (one,) = findings(folded(*runs), Spending(), NOON).calibration
    assert one.seconds is not None
    assert one.cost is not None
    assert one.gain is not None
    assert one.seconds.mean == pytest.approx(2.0)
    assert 1.0 < one.seconds.low < 2.0 < one.seconds.high < 4.0
    assert one.cost.mean == pytest.approx(0.5)
    assert one.gain.mean == pytest.approx(0.02)
    assert one.fidelity is not None
    assert one.fidelity.mean == pytest.approx(-0.1)


def test_ends_are_counted_by_what_is_asked_for() -> None:
    said = found(("family",))
    assert (said.problems, said.late, said.duplicates) == (67, 1, 1)
    assert {one.by["family"] for one in said.ends} >= {"maxcut", "portfolio", ""}
    assert [one.count for one in said.ends if one.reason == "worse_than_baseline"] == [12]
    assert [(one.backend, one.reason, one.count) for one in said.refused] == [(IONQ, "over_budget", 1)]


def test_groups_come_to_the_same_together() -> None:
    for by in [(name,) for name in BY] + [BY]:
        said = found(by)
        assert sum(row.runs for row in said.rows) == sum(row.runs for row in found().rows), by
        assert sum(row.micros for row in said.rows) == sum(row.micros for row in found().rows), by


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(period, "MOST_KEYS", 3)
    events = [settled(f"{k}", run_of(f"b{k}"), tenant=f"t{k}") for k in range(10)]
    state = folded(*events)
    assert len(state.ran) <= 4
    assert len(state.ends) <= 4
    assert rows(state)[OTHER,].runs == 7
    assert sum(state.ends.values()) == 10
    long = folded(settled("h", run_of(HOSTILE), tenant="t" * 10**5, family="f" * 10**5))
    assert max(len(part) for key in long.ran for part in key if isinstance(part, str)) == 200


NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
EXPECTED = st.builds(Expected, seconds=NUMBER, cost_usd=NUMBER, gain=NUMBER)
RUN = st.builds(
    Run,
    target=st.sampled_from(["classical", "quantum"]),
    backend=st.text(),
    answered=st.booleans(),
    seconds=NUMBER,
    cost_usd=NUMBER,
    gain=NUMBER,
    expected=st.none() | EXPECTED,
)
EVIDENCE = st.builds(
    Evidence,
    family=st.text(),
    kind=st.just("spins"),
    variables=st.integers(-(2**63), 2**63),
    job=st.text(),
    runs=st.lists(RUN, max_size=3),
)
ANYTHING = st.builds(
    Entry,
    event=st.sampled_from(["settled", "rejected", "refused", "duplicate", "x"]),
    tenant=st.text(),
    family=st.text(),
    status=st.text(),
    reason=st.text(),
    slack=NUMBER,
    detail=st.builds(Detail, explores=st.none() | st.floats() | st.text() | st.lists(st.integers())),
    evidence=st.none() | EVIDENCE,
)


@given(st.lists(ANYTHING, max_size=8))
def test_no_entry_ends_the_fold(entries: list[Entry]) -> None:
    fold = Periods(lambda _: Worth())
    state = fold.start
    for entry in entries:
        state = fold.step(state, entry, NOON)
    msgspec.json.encode(findings(state, Spending(), NOON, BY))


def test_nothing_has_ended_yet() -> None:
    said = findings(Periods(lambda _: Worth()).start, Spending(), NOON)
    assert (said.since, said.until, said.problems, said.rows, said.calibration) == (None, None, 0, [], [])
    assert rows(folded(settled("s", run_of(SOLVER, 0.0))))[SOLVER,].micros == 0


def test_a_rounds_run_counts_and_is_no_end() -> None:
    first = settled("first", run_of(), event="round")
    state = folded(first, settled("second", run_of()))
    assert rows(state)[IONQ,].runs == rows(folded(settled("a", run_of()), settled("b", run_of())))[IONQ,].runs
    assert sum(state.ends.values()) == 1


def test_rounds_of_a_problem_count_as_one_and_cost_what_they_cost() -> None:
    gains = (0.06, 0.0, 0.03)
    rounds = [
        settled(f"r{k}", run_of(gain=gain), event="round" if k < 2 else "settled") for k, gain in enumerate(gains)
    ]
    row, alone = rows(folded(*rounds))[IONQ,], rows(folded(settled("a", run_of(gain=0.03))))[IONQ,]
    assert (row.runs, row.problems, row.compared, row.micros, row.better) == (3, 1, 1, 900_000, 2)
    assert row.gain is not None
    assert alone.gain is not None
    assert msgspec.structs.astuple(row.gain) == pytest.approx(msgspec.structs.astuple(alone.gain))
    assert row.worth is not None
    assert alone.worth is not None
    assert msgspec.structs.astuple(row.worth) == pytest.approx(msgspec.structs.astuple(alone.worth))
    # one that goes on when the period ends counts what it had, and is not counted twice
    going = folded(*rounds[:2])
    assert rows(going)[IONQ,].problems == rows(going)[IONQ,].compared == 1
    assert rows(going, "size", "backend") == rows(going, "size", "backend")
