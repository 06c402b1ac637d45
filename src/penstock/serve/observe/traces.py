"""OpenTelemetry traces: a span a request, and below it one for its queue and one for each stage that it ran in.

The gateway makes all spans, when a request is answered: workers put the times of their stage into the header of a batch
that has a traced request, and the last one brings them home. So no other process needs the packages, and nothing
is sent beside the batches. A ``traceparent`` (W3C Trace Context) of the client is the parent of the request's span, and
its decision to sample holds; others are sampled by the share that was asked for. Without ``--traces`` none of this is
imported.

All times are on this host's monotonic clock; they become wall time by one offset that is read at the start.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import msgspec

from penstock import __version__
from penstock.errors import BadInputError, MissingExtraError
from penstock.record import Outcome

if TYPE_CHECKING:
    from penstock.serve.gateway.waiting import Waiting
    from penstock.serve.messages import BatchHeader

DEFAULT_ENDPOINT = "http://localhost:4318/v1/traces"
"""Where a collector listens for OTLP over HTTP by default."""
SERVICE = "penstock"

TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""The header of the request that the running task handles."""


class TraceOptions(msgspec.Struct, frozen=True):
    """Where spans go: ``otlp`` to a URL, or ``file`` (a JSON object a line, one file a process). ``share``: sampled."""

    kind: str
    target: str
    share: float = 1.0


def parse_traces(text: str, share: float) -> TraceOptions:
    """``otlp``, ``otlp:URL`` or ``file:PATH``; :class:`BadInputError` for anything else."""
    kind, _, target = text.partition(":")
    if kind == "otlp" and (not target or target.startswith(("http://", "https://"))):
        options = TraceOptions("otlp", target or DEFAULT_ENDPOINT, share)
    elif kind == "file" and target:
        options = TraceOptions("file", str(Path(target).absolute()), share)
    else:
        raise BadInputError(
            f"--traces {text!r} must be otlp, otlp:URL (http://HOST:4318/v1/traces) or file:PATH."
        )
    needed = ["opentelemetry.sdk"] + (["opentelemetry.exporter.otlp.proto.http"] if kind == "otlp" else [])
    try:
        absent = [name for name in needed if find_spec(name) is None]
    except ModuleNotFoundError:  # of a parent package
        absent = needed
    if absent:
        raise MissingExtraError("serve --traces", "otel")
    return options


@final
class RequestTraces:
    """The spans of one gateway, which is called ``process``."""

    def __init__(self, options: TraceOptions, process: str, now_us: int, exporter: Any = None) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create(
            {"service.name": SERVICE, "service.version": __version__, "service.instance.id": process}
        )
        self._provider = TracerProvider(sampler=ParentBasedTraceIdRatio(options.share), resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _exporter(options, process)))
        self._tracer = self._provider.get_tracer("penstock.serve", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._offset_ns = time.time_ns() - now_us * 1_000

    def begin(self, model: str, samples: int, arrival_us: int, deadline_us: int) -> Any:
        """The span of a request that was admitted; None if it is not sampled."""
        from opentelemetry.trace import SpanKind

        parent = self._propagator.extract({"traceparent": TRACEPARENT.get()})
        span = self._tracer.start_span(
            "infer",
            context=parent,
            kind=SpanKind.SERVER,
            start_time=self._ns(arrival_us),
            attributes={
                "penstock.model": model,
                "penstock.samples": samples,
                "penstock.slo_us": deadline_us - arrival_us,
            },
        )
        return span if span.is_recording() else None

    def ran(self, request: Waiting, header: BatchHeader) -> None:
        """``request`` had samples in a batch that came home: a span for each stage."""
        for stage, timing in enumerate(header.timings):
            self._child(
                request.trace,
                f"stage {stage}",
                timing.queued_us - timing.transfer_us,
                timing.end_us,
                {
                    "penstock.pipeline": header.pipeline,
                    "penstock.stage": stage,
                    "penstock.batch": header.batch,
                    "penstock.batch_size": timing.size,
                    "penstock.worker": timing.worker,
                    "penstock.transfer_us": timing.transfer_us,
                    "penstock.wait_us": timing.start_us - timing.queued_us,
                    "penstock.execution_us": timing.end_us - timing.start_us,
                },
            )

    def end(self, request: Waiting, now_us: int) -> None:
        """``request`` got its answer."""
        from opentelemetry.trace import Status, StatusCode

        span = request.trace
        assert request.outcome is not None
        if request.dispatched_us >= 0:
            self._child(span, "queue", request.arrival_us, request.dispatched_us, {})
        span.set_attribute("penstock.outcome", request.outcome.text)
        if request.losses:
            span.set_attribute("penstock.lost_batches", request.losses)
        if request.outcome not in (Outcome.MET, Outcome.LATE):
            span.set_status(Status(StatusCode.ERROR, request.failure or request.outcome.text))
        span.end(end_time=self._ns(now_us))

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()

    def _child(self, parent: Any, name: str, start_us: int, end_us: int, attributes: dict[str, Any]) -> None:
        from opentelemetry.trace import set_span_in_context

        span = self._tracer.start_span(
            name, context=set_span_in_context(parent), start_time=self._ns(start_us), attributes=attributes
        )
        span.end(end_time=self._ns(end_us))

    def _ns(self, at_us: int) -> int:
        return self._offset_ns + at_us * 1_000


def _exporter(options: TraceOptions, process: str) -> Any:
    if options.kind == "file":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        path = Path(options.target)
        file = path.with_name(f"{path.name}.{process}").open("a", encoding="utf-8")
        return ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=options.target)
