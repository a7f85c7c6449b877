"""Gates that OpenQASM programs need not define: the language's own and those of the files that they include."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from qmosaic.codecs.qasm import parser, syntax

FILES = {"qelib1.inc", "stdgates.inc"}
"""What may be included."""


@dataclass(frozen=True)
class Gate:
    """A gate that is defined by others: by the program, or by the standard library (`standard`), from `GATES`."""

    definition: syntax.GateDef
    standard: bool


LIBRARY = """
gate u1(a) q { p(a) q; }
gate phase(a) q { p(a) q; }
gate cu1(a) c, q { cp(a) c, q; }
gate cphase(a) c, q { cp(a) c, q; }
gate CX c, q { cx c, q; }
gate cu3(a, b, d) c, q { cu(a, b, d, 0) c, q; }
gate rccx a, b, c { h c; t c; cx b, c; tdg c; cx a, c; t c; cx b, c; tdg c; h c; }
gate rc3x a, b, c, d { h d; t d; cx c, d; tdg d; h d; cx a, d; t d; cx b, d; tdg d; cx a, d; t d; cx b, d; tdg d;
  h d; t d; cx c, d; tdg d; h d; }
gate c3x a, b, c, d { ctrl(3) @ x a, b, c, d; }
gate c3sqrtx a, b, c, d { ctrl(3) @ sx a, b, c, d; }
gate c4x a, b, c, d, e { ctrl(4) @ x a, b, c, d, e; }
"""
LIBRARY_2 = """
gate u2(b, d) q { u(pi/2, b, d) q; }
gate u3(a, b, d) q { u(a, b, d) q; }
gate u0(a) q { id q; }
"""
LIBRARY_3 = """
gate u2(b, d) q { gphase(-(b + d)/2); u(pi/2, b, d) q; }
gate u3(a, b, d) q { gphase(-(b + d)/2); u(a, b, d) q; }
"""
BUILT_IN = "gate U(a, b, d) q { gphase(a/2); u(a, b, d) q; }"
"""OpenQASM 3's U. Version 2's differs by a phase, which nothing there can see."""


@lru_cache(maxsize=8)
def library(source: str) -> dict[str, Gate]:
    """The gates that a source defines, by name."""
    statements = parser.parse(source).statements
    return {each.name: Gate(each, True) for each in statements if isinstance(each, syntax.GateDef)}
