"""OpenQASM 2 and 3: a quantum circuit. The text goes into the event as it is; its family reads it (`codecs.qasm`).

Sources: A. Cross et al., arXiv:1707.03429 (2); <https://openqasm.com/versions/3.0> (3).
"""

from __future__ import annotations

import re

from qmosaic.codecs.formats.base import FileProblem, Format, stem


def read(text: bytes, name: str) -> list[FileProblem]:
    """One circuit."""
    return [FileProblem("circuit", {"qasm": text.decode()}, None, stem(name), 0)]


FORMAT = Format(
    name="qasm",
    title="OpenQASM 2 or 3",
    families=("circuit",),
    suffixes=(".qasm", ".qasm2", ".qasm3"),
    opening=re.compile(rb"(?:\s++|//[^\n]*+\n|/\*.*?\*/)*+OPENQASM\b", re.DOTALL),
    read=read,
)
