"""The targets: for each, what is done with an input, and which errors are the documented ones.

A target returns for whatever is expected and raises for what is a finding. Anything else that is found out about an
input (a time, a size) is for who runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import orjson
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from fuzz import mutate, seeds
from qmosaic.codecs.errors import FormatError, Rejected
from qmosaic.codecs.events import control, hops, public, wire
from qmosaic.codecs.formats.registry import FORMATS, read
from qmosaic.codecs.models.kernel import unpack_kernel
from qmosaic.codecs.qasm import compiler
from qmosaic.codecs.qasm.syntax import QasmError
from qmosaic.processors.admit import (
    MESSAGE,
    Admission,
    Defaults,
    Record,
    Refusal,
    admit,
    deadline_claimed,
    is_light,
    refuse,
)
from qmosaic.processors.encode import encode
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.registry import FAMILIES
from qmosaic.processors.terminal import outcome_verdict, rejection_verdict
from qmosaic.processors.verify import settle
from qmosaic.streams.kafka.connect import written_bytes
from qmosaic.streams.kafka.reading import Batches, PartitionRecords, Unreadable
from qmosaic.streams.kafka.records import Received, fits
from qmosaic.streams.settings import Settings
from tests.streams.kafka.raw_produce import batch, compressed, record

SECONDS = 2.0
"""Of a processor, for an input of up to 64 KiB."""
LIGHT_SECONDS = 0.25
"""For what the door takes for light: it is handled on an event loop."""
NOW = 1_700_000_000.0
LIMITS, DEFAULTS, SETTINGS = Limits(), Defaults(), Settings()
BATCH_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Target:
    """`run(data)`; `seconds(data)`: what it may take of a processor."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    words: Callable[[], Sequence[bytes]] = tuple
    mutate: mutate.Change | None = None
    seconds: Callable[[bytes], float] = lambda data: SECONDS


# -- files ---------------------------------------------------------------------------------------------------------


def _format(name: str | None) -> Target:
    suffix = FORMATS[name].suffixes[0] if name and FORMATS[name].suffixes else ""

    def run(data: bytes) -> None:
        try:
            problems = read(data, f"a{suffix}", name)
        except FormatError as error:
            _short(error.message, error.place, error.remedy)
            return
        assert problems
        for problem in problems:
            wire.dumps({"family": problem.family, "problem": problem.problem, "labels": {"name": problem.name}})

    module = FORMATS[name].read.__module__.removeprefix("qmosaic.").replace(".", "/") if name else "codecs/formats/*"
    text = mutate.mutated_json if name == "json" else mutate.mutated_text
    return Target(run, seeds.files, lambda: seeds.words(f"{module}.py"), text)


def _folder(family: str) -> str:
    """Where a family's modules are."""
    return type(FAMILIES[family]).__module__.removeprefix("qmosaic.").rpartition(".")[0].replace(".", "/")


def _short(*texts: str) -> None:
    """Texts of an error, for people: each is there, and no book."""
    assert all(0 < len(text.encode()) < 4000 for text in texts)


def _qasm(data: bytes) -> None:
    try:
        compiler.compiled(data.decode(errors="replace"), max_qubits=64)
    except QasmError as error:
        _short(error.message, error.remedy)


# -- problems ------------------------------------------------------------------------------------------------------


def _door(data: bytes) -> Admission | Refusal:
    """What encode and verify do with a record of the problems topic, up to where they agree."""
    record_ = Record("problems", 1, 7, NOW, data)
    said = wire.envelope(data)
    is_light(data, LIMITS)
    deadline_claimed(said, NOW, LIMITS, DEFAULTS)
    verdict = admit(record_, LIMITS, DEFAULTS)
    if isinstance(verdict, Refusal):
        assert len(verdict.rejected.message) <= MESSAGE
        written = rejection_verdict(record_, verdict, "0" * 32, first=7).value
        assert len(written) <= written_bytes(SETTINGS)
        verdict.problem_id.encode()
        verdict.rejected.message.encode()
    return verdict


def _family(data: bytes) -> None:
    """Admitted, encoded, settled with nothing known; twice the same."""
    verdict = _door(data)
    if isinstance(verdict, Refusal):
        return
    record_ = Record("problems", 1, 7, NOW, data)
    instance = verdict.instance
    (encoded,) = encode([record_], LIMITS, DEFAULTS)
    assert encoded is not None
    assert encoded.ref == verdict.ref
    again = wire.decode(wire.encode(encoded), hops.Encoded)
    assert again.ref == verdict.ref
    assert fits(verdict.ref, _received(data), SETTINGS, 1, 8) is None
    solution = instance.quick()
    if solution is not None:
        instance.evaluate(solution)
    _settled(verdict, None, None, wire.labels_of(data))
    assert instance.size >= 0
    orjson.dumps(instance.notes)


def _settled(
    admission: Admission, incumbent: hops.Incumbent | None, proposal: hops.Proposal | None, labels: bytes
) -> None:
    outcome = settle(
        admission, incumbent, proposal, now=NOW + 1, queue=0.0, trace_id="0" * 32, versions={}, tick=lambda: 0.0
    )
    written = outcome_verdict(outcome, written_bytes(SETTINGS), labels=labels).value
    assert len(written) <= written_bytes(SETTINGS)
    wire.decode(written, public.Outcome)


def _seconds(data: bytes) -> float:
    return LIGHT_SECONDS if is_light(data, LIMITS) else SECONDS


# -- events --------------------------------------------------------------------------------------------------------


def _received(data: bytes) -> Received:
    return Received("problems", 1, 7, NOW, data, {}, NOW + 1)


def _problem(data: bytes) -> None:
    """Whatever is read of a record before anybody knows what it is."""
    said = wire.envelope(data)
    claimed = wire.claimed_id(data)
    assert claimed is None or 1 <= len(claimed.encode()) <= 1024
    assert deadline_claimed(said, NOW, LIMITS, DEFAULTS) >= NOW
    problem = wire.parse_problem(data, LIMITS.event_bytes)
    if isinstance(problem, Rejected):
        refuse(Record("problems", 1, 7, NOW, data), problem)
    else:
        wire.encode(problem)
        orjson.loads(wire.labels_of(data))
        assert claimed == problem.id or not 1 <= len(problem.id or "") <= 256
        is_light(data, LIMITS)


UNFIT = (msgspec.MsgspecError, ValueError, RecursionError)
"""As everybody who decodes an event expects."""
_admissions: dict[str, Admission] = {}


def _admission(family: str) -> Admission | None:
    if not _admissions:
        for name, kind in seeds.PROBLEMS.items():
            value = orjson.dumps({"family": name, "problem": kind.example})
            found = admit(Record("problems", 1, 7, NOW, value), LIMITS, DEFAULTS)
            assert isinstance(found, Admission)
            _admissions[name] = found
    return _admissions.get(family)


def _event(kind: type[msgspec.Struct]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            event = wire.decode(data, kind)
        except UNFIT:
            return
        ref = getattr(event, "ref", None)
        if isinstance(ref, hops.Ref):
            fits(ref, _received(data), SETTINGS, 1, 8)
        if isinstance(event, hops.JobEvent | hops.Reduced):
            try:
                unpack_kernel(event.kernel)
            except UNFIT:
                return
        if isinstance(event, hops.Incumbent) and (admission := _admission(event.ref.family)):
            _settled(admission, event, None, b"{}")
        if isinstance(event, hops.Proposal) and (admission := _admission(event.ref.family)):
            incumbent = _incumbents().get(event.ref.family)
            if incumbent is not None:
                incumbent = msgspec.structs.replace(incumbent, kernel_digest=event.kernel_digest)
            _settled(admission, incumbent, event, b"{}")

    return run


_known: dict[str, hops.Incumbent] = {}


def _incumbents() -> dict[str, hops.Incumbent]:
    """By family, of the examples, as the hops made them."""
    if not _known:
        for value in made(hops.Incumbent):
            one = wire.decode(value, hops.Incumbent)
            _known.setdefault(one.ref.family, one)
    return _known


MADE = seeds.ROOT / ".cache" / "fuzz" / "made"


def made(kind: type[msgspec.Struct]) -> list[bytes]:
    """The events of a type in `MADE`."""
    return [path.read_bytes() for path in sorted(MADE.glob(f"{kind.__name__}-*"))]


def make() -> None:
    """Fill `MADE`. Imports JAX and Cirq."""
    MADE.mkdir(parents=True, exist_ok=True)
    values = [
        orjson.dumps({"family": name, "problem": kind.example, "id": name}) for name, kind in seeds.PROBLEMS.items()
    ]
    for k, event in enumerate(seeds.internal_events(values)):
        (MADE / f"{type(event).__name__}-{k}").write_bytes(wire.encode(event))
    for path in sorted((seeds.ROOT / "tests/codecs/golden").glob("*.json")):
        (MADE / f"{path.name.partition('-')[0].capitalize()}-{path.name}").write_bytes(path.read_bytes())
    others = (
        control.Submitted(client_id="c", revision=1, writer="w", backend="b", job="j", state="planned", at=NOW),
        control.AuditEntry(
            event="settled",
            problem_id="a",
            tenant="t",
            partition=0,
            offset=1,
            at=NOW,
            status="accepted",
            reason="equal",
            detail={"a": 1},
        ),
        control.BackendStatus(worker="w", target="quantum", backends={"b": {"spins": 20}}, at=NOW),
        control.DeadLetter(stage="s", topic="t", partition=0, offset=1, error="e", original="AA==", at=NOW),
    )
    for one in others:
        (MADE / f"{type(one).__name__}-0").write_bytes(wire.encode(one))


# -- records -------------------------------------------------------------------------------------------------------


def _batches(data: bytes) -> None:
    """The first byte says how the others are wrapped: raw, compressed here, or taken for compressed; in a good batch's
    neighbourhood. Whatever they are: the neighbours are read, offsets rise, and the reader gets to the end."""
    how, body = (data[0], data[1:]) if data else (0, b"")
    codec, count = how & 7, (how >> 5) + 1
    if how & 8:
        raw = body
    elif how & 16 and codec < 5:
        raw = batch(compressed(codec, body), count, codec=codec, base=1)
    else:
        raw = batch(body, count, codec=codec, base=1)
    PartitionRecords.limit = BATCH_BYTES
    good, behind = record(b"good"), 100
    for isolation in (fetcher.READ_COMMITTED, fetcher.READ_UNCOMMITTED):
        for parts in ([raw], [batch(good), raw, batch(good, base=behind)]):
            found = PartitionRecords(
                TopicPartition("p", 0), Batches(b"".join(parts)), [], 0, None, None, True, isolation
            )
            found.end = behind + 1
            last, size, values = -1, 0, []
            for one in found:
                assert last < one.offset < found.next_fetch_offset
                last, size = one.offset, size + len(one.value or b"")
                values.append(one.value)
                for key, _ in one.headers:
                    key.encode()
                if isinstance(one.value, Unreadable):
                    assert one.value.first <= one.value.last
            assert found.next_fetch_offset > 0
            assert size <= 4 * BATCH_BYTES + len(data)
            if len(parts) == 3 and not how & 8:
                assert values[0] == values[-1] == b"good"


def _batch_seeds() -> list[bytes]:
    headers = [(b"ce_id", b"1"), (b"x-\xff", b"2"), (None, None)]
    body = record(b"one", key=b"k", headers=headers) + record(None, delta=1) + record(b"z" * 500, delta=2)
    out = [bytes([codec | 16 | 2 << 5]) + body for codec in range(5)]
    out += [bytes([codec | 2 << 5]) + compressed(codec, body) for codec in range(5)]
    out += [b"\x08" + batch(compressed(codec, body), 3, codec=codec) for codec in range(5)]
    out.append(b"\x08" + batch(record(b"\0" * 6, key=b"\0\0\0\0"), attributes=0x30, producer_id=9))
    out.append(b"\x08" + batch(body, 3) + batch(body, 3, base=3, attributes=0x10, producer_id=9))
    return out


INTERNAL = (
    hops.Encoded,
    hops.Incumbent,
    hops.Reduced,
    hops.JobEvent,
    control.Submitted,
    hops.Proposal,
    public.Outcome,
    public.Rejection,
    control.AuditEntry,
    control.BackendStatus,
    control.DeadLetter,
)
_JSON = mutate.mutated_json
TARGETS: dict[str, Target] = {
    **{f"format.{name}": _format(name) for name in FORMATS},
    "format.detected": _format(None),
    "qasm": Target(
        _qasm,
        lambda: [one.encode() for one in seeds.programs()],
        lambda: seeds.words("codecs/qasm/*.py"),
        mutate.mutated_text,
    ),
    **{
        f"family.{name}": Target(
            _family,
            lambda name=name: [*seeds.problem_events(name), *seeds.hostile_events(name)],  # type: ignore[misc]
            lambda name=name: [  # type: ignore[misc]
                *(f'"{one}":'.encode() for one in seeds.fields(name)),
                *seeds.words(f"{_folder(name)}/*.py", *(["codecs/qasm/*.py"] if name == "circuit" else [])),
            ],
            _JSON,
            _seconds,
        )
        for name in FAMILIES
    },
    "event.Problem": Target(
        _problem,
        lambda: [one for name in FAMILIES for one in seeds.problem_events(name)],
        lambda: [f'"{one.name}":'.encode() for one in msgspec.structs.fields(public.Problem)],
        _JSON,
        _seconds,
    ),
    **{
        f"event.{kind.__name__}": Target(
            _event(kind),
            lambda kind=kind: made(kind),  # type: ignore[misc]
            lambda: seeds.words("codecs/events/*.py"),
            _JSON,
        )
        for kind in INTERNAL
    },
    "kafka.batches": Target(_batches, _batch_seeds, lambda: [b"\x82SNAPPY\0"]),
}
