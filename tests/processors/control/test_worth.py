"""What pays: decided by the evidence, explored within a share, alike wherever it is decided."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.backends import registry
from qmosaic.codecs.events.evidence import Calibration, Cell, Learned, Sums
from qmosaic.codecs.events.hops import Reduced
from qmosaic.processors.control.evidence import HALF_LIFE, backend_key, key_of
from qmosaic.processors.control.explain import weighed_text
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Decision, Policy, Rule, Special, decide
from qmosaic.processors.control.policy_file import read_policy
from qmosaic.processors.control.worth import Worth, chance
from tests.processors.test_route import ALIVE, reduced
from tests.servers import ROOT

DEVICE = "cirq.statevector"
RULE = Rule("what pays", "auto", then=("quantum", "gpu"))
NEVER, ALWAYS = 0.0, 1.0


def sums(n: float, mean: float, deviation: float = 0.02) -> Sums:
    return Sums(n, n * mean, n * (mean * mean + deviation * deviation))


def learned(**gains: tuple[float, float]) -> Learned:
    """By backend (`__` for a dot): of how many runs, and their mean gain."""
    cells = {}
    for name, (n, mean) in gains.items():
        key = key_of("maxcut", "spins", 8, name.replace("__", "."))
        cells[key] = Cell(0.0, sums(n, mean), Sums(), 0, sums(n, 0.1, 0.0), sums(n, 0.0, 0.0))
    return Learned(cells=cells)


def decided(known: Learned, kernel: Reduced | None = None, at: float = 0.0, **policy: Any) -> Decision:
    given: dict[str, Any] = {"rules": (RULE,), "explore": NEVER, "attempts": 10} | policy
    kernel = kernel or reduced(8)
    late = msgspec.structs.replace(kernel.ref, deadline_at=at + 60)
    return decide(msgspec.structs.replace(kernel, ref=late), Facts(at, ALIVE, learned=known), Policy(**given))


def reasons(decision: Decision) -> dict[str, str]:
    return {one.backend: one.reason for one in decision.considered}


def test_what_pays_goes_first_and_the_others_by_what_they_are_worth() -> None:
    found = decided(learned(cirq__statevector=(20, 0.02), jax__statevector=(20, 0.03), exact=(20, 0.0)))
    chain = [(route.backend, route.reason, route.explores) for route in found.candidates]
    assert chain[:3] == [("jax.statevector", "rule", None), (DEVICE, "rule", None), ("exact", "rule", None)]
    assert reasons(found)["tabu"] == "behind"  # where all of these fail
    assert found.weighed["jax.statevector"].gain == pytest.approx(20 * 0.03 / 22)


def test_what_does_not_pay_gets_nothing() -> None:
    found = decided(learned(cirq__statevector=(50, -0.01), jax__statevector=(50, -0.02), exact=(50, 0.0)))
    assert [route.backend for route in found.candidates] == ["exact", "tabu"]
    assert (found.reason, reasons(found)[DEVICE]) == ("not_worth_it", "not_worth_it")
    dear = decided(
        learned(cirq__statevector=(50, 0.02), exact=(50, 0.0)), worth=Worth(1.0, 100.0), rules=(RULE,), explore=ALWAYS
    )
    assert dear.candidates[0].backend != DEVICE  # ten dollars for its tenth of a second, and it gains two


def test_what_nobody_knows_gets_its_share() -> None:
    nothing = Learned()
    found = decided(nothing)
    assert [route.backend for route in found.candidates] == ["exact", "tabu"]
    assert (found.reason, reasons(found)[DEVICE], reasons(found)["exact"]) == ("rule", "unproven", "taken")
    few = learned(exact=(50, 0.0), jax__statevector=(1000, -0.01))
    asking = decided(few, explore=ALWAYS)
    first = asking.candidates[0]
    assert (first.backend, first.reason, first.explores) == (DEVICE, "explored", ALWAYS)
    assert reasons(asking)[DEVICE] == "explored"
    assert weighed_text(asking.weighed[DEVICE]).startswith("nothing is known of it: worth")
    assert weighed_text(asking.weighed["exact"]).startswith("gains 0 % (")


def test_what_was_never_measured_does_not_pay_however_bad_the_others_are() -> None:
    assert decided(learned(exact=(50, -0.9))).candidates[0].backend == "exact"


def test_a_share_is_a_share_and_the_same_for_whoever_decides() -> None:
    few, explored = learned(exact=(50, 0.0), jax__statevector=(1000, -0.01)), 0
    for number in range(1000):
        kernel = reduced(8)
        kernel = msgspec.structs.replace(kernel, ref=msgspec.structs.replace(kernel.ref, digest=f"d{number}"))
        one, other = (decided(few, kernel, explore=0.2) for _ in range(2))
        assert one == other
        explored += one.reason == "explored"
    assert 150 < explored < 250


def test_what_did_not_pay_is_looked_at_again_when_that_is_long_ago() -> None:
    few = learned(cirq__statevector=(50, -0.005), jax__statevector=(5000, -0.05), exact=(50, 0.0))
    assert decided(few, explore=ALWAYS).candidates[0].backend == "exact"
    exact = key_of("maxcut", "spins", 8, "exact")  # which had all the kernels meanwhile
    few = Learned(cells=few.cells | {exact: msgspec.structs.replace(few.cells[exact], at=8 * HALF_LIFE)})
    later = decided(few, at=8 * HALF_LIFE, explore=ALWAYS)
    assert (later.candidates[0].backend, later.reason) == (DEVICE, "explored")


def test_tenants_and_families_have_their_own() -> None:
    few = learned(exact=(50, 0.0), jax__statevector=(1000, -0.01))
    mine = {"t": Special(explore=NEVER)}
    assert decided(few, explore=ALWAYS, tenants=mine).reason == "rule"
    good = learned(cirq__statevector=(50, 0.001), exact=(50, 0.0), jax__statevector=(50, 0.0))
    assert decided(good, worth=Worth(1.0, 10.0)).candidates[0].backend == "exact"
    dear = {"maxcut": Special(worth=Worth(1000.0, 10.0))}
    assert decided(good, worth=Worth(1.0, 10.0), families=dear).weighed[DEVICE].value > 0


def test_without_a_classical_backend_the_best_has_it() -> None:
    alive: Any = {key: value for key, value in ALIVE.items() if key != "classical"}
    kernel = reduced(8)
    found = decide(kernel, Facts(10.0, alive), Policy((RULE,), explore=NEVER, attempts=3))
    assert (found.reason, found.candidates[0].explores) == ("explored", NEVER)
    assert decide(reduced(8), Facts(10.0, {}), Policy((RULE,))).reason == "no_backend"


def test_an_estimate_that_was_wrong_is_corrected_for_deadlines() -> None:
    slow = Learned(calibrations={backend_key(8, DEVICE): Calibration(0.0, Sums(1000.0, 1000 * 4.0, 0.0))})
    plain = Policy((Rule("all", "quantum"),))
    kernel = reduced(8)  # a tenth of a second, and that is e^4 times as long
    quick = msgspec.structs.replace(kernel, ref=msgspec.structs.replace(kernel.ref, deadline_at=5.0))
    assert decide(quick, Facts(0.0, ALIVE), plain).candidates[0].backend == DEVICE
    late = decide(quick, Facts(0.0, ALIVE, learned=slow), plain)
    assert reasons(late)[DEVICE] == "too_slow_for_deadline"
    in_time = decide(kernel, Facts(0.0, ALIVE, learned=slow), plain)
    assert in_time.candidates[0].expected is not None
    assert in_time.candidates[0].expected.seconds == pytest.approx(5.4, rel=0.1)


def test_the_page_s_policy_is_one() -> None:
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    said = read_policy(page.partition("```toml\n")[2].partition("```")[0], "evidence.md", registry.is_known)
    assert [rule.target for rule in said.rules] == ["auto"]
    assert (said.explore, said.worth) == (Policy().explore, Worth())
    assert said.tenants["acme"].explore == 0.0


@given(st.lists(st.integers()))
def test_draws_are_numbers_between_0_and_1(of: list[int]) -> None:
    assert 0.0 < chance(*of) < 1.0
    assert chance(*of) == chance(*of)
