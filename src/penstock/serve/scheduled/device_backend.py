"""One device behind the protocol: a request is a job, its answer comes from a worker thread.

The loop submits and cancels under the driver's lock, which is held for microseconds; answers come back to the loop by
``call_soon_threadsafe``. A client that goes away cancels its job. A request is one job whatever its number of samples:
it is not split, and not merged with others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from penstock.clock import MonotonicClock
from penstock.record import Outcome
from penstock.serve.gateway.admission import checked_samples
from penstock.serve.gateway.metrics import GatewayMetrics
from penstock.serve.gateway.waiting import Outputs, Waiting
from penstock.serve.observe.catalogue import CLIENT_GONE
from penstock.serve.protocol.errors import ProtocolError, malformed
from penstock.serve.protocol.infer import InferRequest, Tensor
from penstock.serve.scheduled.answers import Answer, Ending
from penstock.serve.scheduled.thread_driver import ThreadDriver
from penstock.serve.spec import Limits, ModelSpec

_STATUS = {
    Ending.FAILED: 500,
    Ending.DROPPED: 504,
    Ending.CANCELLED: 503,
    Ending.REFUSED: 503,
    Ending.UNLOADED: 503,
    Ending.STOPPED: 503,
}
_RETRY_AFTER_S = 1


@final
@dataclass
class DeviceBackend:
    """The models of one :class:`ThreadDriver`. To be used inside the running loop only."""

    driver: ThreadDriver
    models: Sequence[ModelSpec]
    limits: Limits
    threads: int
    is_traced: bool = False

    def __post_init__(self) -> None:
        self.metrics = GatewayMetrics(self.models)
        self.is_closing = False
        self._is_loaded = [True] * len(self.models)
        self._samples = 0
        self._clock = MonotonicClock()

    @property
    def in_flight(self) -> int:
        """Samples that wait or run."""
        return self._samples

    def now_us(self) -> int:
        """The driver's clock."""
        return self._clock.now_us()

    def is_ready(self, model: int) -> bool:
        """Whether requests for ``model`` are admitted."""
        return self._is_loaded[model] and not self.is_closing

    async def infer(self, model: int, request: InferRequest, arrival_us: int) -> Outputs:
        """The outputs of ``request``; if this is cancelled, so is the job."""
        spec = self.models[model]
        try:
            samples = self._admitted(model, request)
        except ProtocolError as error:
            self.metrics.turned_away(model, error.http_status)
            raise
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer) -> None:
            if not answered.done():  # the client may have gone
                answered.set_result(answer)

        def tell(answer: Answer) -> None:
            loop.call_soon_threadsafe(settle, answer)

        deadline_us = arrival_us + (request.timeout_us or spec.slo_us)
        self._hold(samples)
        try:
            job = self.driver.submit(
                model,
                {tensor.name: tensor.array for tensor in request.inputs},
                tell,
                deadline_us=deadline_us,
                arrived_us=arrival_us,
            )
            try:
                answer = await answered
            except asyncio.CancelledError:
                self.driver.cancel(job)
                self.metrics.turned_away(model, CLIENT_GONE)
                raise
        finally:
            self._hold(-samples)
        made: Outputs = ()
        problem = None
        if answer.outputs is not None:
            made = tuple(Tensor(one.name, one.datatype, answer.outputs[one.name]) for one in spec.outputs)
            problem = request.unanswerable(made)
        self._count(model, samples, deadline_us, answer, is_error=problem is not None)
        if answer.outputs is None:
            problem = self._error(model, answer)
        if problem is not None:
            raise problem
        return made

    async def set_loaded(self, model: int, *, loaded: bool) -> None:
        """Admit requests for ``model``, or answer those that are here and admit no more. Its weights stay in memory."""
        if loaded:
            self.driver.load(model)
        self._is_loaded[model] = loaded
        if not loaded:
            self.driver.unload(model)

    async def drain(self) -> None:
        """Admit nothing more; return when all is answered or the limit is over."""
        self.is_closing = True
        await asyncio.to_thread(self.driver.wait_until_idle, self.limits.drain_us / 1e6)

    def _admitted(self, model: int, request: InferRequest) -> int:
        """The number of samples; :class:`ProtocolError` if the request cannot be queued."""
        spec = self.models[model]
        samples = checked_samples(spec, request)
        if samples > spec.max_batch:
            raise malformed(
                f"{samples} samples in one request, but {spec.name!r} takes at most {spec.max_batch}."
            )
        self._refuse(model, samples)
        return samples

    def _hold(self, samples: int) -> None:
        self._samples += samples
        self.metrics.in_flight(self._samples)

    def _refuse(self, model: int, samples: int) -> None:
        refusal = None
        if not self.is_ready(model):
            why = "the server is stopping" if self.is_closing else "it is unloaded"
            refusal = f"model {self.models[model].name!r} is not ready: {why}."
        elif self._samples + samples > self.limits.in_flight:
            refusal = f"{self._samples} samples are in flight; at most {self.limits.in_flight} may be."
        if refusal is not None:
            raise ProtocolError(503, refusal, retry_after_s=_RETRY_AFTER_S)

    def _count(self, model: int, samples: int, deadline_us: int, answer: Answer, *, is_error: bool) -> None:
        if answer.ending is Ending.REFUSED:
            self.metrics.turned_away(model, 503)
            return
        row = Waiting(model, {}, answer.job, samples, answer.arrived_us, deadline_us, lambda outcome: None)
        row.outcome = Outcome.ERROR if is_error else _outcome(answer, deadline_us)
        row.dispatched_us = answer.started_us
        row.compute_us = answer.run_us
        if answer.ending is Ending.DONE:
            self.metrics.models[model].batch(samples, answer.run_us)
        self.metrics.models[model].settled(row, answer.ended_us, time.time_ns() // 1_000_000)

    def _error(self, model: int, answer: Answer) -> ProtocolError:
        text = f"model {self.models[model].name!r}: {answer.ending.value}"
        text += f": {answer.problem}" if answer.problem else "."
        status = _STATUS[answer.ending]
        return ProtocolError(status, text, retry_after_s=_RETRY_AFTER_S if status == 503 else None)


def _outcome(answer: Answer, deadline_us: int) -> Outcome:
    if answer.ending is Ending.DONE:
        return Outcome.MET if answer.ended_us <= deadline_us else Outcome.LATE
    return Outcome.DROPPED_DEADLINE if answer.ending is Ending.DROPPED else Outcome.ERROR
