"""What the tests of the processors share: problems of every family, admitted as a record would be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import strategies as st

from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.admit import Admission, Defaults, Record, Refusal, admit
from qmosaic.processors.families.base import Limits
from qmosaic.processors.spins.lift import state_of

LIMITS = Limits(variables=50, couplings=60, event_bytes=20_000, deadline_seconds=3600.0, shots=5000)
DEFAULTS = Defaults(deadline_seconds=30.0, shots=100)

# (key of the pairs, key of the count, default sense, whether a pair may join a variable with itself)
SHAPES = {
    "maxcut": ("edges", "nodes", "max", False),
    "qubo": ("terms", "variables", "min", True),
    "ising": ("J", "variables", "min", False),
}


def judged(value: bytes | None, *, offset: int = 7, timestamp: float = 1000.0) -> Admission | Refusal:
    return admit(Record("problems", 3, offset, timestamp, value), LIMITS, DEFAULTS)


def admitted(family: str, payload: dict[str, Any], **fields: Any) -> Admission:
    verdict = judged(orjson.dumps({"family": family, "problem": payload, **fields}))
    assert isinstance(verdict, Admission), verdict
    return verdict


def refused(family: str, payload: dict[str, Any], **fields: Any) -> Refusal:
    verdict = judged(orjson.dumps({"family": family, "problem": payload, **fields}))
    assert isinstance(verdict, Refusal), verdict
    return verdict


def model_of(admission: Admission) -> SpinPolynomial:
    model = admission.instance.encode()
    assert isinstance(model, SpinPolynomial)
    return model


def decoded(admission: Admission, bits: Any) -> Any:
    """A sample as a solution."""
    return admission.instance.solution(state_of(bits))


@dataclass(frozen=True)
class Case:
    """A problem as its producer wrote it. `ends` of `pairs` are indices even where it is written with `names`."""

    family: str
    sense: str
    n: int
    pairs: tuple[tuple[int, int, float], ...]
    fields: tuple[float, ...] | None
    offset: float
    names: tuple[str, ...] | None

    @property
    def payload(self) -> dict[str, Any]:
        pairs, count, _, _ = SHAPES[self.family]
        out: dict[str, Any] = {
            pairs: [[self.key(a), self.key(b), w] for a, b, w in self.pairs],
            count: list(self.names) if self.names else self.n,
        }
        if self.fields is not None:
            out["h"] = dict(zip(self.names, self.fields, strict=True)) if self.names else list(self.fields)
        if self.family != "maxcut":
            out["offset"] = self.offset
        return out

    def key(self, i: int) -> int | str:
        return self.names[i] if self.names else i

    def admit(self) -> Admission:
        return admitted(self.family, self.payload, sense=self.sense)

    def objective(self, solution: Any) -> float:
        """By the definition in the family's docstring, term by term as written."""
        v: list[int] = [solution[self.key(i)] for i in range(self.n)]
        if self.family == "maxcut":
            return sum(w for a, b, w in self.pairs if v[a] != v[b])
        linear = sum(w * v[i] for i, w in enumerate(self.fields or ()))
        return self.offset + linear + sum(w * v[a] * v[b] for a, b, w in self.pairs)

    @property
    def scale(self) -> float:
        return 1.0 + abs(self.offset) + sum(abs(w) for *_, w in self.pairs) + sum(abs(w) for w in self.fields or ())


WEIGHTS = st.one_of(st.integers(-9, 9), st.floats(-1e4, 1e4))
NAMES = st.text(st.characters(codec="utf-8"), max_size=4)


@st.composite
def cases(draw: st.DrawFn, families: tuple[str, ...] = tuple(SHAPES)) -> Case:
    family = draw(st.sampled_from(families))
    n = draw(st.integers(1, 6))
    loops = SHAPES[family][3]
    every = [(a, b) for a in range(n) for b in range(n) if loops or a != b]
    ends = draw(st.lists(st.sampled_from(every), max_size=10)) if every else []
    return Case(
        family=family,
        sense=draw(st.sampled_from(["min", "max"])),
        n=n,
        pairs=tuple((a, b, draw(WEIGHTS)) for a, b in ends),
        fields=tuple(draw(st.lists(WEIGHTS, min_size=n, max_size=n))) if family == "ising" else None,
        offset=draw(WEIGHTS) if family != "maxcut" else 0.0,
        names=draw(st.none() | st.lists(NAMES, min_size=n, max_size=n, unique=True).map(tuple)),
    )
