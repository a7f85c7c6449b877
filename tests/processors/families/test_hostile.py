"""Whatever is sent: no family raises, and what it admits can be encoded, answered, judged and written back."""

from __future__ import annotations

from base64 import b64encode
from copy import deepcopy
from typing import Any, get_args

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.models.arrays import Dtype, Packed, pack_bits
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.polynomial import SpinPolynomial, pack_polynomial
from qmosaic.codecs.problems import FAMILIES as PROBLEMS
from qmosaic.processors.families.base import Instance, Limits
from qmosaic.processors.families.payload import shown
from qmosaic.processors.families.registry import known

FUZZ = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
LIMITS = Limits(variables=40, couplings=400)

INTEGRALS = {"orbitals": 2, "one": [[0, 0, -1.25], [1, 1, -0.48]], "two": [[0, 0, 0, 0, 0.67], [0, 1, 0, 1, 0.18]]}
MARKET = {"returns": [0.1, 0.2, 0.3], "covariance": [[0.2, 0, 0], [0, 0.1, 0], [0, 0, 0.3]]}
VALID: list[tuple[str, dict[str, Any]]] = [
    *((name, kind.example) for name, kind in PROBLEMS.items() if name != "circuit"),
    ("maxcut", {"edges": [["a", "b"], ["b", "c", 2.5]], "nodes": ["a", "b", "c"]}),
    ("qubo", {"terms": [["a", "a", 1], ["a", "b", -3]], "offset": 2}),
    ("ising", {"J": [["a", "b", 1.5]], "h": {"a": 1, "b": -0.5}, "offset": 1}),
    ("route", {"matrix": [[0, 3, 2], [1, 0, 4], [5, 6, 0]], "directed": True, "nodes": ["x", 1, "1"], "depot": 1}),
    ("portfolio", {"prices": [[1, 2, 3], [2, 2, 4], [1, 3, 3.5]], "exclude": [0], "sectors": {"1": "s", "2": "t"}}),
    (
        "portfolio",
        MARKET
        | {"assets": ["a", "b", "c"], "sectors": ["s", None, "t"], "sector_cap": {"s": 1, "t": 0.5}}
        | {"cardinality": [1, 2], "weights": "optimal", "bounds": [0.1, 1], "must_hold": ["a"], "risk_aversion": 0.3},
    ),
    ("molecule", {"integrals": INTEGRALS, "electrons": 2, "active_orbitals": [0, 1], "multiplicity": 1}),
    ("molecule", {"hamiltonian": [["II", -0.3], ["IZ", 0.4], ["XX", [0.18, 0]], ["YZ", 1]], "qubits": 2}),
    ("molecule", {"geometry": [["H", 0, 0, 0], ["H", 0, 0, 0.7]], "basis": "sto-3g", "charge": 0}),
]
IDS = [f"{name}-{k}" for k, (name, _) in enumerate(VALID)]

DIGITS = "१٣²೨①𝟙１"  # digits to `str.isdigit`, `isdecimal` or `int`
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**300, -(10**400), 10**4000]),
    st.sampled_from([0.0, -0.0, 0.5, 1e16, 1e308, -1e308, 5e-324, 1e-300, float("inf"), float("nan")]),
    st.integers(-5, 50),
    st.floats(-10, 10),
)
TEXTS = st.one_of(
    st.sampled_from(["", "\ud800", "a\udfff", "1", "01", "+1", "1_0", "1" * 5000, "x" * 5000, "a\0", "a", *DIGITS]),
    st.sampled_from(["equal", "optimal", "geo", "att", "H 0 0 0", "H 0 0 0; H 0 0 1", "XYZ", "ZZ", "cc-pvdz"]),
    st.text(max_size=5),
)
SCALARS = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none())


def deep(levels: int) -> Any:
    out: Any = []
    for _ in range(levels):
        out = [out]
    return out


ANYTHING = st.one_of(
    SCALARS,
    st.builds(deep, st.sampled_from([3, 300])),
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
        max_leaves=12,
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, payload: dict[str, Any]) -> dict[str, Any]:
    """A payload with some of its values replaced, taken away, doubled or given another key."""
    out: Any = deepcopy(orjson.loads(orjson.dumps(payload)))
    for _ in range(draw(st.integers(0, 3))):
        *way, last = draw(st.sampled_from(places(out)[1:] or [(0,)]))
        inside = out
        for key in way:
            inside = inside[key]
        if not isinstance(inside, dict | list) or not inside:
            break
        match draw(st.integers(0, 3)):
            case 0:
                inside[last] = draw(ANYTHING)
            case 1:
                del inside[last]
            case 2 if isinstance(inside, list):
                inside.insert(last, deepcopy(inside[last]))
            case _ if isinstance(inside, dict):
                inside[draw(TEXTS)] = inside[last]
            case _:
                inside[last] = draw(NUMBERS)
    return out  # type: ignore[no-any-return]


def settled(name: str, payload: dict[str, Any], sense: Any = None) -> Instance | Rejected:
    """All that is done with an event by encode and verify, but for a proposal."""
    problem = Problem(family=name, problem=payload, sense=sense)
    assert isinstance(known(name).light(problem), bool)
    found = known(name).parse(problem, LIMITS)
    if isinstance(found, Rejected):
        wire.encode(found)
        assert len(found.message) < 700
        assert len(found.place) < 700
        return found
    model = found.encode()
    wire.encode(pack_polynomial(model) if isinstance(model, SpinPolynomial) else model)
    assert len(found.digest) == 32
    assert isinstance(found.size, int)
    orjson.dumps(found.notes)
    solution = found.quick()
    if solution is not None:
        judged = found.evaluate(solution)
        assert judged.feasible
        assert judged.objective is not None
        assert np.isfinite(judged.objective)
        orjson.dumps([solution, judged.objective, judged.details])
    return found


@pytest.mark.parametrize(("name", "payload"), VALID, ids=IDS)
def test_the_valid_ones_are_valid(name: str, payload: dict[str, Any]) -> None:
    assert not isinstance(settled(name, payload), Rejected)


@pytest.mark.parametrize(("name", "payload"), VALID, ids=IDS)
@FUZZ
@given(st.data())
def test_a_mutated_problem_is_settled(name: str, payload: dict[str, Any], data: st.DataObject) -> None:
    settled(name, data.draw(mutated(payload)), data.draw(st.sampled_from([None, "min", "max"])))


def test_a_text_that_is_no_unicode_is_refused() -> None:
    assert isinstance(settled("maxcut", {"edges": ["\ud800", [1, 2]]}), Rejected)


@pytest.mark.parametrize("name", sorted(PROBLEMS.keys() - {"circuit"}))
@FUZZ
@given(st.data())
def test_anything_under_the_right_names_is_settled(name: str, data: st.DataObject) -> None:
    fields = sorted({field for kind, payload in VALID if kind == name for field in payload})
    settled(name, data.draw(st.dictionaries(st.sampled_from(fields) | TEXTS, ANYTHING, max_size=4)))


NAMES = (
    "bits",
    "variables",
    "eliminated",
    "neighbours",
    "coefficients",
    "order",
    "places",
    "nodes",
    "bounds",
    "chosen",
)
ARRAYS = (*NAMES, "x", "z", "angles", "ground")


@st.composite
def packed(draw: st.DrawFn) -> Packed:
    dtype = draw(st.sampled_from(get_args(Dtype)))
    if draw(st.integers(0, 4)) == 0:
        sides = st.sampled_from([-1, 0, 1, 7, 2**31, 2**62, 10**30])
        data = draw(st.sampled_from(["", "AA==", "AAAAAAAAAAA=", "\ud800", "%%%%", "A" * 400]))
        return Packed(dtype, tuple(draw(st.lists(sides, max_size=4))), data)
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=2))) if draw(st.booleans()) else (draw(st.integers(0, 9)),)
    if dtype.startswith("<f"):
        values = [draw(st.sampled_from([0.0, 1.0, float("nan"), 1e30])) for _ in range(int(np.prod(shape)))]
    else:
        lowest, largest = (0, 255) if dtype == "|u1" else (-128, 127) if dtype == "|i1" else (-(2**31), 2**31 - 1)
        usual = st.integers(0, 3)
        values = [draw(usual | st.sampled_from([lowest, largest])) for _ in range(int(np.prod(shape)))]
    return Packed(dtype, shape, b64encode(np.array(values, dtype=dtype).tobytes()).decode())


BUNDLES = st.builds(
    Bundle,
    st.dictionaries(st.sampled_from(ARRAYS), packed(), max_size=len(ARRAYS)),
    st.dictionaries(st.sampled_from(["reference", "energy"]), ANYTHING, max_size=2),
)
ANSWERS = st.builds(
    Answer,
    circuit=st.none(),
    bits=st.none() | packed() | st.lists(st.integers(0, 1), max_size=5).map(lambda b: pack_bits(np.array(b, np.uint8))),
    values=st.lists(st.sampled_from([0.0, -1.0, float("nan"), float("inf"), 1e308]), max_size=2),
    errors=st.lists(st.sampled_from([0.0, 0.1, float("nan"), -1.0]), max_size=2),
)
UNFIT = (ValueError, LookupError, TypeError)


@pytest.mark.parametrize(("name", "payload"), VALID, ids=IDS)
@FUZZ
@given(BUNDLES, BUNDLES, ANSWERS)
def test_a_claim_that_does_not_fit_is_told_so(
    name: str, payload: dict[str, Any], state: Bundle, lift: Bundle, answer: Answer
) -> None:
    instance = known(name).parse(Problem(family=name, problem=payload), LIMITS)
    assert not isinstance(instance, Rejected)
    for answered in (False, True):
        try:
            solution = instance.answered(state, lift, answer) if answered else instance.solution(state)
            judged = instance.evaluate(solution, state)
        except UNFIT:
            continue
        orjson.dumps([solution, judged.details, list(judged.violations)])


# --- the cases that were told of, and their like ---------------------------------------------------------------------

TWO_ASSETS = {"returns": [1, 1], "covariance": [[1, 0], [0, 1]]}
H2 = [["H", 0, 0, 0], ["H", 0, 0, 1]]


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [
        ("portfolio", TWO_ASSETS | {"sectors": {"1" * 5000: "x"}}, "invalid_problem"),
        ("portfolio", TWO_ASSETS | {"sectors": {"१": "x", "1": "y"}}, "invalid_problem"),
        ("portfolio", TWO_ASSETS | {"sectors": {"01": "x", "1": "y"}}, "invalid_problem"),
        ("portfolio", TWO_ASSETS | {"cardinality": 10**5000}, "invalid_problem"),
        ("portfolio", TWO_ASSETS | {"exclude": [-(10**5000)]}, "invalid_problem"),
        ("portfolio", TWO_ASSETS | {"sectors": {"0": "s"}, "sector_cap": -(10**400)}, "invalid_problem"),
        ("portfolio", TWO_ASSETS | {"returns": [1e308, 1e308]}, "invalid_problem"),
        ("portfolio", {"prices": [[1, 1], *[[1e-9, 1], [1e145, 2]] * 20]}, "invalid_problem"),
        ("portfolio", TWO_ASSETS | {"covariance": [[1, 1e308], [1e308, 1]]}, "invalid_problem"),
        ("molecule", {"geometry": H2, "active_orbitals": 2**31}, "invalid_problem"),
        ("molecule", {"geometry": H2, "active_orbitals": 10**300}, "invalid_problem"),
        ("molecule", {"geometry": H2, "charge": -(10**300)}, "invalid_problem"),
        ("molecule", {"geometry": H2, "charge": 10**5000}, "invalid_problem"),
        ("molecule", {"geometry": H2, "multiplicity": 10**5000}, "invalid_problem"),
        ("molecule", {"geometry": H2, "active_electrons": 10**5000}, "invalid_problem"),
        ("molecule", {"geometry": H2 * 5000}, "invalid_problem"),
        ("molecule", {"integrals": {"orbitals": 10**5000}, "electrons": 2}, "too_large"),
        ("molecule", {"integrals": {"orbitals": 2, "one": [[10**400, 0, 1.0]]}, "electrons": 2}, "invalid_problem"),
        ("molecule", {"hamiltonian": [["Z", 1.0]], "qubits": 10**5000}, "too_large"),
        ("molecule", {"hamiltonian": [["Z", 1e308], ["X", 1e308]]}, "invalid_problem"),
        ("labs", {"n": 10**5000}, "too_large"),
        ("labs", {"n": -(10**5000)}, "invalid_problem"),
        ("labs", {"\ud800" * 5000: 1}, "invalid_problem"),
        ("maxcut", {"edges": [[0, 10**400]]}, "invalid_problem"),
        ("maxcut", {"edges": [["a", "\ud800"]]}, "invalid_problem"),
        ("maxcut", {"edges": [], "nodes": 10**5000}, "too_large"),
        ("qubo", {"terms": [[0, 1, 1e308], [1, 2, 1e308]]}, "invalid_problem"),
        ("qubo", {"terms": [[0, 1, 1]], "offset": 10**5000}, "invalid_problem"),
        ("ising", {"h": {"\ud800": 1}}, "invalid_problem"),
        ("ising", {"h": [10**400]}, "invalid_problem"),
        ("route", {"coordinates": [[0, 0], [1, 10**400]]}, "invalid_problem"),
        ("route", {"coordinates": [[0, 0], [1, 1]], "nodes": [1, 2**64]}, "invalid_problem"),
        ("route", {"coordinates": [[0, 0], [1, 1]], "nodes": [1, "\ud800"]}, "invalid_problem"),
        (
            "route",
            {"coordinates": [[0, 0], [1, 1]], "demands": [0, 1], "capacity": 1, "vehicles": -(10**5000)},
            "invalid_problem",
        ),
    ],
)
def test_what_no_number_or_name_can_be_is_refused(name: str, payload: dict[str, Any], code: str) -> None:
    found = settled(name, payload)
    assert isinstance(found, Rejected)
    assert found.code == code


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


@pytest.mark.parametrize("count", [500, 2000])
def test_names_are_compared_a_few_times_each(count: int) -> None:
    from qmosaic.processors.families.payload import twice
    from qmosaic.processors.families.portfolio.market import Market
    from qmosaic.processors.families.portfolio.rules import _marked

    names = tuple(Counted(f"n{k}") for k in range(count))
    Counted.compared = 0
    assert twice([*names, names[-1]]) == count
    market = Market(names, np.zeros(count), np.zeros((count, count)), None)
    assert _marked([Counted(name) for name in names] * 3, market, "").all()
    assert Counted.compared < 10 * count


LONG = ["x" * 10**6, 10**5000, [[deep(900)] * 50] * 50, {"a": deep(900)}, deep(900), "\ud800"]


@pytest.mark.parametrize("value", LONG, ids=map(str, range(len(LONG))))
def test_little_is_quoted(value: Any) -> None:
    assert len(shown(value)) < 250
