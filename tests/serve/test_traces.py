"""OpenTelemetry spans: what they say of a request, whose child they are, and that they cost nothing if they are off."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

import msgspec
import numpy as np
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from serve_cases import bytes_profile, write_plan

from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.serve.gateway.ledger import Waiting
from penstock.serve.local_server import LocalServer
from penstock.serve.messages import BatchHeader, Split, StageTiming
from penstock.serve.observe.traces import (
    DEFAULT_ENDPOINT,
    TRACEPARENT,
    RequestTraces,
    TraceOptions,
    parse_traces,
)
from penstock.serve.protocol.infer import HEADER_LENGTH, InferRequest, Tensor, encode_request

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE}-{PARENT}-{flags}" for flags in ("01", "00"))


def spans_of(act, *, share=1.0, parent=""):
    """The finished spans by name after ``act(traces)``; times in us on the server's clock."""
    exporter = InMemorySpanExporter()
    traces = RequestTraces(TraceOptions("file", "unused", share), "gateway-0", 0, exporter)
    traces._provider._active_span_processor._span_processors = (SimpleSpanProcessor(exporter),)
    token = TRACEPARENT.set(parent)
    try:
        act(traces)
    finally:
        TRACEPARENT.reset(token)
    traces.close()
    origin_ns = traces._offset_ns
    return {
        span.name: ((span.start_time - origin_ns) // 1_000, (span.end_time - origin_ns) // 1_000, span)
        for span in exporter.get_finished_spans()
    }


def request(trace, outcome, **changes):
    made = Waiting(0, {}, 0, 1, 1_000, 51_000, lambda answer: None, **changes)
    made.trace, made.outcome = trace, outcome
    return made


def two_stages():
    timings = (StageTiming(3, 4, 2_300, 2_500, 6_500, 200, 0), StageTiming(8, 4, 7_000, 7_000, 9_000, 500, 1))
    return BatchHeader(0, 17, 1, (), 2, (), 0, 4, 9_000, 6_000, (4,), (), timings=timings)


def answered(traces, outcome=Outcome.MET):
    trace = traces.begin("resnet", 1, 1_000, 51_000)
    if trace is None:
        return
    made = request(trace, outcome)
    made.dispatched_us = 2_100
    traces.ran(made, two_stages())
    traces.end(made, 9_400)


def test_a_request_has_a_span_and_one_for_its_queue_and_each_stage():
    spans = spans_of(answered)
    assert {name: times[:2] for name, times in spans.items()} == {
        "infer": (1_000, 9_400),
        "queue": (1_000, 2_100),
        "stage 0": (2_100, 6_500),  # sent 200 us before it was there
        "stage 1": (6_500, 9_000),
    }
    root = spans["infer"][2]
    for name in ("queue", "stage 0", "stage 1"):
        assert spans[name][2].parent.span_id == root.context.span_id
        assert spans[name][2].context.trace_id == root.context.trace_id
    assert dict(root.attributes) == {
        "penstock.model": "resnet",
        "penstock.samples": 1,
        "penstock.slo_us": 50_000,
        "penstock.outcome": "met",
    }
    stage = spans["stage 0"][2].attributes
    assert (stage["penstock.worker"], stage["penstock.batch"], stage["penstock.batch_size"]) == (3, 17, 4)
    assert (stage["penstock.wait_us"], stage["penstock.execution_us"]) == (200, 4_000)
    assert (root.status.status_code, root.parent) == (StatusCode.UNSET, None)


def test_the_pieces_of_a_stage_have_a_span_each_and_a_common_stage_has_one():
    """A request with samples in both pieces of the last stage, which come home one after the other."""
    first = StageTiming(3, 2, 2_300, 2_500, 6_500, 200, 0)
    told = []

    def answered_in_parts(traces):
        made = request(traces.begin("resnet", 2, 1_000, 51_000), Outcome.MET)
        plain = traces._child
        traces._child = lambda parent, name, *rest: (told.append(name), plain(parent, name, *rest))
        for piece in (0, 1):
            timings = (first, StageTiming(8 + piece, 1, 7_000, 7_000, 9_000, 500, 1, piece))
            changes = {"timings": timings, "split": Split(((2,), (1, 1)), sender=piece)}
            traces.ran(made, msgspec.structs.replace(two_stages(), **changes))
        traces.end(made, 9_400)

    spans = spans_of(answered_in_parts)
    assert told == ["stage 0", "stage 1 piece 0", "stage 1 piece 1"]
    assert set(spans) == {"infer", *told}
    assert spans["stage 1 piece 1"][2].attributes["penstock.worker"] == 9


def test_a_request_without_a_result_is_an_error_with_its_reason():
    def dropped(traces):
        made = request(traces.begin("resnet", 1, 1_000, 51_000), Outcome.ERROR)
        made.failure, made.losses = "worker 3 died.", 2
        traces.end(made, 5_000)

    spans = spans_of(dropped)
    assert list(spans) == ["infer"]  # it was never in a batch that came home
    root = spans["infer"][2]
    assert (root.status.status_code, root.status.description) == (StatusCode.ERROR, "worker 3 died.")
    assert root.attributes["penstock.lost_batches"] == 2


def test_the_client_decides_who_is_traced_and_is_the_parent():
    root = spans_of(answered, share=0.0, parent=SAMPLED)["infer"][2]
    assert f"{root.context.trace_id:032x}" == TRACE
    assert f"{root.parent.span_id:016x}" == PARENT
    assert spans_of(answered, share=1.0, parent=NOT_SAMPLED) == {}
    assert spans_of(answered, share=0.0) == {}
    for nonsense in ("hello", f"00-{TRACE}-{PARENT}", f"00-{'0' * 32}-{PARENT}-01"):
        assert spans_of(answered, parent=nonsense)["infer"][2].parent is None


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("otlp", "otlp", DEFAULT_ENDPOINT),
        ("otlp:http://there:4318/v1/traces", "otlp", "http://there:4318/v1/traces"),
        ("file:/tmp/spans", "file", "/tmp/spans"),
    ],
)
def test_targets(text, kind, target):
    assert parse_traces(text, 0.5) == TraceOptions(kind, target, 0.5)


@pytest.mark.parametrize("text", ["", "file", "file:", "otlp:there:4317", "zipkin:http://x"])
def test_other_targets_are_refused(text):
    with pytest.raises(BadInputError, match="must be otlp"):
        parse_traces(text, 1.0)


def test_a_gateway_without_traces_imports_nothing_of_it():
    code = "import sys, penstock.serve.gateway.gateway_process as g; print('opentelemetry' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


@pytest.mark.slow
def test_a_server_writes_the_spans_of_a_request_that_went_through_two_stages(tmp_path):
    plan = write_plan(tmp_path, bytes_profile("sizes", (24, 10, 10)), (0, 1, 2), batch=1, slo_us=30_000_000)
    arguments = ["--executor", "emulated", "--traces", f"file:{tmp_path / 'spans'}"]
    message = encode_request(
        InferRequest((Tensor("input", "UINT8", np.zeros((1, 24), np.uint8)),), binary_default=True)
    )
    headers = {"traceparent": SAMPLED, HEADER_LENGTH: str(message.header_length)}
    with LocalServer(plan, arguments) as server:
        url = f"{server.url}/v2/models/sizes/infer"
        with urllib.request.urlopen(
            urllib.request.Request(url, message.body(), headers), timeout=30
        ) as answer:
            assert answer.status == 200
    (file,) = tmp_path.glob("spans.gateway-*")
    spans = {span["name"]: span for span in map(json.loads, file.read_text().splitlines())}
    assert set(spans) == {"infer", "queue", "stage 0", "stage 1"}
    assert {span["context"]["trace_id"] for span in spans.values()} == {f"0x{TRACE}"}
    assert spans["infer"]["parent_id"] == f"0x{PARENT}"
    assert spans["infer"]["attributes"]["penstock.outcome"] == "met"
    assert spans["stage 0"]["end_time"] <= spans["stage 1"]["end_time"] <= spans["infer"]["end_time"]
    workers = [spans[f"stage {stage}"]["attributes"]["penstock.worker"] for stage in range(2)]
    assert workers == [0, 1]
