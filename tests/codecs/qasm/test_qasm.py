"""OpenQASM: what programs become, and what is said of those that are wrong."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends.conformance.circuits import reference
from qmosaic.codecs.models.circuit import Circuit, unitary
from qmosaic.codecs.qasm import building, compiler, parser
from qmosaic.codecs.qasm.syntax import QasmError, line_and_column

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
THREE = 'OPENQASM 3;\ninclude "stdgates.inc";\n'


def circuit(source: str, most: int = 100) -> Circuit:
    return compiler.compiled(source, max_qubits=most).circuit


def counts(source: str) -> dict[str, float]:
    """The exact distribution, classical bit 0 on the right."""
    found = reference(circuit(source))
    return {"".join(map(str, bits[::-1])): round(share, 9) for bits, share in found.items() if share > 1e-12}


def gates(source: str) -> list[str]:
    return [operation.gate for operation in circuit(source).operations]


def refused(source: str) -> tuple[str, tuple[int, int]]:
    with pytest.raises(QasmError) as caught:
        circuit(source)
    assert caught.value.remedy
    return caught.value.message, line_and_column(source, caught.value.at)


def test_version_2_registers_broadcasting_and_bit_order() -> None:
    found = circuit(TWO + "qreg a[2]; qreg b[2]; creg c[1]; creg d[2]; x a[1]; cx a, b; measure b -> d;")
    assert (found.qubits, found.bits) == (4, 3)
    assert [(op.gate, op.qubits) for op in found.operations[:3]] == [("x", (1,)), ("cx", (0, 2)), ("cx", (1, 3))]
    assert counts(TWO + "qreg q[2]; creg c[1]; creg d[2]; x q[1]; measure q -> d;") == {"100": 1.0}


def test_version_2_gates_parameters_and_conditions() -> None:
    source = TWO + (
        "gate half(a, b) p, q { rx(a/2) p; cx p, q; rz(-b^2*sin(pi/2)) q; barrier p, q; }\n"
        "qreg q[2]; creg c[2]; half(pi, 0.5) q[0], q[1]; measure q[0] -> c[0]; if (c == 1) x q[1];"
    )
    rx, cx, rz, measure, x = circuit(source).operations
    assert (rx.gate, rx.params) == ("rx", (np.pi / 2,))
    assert (cx.qubits, measure.bits) == ((0, 1), (0,))
    assert rz.params[0] == pytest.approx(-0.25)
    # only the first bit was measured; the other is known to be 0
    assert x.condition == ((0,), 1)


def test_words_of_version_3_are_names_in_version_2() -> None:
    assert gates(TWO + "qreg in[1]; creg bit[1]; h in[0]; measure in -> bit;") == ["h", "measure"]


def test_u_and_cx_need_no_include() -> None:
    assert counts("OPENQASM 2.0; qreg q[2]; creg c[2]; U(pi,0,pi) q[0]; CX q[0],q[1]; measure q->c;") == {"11": 1.0}


def test_a_program_s_own_gate_comes_before_the_library_s() -> None:
    assert gates(TWO + "gate u1(a) q { rz(a) q; } qreg q[1]; creg c[1]; u1(1) q[0]; measure q -> c;")[0] == "rz"


@pytest.mark.parametrize("name", ["rccx", "rc3x", "c3x", "c4x", "c3sqrtx", "cu1", "cu3", "u1", "u2", "u3", "u0"])
def test_library_gates_exist_in_version_2(name: str) -> None:
    parameters = {"cu1": "(1)", "cu3": "(1,2,3)", "u1": "(1)", "u2": "(1,2)", "u3": "(1,2,3)", "u0": "(1)"}.get(
        name, ""
    )
    size = {"rccx": 3, "rc3x": 4, "c3x": 4, "c4x": 5, "c3sqrtx": 4, "cu1": 2, "cu3": 2}.get(name, 1)
    operands = ", ".join(f"q[{k}]" for k in range(size))
    assert gates(TWO + f"qreg q[5]; creg c[1]; {name}{parameters} {operands}; measure q[0] -> c[0];")


def test_modifiers() -> None:
    source = THREE + "qubit[6] q; bit[6] c; x q[0:4]; ctrl(5) @ x q[0], q[1], q[2], q[3], q[4], q[5]; c = measure q;"
    assert counts(source) == {"111111": 1.0}
    assert counts(THREE + "qubit[2] q; bit[2] c; negctrl @ x q[0], q[1]; c = measure q;") == {"10": 1.0}
    assert counts(THREE + "qubit q; bit c; pow(1/2) @ x q; inv @ sx q; pow(3) @ x q; c = measure q;") == {"1": 1.0}
    # u3 of the standard library is in SU(2), u is not: controlled, the phase shows
    control = THREE + "qubit[2] q; bit c; h q[0]; ctrl @ {} q[0], q[1]; h q[0]; c = measure q[0];"
    assert counts(control.format("u3(0, pi, pi)")) == {"1": 1.0}
    assert counts(control.format("U(0, pi, pi)")) == {"0": 1.0}


def test_constants_loops_and_types() -> None:
    source = THREE + (
        "const int n = 4; qubit[n] q; bit[n] c; uint[2] k = 3; k += 2;\n"
        "for int i in [0:2:n-1] { x q[i]; }\n"
        "for uint i in {1, 3} { if (i > 2) { x q[i]; } else { id q[i]; } }\n"
        "int j = 0; while (j < 10) { j += 1; if (j == 2) { continue; } if (j == 3) { break; } x q[0]; }\n"
        "if (k == 1) x q[1];\n"
        "c = measure q;\n"
    )
    assert counts(source) == {"1110": 1.0}


def test_bit_strings_have_bit_0_on_the_right() -> None:
    source = THREE + 'qubit[3] q; bit[3] c; const bit[3] s = "011"; for int i in [0:2] { if (s[i]) x q[i]; }'
    assert counts(source + "c = measure q;") == {"011": 1.0}


def test_subroutines_return_bits() -> None:
    source = THREE + (
        "def flip(qubit[2] q, int times) -> bit[2] {\n"
        "bit[2] r; for int i in [1:times] { x q; } r = measure q; return r; }\n"
        "qubit[2] q; output bit[2] answer; answer = flip(q, 3);"
    )
    assert counts(source) == {"11": 1.0}


def test_aliases_and_concatenation() -> None:
    source = THREE + "qubit[2] a; qubit[2] b; let ends = a[0:0] ++ b[{1}]; x ends; bit[2] c; c = measure ends;"
    assert counts(source) == {"11": 1.0}
    assert counts(THREE + "qubit[3] q; bit[2] c; x q[-1]; c[1] = measure q[2]; ") == {"10": 1.0}


def test_feedback_with_else_and_several_bits() -> None:
    source = THREE + (
        "qubit[3] q; bit[2] m; bit r; h q[0]; h q[1]; m = measure q[0:1];\n"
        "if (m == 2 || (m[0] && m[1])) { x q[2]; } else { if (!m[0]) id q[2]; }\nr = measure q[2];"
    )
    # the result is bit 1 of m
    assert counts(source) == {"000": 0.25, "001": 0.25, "110": 0.25, "111": 0.25}


def test_outputs_alone_are_counted_and_others_said_to_be_hidden() -> None:
    source = THREE + "qubit[2] q; bit m; output bit r; h q[0]; m = measure q[0]; if (m) x q[1]; r = measure q[1];"
    found = compiler.compiled(source, max_qubits=9)
    assert found.circuit.bits == 2
    assert any("leftmost" in note for note in found.notes)
    assert counts(source) == {"00": 0.5, "11": 0.5}


def test_reset_and_remeasuring() -> None:
    assert counts(THREE + "qubit q; bit c; x q; c = measure q; reset q; c = measure q;") == {"0": 1.0}


@pytest.mark.parametrize(
    ("source", "message", "line", "column"),
    [
        (TWO + "qreg q[2];\nfoo q[0];", "the gate 'foo' is not defined", 4, 1),
        (TWO + "qreg q[2];\nh r[0];", "'r' is not declared", 4, 3),
        (TWO + "qreg q[2];\nh q[2];", "index 2 is out of range", 4, 5),
        (TWO + "qreg q[2];\nh q[-1];", "out of range", 4, 5),
        (TWO + "qreg q[2];\ncx q[0],q[0];", "same qubit twice", 4, 9),
        (TWO + "qreg q[2];\nqreg p[3];\ncx q, p;", "2 and 3 qubits", 5, 1),
        (TWO + "qreg q[2];\nrx q[0];", "'rx' takes 1 parameter, got 0", 4, 1),
        (TWO + "qreg q[2];\ncx q[0];", "'cx' takes 2 qubits, got 1", 4, 1),
        (TWO + "qreg q[2];\ncreg c[1];\nmeasure q -> c;", "2 qubits are measured into 1 bits", 5, 14),
        (TWO + "qreg q[2];\nrx(1/0) q[0];", "has no value", 4, 5),
        (TWO + "qreg q[2];\nrx(ln(-1)) q[0];", "has no value", 4, 4),
        (TWO + "qreg q[2];\nqreg q[2];", "declared twice", 4, 1),
        (TWO + "qreg q[101];", "101 qubits, the limit is 100", 3, 1),
        (TWO + "qreg q[2]\nh q;", "expected ';', got 'h'", 4, 1),
        (TWO + "opaque magic q;", "an opaque gate", 3, 1),
        (TWO + "gate a q { b q; }", "'b' is not defined", 3, 12),
        (TWO + "gate a q { a q; }", "'a' is not defined", 3, 12),
        (TWO + "gate a q { measure q -> q; }", "only consist of gates", 3, 12),
        ("OPENQASM 2.0;\nqreg q[1];\nh q[0];", "'h' is not defined", 3, 1),
        ("OPENQASM 4.0;\n", "version 4.0", 1, 10),
        (TWO + 'include "other.inc";', "cannot be included", 3, 1),
        (TWO, "no qubit", 1, 1),
        (TWO + "qreg q[1]; h q[0]; ?", "unexpected character '?'", 3, 20),
        (THREE + "input float a;", "an input of the program ('input') is not supported", 3, 1),
        (THREE + "qubit q; delay[100ns] q;", "a delay", 3, 10),
        (THREE + "qubit q; box { x q; }", "a timing box", 3, 10),
        (THREE + "array[int, 3] a;", "an array", 3, 1),
        (THREE + "int i = 1; switch (i) { case 1 { } }", "a switch", 3, 12),
        (THREE + "x $0;", "a physical qubit ('$0')", 3, 3),
        (THREE + "qubit q; bit c;\nc = measure q;\nwhile (c) { x q; }", "a while loop on a measured bit", 5, 1),
        (THREE + "qubit q; bit c;\nif (measure q) x q;", "a measurement inside an expression", 4, 5),
        (THREE + "qubit q; bit c; int i;\nc = measure q; if (c) { i = 1; }", "'i' is changed where", 4, 25),
        (THREE + "qubit q; bit c; int i;\nc = measure q; i = c;", "arithmetic with measured bits", 4, 16),
        (
            THREE + "qubit q; bit c; c = measure q;\nif (c) { c = measure q; x q; }",
            "into the bits that it depends on",
            4,
            1,
        ),
        (THREE + "const int n = 1; n = 2;", "'n' is constant", 3, 18),
        (THREE + "qubit q; for int i in [0:3:0] { x q; }", "expected", 3, 0),
    ],
)
def test_what_is_wrong_is_said_with_its_place(source: str, message: str, line: int, column: int) -> None:
    if column == 0:  # a step may be written [0:0:3] only
        source, message, column = source.replace("[0:3:0]", "[0:0:3]"), "step 0", 23
    said, place = refused(source)
    assert message in said
    assert place == (line, column)


@pytest.mark.parametrize(
    "source",
    [
        THREE + "qubit q; rx(" + "(" * 5000 + "1" + ")" * 5000 + ") q;",
        THREE + "qubit q; rx(" + "-" * 5000 + "1) q;",
        THREE + "qubit q; rx(1" + "+1" * 5000 + ") q;",
        THREE + "qubit q; rx(1" + "**1" * 5000 + ") q;",
        THREE + "qubit q; " + "{" * 5000 + "x q;" + "}" * 5000,
        THREE + "qubit q; " + "if (true) " * 5000 + "x q;",
        THREE + "qubit q; bit b; b = " + "b[" * 5000 + "0" + "]" * 5000 + ";",
        THREE + "qubit q; while (true) { x q; }",
        THREE + "qubit q; int i; while (true) { i = 1; }",
        THREE + "qubit q; for int i in [0:1000000000000] { x q; }",
        THREE + "qubit q; pow(1000000000) @ x q;",
        THREE + "qubit q; int i = 2; while (true) { i = i * i; }",
        THREE + "qubit q; bit[100000000] b;",
        THREE + "def f(int n) -> int { return f(n); } int i = f(1);",
        THREE + "gate g0 q { x q; x q; }" + "".join(f"gate g{k} q {{ g{k - 1} q; g{k - 1} q; }}" for k in range(1, 40)),
        THREE + "gate g0 q { }" + "".join(f"gate g{k} q {{ g{k - 1} q; g{k - 1} q; }}" for k in range(1, 30)),
        THREE + "qubit[90] q; " + "ctrl(80) @ x q;",
        THREE + "qubit q; rx(" + "9" * 100_000 + ") q;",
        "x" * (parser.MAX_SOURCE + 1),
    ],
)
def test_bombs_are_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # to be quick
    monkeypatch.setattr(compiler, "MAX_STEPS", compiler.MAX_STEPS // 20)
    most = building.MAX_OPERATIONS // 20
    for module in ("building", "gates"):
        monkeypatch.setattr(f"qmosaic.codecs.qasm.{module}.MAX_OPERATIONS", most)
    said, _ = refused(source)
    assert len(said) < 200


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for start in ("", TWO, THREE):
        try:
            circuit(start + text)
        except QasmError as error:
            line, column = line_and_column(start + text, error.at)
            assert line >= 1
            assert column >= 1


WORDS = ["qubit q;", "qubit[2] r;", "bit c;", "h q;", "cx r[0], r[1];", "c = measure q;", "if (c) x q;", "reset q;"]
WORDS += [
    "{",
    "}",
    "(",
    ")",
    "1",
    "c",
    "q",
    ";",
    "for int i in [0:1]",
    "while (c)",
    "gate g a { x a; }",
    "g q;",
    "ctrl @",
]


@given(st.lists(st.sampled_from(WORDS), max_size=14))
@settings(max_examples=300)
def test_words_in_any_order_are_read_or_refused(words: list[str]) -> None:
    with suppress(QasmError):
        circuit(THREE + " ".join(words))


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Programs of version 3 that are right in their syntax, whatever they mean."""
    numbers = st.one_of(
        st.integers(0, 99).map(str), st.sampled_from(["pi", "1.5e-3", ".5", "0x1F", "0b10", "a", "b[1]"])
    )
    deeper = lambda inner: st.one_of(  # noqa: E731
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**", "==", "&&", "<<", "|"]), inner).map(" ".join),
        inner.map(lambda e: f"({e})"),
        inner.map(lambda e: f"-{e}"),
        inner.map(lambda e: f"sin({e})"),
        inner.map(lambda e: f"int[8]({e})"),
    )
    expressions = st.recursive(numbers, deeper, max_leaves=5)

    def statement(depth: int) -> str:
        e = draw(expressions)
        kinds = [
            f"rx({e}) q[{e}];",
            f"ctrl({e}) @ inv @ pow({e}) @ x q[0], q;",
            f"c[{e}] = measure q[{e}:{e}];",
            f"int[8] i = {e};",
            f"const float f = {e};",
            "measure q -> c;",
            "barrier q, r;",
            "reset q;",
            f"a += {e};",
            f"let x1 = q[{{0, {e}}}] ++ r;",
            f"f({e}, q);",
        ]
        if depth == 0 or draw(st.booleans()):
            return draw(st.sampled_from(kinds))
        body = statement(depth - 1)
        blocks = [
            f"if ({e}) {{ {body} }} else {{ x q; }}",
            f"for uint i in [{e}:{e}] {{ {body} }}",
            f"for int i in {{1, {e}}} {{ {body} }}",
            f"while ({e}) {{ {body} break; }}",
        ]
        return draw(st.sampled_from(blocks))

    definitions = (
        "gate g(t, u) a1, b1 { rx(t) a1; gphase(u); } def f(int n, qubit[2] q) -> bit { return measure q[0]; }"
    )
    return THREE + definitions + "\n".join(statement(2) for _ in range(draw(st.integers(1, 4))))


def _at(source: str, span: Any) -> int:
    lines = source.split("\n")
    return sum(len(line) + 1 for line in lines[: span.start_line - 1]) + int(span.start_column)


@given(programs())
@settings(max_examples=30, deadline=None)
def test_the_reference_parser_reads_what_this_one_reads(source: str) -> None:
    official = pytest.importorskip("openqasm3")
    found = parser.parse(source)
    expected = official.parse(source)
    assert [each.at for each in found.statements] == [_at(source, each.span) for each in expected.statements]


def test_phases_of_u_gates() -> None:
    (rotation,) = (op for op in circuit("OPENQASM 3; qubit q; U(1, 2, 3) q;").operations if op.gate == "u")
    c, s = np.cos(0.5), np.sin(0.5)
    np.testing.assert_allclose(unitary(rotation), [[c, -np.exp(3j) * s], [np.exp(2j) * s, np.exp(5j) * c]])
