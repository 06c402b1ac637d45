"""The gateway between HTTP and the server's other processes: admits, ships, answers.

One asyncio loop. Messages come in on one ZeroMQ socket, whose descriptor the loop watches; they go out on
sockets that never block.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

import msgspec
import zmq

from penstock.clock import MonotonicClock
from penstock.serve.gateway.admission import checked_samples
from penstock.serve.gateway.ledger import Ledger, Outputs, Waiting
from penstock.serve.gateway.metrics import ModelMetrics
from penstock.serve.messages import Arrive, Assign, BatchHeader, Dropped, Failed, Readiness, ToGateway
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import InferRequest, Tensor
from penstock.serve.rows import RequestRows
from penstock.serve.spec import ModelSpec, ServerSpec, StageSpec
from penstock.serve.transport import (
    WorkerLinks,
    connect,
    dispatcher_endpoint,
    gateway_endpoint,
    listen,
    read_tensors,
    received,
    send,
    tensor_frames,
    tensor_headers,
)
from penstock.units import US_PER_S

RETRY_AFTER_S = 1
"""When a refused client may come back: a restarted worker is up by then."""

GIVE_UP_US = 30 * US_PER_S
"""How long after its deadline a request may still be unanswered: a worker that hangs must not hold it."""


@final
class Gateway:
    """Requests in flight of one server. To be created inside the running loop."""

    def __init__(self, spec: ServerSpec, folder: Path) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.spec = spec
        self.metrics = [ModelMetrics() for _ in spec.models]
        self.readiness = Readiness((False,) * len(spec.models), (0,) * len(spec.stages))
        self.is_closing = False
        self.became_ready = asyncio.Event()
        self.rows = RequestRows() if spec.keep_record else None
        self.ledger = Ledger(self._note_settled)
        self._clock = MonotonicClock()
        self._decoder: msgspec.msgpack.Decoder[ToGateway] = msgspec.msgpack.Decoder(ToGateway)
        self._inbox = listen(self._context, gateway_endpoint(folder))
        self._dispatcher = connect(self._context, dispatcher_endpoint(folder))
        self._workers = WorkerLinks(self._context)
        table = spec.dispatch_table()
        self._first_stages = [spec.stages[stage] for stage in table.stage_first[:-1].tolist()]
        self._pipeline_first = table.pipeline_first.tolist()
        asyncio.get_running_loop().add_reader(self._inbox.fileno(), self._receive)

    def now_us(self) -> int:
        """The clock all processes of the host share."""
        return self._clock.now_us()

    def is_ready(self, model: int) -> bool:
        """Whether requests for ``model`` are admitted."""
        return self.readiness.models[model] and not self.is_closing

    async def infer(self, model: int, request: InferRequest, arrival_us: int) -> Outputs:
        """The outputs of ``request``, or :class:`ProtocolError`."""
        spec = self.spec.models[model]
        samples = checked_samples(spec, request)
        self._refuse_overload(model, samples)
        answer: asyncio.Future[Outputs | ProtocolError] = asyncio.get_running_loop().create_future()

        def settle(outcome: Outputs | ProtocolError) -> None:
            if not answer.done():  # the client may have gone
                answer.set_result(outcome)

        waiting = Waiting(
            model=model,
            inputs={tensor.name: tensor for tensor in request.inputs},
            first=self.ledger.admit(samples),
            samples=samples,
            arrival_us=arrival_us,
            deadline_us=arrival_us + (request.timeout_us or spec.slo_us),
            settle=settle,
        )
        self.ledger.add(waiting)
        send(self._dispatcher, Arrive(model, waiting.first, samples, waiting.deadline_us))
        settled = await answer
        if isinstance(settled, ProtocolError):
            raise settled
        return settled

    async def drain(self) -> None:
        """Admit nothing more; return when all is answered, or the limit is over and the rest is refused."""
        self.is_closing = True
        limit_us = self.now_us() + self.spec.limits.drain_us
        while self.ledger.in_flight and self.now_us() < limit_us:
            await asyncio.sleep(0.005)
        error = ProtocolError(503, "the server stopped before the request was done.")
        self.ledger.give_up(lambda request: True, error, self.now_us())

    def close(self) -> None:
        """Close every socket: a context that is left to the collector may wait for its sockets forever."""
        asyncio.get_running_loop().remove_reader(self._inbox.fileno())
        self._context.destroy(linger=0)

    def give_up_overdue(self) -> None:
        """Answer what should have been answered long ago."""
        oldest_us = self.now_us() - GIVE_UP_US
        error = ProtocolError(500, "no answer came from the workers.")
        self.ledger.give_up(lambda request: request.deadline_us < oldest_us, error, self.now_us())

    def _refuse_overload(self, model: int, samples: int) -> None:
        refusal = None
        if not self.is_ready(model):
            why = "the server is stopping" if self.is_closing else "not all its stages have a worker"
            refusal = f"model {self.spec.models[model].name!r} is not ready: {why}."
        elif self.ledger.in_flight + samples > self.spec.limits.in_flight:
            refusal = (
                f"{self.ledger.in_flight} samples are in flight; at most {self.spec.limits.in_flight} may be."
            )
        if refusal is not None:
            self.metrics[model].refused += 1
            raise ProtocolError(503, refusal, retry_after_s=RETRY_AFTER_S)

    def _receive(self) -> None:
        """All that waits: the socket's descriptor tells of changes only, so it is emptied each time."""
        for head, *frames in received(self._inbox):
            message = self._decoder.decode(head.buffer)
            if isinstance(message, BatchHeader):
                self._take_result(message, frames)
            elif isinstance(message, Assign):
                self._ship(message)
            elif isinstance(message, Dropped):
                self.ledger.drop(message, self.now_us())
            elif isinstance(message, Failed):
                self.ledger.fail(message, self.now_us())
            else:
                self.readiness = message
                if all(message.models):
                    self.became_ready.set()

    def _ship(self, message: Assign) -> None:
        now_us = self.now_us()
        stage = self._first_stages[message.pipeline]
        runs = self.ledger.assign(message, now_us)
        parts = [_samples_of(run.request, stage, run.offset, run.rows) for run in runs]
        header = BatchHeader(
            batch=message.batch,
            pipeline=message.pipeline,
            route=message.route,
            stage=0,
            size=len(message.units),
            sent_us=now_us,
            compute_us=0,
            parts=tuple(run.rows for run in runs),
            tensors=tensor_headers(parts),
        )
        send(self._workers.to(message.route[0]), header, tensor_frames(parts))

    def _take_result(self, header: BatchHeader, frames: Sequence[zmq.Frame]) -> None:
        model = self._first_stages[header.pipeline].model
        self.metrics[model].batch(header.size, header.compute_us)
        self.ledger.result(header, read_tensors(header, frames), self.now_us())

    def _note_settled(self, request: Waiting, now_us: int) -> None:
        self.metrics[request.model].settled(request, now_us, time.time_ns() // 1_000_000)
        if self.rows is None or request.outcome is None:
            return
        first_pipeline = self._pipeline_first[request.model]
        for offset, (pipeline, batch) in enumerate(request.places):
            self.rows.add(
                model=request.model,
                unit=request.first + offset,
                arrival_us=request.arrival_us,
                deadline_us=request.deadline_us,
                pipeline=pipeline - first_pipeline if pipeline >= 0 else -1,
                batch=batch,
                finish_us=now_us if request.has_result else -1,
                outcome=int(request.outcome),
            )


def _samples_of(request: Waiting, stage: StageSpec, offset: int, rows: int) -> list[Tensor]:
    """The first stage's inputs for ``rows`` samples from ``offset``; views, not copies."""
    tensors = (request.inputs[spec.name] for spec in stage.inputs)
    return [Tensor(t.name, t.datatype, t.array[offset : offset + rows]) for t in tensors]


def model_index(models: Sequence[ModelSpec]) -> dict[str, int]:
    """Indices of the models by name."""
    return {model.name: index for index, model in enumerate(models)}
