"""The circuit family on anything: what it cannot read it rejects, and what it reads can be sent on."""

from __future__ import annotations

import re
from contextlib import suppress
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends.clifford import tableau
from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.wire import decode, encode
from qmosaic.codecs.models.arrays import pack
from qmosaic.codecs.models.bundle import Bundle, array, bundle
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.qasm import compiler
from qmosaic.codecs.qasm.parser import parse
from qmosaic.codecs.qasm.syntax import QasmError
from qmosaic.codecs.qasm.work import Work
from qmosaic.processors.families.base import Evaluation, Limits, Task
from qmosaic.processors.families.circuit import family
from qmosaic.processors.families.circuit.family import CircuitFamily, CircuitInstance

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
THREE = 'OPENQASM 3;\ninclude "stdgates.inc";\n'
BELL = TWO + "qreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n"
PROGRAMS = (
    BELL,
    TWO + "qreg q[3];creg c[3];creg d[70];gate g(a,b) x,y{u3(a/2,-b^2,pi) x;barrier x,y;cx x,y;}g(1,.5) q[0],q[1];"
    "measure q->c;if(c==3) x q[2];if(d==0) rccx q[0],q[1],q[2];reset q[1];measure q[2]->d[69];",
    THREE + "const int n=3;qubit[n] q;bit[n] c;int[8] k=0x1F;float f=1e-3**2;let a=q[0:1]++q[{2}];"
    "for int i in [0:2:n-1]{if(i>1){x q[i];}else{inv@ctrl@rz(f*i) q[0],q[1];}}while(k>0){k>>=1;if(k==3){continue;}}"
    "ctrl(2)@pow(1/2)@h a[0],a[1],a[2];c=measure q;if(c[0]&&!c[1]||c==5){negctrl@x q[0],q[2];}",
    THREE + "def f(qubit[2] q,int n,bit[2] b)->bit[2]{for int i in [1:n]{x q;}if(b[0]){z q[0];}return measure q;}"
    'gate g(t) a{for int i in [0:2]{rx(t*i) a;}gphase(t);}qubit[2] q;bit[2] b="01";output bit[2] r;g(sin(pi/3)) q;'
    "r=f(q,3,b);bit d=measure q[0];uint[4] u=uint[4](popcount(7));r[0]=measure q[1];",
)
TOKENS = sorted({token for program in PROGRAMS for token in re.findall(r"\w+|\s+|[^\w\s]", program)})
TOKENS += [
    "/*",
    "*/",
    "//",
    '"',
    "'",
    "$0",
    "1e999",
    "0x" + "f" * 300,
    "9" * 400,
    "-1",
    "1_0",
    "0x_",
    "π",
    "ℇ",
    "²",
    "\x00",
]
TOKENS += [
    "1000000",
    "2**62",
    "<<",
    "%",
    "~",
    "++",
    "inv @",
    "ctrl(1000) @",
    "pow(1e300) @",
    "pow(0.5) @",
    "[1:0]",
    "[:]",
]
TOKENS += ["opaque", "end;", "return", "break;", "1/0", "ln(0)", "sizeof(q)", "{}", "()", "[]", "bit[0]", "int[65]"]


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr(compiler, "MAX_STEPS", 20_000)
    yield
    patch.undo()


def parsed(payload: dict[str, Any], shots: int | None = 100) -> CircuitInstance | Rejected:
    """As the family reads it; checked to be fit for all that follows."""
    found = CircuitFamily().parse(Problem(family="circuit", problem=payload, shots=shots), Limits())
    if isinstance(found, Rejected):
        assert found.remedy
        assert len(found.message) < 250
        assert len(found.place) < 100
        encode(found)
        return found
    model = found.encode()
    assert decode(encode(model), Circuit) == model
    assert decode(encode(model), Circuit).digest == model.digest
    assert len(found.digest) == 32
    assert found.size > 0
    assert found.quick() is None
    assert all(len(note) < 2000 for note in found.notes)
    return found


@given(
    st.sampled_from(("", TWO, THREE, THREE + "qubit[3] q; bit[3] c;")), st.lists(st.sampled_from(TOKENS), max_size=30)
)
@settings(max_examples=150, deadline=None)
def test_tokens_in_any_order(start: str, tokens: list[str]) -> None:
    parsed({"qasm": start + " ".join(tokens)})


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A program in which some tokens are others, are gone, twice, or elsewhere."""
    tokens = re.findall(r"\w+|\s+|[^\w\s]", draw(st.sampled_from(PROGRAMS)))
    for _ in range(draw(st.integers(1, 4))):
        at, to = (draw(st.integers(0, max(0, len(tokens) - 1))) for _ in range(2))
        match draw(st.sampled_from(("other", "gone", "twice", "swapped", "cut", "repeated"))):
            case "other":
                tokens[at : at + 1] = [draw(st.sampled_from(TOKENS))]
            case "gone":
                del tokens[at : at + draw(st.integers(1, 5))]
            case "twice":
                tokens[at:at] = tokens[min(at, to) : max(at, to)]
            case "swapped" if tokens:
                tokens[at], tokens[to] = tokens[to], tokens[at]
            case "cut":
                tokens = tokens[:at]
            case "repeated" if tokens:
                tokens[at:at] = [tokens[at]] * draw(st.integers(1, 300))
    return "".join(tokens)


@given(mutated(), st.sampled_from((None, 0, 100)))
@settings(max_examples=200, deadline=None)
def test_programs_with_something_wrong(source: str, shots: int | None) -> None:
    parsed({"qasm": source}, shots)


@pytest.mark.parametrize("source", PROGRAMS)
def test_the_programs_are_right(source: str) -> None:
    assert isinstance(parsed({"qasm": source}), CircuitInstance)


KEYS = ("name", "terms", "ZZ", "XI", "", "Q")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20) | st.just("Z" * 2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
ENTRIES = st.fixed_dictionaries(
    {"terms": st.dictionaries(st.text("IXYZ", min_size=1, max_size=3), JSON | st.floats(-2, 2), max_size=4) | JSON},
    optional={"name": st.sampled_from("ab") | JSON, "other": JSON},
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "qasm": st.just(BELL) | JSON,
            "observables": st.lists(ENTRIES | JSON, max_size=3) | JSON,
            "fidelity": st.floats(0, 1) | JSON,
            "unknown" * 50: JSON,
        },
    ),
    st.sampled_from((None, 0, 10)),
)
@settings(max_examples=200, deadline=None)
def test_any_payload(payload: dict[str, Any], shots: int | None) -> None:
    parsed(payload, shots)
    assert isinstance(CircuitFamily().light(Problem(family="circuit", problem=payload, shots=shots)), bool)


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("observables", [{"terms": {"ZZ": 10**400}}], ".observables[0].terms.ZZ"),
        ("observables", [{"terms": {"ZZ": float("nan")}}], ".observables[0].terms.ZZ"),
        ("observables", [{"terms": {"ZZ": 1e308, "XX": 1e308}}], ".observables[0].terms.ZZ"),
        ("observables", [{"terms": {"Z" * 10**6: 1}}], ".observables[0].terms"),
        ("observables", [{"name": "n" * 10**6, "terms": {"ZZ": 1}}], ".observables[0].name"),
        ("observables", [{"name": ["a"] * 10**5, "terms": {"ZZ": 1}}], ".observables[0].name"),
        ("observables", [{"terms": {"ZZ": 1}, "x" * 10**6: 1}], ".observables[0]." + "x" * 40),
        ("fidelity", "9" * 10**6, ".fidelity"),
        ("fidelity", 10**5000, ".fidelity"),
        ("y" * 10**6, 1, "." + "y" * 40),
    ],
    ids=map(str, range(10)),
)
def test_what_is_said_of_a_payload_is_short(field: str, value: Any, place: str) -> None:
    found = parsed({"qasm": BELL, field: value})
    assert isinstance(found, Rejected)
    assert found.place == "$.problem" + place


def test_terms_are_counted_before_they_are_read() -> None:
    terms = {f"{k:064b}".replace("0", "I").replace("1", "Z"): 1.0 for k in range(family.MAX_TERMS + 1)}
    terms["wrong"] = 1.0  # comes last, and is not what is said
    found = parsed({"qasm": BELL.replace("2]", "64]"), "observables": [{"terms": terms}]})
    assert isinstance(found, Rejected)
    assert found.code == "too_large"


def test_letters_of_idle_qubits_are_left_out_of_many_terms() -> None:
    terms = {f"{k:010b}".replace("0", "I").replace("1", "Z") + "I" * 90: float(k) for k in range(1, 1024)}
    source = TWO + "qreg q[100]; x q[3]; x q[99];"
    found = parsed({"qasm": source, "observables": [{"terms": terms}]})
    assert isinstance(found, CircuitInstance)
    (kept,) = found.circuit.observables
    assert found.circuit.qubits == kept.qubits == 11
    assert kept.paulis == tuple(pauli[:10] + "I" for pauli in terms)
    assert kept.coefficients == tuple(terms.values())


GATES = ("h", "x", "t", "u1(1)", "u2(0,0)", "u3(1,2,3)", "u0", "rx(pi/2)", "p(-1/3/7)", "rz(sin(ln(2)))")
PAIRS = ("cx", "CX", "cu1(1)", "cu3(1,2,3)", "swap", "rzz(1*2+3)")


@st.composite
def short(draw: st.DrawFn) -> str:
    """Short programs without loops and definitions, some of them as heavy as that can be."""
    size = draw(st.sampled_from((1, 2, 5, 12, 60, 400)))
    three = draw(st.booleans())
    registers = (
        f"qubit[{size}] q; qubit[{size}] r; bit[{size}] c;"
        if three
        else f"qreg q[{size}];qreg r[{size}];creg c[{size}];"
    )
    index = st.integers(0, size - 1)
    one = st.builds("{}[{}]".format, st.sampled_from("qr"), index) | st.sampled_from("qr")
    measure = "c=measure q;" if three else "measure q->c;"
    step = st.one_of(
        st.builds("{} {};".format, st.sampled_from(GATES), one),
        st.builds("{} q[{}],r[{}];".format, st.sampled_from(PAIRS), index, index),
        st.builds("{} q,r;".format, st.sampled_from(PAIRS)),
        st.builds("if(c=={}) {} {};".format, st.integers(0, 9), st.sampled_from(GATES), one),
        st.builds("if(c[{}]) if(c=={}) {} {};".format, index, st.integers(0, 9), st.sampled_from(GATES), one),
        st.builds("barrier {};".format, st.lists(one, min_size=1, max_size=4).map(",".join)),
        st.builds("rx({}) q;".format, st.lists(st.sampled_from(("1", "2/3", "-pi", "--1")), min_size=1).map("/".join)),
        st.sampled_from(("reset q;", "/**/", measure, 'include "stdgates.inc";')),
    )
    steps = draw(st.lists(step, max_size=12))
    body = measure + "".join(steps * draw(st.sampled_from((1, 1, 3, 9)))) + measure
    return (THREE if three else TWO) + registers + body


@given(short() | mutated())
@settings(max_examples=200, deadline=None)
def test_what_is_light_takes_little_work(source: str) -> None:
    if not CircuitFamily().light(Problem(family="circuit", problem={"qasm": source})):
        return
    work = Work(10**9)
    with suppress(QasmError):
        compiler._Compiler(parse(source, work), work, max_qubits=1000).run()
    assert work.done <= family.LIGHT_WORK


@pytest.mark.parametrize(
    ("source", "light"),
    [
        (BELL, True),
        (TWO + f"qreg q[20];creg c[20];{''.join(f'cx q[{k}],q[{k + 1}];' for k in range(19))}measure q->c;", True),
        (TWO + "qreg q[3];creg a[1];creg b[1];creg c[1];u3(.3,.2,.1) q[0];h q[1];cx q[1],q[2];cx q[0],q[1];h q[0];"
         "measure q[0]->a[0];measure q[1]->b[0];if(a==1) z q[2];if(b==1) x q[2];measure q[2]->c[0];", True),
        (THREE + "qubit[5] q; bit[5] c; h q; rz(pi / 4) q[3]; c = measure q;", True),
        (THREE + "qubit[5] q; bit[5] c; for int i in [0:4] { h q[i]; } c = measure q;", False),
        (THREE + "qubit[5] q; bit[5] c; while (true) {} c = measure q;", False),
        (TWO + "gate g a { h a; } qreg q[2]; creg c[2]; g q[0]; measure q -> c;", False),
        (THREE + "def f(qubit a) { h a; } qubit q; bit c; f(q); c = measure q;", False),
        (THREE + "qubit[2] q; bit c; ctrl @ x q[0], q[1]; c = measure q[0];", False),
        (THREE + "qubit[2] q; bit c; pow(0.5) @ x q[0]; c = measure q[0];", False),
        (THREE + "const int n = 1000; qubit[n] q; bit[n] c; c = measure q;", False),
        (THREE + "qubit[9 * 99] q; bit c; c = measure q[0];", False),
        (TWO + "qreg q[1000]; creg c[1000]; h q; measure q -> c;", False),
        (TWO + "qreg q[5]; creg c[5]; c4x q[0],q[1],q[2],q[3],q[4]; measure q -> c;", False),
        (THREE + "qubit[9] q; bit[9] c; c = measure q; if (c < 7) x q[0];", False),
        (BELL + "// " + "x" * 10_000, False),
    ],
)  # fmt: skip
def test_which_programs_are_light(source: str, light: bool) -> None:
    assert CircuitFamily().light(Problem(family="circuit", problem={"qasm": source})) is light


@pytest.mark.parametrize(
    ("fields", "shots"),
    [
        ({"qasm": 3}, None), ({"qasm": [BELL]}, None), ({}, None), ({"qasm": BELL, "other": 1}, None),
        ({"qasm": BELL, "observables": [{"terms": dict.fromkeys(map(str, range(1000)), 1.0)}]}, None),
        ({"qasm": BELL, "observables": [{}] * 1000}, None), ({"qasm": BELL, "observables": "ZZ"}, None),
        ({"qasm": BELL}, 1_000_000),
    ],
)  # fmt: skip
def test_odd_payloads_are_not_light(fields: dict[str, Any], shots: int | None) -> None:
    assert CircuitFamily().light(Problem(family="circuit", problem=fields, shots=shots)) is False


def test_many_conditions_go_through_the_pipeline() -> None:
    body = "".join(f"measure q[0]->c[{k}];" for k in range(72))
    found = parsed(
        {"qasm": TWO + f"qreg q[2];creg c[72];creg d[1];x q[0];{body}if(c=={2**72 - 1}) x q[1];measure q[1]->d[0];"}
    )
    assert isinstance(found, CircuitInstance)
    sent = decode(encode(found.encode()), Circuit)
    (reduction,) = CircuitFamily().reduce([Task(model=sent, seed=1, seconds=30.0, shots=100, clock=monotonic)])
    assert found.solution(reduction.state) == {"counts": {"1" * 73: 100}}


def test_matrices_of_many_angles_are_left_to_reduce() -> None:
    body = "".join(f"crz({4 * k}*pi) q[0],q[1];" for k in range(400))
    before = tableau._action.cache_info().misses
    found = parsed({"qasm": TWO + f"qreg q[30];creg c[30];h q;{body}measure q->c;"})
    assert isinstance(found, CircuitInstance)
    assert found.size == 256
    assert not any("Clifford" in note for note in found.notes)
    assert tableau._action.cache_info().misses - before <= family.DIFFERENT
    few = parsed({"qasm": TWO + f"qreg q[30];creg c[30];h q;{body[: body.index('400')]}0) q[0],q[1];measure q->c;"})
    assert isinstance(few, CircuitInstance)
    assert few.size == 8


ARRAYS = st.one_of(
    st.sampled_from(
        [
            np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8), np.array([[0, 1], [1, 0]], np.uint8),
            np.array([3, 5]), np.array([0, -5]), np.array([2**62, 2**62]), np.array(5), np.zeros((0, 2), np.uint8),
            np.zeros(0, np.int64), np.array([np.inf, np.nan]), np.array([0.5, 0.5]), np.full((2, 2), 255, np.uint8),
            np.zeros((3, 2, 2)), np.array([[0.5, 1.0]]), np.array([1, 2], np.int32), np.zeros((2, 70), np.uint8),
        ]
    )
)  # fmt: skip


@given(ARRAYS, ARRAYS, st.lists(st.floats() | st.just(0.0), max_size=2), st.data())
@settings(max_examples=150, deadline=None)
def test_answers_and_evidence_that_do_not_fit(
    samples: Any, counts: Any, values: list[float], data: st.DataObject
) -> None:
    for payload in ({"qasm": BELL}, {"qasm": BELL, "observables": [{"terms": {"ZZ": 1}}]}):
        instance = parsed(payload)
        assert isinstance(instance, CircuitInstance)
        names = ("rows", "counts", "values", "probabilities", "parities", "listed", "noise", "ones", "basis", "offset")
        arrays = {name: pack(data.draw(ARRAYS)) for name in names if data.draw(st.booleans())}
        said = {name: data.draw(JSON) for name in ("shots", "reachable", "likelihood", "tells", "reference", "reason")}
        state = Bundle(arrays, said)
        answer = Answer(circuit=None, samples=pack(samples), counts=pack(counts), values=values, errors=values)
        for one in (None, answer):
            with suppress(ValueError, LookupError, TypeError):
                solution = instance.answered(state, Bundle(), one) if one else instance.solution(state)
                if solution is not None:
                    assert isinstance(instance.evaluate(solution, state), Evaluation)


def test_evidence_of_another_size_asks_for_no_memory() -> None:
    instance = parsed({"qasm": BELL})
    assert isinstance(instance, CircuitInstance)
    (reduction,) = CircuitFamily().reduce(
        [Task(model=instance.encode(), seed=1, seconds=30.0, shots=100, clock=monotonic)]
    )
    good = reduction.state
    solution = instance.solution(good)
    assert instance.evaluate(solution, good).verdict == "verified"
    wide = bundle({"parities": np.ones((2, 62), np.uint8)}).arrays["parities"]
    with pytest.raises(ValueError, match="another circuit"):
        instance.evaluate(solution, Bundle({**good.arrays, "parities": wide}, good.values))
    assert array(good, "parities").shape == (2, 10)
