"""`aqt/<workspace>/<resource>` (extra `aqt`): AQT's cloud (Arnica, API v1), in cirq-aqt's serialisation.

The circuits of a job go in one request, each with its own number of shots.

Its sampler is not used: it waits without end, and sends without an id that would be known after a crash. The API, as
cirq-aqt speaks it, has a label for a job but no way to look for one, and none to cancel one. So a job whose sending
broke off is `unknown` for ever and never sent again, and one that is late is said to be `unknown`: it may still run.

The key: QMOSAIC_AQT_TOKEN or QMOSAIC_AQT_TOKEN_FILE; the address: QMOSAIC_AQT_URL; prices: QMOSAIC_AQT_PRICE (see
`remote.Price`), since the vendor tells none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import cirq
import msgspec
import numpy as np
from cirq_aqt import AQTSampler
from cirq_aqt.aqt_target_gateset import AQTTargetGateset

from qmosaic.backends.base import Answer, Capabilities, Health, Job, Usage, check
from qmosaic.backends.circuits import sampled
from qmosaic.backends.circuits.layout import Parts
from qmosaic.backends.circuits.sampled import Compiled
from qmosaic.backends.clouds.http import Http, Secret, secret
from qmosaic.backends.clouds.job import Status, Unclear
from qmosaic.backends.clouds.price import price
from qmosaic.backends.clouds.remote import RemoteBackend
from qmosaic.codecs.errors import BackendError

URL = "https://arnica.aqt.eu/api/v1"
STATUSES: Mapping[str, Status] = {
    "queued": "queued",
    "ongoing": "running",
    "finished": "completed",
    "error": "failed",
    "cancelled": "cancelled",
}


def _in_range(op: cirq.Operation) -> list[cirq.Operation]:
    """The same but for a phase, its angles where the API takes them: R of 0 to 1, RXX of 0 to 1/2, in half turns."""
    gate, on = op.gate, op.qubits
    if isinstance(gate, cirq.PhasedXPowGate):
        turn, axis = gate.exponent % 2, gate.phase_exponent
        if turn > 1:
            turn, axis = 2 - turn, axis + 1
        return [cirq.PhasedXPowGate(exponent=turn, phase_exponent=axis)(*on)]
    if isinstance(gate, cirq.XXPowGate):
        turn, out = (gate.exponent + 0.5) % 2 - 0.5, list[cirq.Operation]()
        if turn > 0.5:  # XX^t = XX XX^(t-1)
            turn, out = turn - 1, [cirq.PhasedXPowGate(exponent=1, phase_exponent=0)(q) for q in on]
        if turn < 0:  # XX^-t = Z XX^t Z
            return [*out, cirq.Z(on[0]), cirq.XXPowGate(exponent=-turn)(*on), cirq.Z(on[0])]
        return [*out, cirq.XXPowGate(exponent=turn)(*on)]
    return [op]


def _steps(circuit: cirq.FrozenCircuit) -> list[dict[str, Any]]:
    """As the API has it."""
    gates = cirq.Circuit(op for op in circuit.all_operations() if not cirq.is_measurement(op))
    if not gates:  # cirq-aqt refuses what is empty, and measurements, which it adds itself
        return [{"operation": "MEASURE"}]
    sampler = AQTSampler("", "", "")
    steps: list[dict[str, Any]] = sampler._parse_legacy_circuit_json(sampler._generate_json(gates, {}))
    for step in steps:
        if step["operation"] == "R":
            step["phi"] %= 2  # Cirq's are between -1 and 1
    return steps


class Response(msgspec.Struct):
    """What the API says of a job. `result`: by circuit, a row of bits for each shot."""

    status: str
    message: str = ""
    result: dict[str, list[list[int]]] = {}


class Aqt(RemoteBackend):
    """One resource of a workspace."""

    price_variable = "QMOSAIC_AQT_PRICE"
    can_find = False
    can_cancel = False

    def __init__(self, resource: str = "") -> None:
        if not re.fullmatch(r"[\w-]+/[\w-]+", resource):
            raise BackendError(
                f"no resource of AQT is called {resource!r}",
                place="aqt",
                remedy="Name a workspace and a resource: aqt/default/simulator_noise.",
            )
        self.name, self._resource = f"aqt/{resource}", resource
        self.capabilities = Capabilities(
            target="quantum",
            max_qubits=20,
            batch=16,
            uses_angles=True,
            max_circuit_qubits=20,
            paid=True,
            gates=("rz", "r", "rxx"),
            noise="" if resource.endswith("/simulator_no_noise") else "the device's own",
        )
        self._compiled = sampled.remembering(self._compile)
        self.price = price(self.price_variable)

    def _http(self) -> Http:
        key = secret("QMOSAIC_AQT_TOKEN")
        headers = {"Authorization": Secret(f"Bearer {key.reveal()}")}
        return Http(self.name, os.environ.get("QMOSAIC_AQT_URL", URL), headers, self.limits.request_seconds)

    def prepare(self, job: Job) -> Compiled:
        """Compiled to rotations and Mølmer-Sørensen gates. Raises BackendError."""
        check(job, self.name, self.capabilities)
        return sampled.compiled(job, self._compiled)

    def _compile(self, n: int, parts: Parts, _on: tuple[int, ...]) -> cirq.FrozenCircuit:
        compiled = sampled.in_gates(n, parts, self.name, AQTTargetGateset())
        return cirq.FrozenCircuit(map(_in_range, compiled.all_operations()))

    async def submit(self, prepared: Compiled, client_id: str) -> str:
        """POST /submit/<workspace>/<resource>."""
        circuits = [
            {
                "repetitions": each.shots,
                "number_of_qubits": prepared.figures.qubits,
                "quantum_circuit": _steps(each.circuit),
            }
            for each in prepared.circuits
        ]
        body = {"job_type": "quantum_circuit", "label": client_id, "payload": {"circuits": circuits}}
        told = await self._http().ask("POST", f"/submit/{self._resource}", body)
        job = told.get("job") if isinstance(told, dict) else None
        if not isinstance(job, dict) or not isinstance(job.get("job_id"), str):
            raise Unclear("an answer without job_id")
        return str(job["job_id"])

    async def poll(self, vendor_id: str) -> tuple[Status, str]:
        """GET /result/<id>."""
        told = await self._response(vendor_id)
        return STATUSES.get(told.status, "unknown"), told.message

    async def fetch(self, vendor_id: str, prepared: Compiled) -> Answer:
        """The rows of all circuits, by their places."""
        told, found = (await self._response(vendor_id)).result, list[sampled.Counts]()
        for k, made in enumerate(prepared.circuits):
            rows = np.array(told.get(str(k), []), dtype=np.uint8)
            if rows.shape != (made.shots, prepared.figures.qubits) or rows.max(initial=0) > 1:
                raise Unclear(f"expected {made.shots} rows of {prepared.figures.qubits} bits, got {rows.shape}")
            found.append((rows, np.ones(len(rows), np.int64)))
        return sampled.answer_of(prepared, found, Usage(cost=self.price.of(prepared), job_id=vendor_id))

    async def _response(self, vendor_id: str) -> Response:
        told = await self._http().ask("GET", f"/result/{quote(vendor_id, safe='')}")
        try:
            return msgspec.convert(told.get("response") if isinstance(told, dict) else None, Response)
        except msgspec.ValidationError as error:
            raise Unclear(f"an answer that is none: {error}") from None

    async def status(self) -> Health:
        """GET /workspaces: whether the resource is among them."""
        told: Any = await self._http().ask("GET", "/workspaces")
        workspace, _, resource = self._resource.partition("/")
        there = [
            each["id"]
            for space in (told if isinstance(told, list) else ())
            if space.get("id") == workspace
            for each in space.get("resources", ())
        ]
        return Health(resource in there, "" if resource in there else f"{workspace} has {', '.join(there) or 'none'}")
