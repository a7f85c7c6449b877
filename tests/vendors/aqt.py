"""AQT's API v1 (Arnica): submit, result, workspaces. Circuits are simulated by Cirq."""

from __future__ import annotations

from functools import cache
from typing import Any

import cirq
import msgspec
from aiohttp import web

from tests.vendors.server import KEY, Posted, VendorServer

STATES = {"running": "ongoing", "completed": "finished", "failed": "error"}


class AqtServer(VendorServer):
    """The service."""

    backend = "aqt/default/simulator"

    def environment(self) -> dict[str, str]:
        return {"QMOSAIC_AQT_URL": f"{self.url}/api/v1/", "QMOSAIC_AQT_TOKEN": KEY}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/submit/{workspace}/{resource}", self._submit),
            web.get("/api/v1/result/{id}", self._result),
            web.get("/api/v1/workspaces", self._workspaces),
        ]

    def authorized(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.key}"

    def is_poll(self, request: web.Request) -> bool:
        return request.path.startswith("/api/v1/result/")

    def qubits(self, job: Posted) -> int:
        return int(job.body["payload"]["circuits"][0]["number_of_qubits"])

    async def _submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        job = self.post(body["label"], body)
        told = {"job": {"job_id": job.id, "label": job.name}, "response": {"status": "queued"}}
        return web.json_response(told)

    async def _result(self, request: web.Request) -> web.Response:
        job = self.job(request.match_info["id"])
        state = self.advance(job)
        response: dict[str, Any] = {"status": "entangling" if self.odd else STATES.get(state, state)}
        if state == "completed":
            circuits = list(enumerate(job.body["payload"]["circuits"]))
            # in no order, as JSON objects are
            response["result"] = {
                str(k): _simulated(msgspec.json.encode(each)) for k, each in circuits[::-1] if k < self.circuits
            }
        if state == "failed":
            response["message"] = "the ions have left"
        told = {"job": {"job_id": job.id}, "response": response}
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")

    async def _workspaces(self, request: web.Request) -> web.Response:
        resource = {"id": "simulator", "name": "a simulator", "type": "simulator"}
        return web.json_response([{"id": "default", "resources": [resource]}])


@cache
def _simulated(encoded: bytes) -> list[list[int]]:
    """A row of all qubits for each shot; the same for the same circuit and number of shots, and asked for twice."""
    program = msgspec.json.decode(encoded)
    n = program["number_of_qubits"]
    steps = program["quantum_circuit"]
    assert [step["operation"] for step in steps].count("MEASURE") == 1
    assert steps[-1] == {"operation": "MEASURE"}
    circuit, line = cirq.Circuit(), cirq.LineQubit.range(n)
    for step in steps[:-1]:
        if step["operation"] == "RZ":
            circuit.append(cirq.ZPowGate(exponent=step["phi"])(line[step["qubit"]]))
        elif step["operation"] == "R":
            assert 0 <= step["theta"] <= 1
            assert 0 <= step["phi"] <= 2
            gate = cirq.PhasedXPowGate(exponent=step["theta"], phase_exponent=step["phi"])
            circuit.append(gate(line[step["qubit"]]))
        else:
            assert step["operation"] == "RXX"
            assert 0 <= step["theta"] <= 0.5
            circuit.append(cirq.XXPowGate(exponent=step["theta"])(*(line[q] for q in step["qubits"])))
    circuit.append(cirq.measure(*line, key="m"))
    shots = program["repetitions"]
    rows: list[list[int]] = cirq.Simulator(seed=shots).run(circuit, repetitions=shots).measurements["m"].tolist()
    return rows
