"""OpenQASM that asks for too much: whatever takes time, memory or depth counts towards a limit, and is said to be too
large where it stands."""

from __future__ import annotations

import inspect
import sys
from types import FrameType
from typing import Any

import pytest

from qmosaic.backends.conformance.circuits import reference
from qmosaic.codecs.events.wire import decode, encode
from qmosaic.codecs.models.circuit import Circuit, Operation, condition
from qmosaic.codecs.qasm import compiler
from qmosaic.codecs.qasm.expressions import MAX_BITS
from qmosaic.codecs.qasm.parser import parse
from qmosaic.codecs.qasm.syntax import QasmError, line_and_column
from qmosaic.codecs.qasm.work import Work

TWO = 'OPENQASM 2.0;include "qelib1.inc";'
THREE = 'OPENQASM 3;include "stdgates.inc";'
ONES = "+".join(["1"] * 257)
STEPS = 60_000
CALLS_A_UNIT = 10
"""Calls of functions, Python's own included, that a unit of work may stand for."""


def circuit(source: str) -> Circuit:
    return compiler.compiled(source, max_qubits=1000).circuit


def refused(source: str) -> QasmError:
    with pytest.raises(QasmError) as caught:
        circuit(source)
    line, column = line_and_column(source, caught.value.at)
    assert line >= 1 <= column <= len(source)
    assert len(caught.value.message) < 160
    assert caught.value.remedy
    return caught.value


def calls_of(source: str) -> tuple[int, QasmError | None]:
    """How many functions reading it calls, and what is said of it."""
    count = 0

    def called(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    error = None
    sys.setprofile(called)
    try:
        compiler.compiled(source, max_qubits=1000)
    except QasmError as found:
        error = found
    finally:
        sys.setprofile(None)
    return count, error


def loop(body: str, before: str = "") -> str:
    return f"{THREE}{before} qubit[1000] q; bit[1000] c; int n; for uint i in [0:1000000] {{ {body} }}"


def many(text: str, times: int, between: str = "") -> str:
    return between.join([text] * times)


def measured(body: str) -> str:
    return loop(body).replace("for uint", "c = measure q; for uint")


def numbered(text: str, times: int, between: str = ",") -> str:
    return between.join(f"{text}{k}" for k in range(times))


DOUBLED = "".join(f"gate g{k} a {{ g{k - 1} a; g{k - 1} a; }}" for k in range(1, 31))

TWICE = "if (k < 1) return 1; return f(k - 1) + f(k - 1);"

WORK = {
    "an empty gate on many qubits": loop("nop q;", "gate nop a {}"),
    "an empty gate on one qubit": loop("nop q[0];", "gate nop a {}"),
    "a gate of empty gates": loop("more q;", "gate nop a {} gate more a { nop a; nop a; }"),
    "barriers": loop("barrier q;"),
    "barriers of everything": loop("barrier;"),
    "a barrier that names a register often": loop("barrier " + many("q", 500, ",") + ";"),
    "resets": loop("reset q;"),
    "measurements": loop("c = measure q;"),
    "measurements of nothing": loop("c[1:0] = measure q[1:0];"),
    "gates on nothing": loop("x q[1:0];"),
    "an empty loop": loop(""),
    "nested empty loops": THREE + many("for int i in [0:30] ", 12) + "{}",
    "an empty while": THREE + "qubit q; while (true) {}",
    "a while that continues": THREE + "qubit q; while (true) { continue; }",
    "long conditions": loop(f"if (({ONES}) + ({ONES}) < 0) {{}}"),
    "long sums": loop(f"n = {ONES};"),
    "negations": loop(f"n = {many('-', 60)}1;"),
    "casts": loop(f"n = {many('int[8](', 25)}1{many(')', 25)};"),
    "functions": loop(f"n = {many('sin(', 25)}1{many(')', 25)};"),
    "fractions": loop("float f = " + many("1/4294967291", 100, "+") + ";"),
    "powers": loop("n = " + many("3**20", 100, "%") + ";"),
    "literals of many digits": loop(f"bool b = {many('a > a', 80, '||')};", f"const int a = 0x{'f' * 1000};"),
    "bits turned": loop("c = ~c;"),
    "bits compared": loop("bool b = " + many("c == c", 60, "&&") + ";"),
    "bits as numbers": loop("if (c < 1) {}"),
    "bits of a set": loop("n = c[{" + many("0", 1000, ",") + "}];"),
    "bits of a string": loop(f'c = "{"1" * 1000}";'),
    "bits of a cast": loop("c = bit[1000](1);"),
    "loops over bits": loop("for bit b in c { break; }"),
    "loops over sets": loop("for int k in {" + many("0", 1000, ",") + "} { break; }"),
    "slices": loop("x q[0:999][0:999][1:0];"),
    "aliases": loop("let a = q[0:499] ++ q[500:999];"),
    "aliases of nothing": loop("let a = " + many("q[1:0]", 200, "++") + ";"),
    "subroutines that do nothing": loop("f(1);", "def f(int a) {}"),
    "subroutines with many names": loop(f"f({many('1', 500, ',')});", f"def f({numbered('int a', 500)}) {{}}"),
    "subroutines that call two": loop("n = f(9);", f"def f(int k) -> int {{ {TWICE} }}"),
    "gates that call two": THREE + "gate g0 a {}" + DOUBLED,
    "gates that loop": THREE + "gate g a { for int i in [0:1000000] {} } qubit q;",
    "controls on a matrix": loop("ctrl(3) @ u(i, 0.2, 0.3) q[0], q[1], q[2], q[3];"),
    "controls on a known matrix": loop("ctrl(3) @ h q[0], q[1], q[2], q[3];"),
    "controls on nothing": loop("negctrl(400) @ id " + ",".join(f"q[{k}]" for k in range(401)) + ";"),
    "fractional powers": loop("pow(1/3) @ h q[0];"),
    "powers of a rotation": loop("pow(i + 0.5) @ u(i, 1, 1) q[0];"),
    "many inverses": THREE + "qubit[2] q; " + many("inv @ ", 30_000) + "csx q[0], q[1];",
    "many inverses of nothing": loop(many("inv @ ", 500) + "nop q;", "gate nop a {}"),
    "nested controls": THREE + f"qubit[40] q; {many('ctrl @ ', 30)} h {numbered('q[', 31, '],')}];",
    "conditions on many bits": measured("if (c[0:99] == 7) x q;"),
    "nested conditions": measured("if (c[0:9] == 7) if (c[10:19] == 7) if (c[20:29] != 7) x q;"),
    "conditions of many cases": measured("if (c[0:6] < 7) {} else { if (c[7:13] < 9) {} }"),
    "tokens": THREE + "qubit q; " + many("{}", 40_000),
    "comments": THREE + "qubit q; " + many("/**/", 70_000),
    "includes": THREE + many('include "stdgates.inc";', 5000),
    "declarations": THREE + "qubit q; " + "".join(f"bit b{k};" for k in range(20_000)),
    "definitions": THREE + "qubit q; " + "".join(f"gate g{k} a {{ x a; }}" for k in range(4000)),
    "parameters": THREE + "gate g(" + ",".join(f"a{k}" for k in range(40_000)) + ") q {}",
    "operands": THREE + "qubit q; x q" + many(",q", 40_000) + ";",
}  # fmt: skip


@pytest.mark.parametrize("source", WORK.values(), ids=WORK)
def test_all_that_takes_time_counts(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "MAX_STEPS", STEPS)
    count, error = calls_of(source)
    assert error is not None
    assert error.code == "too_large", error.message
    assert count < CALLS_A_UNIT * STEPS
    assert error.at < len(source)


DEEP = {
    "sums in parentheses": f"rx(({ONES}) + ({ONES})) q;",
    "sums in many parentheses": "rx(" + many(f"{ONES[:-2]}+(", 40) + "1" + many(")", 40) + ") q;",
    "parentheses": f"rx({many('(', 60)}1{many(')', 60)}) q;",
    "all levels of operators": "rx(" + many("0||0&&1|0^0&1==1<1<<1+1*(", 8) + "1" + many(")", 8) + ") q;",
    "signs": f"rx({many('-', 120)}1) q;",
    "powers": f"rx({many('1**', 120)}1) q;",
    "functions": f"rx({many('sin(', 40)}1{many(')', 40)}) q;",
    "casts": f"rx({many('int[8](', 40)}1{many(')', 40)}) q;",
    "casts in widths": f"rx({many('uint[', 24)}8{many('](1)', 24)}) q;",
    "indices": f"n = s{many('[s', 24)}[0]{many(']', 24)};",
    "sets in indices": f"n = s{many('[{s', 20)}[0]{many('}]', 20)};",
    "blocks": many("{", 60) + "x q;" + many("}", 60),
    "ifs": many("if (true) ", 60) + "x q;",
    "loops": many("for int i in [0:0] ", 60) + "x q;",
    "subroutines": "n = f(30);",
    "subroutines in blocks": "n = g(10);",
    "gates": "g29 q;",
}


def depth_of_stack() -> int:
    return len(inspect.stack(0))


@pytest.mark.parametrize("program", DEEP.values(), ids=DEEP)
def test_what_is_deep_is_read_and_no_deeper_than_python_goes(program: str) -> None:
    before = (
        'qubit q; int n; const bit[2] s = "00"; def f(int k) -> int { if (k < 1) return 1; return f(k - 1) + 1; }'
        f"def g(int k) -> int {{ {many('if (true) {', 4)} if (k < 1) return 1; return -g(k - 1); {many('}', 4)} }}"
        "gate g0 a { x a; }" + "".join(f"gate g{k} a {{ g{k - 1} a; }}" for k in range(1, 30))
    )
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth_of_stack() + 600)
    try:
        circuit(THREE + before + program)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("times", [140, 30_000])
@pytest.mark.parametrize(
    ("before", "repeated", "after"),
    [
        ("rx(", "(", "1"), ("rx(", "-", "1"), ("rx(", "1**", "1"), ("rx(", "sin(", "1"), ("rx(", "int[8](", "1"),
        ("n = s", "[s", "]"), ("n = s", "[{s", "]"), ("n = s", "[0]", ";"), ("if (", "(!", "1"), ("rx(", "pow(1,", "1"),
        ("", "{", ""), ("", "if (true) ", "x q;"), ("", "if (true) x q; else ", "x q;"),
        ("", "for int i in [0:0] ", "x q;"), ("", "while (true) ", "x q;"), ("let a = ", "{", "q"),
        ("for int i in ", "{", "1"),
    ],
)  # fmt: skip
def test_what_is_deeper_is_too_large(before: str, repeated: str, after: str, times: int) -> None:
    source = THREE + 'qubit q; int n; const bit[2] s = "00";' + before + repeated * times + after
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth_of_stack() + 600)
    try:
        error = refused(source)
    finally:
        sys.setrecursionlimit(limit)
    assert error.code == "too_large", error.message


@pytest.mark.parametrize(
    "source",
    [
        "def f(int k) -> int { return f(k); } int n = f(1);",
        f"def f(int k) -> int {{ {many('if (true) {', 20)} return f(k); {many('}', 20)} }} int n = f(1);",
        "def f(int k) -> int { return " + many("-(", 20) + "f(k)" + many(")", 20) + "; } int n = f(1);",
        "def f(qubit a) { g(a); } def g(qubit a) { f(a); } qubit q; f(q);",
        "gate g0 a { x a; }" + "".join(f"gate g{k} a {{ g{k - 1} a; }}" for k in range(1, 60)),
        "gate g0 a { x a; }" + "".join(f"gate g{k} a {{ inv @ g{k - 1} a; }}" for k in range(1, 60)),
    ],
)  # fmt: skip
def test_calls_inside_each_other_count_how_deep_they_stand(source: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth_of_stack() + 600)
    try:
        error = refused(THREE + source)
    finally:
        sys.setrecursionlimit(limit)
    assert (error.code, error.message) == ("too_large", "too many calls inside each other")


@pytest.mark.parametrize(
    ("program", "column"),
    [
        (f"float b = 0x{'f' * 260};", 11),
        (f"angle b = 0b{'1' * 1100};", 11),
        (f"float b = 0o{'7' * 500};", 11),
        (f"float b = 1{'0' * 400};", 11),
        (f"rx(1_{'0_' * 400}0) q;", 4),
        (f"rx(0x{'f' * 300}) q;", 4),
        (f"rx(0x{'f' * 300} * 1.5) q;", None),
        (f"rx(sin(0x{'f' * 300})) q;", 4),
        ("rx(1e400) q;", 4),
        ("rx(-1e999999999) q;", 5),
        ("pow(1e400) @ x q;", 5),
        (f"pow(0x{'f' * 300}) @ x q;", 5),
        ("pow(1e300) @ x q;", 1),
        ("pow(1e15 + 0.5) @ rx(1e299) q;", 1),
        ("pow(-1e299) @ x q;", 1),
        ("rx(1e308 * 10) q;", 10),
        ("rx(exp(1000)) q;", 4),
        ("rx(1e308) q;", 4),
        ("rx(10.0 ** 400) q;", 9),
        ("rx(1e308 + 1e308) q;", 10),
        ("rx(1 << 63) q;", 6),
        ("rx(1 << 100000000000) q;", 6),
        ("rx(4000000000 * 4000000000) q;", 15),
        ("rx(floor(1e300)) q;", 4),
        ("rx(9" + "9" * 2000 + ") q;", 4),
        ("int[99999999] n;", 5),
        ("int[0] n;", 5),
        ("int n = int[-1](3);", 13),
        ("bit b = bit[1000000000000](1);", 13),
        (f"bit[{MAX_BITS + 1}] b;", 1),
        ("bit[1000000000000] b;", 1),
        (f"qubit[0x{'f' * 300}] r;", 1),
        (f"x q[0x{'f' * 300}];", 5),
        (f"bit[4] b = \"{'1' * 5000}\";", 12),
        ("x q[{" + many("0", 5000, ",") + "}];", 5),
        (f"ctrl(0x{'f' * 300}) @ x q;", 1),
        ("ctrl(1000) @ x q;", 1),
        ("ctrl(-1) @ x q;", 1),
        (f"x {'a' * 300};", 3),
        (f"int {'a' * 10**6};", 5),
        ("x q; /* a", 6),
        ("x q; " + "/*a" * 20_000, 6),
        ("x q; " + "/*/" * 20_001, None),
        ("x q; " + '"a' * 20_000, 6),
        ("int n = 0x_;", 9),
        ("int n = 0b__;", 9),
    ],
)  # fmt: skip
def test_numbers_sizes_and_names_are_bounded_where_they_stand(program: str, column: int | None) -> None:
    source = THREE + "qubit q;\n" + program
    line, found = line_and_column(source, refused(source).at)
    assert line == 2
    assert column in (None, found)


@pytest.mark.parametrize(
    "program",
    [
        "rx(f(1)) q;", "int n = -f(1);", "int n = f(1) + 1;", "bit[2] b = f(1);", "k += f(1);", "int n = sin(f(1));",
        "bool b = !f(1);", "int n = int[8](f(1));", "x q[f(1)];", "int n = ~f(1);", "pow(f(1)) @ x q;",
        "bool b = f(1) == 1;", "bool b = 1 && f(1);", "for int i in [0:f(1)] x q;", "bit[f(1)] b;",
    ],
)  # fmt: skip
def test_a_subroutine_without_a_value_has_none(program: str) -> None:
    assert (
        "this has no value"
        in refused(THREE + "qubit q; int k; def f(int k) { k = 1; }" + program.replace("n += ", "k += ")).message
    )


@pytest.mark.parametrize("body", ["reset a;", "bit b; b = measure a;", "measure a;", "if (c) x a;"])
def test_a_gate_does_nothing_but_gates_in_its_loops_either(body: str) -> None:
    source = THREE + f"qubit q; bit c; c = measure q; gate g a {{ for int i in [0:1] {{ {body} }} }} ctrl @ g q, q;"
    assert "a gate can only consist of gates" in refused(source).message
    called = THREE + "qubit q; def f(qubit a) -> int { reset a; return 1; } gate g a { rx(f(a)) a; }"
    assert "a gate can only consist of gates" in refused(called).message


def test_a_barrier_in_a_gate_s_loop_is_passed_over_as_any_in_a_gate() -> None:
    gate = "gate g a { for int i in [0:1] { barrier a; } }"
    found = circuit(THREE + "qubit q; qubit r;" + gate + "ctrl @ inv @ g q, r; pow(3) @ g q; x q;")
    assert [operation.gate for operation in found.operations] == ["x"]


@pytest.mark.parametrize("size", [1, 62, 63, 64, 72, 100, 128])
def test_conditions_on_many_bits(size: int) -> None:
    measured = "".join(f"measure q[0] -> c[{k}];" for k in range(size))
    program = TWO + f"qreg q[2]; creg c[{size}]; creg d[1]; x q[0]; {measured}"
    yes = circuit(program + f"if (c == {2**size - 1}) x q[1]; measure q[1] -> d[0];")
    assert reference(yes) == {(1,) * (size + 1): pytest.approx(1)}
    no = circuit(program + f"if (c == {2**size - 2}) x q[1]; measure q[1] -> d[0];")
    assert reference(no) == {(1,) * size + (0,): pytest.approx(1)}
    for found in (yes, no):
        assert decode(encode(found), Circuit) == found
        assert len(found.digest) == 32
    assert yes.digest != no.digest


def test_a_condition_is_a_number_as_long_as_json_has_it() -> None:
    for size in (1, 5, 63, 64, 200):
        for wanted in (
            {k + 3: 1 for k in range(size)},
            {k: k % 2 for k in range(size)},
            {k: int(k == size - 1) for k in range(size)},
        ):
            operation = Operation("x", (0,), condition=condition(wanted))
            assert operation.condition is not None
            assert operation.wanted == wanted
            assert isinstance(operation.condition[1], int) == (
                sum(v << k for k, v in enumerate(wanted.values())) < 2**63
            )
    assert Operation("x", (0,)).wanted == {}


def test_a_condition_on_too_many_bits_is_too_large() -> None:
    source = TWO + "qreg q[129]; creg c[129]; measure q -> c; if (c == 0) x q;"
    assert refused(source).code == "too_large"


def test_whole_registers_in_a_condition_need_no_case_for_each_value() -> None:
    found = circuit(THREE + "qubit[20] q; bit[20] c; c = measure q; if (c) x q[0];")
    assert len([operation for operation in found.operations if operation.condition]) == 20


def test_a_program_at_its_bounds_is_read() -> None:
    flat = circuit(THREE + "qubit[2] q;" + "cx q[0], q[1];" * 40_000)
    assert len(flat.operations) == 40_000
    looped = circuit(THREE + "qubit[2] q; for int i in [1:99999] { x q[0]; }")
    assert len(looped.operations) == 99_999


def test_the_count_stops_while_tokens_are_read() -> None:
    work = Work(1000)
    with pytest.raises(QasmError) as caught:
        parse("OPENQASM 3; " + "x q; " * 1000, work)
    assert caught.value.code == "too_large"
    assert work.done <= 1001
    assert 1000 < caught.value.at < 2000


def test_notes_name_some_registers() -> None:
    source = THREE + "qubit q; " + "".join(f"bit {'b' * 200}{k}; {'b' * 200}{k} = measure q;" for k in range(500))
    (note,) = compiler.compiled(source, max_qubits=9).notes
    assert "and 484 more" in note
    assert len(note) < 1000
