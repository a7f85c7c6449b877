"""OpenQASM's tokens and words, and a place among them, from which the parser takes one after the other."""

from __future__ import annotations

import re
from itertools import islice
from typing import Literal

from qmosaic.codecs.qasm.syntax import QasmError, quoted
from qmosaic.codecs.qasm.work import Work

MAX_NESTING = 128
"""Levels that a program may be deep, so that Python's own stack, of 1000 calls, is never the limit. Blocks and
parentheses count 2, indices and functions 3, what stands right of an operator 1."""
MAX_NAME = 256
"""Characters of a name."""

_TOKEN = re.compile(
    r"""\s*+(?:
    (?P<word>[^\W\d]\w*+)
    |(?P<comment>//[^\n]*+|/\*.*?\*/)
    |(?P<open>/\*)
    |(?P<number>0[xX][0-9a-fA-F_]++|0[bB][01_]++|0[oO][0-7_]++
        |(?:[0-9][0-9_]*+\.?[0-9_]*+|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9]++)?)
    |(?P<symbol>->|\*\*=|<<=|>>=|[=!<>]=|&&|\|\||<<|>>|\*\*|\+\+|[-+*/%^|&]=|[-+*/%^|&~!<>=()\[\]{};:,@\#.])
    |(?P<string>"[^"\n]*+"|'[^'\n]*+')
    |(?P<physical>\$[0-9]++)
    |(?P<end>\Z)
    |(?P<wrong>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
"""Each alternative takes what it can and gives nothing back: linear in the source."""
_NO_TOKENS = {"comment", "open", "wrong"}
_REMARK = re.compile(r"^[ \t]*(?:#?pragma\b|@[^\W\d])[^\n]*", re.MULTILINE)
"""Pragmas and annotations, which an implementation may ignore: blanked out, so that places stay."""

SCALARS = {"bit", "int", "uint", "float", "angle", "bool"}
UNSUPPORTED = {
    "input": "an input of the program",
    "extern": "an extern function",
    "defcal": "a pulse calibration",
    "cal": "a pulse calibration",
    "defcalgrammar": "a pulse calibration",
    "delay": "a delay",
    "box": "a timing box",
    "stretch": "a timing type",
    "duration": "a timing type",
    "array": "an array",
    "complex": "a complex number",
    "switch": "a switch",
    "opaque": "an opaque gate",
    "readonly": "an array",
    "mutable": "an array",
}
WORDS_2 = {"OPENQASM", "include", "qreg", "creg", "gate", "opaque", "if", "measure", "reset", "barrier"}
_WORDS_3 = (
    SCALARS
    | (UNSUPPORTED.keys() - {"opaque"})
    | {"OPENQASM", "include", "qreg", "creg", "qubit", "gate", "def", "if", "else", "for", "while", "in", "let"}
    | {"measure", "reset", "barrier", "const", "output", "return", "break", "continue", "end", "true", "false"}
    | {"ctrl", "negctrl", "inv", "pow", "gphase", "durationof", "sizeof"}
)
_SUPPORTED = "See docs/formats.md for the part of OpenQASM that is read."


class Tokens:
    """The tokens of a source, `here` among them, and how deep the parser is (`depth`, in levels)."""

    def __init__(self, source: str, work: Work) -> None:
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.places: list[int] = []
        self.here, self.depth, self.work = 0, 0, work
        self.version: Literal[2, 3] = 3
        self.words = _WORDS_3
        self.read(source)

    def read(self, source: str) -> None:
        """The source to tokens, comments left out."""
        work = self.work
        text = _REMARK.sub(lambda match: " " * len(match[0]), source)
        kinds, texts, places = self.kinds, self.texts, self.places
        for match in islice(_TOKEN.finditer(text), work.most):  # the last one may be over it
            work.done += 1
            kind, group = match.lastgroup or "", match.lastindex or 0
            if kind in _NO_TOKENS:
                if kind == "comment":
                    continue
                what = f"unexpected character {match[group]!r}" if kind == "wrong" else "a comment that does not end"
                raise QasmError(what, match.start(group), "Check the text here; comments are // or /* */.")
            kinds.append(kind)
            texts.append(match[group])
            places.append(match.start(group))
            if kind == "end":
                break
        else:
            work.at = places[-1] if places else 0
        work.add(1)
        texts[-1], places[-1] = "the end of the source", max(0, len(source.rstrip()) - 1)

    @property
    def kind(self) -> str:
        return self.kinds[self.here]

    @property
    def text(self) -> str:
        return self.texts[self.here]

    @property
    def at(self) -> int:
        return self.places[self.here]

    def next(self) -> str:
        text = self.texts[self.here]
        self.here += 1
        return text

    def sees(self, symbol: str) -> bool:
        return self.texts[self.here] == symbol

    def took(self, symbol: str) -> bool:
        if self.texts[self.here] == symbol:
            self.here += 1
            return True
        return False

    def need(self, symbol: str) -> None:
        if not self.took(symbol):
            raise self.unexpected(f"'{symbol}'")

    def unexpected(self, expected: str) -> QasmError:
        got = self.text if self.kind == "end" else quoted(self.text)
        return QasmError(f"expected {expected}, got {got}", self.at, "Mend the syntax here.")

    def identifier(self) -> str:
        if self.kind == "physical":
            raise self.unsupported("a physical qubit", self.text)
        text = self.texts[self.here]
        if self.kinds[self.here] != "word" or text in self.words:
            raise self.unexpected("a name")
        if len(text) > MAX_NAME:
            raise QasmError(
                f"a name of {len(text)} characters, the limit is {MAX_NAME}", self.at, "Shorten it.", "too_large"
            )
        self.here += 1
        return text

    def unsupported(self, what: str, text: str) -> QasmError:
        return QasmError(
            f"{what} ({quoted(text)}) is not supported", self.at, f"Write the circuit without it. {_SUPPORTED}"
        )

    def nest(self, levels: int) -> None:
        self.depth += levels
        if self.depth > MAX_NESTING:
            raise QasmError("nested too deep", self.at, "Write it flatter.", "too_large")
