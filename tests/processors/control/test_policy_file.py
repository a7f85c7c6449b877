"""Policies as files: what they say is what is decided, what is wrong has a line, and what is written is read again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.backends import registry
from qmosaic.codecs.errors import SettingsError
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.orders import policy_of
from qmosaic.processors.control.policy import Decision, OfTenant, Policy, Rule, Special, decide, version_of
from qmosaic.processors.control.policy_file import PolicyFile, line_of, read_policy, write_policy
from qmosaic.processors.control.worth import Worth
from tests.processors.test_route import ALIVE, reduced

FILE = """
attempts = 3

[[rules]]
name = "small"
target = "quantum"
max_qubits = 12
then = ["gpu", "exact"]

[[rules]]  # the rest
name = "all"
target = "classical"

[preference]
classical = ["tabu", "exact"]

[tenants.acme]
attempts = 1

[[tenants.acme.rules]]
name = "acme"
target = "gpu"
families = ["maxcut"]

[families."route"]
attempts = 2
"""


def policy(text: str = FILE) -> Policy:
    said = read_policy(text, "p.toml")
    return Policy(said.rules, said.preference, (), said.attempts, said.tenants, said.families)


def chain(kernel: Any, **more: Any) -> list[str]:
    found: Decision = decide(kernel, Facts(0.0, more.get("alive", ALIVE)), more.get("policy", policy()))
    return [route.backend for route in found.candidates]


def of(kernel: Any, **who: Any) -> Any:
    return msgspec.structs.replace(kernel, ref=msgspec.structs.replace(kernel.ref, **who))


def test_a_rule_has_a_chain() -> None:
    assert chain(reduced(8)) == ["cirq.statevector", "jax.statevector", "exact"]
    assert chain(reduced(13)) == ["tabu", "exact"]
    found = decide(reduced(8), Facts(0.0, ALIVE), policy())
    assert {route.rule for route in found.candidates} == {"small"}
    assert [one.reason for one in found.considered if one.backend in ("jax.statevector", "exact")] == ["behind"] * 2


def test_who_is_not_there_is_left_out_of_it() -> None:
    assert chain(reduced(8), alive={k: v for k, v in ALIVE.items() if k != "gpu"}) == ["cirq.statevector", "exact"]


def test_tenants_and_families_have_their_own() -> None:
    assert chain(of(reduced(8), tenant="acme")) == ["jax.statevector"]
    assert chain(of(reduced(8), tenant="acme", family="qubo")) == ["cirq.statevector"]
    assert chain(of(reduced(8), family="route")) == ["cirq.statevector", "jax.statevector"]


def test_without_a_word_all_is_as_it_was() -> None:
    said = read_policy("", "empty.toml")
    plain = Policy(said.rules, said.preference, (), said.attempts, said.tenants, said.families)
    assert version_of(plain) == version_of(Policy())
    assert all(len(chain(reduced(n), policy=plain)) == 1 for n in (4, 13, 21))


def test_versions_are_of_what_is_said() -> None:
    assert version_of(policy()) == version_of(policy(FILE.replace("  # the rest", "")))
    assert version_of(policy()) != version_of(policy(FILE.replace("max_qubits = 12", "max_qubits = 11")))
    assert len(version_of(policy())) == 12


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("max_qubits = 12", "max_qubits = 'many'", 7, "Expected `int`, got `str`"),
        ("max_qubits = 12", "max_quibts = 12", 4, "unknown field `max_quibts`"),
        ('target = "classical"', 'target = "classic"', 12, "Invalid enum value 'classic'"),
        ("attempts = 3", "attempts = 0", 2, ">= 1"),
        ('name = "all"', 'name = "small"', 11, "two rules are called 'small'"),
        ("max_qubits = 12", "max_qubits = 12\nmin_qubits = 13", 4, "no kernel can match"),
        ("[preference]\nclassical", "[preference]\nclasical", 15, "no target is called 'clasical'"),
        ('families = ["maxcut"]', "families = [3]", 23, "Expected `str`, got `int`"),
        ("[[tenants.acme.rules]]", "[[tenants.acme.rule]]", 17, "unknown field `rule`"),
        ("attempts = 3", "attempts = ", 2, "Invalid value"),
        ("max_qubits = 12", "", 11, "'all' can never match: 'small' before it decides"),
        ('families = ["maxcut"]', 'tenants = ["other"]', 23, "'acme' can never match: it is asked for acme alone"),
        ('target = "quantum"', 'target = "auto"\nbackend = "exact"', 7, "auto chooses among those of `then`"),
        ('target = "classical"', 'target = "auto"', 12, "auto needs `then`"),
        ("attempts = 3", "explore = 1.5", 2, "<= 1.0"),
        ("attempts = 1", "worth = {percent = -1.0}", 18, ">= 0.0"),
        ("attempts = 3", "worth = {percents = 1.0}", 2, "unknown field `percents`"),
        ("attempts = 1", "weight = 0.0", 18, "> 0.0"),
        ("attempts = 1", "weight = 'heavy'", 18, "Expected `float | null`, got `str`"),
        ("attempts = 3", "weight = 1.0", 1, "unknown field `weight`"),
        ("attempts = 2", "weight = 1.0", 25, "unknown field `weight`"),
        ("[families", "[tenants.b]\nweight = 2\n[tenants.'c.d/e']\nweight = -1\n[families", 28, "> 0.0 (tenants.c.d/e"),
        ('then = ["gpu", "exact"]', 'then = ["gpu", "exakt"]', 8, "no backend is called 'exakt'"),
    ],
)
def test_what_is_wrong_has_its_line(old: str, new: str, line: int, words: str) -> None:
    assert old in FILE
    with pytest.raises(SettingsError) as caught:
        read_policy(FILE.replace(old, new, 1), "p.toml", {"exact", "tabu"}.__contains__, ("exact", "tabu"))
    assert words in caught.value.message
    assert caught.value.place == f"p.toml:{line}"
    assert caught.value.remedy


def test_a_nearly_right_name_is_told() -> None:
    with pytest.raises(SettingsError) as caught:
        read_policy(FILE.replace('"exact"]', '"exakt"]', 1), "p", {"exact"}.__contains__, ("exact",))
    assert caught.value.remedy.startswith("Did you mean exact?")


texts = st.text(max_size=8)
rules = st.builds(
    Rule,
    name=texts,
    target=st.sampled_from(["classical", "gpu", "quantum"]),
    backend=st.none() | texts,
    min_qubits=st.integers(0, 5),
    max_qubits=st.integers(5, 10**9),
    max_density=st.floats(0, 1),
    max_seconds_left=st.floats(0, 1e12),
    families=st.lists(texts, max_size=2).map(tuple),
    then=st.lists(texts, max_size=2).map(tuple),
)


left_to_evidence = st.builds(Rule, name=texts, target=st.just("auto"), then=st.just(("gpu", "exact")))


def reachable(found: tuple[Rule, ...]) -> bool:
    return not any(first.covers(rule) for k, rule in enumerate(found) for first in found[:k])


many = st.lists(rules | left_to_evidence, max_size=3, unique_by=lambda rule: rule.name).map(tuple).filter(reachable)
of_all = many.map(lambda found: tuple(msgspec.structs.replace(rule, families=()) for rule in found)).filter(reachable)
shares = st.floats(0, 1)
worths = st.builds(Worth, st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e9))
said = st.none() | st.integers(1, 10), st.none() | shares, st.none() | worths
shares_of_turns = st.none() | st.floats(0, 1e6, exclude_min=True)
tenants = st.dictionaries(texts, st.builds(OfTenant, many, *said, shares_of_turns), max_size=2)
families = st.dictionaries(texts, st.builds(Special, of_all, *said), max_size=2)
preferences = st.just({"gpu": ("a", 'b"\\\x7f\n')})


@given(st.builds(PolicyFile, st.integers(1, 10), many, preferences, tenants, families, shares, worths))
def test_what_is_written_is_read_again(said: PolicyFile) -> None:
    if not said.rules:
        said = msgspec.structs.replace(said, rules=(Rule("one", "gpu"),))  # none is the default
    assert read_policy(write_policy(said), "p") == said


@given(st.text(max_size=300), st.lists(st.text(max_size=8), max_size=5))
def test_lines_are_found_in_anything(text: str, path: list[str]) -> None:
    assert 1 <= line_of(text, tuple(path)) <= max(1, len(text.splitlines()))


@given(st.text(alphabet='[]{}="#\n.,ab1 ', max_size=200))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    with suppress(SettingsError):
        read_policy(text, "p")


# -- the recipes of the documentation ----------------------------------------------------------------------------------

POLICIES = Path(__file__).parents[3] / "examples" / "policies"
VENDORS = {
    "ionq/qpu.forte-1": {"spins": 36},
    "aqt/default/ibex": {"spins": 12},
    "aqt/default/simulator_noise": {"spins": 12},
}
EVERYTHING: Any = {**ALIVE, "quantum": {**ALIVE["quantum"], **VENDORS}}
NOON, NIGHT = 12 * 3600.0, 23.5 * 3600.0


def recipe(name: str, kernel: Any, at: float = NOON, **facts: Any) -> list[str]:
    """Whose turn it is with a kernel whose deadline is ten minutes away."""
    said = read_policy((POLICIES / f"{name}.toml").read_text(), name, registry.is_known)
    paid = tuple(VENDORS)
    policy = Policy(said.rules, said.preference, paid, said.attempts, said.tenants, said.families)
    kernel = of(kernel, deadline_at=at + 600.0)
    found = decide(kernel, Facts(at, facts.pop("alive", EVERYTHING), **facts), policy)
    return [route.backend for route in found.candidates]


def test_every_recipe_is_a_policy_and_tried_here() -> None:
    names = {file.stem for file in POLICIES.glob("*.toml")}
    assert names == {
        "cost-cap-per-team",
        "device-for-some-families",
        "night-window",
        "shares-of-tenants",
        "two-vendors",
    }
    for name in names:
        assert recipe(name, reduced(8))


def test_the_recipe_of_a_team_with_a_budget() -> None:
    assert recipe("cost-cap-per-team", reduced(8)) == ["cirq.statevector"]
    chemistry = of(reduced(8), tenant="acme/chem")
    assert recipe("cost-cap-per-team", chemistry) == ["ionq/qpu.forte-1", "cirq.statevector", "exact"]


def test_the_recipe_of_a_device_for_some_families() -> None:
    assert recipe("device-for-some-families", of(reduced(8), family="labs"))[0] == "aqt/default/simulator_noise"
    assert recipe("device-for-some-families", of(reduced(8), family="maxcut"))[0] == "exact"


def test_the_recipe_of_a_night() -> None:
    assert recipe("night-window", reduced(8), NOON)[0] == "jax.statevector"
    for at in (NIGHT, NIGHT + 3 * 3600):
        assert recipe("night-window", reduced(8), at)[0] == "ionq/qpu.forte-1"
    assert recipe("night-window", reduced(8), 6 * 3600.0)[0] == "jax.statevector"


def test_the_recipe_of_two_vendors() -> None:
    both = ["ionq/qpu.forte-1", "aqt/default/ibex", "exact"]
    assert recipe("two-vendors", reduced(8)) == both
    shut: list[dict[str, Any]] = [{"breakers": {both[0]: "open"}}, {"closed": {both[0]: "draining"}}]
    for facts in shut:
        assert recipe("two-vendors", reduced(8), NOON, **facts) == ["aqt/default/ibex", "exact", "tabu"]


def test_the_recipe_of_shares_of_tenants() -> None:
    policy = policy_of((POLICIES / "shares-of-tenants.toml").read_text(), ())
    tenants = ("acme/chem", "acme/batch/night", "guests", "others")
    assert [policy.weight_of(tenant) for tenant in tenants] == [3.0, 0.5, 0.2, 1.0]
    assert policy.rules == Policy().rules
