"""No event that reads as one ends a fold, or what is asked of its state: who reads a topic has no way past a record.

Others may write to these topics, too; what does not fit is passed over.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus, ControlState, Evidence
from qmosaic.codecs.events.ledger import Amounts, JobEnded, LedgerEntry
from qmosaic.processors.control.alive import alive, grants
from qmosaic.processors.control.books import Books, accounts_for, beyond_soft, shortage, unbalanced
from qmosaic.processors.control.breakers import phases
from qmosaic.processors.control.evidence import Evidences, Seen, calibration
from qmosaic.processors.control.facts import STATUS, Facts, facts_of
from qmosaic.processors.control.grants import ended
from qmosaic.processors.control.ordered import Orders
from qmosaic.processors.control.orders import policy_of
from qmosaic.processors.control.policy import Policy, Rule, decide
from qmosaic.streams.hops.in_force import InForce
from qmosaic.streams.hops.in_force import policy_of as policy_of_settings
from qmosaic.streams.settings import Settings
from tests.processors.test_route import ALIVE, reduced

NAMES = st.sampled_from(["a", "a/b", "all", "", "\ud7ff", "backend:x", "tenant:a"])
st.register_type_strategy(str, NAMES | st.text(max_size=8))


def events(kind: type[Any]) -> st.SearchStrategy[list[Any]]:
    def read(event: Any) -> Any:
        try:
            return wire.decode(wire.encode(event), kind)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            return None

    return st.lists(st.from_type(kind).map(read), max_size=8).map(lambda read: [one for one in read if one is not None])


@given(events(LedgerEntry), events(JobEnded))
def test_the_ledger(entries: list[LedgerEntry], ends: list[JobEnded]) -> None:
    ledger = Books().start
    for entry in entries:
        ledger = Books().step(ledger, entry)
        accounts = accounts_for(ledger, "a/b", "x", 1e9, "0-1", 5)
        shortage(ledger, accounts, Amounts(1, None, 2), 5)
        beyond_soft(ledger, accounts)
        unbalanced(ledger)
    for end in ends:
        ledger = ended(ledger, end, 1e9).ledger


@given(events(BackendStatus))
def test_signs_of_life(told: list[BackendStatus]) -> None:
    state = STATUS.start
    for status in told:
        state = STATUS.step(state, status, 1e9)
    alive(state[0], 1e9, 15)
    grants(state[0], 1e9, 15)
    phases(state[1], 1e9)


@given(events(Evidence))
def test_evidence(told: list[Evidence]) -> None:
    learned, auto = Evidences().start, Policy((Rule("what pays", "auto", then=("gpu", "quantum")),))
    for offset, evidence in enumerate(told):
        learned = Evidences().step(learned, Seen(0, offset, evidence), 1e9)
        calibration(learned)
    assert learned.offsets == ((len(told),) if told else ())
    decide(reduced(8), Facts(1e9, alive=ALIVE, learned=learned), auto)


@given(events(ControlState))
def test_orders(states: list[ControlState]) -> None:
    ordered, auto = Orders().start, Policy((Rule("what pays", "auto", then=("gpu", "quantum")),))
    for state in states:
        ordered = Orders().step(ordered, state)
        found = facts_of(STATUS.start, ordered, 1e9, 1e9, 15)
        decide(reduced(8), replace(found, alive=ALIVE), auto)
        calibration(ordered.learned)
        Evidences().step(ordered.learned, Seen(0, 2**62, None), 1e9)
        if ordered.policy is not None:
            with suppress(SettingsError):
                policy_of(ordered.policy.text, ())


@given(events(ControlState))
def test_policies_of_strangers(states: list[ControlState]) -> None:
    ordered = Orders().start
    for state in states:
        ordered = Orders().step(ordered, state)
    in_force = InForce(Settings())
    assert in_force.of(ordered) == policy_of_settings(Settings())  # an empty one is the default
    assert in_force.of(ordered) is in_force.of(ordered)
