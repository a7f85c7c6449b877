"""What reading one OpenQASM program may take: a bound that no source gets past."""

from __future__ import annotations

from qmosaic.codecs.qasm.syntax import QasmError

MAX_WORK = 1_750_000
"""What reading one program may take, in units of about a microsecond: see `Work`."""


class Work:
    """One count for all that reading a program takes: tokens, nesting, statements, operators, what a step touches of
    qubits, of bits and of conditions. `at`: the statement that is at it."""

    def __init__(self, most: int) -> None:
        self.most, self.done, self.at = most, 0, 0

    def add(self, amount: int) -> None:
        """Raises QasmError where it gets too much."""
        self.done += amount
        if self.done > self.most:
            raise QasmError(
                f"reading the program takes more than {self.most} steps", self.at, "Send a smaller one.", "too_large"
            )
