"""The gateway between HTTP and the other processes of the server: it admits requests, sends batches, and answers.

It has one asyncio loop. Messages come in at one inbox, whose descriptor the loop watches, and go out on links
that never block.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import msgspec

from penstock.serve.gateway.admission import checked_samples, shared_value
from penstock.serve.gateway.backend import index_in_other_plan
from penstock.serve.gateway.first_stage import first_messages
from penstock.serve.gateway.ledger import Ledger
from penstock.serve.gateway.metrics import GatewayMetrics
from penstock.serve.gateway.waiting import RETRY_AFTER_S, Outputs, Waiting
from penstock.serve.hosts.host_clock import clock_at
from penstock.serve.live_record import RowFiles
from penstock.serve.messages import (
    Assign,
    BatchDropped,
    BatchHeader,
    CancelBatch,
    Cancelled,
    DispatcherUp,
    Dropped,
    Failed,
    Readiness,
    ToGateway,
)
from penstock.serve.observe.traces import RequestTraces
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import InferRequest
from penstock.serve.spec import Limits, ModelSpec, ServerSpec
from penstock.serve.transport import (
    Links,
    Received,
    Turns,
    decoded,
    dispatcher_endpoint,
    gateway_endpoint,
    open_transport,
    read_groups,
)
from penstock.units import US_PER_S

GIVE_UP_US = 30 * US_PER_S
"""How long after its deadline a request waits for an answer, in case its worker hangs."""

HEAD_LOST = "the host of this gateway cannot reach the head of the server"

MOST_MESSAGES = 256
"""The most messages of one turn: however many come, connections are served too."""


@final
class Gateway:
    """The requests in flight of gateway ``number``. Create it inside the running loop.

    :attr:`spec` is that of the epoch that new requests belong to; ``note_switch`` is called with each later epoch that
    it becomes. ``was_told`` is set once a dispatcher has said what is served, ``became_ready`` once every model has
    been ready. :attr:`endpoint` is where messages come in.
    """

    def __init__(
        self,
        spec: ServerSpec,
        folder: Path,
        number: int = 0,
        note_switch: Callable[[int], None] = lambda epoch: None,
    ) -> None:
        self.spec = spec
        self._note_switch = note_switch
        self._number = number
        self._specs = {spec.epoch: spec}
        self._ended: set[int] = set()
        self.metrics = GatewayMetrics(spec.models, folder, number=number, epoch=spec.epoch)
        self.readiness = Readiness(-1, spec.epoch, (False,) * len(spec.models))
        self.is_closing = False
        self._is_headless = False
        self.was_told = asyncio.Event()
        self.became_ready = asyncio.Event()
        self.rows = None if spec.rows is None else RowFiles(Path(spec.rows), "requests", number)
        self.ledger = Ledger(self._note_settled, number, self._note_retried)
        self._clock = clock_at(folder)
        self._traces = None
        if spec.traces is not None:
            self._traces = RequestTraces(spec.traces, f"gateway-{number}", self._clock.now_us())
        self._decoder: msgspec.msgpack.Decoder[ToGateway] = msgspec.msgpack.Decoder(ToGateway)
        self._transport = open_transport(spec.transport, f"gateway {number}", folder)
        self._inbox = self._transport.listen(gateway_endpoint(folder, number))
        self.endpoint: str = self._inbox.endpoint
        self._dispatcher = self._transport.connect(dispatcher_endpoint(folder))
        self._workers = Links(self._transport)
        self._turns = Turns(self._inbox, MOST_MESSAGES)
        self._next_turn: asyncio.Handle | None = None
        asyncio.get_running_loop().add_reader(self._inbox.fileno(), self._receive)

    def add_plan(self, spec: ServerSpec) -> None:
        """Know the plan of another epoch; it is used for new requests once the dispatcher says so."""
        self._specs[spec.epoch] = spec
        self.metrics.add_plan(spec.epoch, spec.models)

    def end_plan(self, epoch: int) -> None:
        """Nothing of ``epoch`` is on its way any more: forget its spec when the last answer is given."""
        self._ended.add(epoch)
        self._forget_plans()

    def _forget_plans(self) -> None:
        for epoch in [each for each in self._ended if not self.ledger.any_of(each)]:
            self._ended.discard(epoch)
            self._specs.pop(epoch, None)
            self.metrics.end_plan(epoch)

    def now_us(self) -> int:
        """The time of the clock that all processes of the server share."""
        return self._clock.now_us()

    @property
    def models(self) -> Sequence[ModelSpec]:
        """The plan's models."""
        return self.spec.models

    @property
    def limits(self) -> Limits:
        """The bounds of this server."""
        return self.spec.limits

    @property
    def is_traced(self) -> bool:
        """Whether spans of requests are made."""
        return self._traces is not None

    @property
    def in_flight(self) -> int:
        """Samples that wait or run."""
        return self.ledger.in_flight

    async def set_loaded(self, model: int, *, loaded: bool) -> None:
        """Refused: which models are served is the plan's choice."""
        name = self.spec.models[model].name
        raise ProtocolError(400, f"model {name!r} is part of the plan that is served: it stays loaded.")

    def is_ready(self, model: int) -> bool:
        """Whether requests for ``model`` are admitted."""
        return self.readiness.models[model] and not self.is_closing and not self._is_headless

    async def infer(self, model: int, request: InferRequest, arrival_us: int) -> Outputs:
        """The outputs of ``request``, or :class:`ProtocolError`."""
        spec = self.spec.models[model]
        try:
            samples = checked_samples(spec, request)
            self._refuse_overload(model, samples)
        except ProtocolError as error:
            self.metrics.turned_away(model, error.http_status)
            raise
        answer: asyncio.Future[Outputs | ProtocolError] = asyncio.get_running_loop().create_future()

        def settle(outcome: Outputs | ProtocolError) -> None:
            if not answer.done():  # the client may be gone
                answer.set_result(outcome)

        waiting = Waiting(
            model=model,
            inputs={tensor.name: tensor for tensor in request.inputs},
            first=self.ledger.admit(samples),
            samples=samples,
            arrival_us=arrival_us,
            deadline_us=arrival_us + (request.timeout_us or spec.slo_us),
            settle=settle,
            shared=shared_value(spec, request),
            problem_of=request.unanswerable,
            epoch=self.spec.epoch,
            doubt=self.spec.doubts[model] if self.spec.doubts else "",
        )
        if self._traces is not None:
            waiting.trace = self._traces.begin(spec.name, samples, arrival_us, waiting.deadline_us)
        self.ledger.add(waiting)
        self.metrics.in_flight(self.ledger.in_flight)
        self._tell_dispatcher()
        try:
            settled = await answer
        except asyncio.CancelledError:
            self._cancel(waiting)
            raise
        if isinstance(settled, ProtocolError):
            raise settled
        return settled

    def _cancel(self, request: Waiting) -> None:
        """The client of ``request`` has gone: what waits of it need not run, and scheduled workers stop it.

        Their reports, and the dispatcher's, settle the books.
        """
        self.ledger.cancel(request, self.now_us())
        self._tell_dispatcher()
        self._stop_batches(request)

    def _stop_batches(self, request: Waiting) -> None:
        if self.spec.device is None:
            return  # only scheduled workers can stop a batch
        for batch, worker in self.ledger.sent_of(request):
            link = self._workers.known(worker)
            if link is not None:
                link.send(CancelBatch(batch))

    def _tell_dispatcher(self) -> None:
        for message in self.ledger.messages:
            self._dispatcher.send(message)
        self.ledger.messages.clear()

    def lose_head(self) -> None:
        """This host cannot reach the head, which has given this gateway up: refuse what waits, and what comes."""
        self._is_headless = True
        error = ProtocolError(503, f"{HEAD_LOST}.", retry_after_s=RETRY_AFTER_S)
        self.ledger.give_up(lambda request: True, error, self.now_us())

    async def drain(self) -> None:
        """Admit nothing more. Return when all is answered; after the limit the rest is refused."""
        self.is_closing = True
        limit_us = self.now_us() + self.spec.limits.drain_us
        while self.ledger.in_flight and not self._is_headless and self.now_us() < limit_us:
            await asyncio.sleep(0.005)
        error = ProtocolError(503, "the server stopped before the request was done.")
        self.ledger.give_up(lambda request: True, error, self.now_us())

    def close(self) -> None:
        """Close every socket. A context that the garbage collector ends may wait for its sockets for ever."""
        asyncio.get_running_loop().remove_reader(self._inbox.fileno())
        if self._next_turn is not None:
            self._next_turn.cancel()
        if self.rows is not None:
            self.rows.flush()
        if self._traces is not None:
            self._traces.close()
        self._transport.close()

    def give_up_overdue(self) -> None:
        """Answer with an error what should have been answered long ago; write the record's rows."""
        self.ledger.lose_overdue(self.now_us())
        oldest_us = self.now_us() - GIVE_UP_US
        error = ProtocolError(500, "no answer came from the workers.")
        self.ledger.give_up(lambda request: request.deadline_us < oldest_us, error, self.now_us())
        self._tell_dispatcher()
        self._transport.flush()
        self._forget_plans()
        self.metrics.measure(self.now_us())
        if self.rows is not None:
            self.rows.flush()

    def _refuse_overload(self, model: int, samples: int) -> None:
        refusal = None
        if not self.is_ready(model):
            why = "the server is stopping" if self.is_closing else "not all its stages have a worker"
            why = HEAD_LOST if self._is_headless else why
            refusal = f"model {self.spec.models[model].name!r} is not ready: {why}."
        elif self.ledger.in_flight + samples > self.spec.limits.in_flight:
            refusal = (
                f"{self.ledger.in_flight} samples are in flight; at most {self.spec.limits.in_flight} may be."
            )
        if refusal is not None:
            raise ProtocolError(503, refusal, retry_after_s=RETRY_AFTER_S)

    def _receive(self) -> None:
        """Handle the messages that are there; the descriptor of the socket only tells of changes."""
        for received in self._turns.messages():
            self._take(received)
            del received  # else the memory of the last batch is held until another one comes
        self._tell_dispatcher()
        if not self._turns.is_over:
            self._next_turn = asyncio.get_running_loop().call_soon(self._receive)

    def _take(self, received: Received) -> None:
        if self._is_headless:
            return  # it is from before, or of a head that counts on another gateway
        message = decoded(self._decoder, received.head)
        if isinstance(message, BatchHeader):
            self._take_result(message, received.frames)
        elif isinstance(message, Assign):
            self._ship(message)
        elif isinstance(message, Dropped):
            self.ledger.drop(message, self.now_us())
        elif isinstance(message, Failed):
            self.ledger.fail(message, self.now_us())
        elif isinstance(message, BatchDropped):
            self.ledger.drop_batch(message, self.now_us())
        elif isinstance(message, Cancelled):
            request = self.ledger.cancelled(message, self.now_us())
            if request is not None:
                self._stop_batches(request)
        elif isinstance(message, DispatcherUp):
            self.ledger.dispatcher_up(message.dispatcher, self.now_us())
        else:
            self._take_readiness(message)

    def _take_readiness(self, message: Readiness) -> None:
        if message.dispatcher < self.readiness.dispatcher:
            return  # it died meanwhile
        self.readiness = message
        if message.epoch != self.spec.epoch:
            self.metrics.serve(message.epoch)
            self.spec = self._specs[message.epoch]
            self._note_switch(message.epoch)
        self.was_told.set()
        if all(message.models):
            self.became_ready.set()

    def _ship(self, message: Assign) -> None:
        now_us = self.now_us()
        runs = self.ledger.assign(message, now_us)
        if not runs:
            return
        is_traced = self._traces is not None and any(run.request.trace is not None for run in runs)
        spec = self._specs[message.epoch]
        for step, header, groups in first_messages(spec, self._number, message, runs, now_us, is_traced):
            self._workers.to(step.worker, step.endpoint).send_batch(header, groups)

    def _take_result(self, header: BatchHeader, frames: Sequence[memoryview]) -> None:
        spec = self._specs.get(header.epoch)
        if spec is None:
            return  # a batch that was given up, of a plan that ended
        self.metrics.fell_back(header.fallbacks)
        model = spec.stage_at(header.pipeline, 0).model
        self.metrics.of(header.epoch)[model].batch(header.size, header.compute_us)
        if self._traces is not None and header.timings:
            for request in self.ledger.requests_of(header):
                if request.trace is not None:
                    self._traces.ran(request, header)
        groups = read_groups(header, frames)
        self.ledger.result(header, groups, self.now_us(), spec.models[model].outputs)

    def _note_retried(self, request: Waiting) -> None:
        self.metrics.of(request.epoch)[request.model].retried()

    def _note_settled(self, request: Waiting, now_us: int) -> None:
        counters = self.metrics.of(request.epoch)[request.model]
        counters.settled(request, now_us, time.time_ns() // 1_000_000)
        if self._traces is not None and request.trace is not None:
            self._traces.end(request, now_us)
        self.metrics.in_flight(self.ledger.in_flight)
        if self.rows is None or request.outcome is None:
            return
        asked = self._specs[request.epoch].models[request.model]
        for offset, place in enumerate(request.places):
            # Waiting in the queue of a later plan or not, the model is that of the request's own epoch.
            epoch, pipeline, batch = (request.epoch, -1, -1) if place is None else place
            spec = self._specs[epoch]
            model = request.model if epoch == request.epoch else index_in_other_plan(asked, spec.models)
            if pipeline >= 0:
                pipeline -= spec.table["pipeline_offsets"][model]
            finish_us = now_us if request.has_result else -1
            row = (model, request.first + offset, request.arrival_us, request.deadline_us, pipeline, batch)
            self.rows.add((*row, finish_us, int(request.outcome), epoch))
