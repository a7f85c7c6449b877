"""Single events that once hurt everybody, made here: valid or not, each within the limits of an event.

Each has siblings of its kind. `EVENTS` makes the bytes of an event by name; equal names, equal bytes but for the id.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson

MEBIBYTE = 1024 * 1024
QASM3 = 'OPENQASM 3;include "stdgates.inc";'
TRIANGLE: dict[str, Any] = {"edges": [[0, 1], [1, 2], [2, 0]]}


def _event(family: str, problem: dict[str, Any], **more: Any) -> bytes:
    return orjson.dumps({"family": family, "problem": problem, **more})


def _circuit(body: str, head: str = QASM3) -> bytes:
    return _event("circuit", {"qasm": head + body})


def _triangle(labels: bytes = b"{}", schema: bytes = b'"qmosaic.problem/1"') -> bytes:
    """With labels and a schema as they are written."""
    problem = orjson.dumps(TRIANGLE)
    return b'{"family":"maxcut","problem":%b,"labels":%b,"schema":%b}' % (problem, labels, schema)


def _many(text: bytes, size: int) -> bytes:
    return b"[" + b",".join([text] * (size // (len(text) + 1))) + b"]"


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def _hamiltonian(terms: int, qubits: int = 14, seed: int = 1) -> bytes:
    draw = random.Random(seed)
    strings = ["".join(draw.choice("IXYZ") for _ in range(qubits)) for _ in range(terms)]
    return _event("molecule", {"hamiltonian": [[one, draw.uniform(0, 1)] for one in strings]})


def _route(nodes: int, labels: bytes) -> bytes:
    draw = random.Random(nodes)
    places = [[draw.randrange(1000), draw.randrange(1000)] for _ in range(nodes)]
    return b'{"family":"route","problem":%b,"labels":%b}' % (orjson.dumps({"coordinates": places}), labels)


def _portfolio(**more: Any) -> bytes:
    return _event("portfolio", {"returns": [1, 1], "covariance": [[1, 0], [0, 1]], **more})


def _molecule(**more: Any) -> bytes:
    return _event("molecule", {"geometry": [["H", 0, 0, 0], ["H", 0, 0, 1]], **more})


def _chain(names: int) -> bytes:
    return _event("maxcut", {"edges": [[f"n{k}", f"n{k + 1}"] for k in range(names)]})


EVENTS: dict[str, Callable[[], bytes]] = {
    # text that a library reads as a program or a path
    "basis that is a program": lambda: _molecule(basis="H    S\n1.0,__import__('time').sleep(20)\n"),
    "basis that is a file": lambda: _molecule(basis="/etc/hostname"),
    # exceptions out of the door
    "deep expression": lambda: _circuit(f"qubit q;bit c;rx({'(1+' * 2000}1{')' * 2000}) q;c=measure q;"),
    "long expression": lambda: _circuit(f"qubit q;bit c;rx(({'1+' * 1200}1)) q;c=measure q;"),
    "deep blocks": lambda: _circuit(f"qubit q;bit c;{'if(true){' * 2000}x q;{'}' * 2000}c=measure q;"),
    "deep brackets": lambda: _circuit(f"qubit q;bit c;rx({'(' * 5000}1{')' * 5000}) q;c=measure q;"),
    "hex beyond a float": lambda: _circuit(f"qubit q;bit c;float b=0x{'f' * 300};c=measure q;"),
    "decimal of 5,000 digits": lambda: _circuit(f"qubit q;bit c;uint b={'9' * 5000};c=measure q;"),
    "power of powers": lambda: _circuit("qubit q;bit c;const uint b=9**9**9**9;rx(b) q;c=measure q;"),
    "shift by a billion": lambda: _circuit("qubit q;bit c;const uint b=1<<1000000000;rx(b) q;c=measure q;"),
    "infinite power of a gate": lambda: _circuit("qubit q;bit c;pow(1e400) @ x q;c=measure q;"),
    "comparison with 72 bits": lambda: _circuit(
        "qreg q[2];creg c[72];creg d[1];x q[0];"
        + "".join(f"measure q[0]->c[{k}];" for k in range(72))
        + "if(c==4722366482869645213695) x q[1];measure q[1]->d[0];",
        'OPENQASM 2.0;include "qelib1.inc";',
    ),
    "sectors of 5,000 digits": lambda: _portfolio(sectors={"1" * 5000: "a"}),
    "orbitals beyond an int": lambda: _molecule(active_orbitals=2**31),
    "charge beyond an int": lambda: _molecule(charge=-(2**62)),
    "254 levels": lambda: _triangle(_nested(254)),
    "1,023 levels": lambda: _triangle(_nested(1022)),
    "200 levels of lists": lambda: _triangle(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"),
    # what grows when it is written again, or is quoted
    "8 MiB of labels 1e15": lambda: _triangle(b'{"a":%b}' % _many(b"1e15", 8 * MEBIBYTE - 1000)),
    "8 MiB of schema 1e15": lambda: _triangle(schema=_many(b"1e15", 8 * MEBIBYTE - 1000)),
    "8 MiB of empty lists": lambda: _triangle(b'{"a":%b}' % _many(b"[]", 8 * MEBIBYTE - 1000)),
    "8 MiB of a family": lambda: _event("x" * (8 * MEBIBYTE - 1000), TRIANGLE),
    "8 MiB of labels on a route": lambda: _route(200, b'{"a":"%b"}' % (b"x" * (8 * MEBIBYTE - 10_000))),
    # time at the door
    "20,000 nested comments": lambda: _circuit("qubit q;" + "/*a" * 6600),
    "100,000 open brackets": lambda: _circuit("qubit q;" + "[" * 100_000),
    "20,000 names": lambda: _chain(20_000),
    "9,000 names": lambda: _chain(9_000),
    "empty gate on 1,000 qubits, 2,000 times": lambda: _circuit(
        "gate nop a {} qubit[1000] q;bit c;for uint i in [0:2000] {nop q;} c=measure q[0];"
    ),
    "barriers on 1,000 qubits, 99,000 times": lambda: _circuit(
        "qubit[1000] q;bit c;for uint i in [0:99000] {barrier q;} c=measure q[0];"
    ),
    "expressions in a loop": lambda: _circuit(
        f"qubit q;bit c;for uint i in [0:2000] {{ if (({'1+' * 2000}1) == 0) {{x q;}} }} c=measure q;"
    ),
    "gates that double": lambda: _circuit(
        "".join(f"gate g{k + 1} a {{g{k} a;g{k} a;}}" for k in range(60)).replace("g0 a", "x a")
        + "qubit q;bit c;g60 q;c=measure q;"
    ),
    "loops in loops": lambda: _circuit(
        "qubit q;bit c;" + "for uint i in [0:99999] {" * 5 + "x q;" + "}" * 5 + "c=measure q;"
    ),
    "150,000 exclusions": lambda: _portfolio(exclude=[0] * 150_000),
    "150,000 sectors": lambda: _portfolio(sectors={str(k): "a" for k in range(150_000)}),
    "a Hamiltonian of 1,000 strings on 14 qubits": lambda: _hamiltonian(1000),
    "a Hamiltonian of 20,000 strings on 12 qubits": lambda: _hamiltonian(20_000, 12),
    "a route of 2,000 places": lambda: _route(2000, b"{}"),
    # text that is markup, or steers a terminal
    "markup": lambda: _event("maxcut", TRIANGLE, labels={"name": "a [/x] b"}),
    "escapes": lambda: _event("maxcut", TRIANGLE, labels={"name": "\x1b]52;c;aGk=\x07\x1b[2J\u202eabc"}),
    # not JSON, not text, not one event
    "nothing but a byte order mark": lambda: b"\xef\xbb\xbf",
    "8 MiB of brackets": lambda: b"[" * (8 * MEBIBYTE - 10),
    "8 MiB of spaces": lambda: b" " * (8 * MEBIBYTE - 10),
    "8 MiB of digits": lambda: b"1" * (8 * MEBIBYTE - 10),
}


def named(value: bytes, name: str, deadline: float | None = None) -> bytes:
    """The event with an id and a deadline in seconds, where it is one object."""
    if not value.startswith(b"{"):
        return value
    said = b"" if deadline is None else b'"deadline":%g,' % deadline
    return b'{"id":%b,%b' % (orjson.dumps(name), said) + value[1:]
