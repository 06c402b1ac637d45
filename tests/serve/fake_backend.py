"""A backend in this process, whose models are functions, and a server over it: the protocol's tests need no plan."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import numpy as np
import uvloop

from penstock.record import Outcome
from penstock.serve.gateway.admission import checked_samples
from penstock.serve.gateway.http import HttpGateway
from penstock.serve.gateway.ledger import Waiting
from penstock.serve.gateway.metrics import GatewayMetrics
from penstock.serve.listen.http_server import HttpServer
from penstock.serve.listen.options import ListenLimits
from penstock.serve.listen.service import InferenceService
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import Limits, ModelSpec, TensorSpec

LIMIT_S = 20.0
EVERY_TYPE = ("BOOL", "UINT8", "INT16", "UINT32", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES")


def model(name, inputs, outputs=None, **changes):
    """A model of tensors given as ``{name: (datatype, shape)}``."""
    specs = [
        tuple(TensorSpec(key, kind, (-1, *shape)) for key, (kind, shape) in side.items())
        for side in (inputs, outputs or inputs)
    ]
    fields = {"slo_us": 60_000_000, "rate_rps": 1.0, "max_batch": 8, "executors": ("onnxruntime",)} | changes
    return ModelSpec(name=name, inputs=specs[0], outputs=specs[1], **fields)


MODELS = (
    model("echo", {"x": ("FP32", (2,))}),
    model("types", {name.lower(): (name, (2,)) for name in EVERY_TYPE}),
    model("nan", {"x": ("FP32", (1,))}, {"bad": ("FP32", (1,)), "good": ("FP32", (1,))}),
    model("half", {"x": ("FP16", (2,))}),
    model("text", {"s": ("BYTES", (1,))}),
)


class FakeBackend:
    """``echo``-like models give back their inputs under the outputs' names; ``nan`` makes NaN."""

    is_traced = False

    def __init__(self, models=MODELS, limits=Limits()):  # noqa: B008
        self.models = models
        self.limits = limits
        self.metrics = GatewayMetrics(models)
        self.clock_us = 1_000_000
        self.ready = True
        self.asked = []
        self.error = None
        self.gate = None
        self.cancelled = 0

    def now_us(self):
        return self.clock_us

    def is_ready(self, model):
        return self.ready

    async def infer(self, model, request, arrival_us):
        samples = checked_samples(self.models[model], request)
        self.asked.append((self.models[model].name, request, arrival_us))
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        outputs = self.outputs(self.models[model], request)
        problem = request.unanswerable(outputs)
        if problem is not None:
            raise problem
        deadline_us = arrival_us + self.models[model].slo_us
        row = Waiting(model, {}, 0, samples, arrival_us, deadline_us, lambda outcome: None)
        row.outcome = Outcome.MET
        self.metrics.models[model].settled(row, self.now_us(), 0)
        return outputs

    def outputs(self, spec, request):
        if spec.name == "nan":
            array = request.inputs[0].array
            return (Tensor("bad", "FP32", np.full_like(array, np.nan)), Tensor("good", "FP32", array))
        given = {tensor.name: tensor for tensor in request.inputs}
        return tuple(Tensor(one.name, one.datatype, given[one.name].array) for one in spec.outputs)

    async def set_loaded(self, model, *, loaded):
        raise ProtocolError(400, "it stays loaded.")


@asynccontextmanager
async def http_server(backend, *, limits=ListenLimits(), tokens=None, log=None, tls=None, regions=None):  # noqa: B008
    """``(port, service, server)`` of an HTTP server over ``backend`` on loopback."""
    service = InferenceService(backend, regions)
    handler = HttpGateway(backend, service, tokens, log)
    server = HttpServer(handler, limits, backend.limits.body_bytes, backend.now_us)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.listen(listener, tls)
    try:
        yield listener.getsockname()[1], service, server
    finally:
        await server.close()
        handler.close()


def run(test):
    """Run a test on the loop that the server runs on, bounded."""

    async def bounded():
        async with asyncio.timeout(LIMIT_S):
            return await test

    return uvloop.run(bounded())
