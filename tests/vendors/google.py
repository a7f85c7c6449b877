"""Google's Quantum Engine (v1alpha1) on a gRPC server: programs, jobs, results. Circuits are simulated by Cirq.

`Fault.method` is POST for CreateQuantumJob and GET for GetQuantumJob, `Fault.path` the method's name.
"""

from __future__ import annotations

from typing import Any

import cirq
import cirq_google
import grpc
import numpy as np
from aiohttp import web
from cirq_google.api import v2
from cirq_google.cloud import quantum
from cirq_google.engine import util
from google.protobuf import duration_pb2, empty_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.vendors.server import KEY, Fault, Posted, VendorServer

SERVICE = "google.cloud.quantum.v1alpha1.QuantumEngineService"
State = quantum.ExecutionStatus.State
STATES = {
    "queued": State.READY,
    "running": State.RUNNING,
    "completed": State.SUCCESS,
    "failed": State.FAILURE,
    "cancelled": State.CANCELLED,
}
CODES = {
    0: grpc.StatusCode.UNAVAILABLE,
    200: grpc.StatusCode.UNKNOWN,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
}


class GoogleServer(VendorServer):
    """The service."""

    backend = "google/willow_pink"

    def environment(self) -> dict[str, str]:
        return {"QMOSAIC_GOOGLE_URL": self.url, "QMOSAIC_GOOGLE_TOKEN": KEY, "QMOSAIC_GOOGLE_PROJECT": "p"}

    def __init__(self) -> None:
        super().__init__()
        self._programs: dict[str, Any] = {}

    def routes(self) -> list[web.RouteDef]:
        return []

    async def _start(self) -> None:
        self._server = grpc.aio.server()
        methods = {
            "CreateQuantumProgram": (self._program, quantum.CreateQuantumProgramRequest, quantum.QuantumProgram),
            "CreateQuantumJob": (self._create, quantum.CreateQuantumJobRequest, quantum.QuantumJob),
            "GetQuantumJob": (self._get, quantum.GetQuantumJobRequest, quantum.QuantumJob),
            "GetQuantumResult": (self._result, quantum.GetQuantumResultRequest, quantum.QuantumResult),
            "GetQuantumProcessor": (self._processor, quantum.GetQuantumProcessorRequest, quantum.QuantumProcessor),
        }
        handlers = {name: self._handler(name, *rest) for name, rest in methods.items()}
        handlers["CancelQuantumJob"] = grpc.unary_unary_rpc_method_handler(
            self._cancel, quantum.CancelQuantumJobRequest.deserialize, empty_pb2.Empty.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.url = f"http://127.0.0.1:{port}"

    async def _stop(self) -> None:
        await self._server.stop(0)

    def _handler(self, name: str, work: Any, asked: Any, answered: Any) -> Any:
        method = {"CreateQuantumJob": "POST", "GetQuantumJob": "GET"}.get(name, "")

        async def handle(request: Any, context: Any) -> Any:
            sent = dict(context.invocation_metadata()).get("authorization", "")
            if self.revoked or sent != f"Bearer {KEY}":
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"key {sent} is not valid")
            fault = next((f for f in self.faults if f.method == method and name.startswith(f.path)), None)
            if fault is not None:
                self.faults.remove(fault)
                if fault.when == "before":
                    await _fail(context, fault)
            if method == "GET":
                await self._pass("polling")
            answer = await work(request, context)
            if fault is not None:
                await _fail(context, fault)
            return answer

        return grpc.unary_unary_rpc_method_handler(handle, asked.deserialize, answered.serialize)

    def qubits(self, job: Posted) -> int:
        return len(_circuits(self._programs[job.id.partition("/jobs/")[0]])[0].all_qubits())

    async def _program(self, request: Any, context: Any) -> Any:
        made = request.quantum_program
        if made.name in self._programs:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, made.name)
        self._programs[made.name] = made
        return quantum.QuantumProgram(name=made.name)

    async def _create(self, request: Any, context: Any) -> Any:
        job = request.quantum_job
        if any(job.name == each.id for each in self.jobs):
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, job.name)
        self.post(job.name, job).id = job.name
        return quantum.QuantumJob(name=job.name)

    async def _known(self, name: str, context: Any) -> Posted:
        for job in self.jobs:
            if job.id == name:
                return job
        await context.abort(grpc.StatusCode.NOT_FOUND, name)
        raise AssertionError

    async def _get(self, request: Any, context: Any) -> Any:
        job = await self._known(request.name, context)
        state = State.STATE_UNSPECIFIED if self.odd else STATES[self.advance(job)]
        status = quantum.ExecutionStatus(state=state)
        if job.state == "failed":
            status.failure = quantum.ExecutionStatus.Failure(error_message="the qubits have warmed up")
        return quantum.QuantumJob(name=job.id, execution_status=status)

    async def _result(self, request: Any, context: Any) -> Any:
        job = await self._known(request.parent, context)
        circuits = _circuits(self._programs[job.id.partition("/jobs/")[0]])
        run = v2.run_context_pb2.RunContext.FromString(job.body.run_context.value)
        proto = v2.result_pb2.Result()
        for circuit, sweep in list(zip(circuits, run.parameter_sweeps, strict=True))[: self.circuits]:
            shots = sweep.repetitions
            found = cirq.Simulator(seed=shots, dtype=np.complex128).run(circuit, repetitions=shots)
            v2.results_to_proto([[found]], v2.find_measurements(circuit), out=proto)
        return quantum.QuantumResult(parent=job.id, result=util.pack_any(proto))

    async def _cancel(self, request: Any, context: Any) -> Any:
        (await self._known(request.name, context)).state = "cancelled"
        return empty_pb2.Empty()

    async def _processor(self, request: Any, context: Any) -> Any:
        return quantum.QuantumProcessor(name=request.name, health=quantum.QuantumProcessor.Health.OK)


async def _fail(context: Any, fault: Fault) -> None:
    code = CODES[fault.status]
    status = status_pb2.Status(code=code.value[0], message="fault")
    if "Retry-After" in fault.headers:
        seconds = float(fault.headers["Retry-After"])
        delay = duration_pb2.Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    await context.abort(code, "fault", (("grpc-status-details-bin", status.SerializeToString()),))


def _circuits(program: Any) -> list[cirq.Circuit]:
    proto, serializer = v2.program_pb2.Program.FromString(program.code.value), cirq_google.CIRCUIT_SERIALIZER
    if proto.keyed_circuits:
        return [cirq.Circuit(circuit) for _, _, circuit in serializer.deserialize_multi_program(proto)]
    return [serializer.deserialize(proto)]
