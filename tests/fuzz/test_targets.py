"""The fuzzers' targets: what they begin with is no finding, nor are some changes of it; and what they would find."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import orjson
import pytest

from fuzz import limits, mutate, seeds
from fuzz.targets import INTERNAL, TARGETS
from qmosaic.codecs.formats.registry import FORMATS
from qmosaic.processors.families.registry import FAMILIES
from tests.servers import ROOT

SOME = 40


def test_every_format_family_and_event_has_a_target() -> None:
    assert {f"format.{name}" for name in FORMATS} <= TARGETS.keys()
    assert {f"family.{name}" for name in FAMILIES} <= TARGETS.keys()
    assert {f"event.{kind.__name__}" for kind in INTERNAL} <= TARGETS.keys()
    assert seeds.PROBLEMS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_target_begins_with_is_no_finding(name: str) -> None:
    target, draw = TARGETS[name], Random(1)
    inputs = [one for one in target.seeds() if len(one) < 2000]
    inputs = draw.sample(inputs, min(SOME, len(inputs)))
    changes = (target.mutate or mutate.mutated_bytes, mutate.mutated_bytes)
    for data in [b"", b"{}", *inputs, *(change(one, draw) for one in inputs for change in changes)]:
        limits.within(20.0, target.run, data)


def test_a_seed_of_every_family_is_valid_and_every_format_reads_some() -> None:
    for family in FAMILIES:
        for event in seeds.problem_events(family)[:2]:
            assert orjson.loads(event)["family"] == family
    assert len(seeds.files()) > 300
    assert len(seeds.programs()) > 50


def test_what_runs_too_long_is_stopped() -> None:
    def never(data: bytes) -> None:
        while data:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001, S112 - as a family may
                continue

    with pytest.raises(limits.TooLong):
        limits.within(0.05, never, b"x")
    limits.within(0.05, never, b"")


def test_what_takes_too_much_memory_is_stopped() -> None:
    code = """
from fuzz import limits
limits.confine_memory()
bytearray(limits.MEMORY // 2)
try:
    bytearray(limits.MEMORY)
except MemoryError:
    print("stopped", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "stopped\n", done.stderr


@pytest.mark.parametrize("change", [mutate.mutated_json, mutate.mutated_text, mutate.mutated_bytes])
def test_changes_follow_from_their_seed_and_change_most(change: mutate.Change) -> None:
    events = [event for family in FAMILIES for event in seeds.problem_events(family)[:3]]
    once = [change(event, Random(k)) for k, event in enumerate(events)]
    assert once == [change(event, Random(k)) for k, event in enumerate(events)]
    assert sum(a != b for a, b in zip(once, events, strict=True)) > len(events) // 2


def test_changes_of_json_stay_json_mostly() -> None:
    event, draw = seeds.problem_events("route")[0], Random(2)
    found = 0
    for _ in range(200):
        try:
            orjson.loads(mutate.mutated_json(event, draw))
            found += 1
        except orjson.JSONDecodeError:
            continue
    assert 100 < found < 200


@pytest.mark.parametrize("change", [mutate.mutated_json, mutate.mutated_text, mutate.mutated_bytes])
def test_what_is_changed_stays_of_a_size(change: mutate.Change) -> None:
    """Changes of changes must not fill the memory."""
    values = [b"[%b]" % b",".join([b"1"] * 15_000), b'{"a":"%b"}' % (b"x" * 30_000), b"1 2\n" * 7_500]
    assert max(len(change(value, Random(k))) for value in values for k in range(60)) < 1_000_000
