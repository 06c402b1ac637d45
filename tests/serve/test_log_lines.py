"""The log lines of a server: time, level, logger, message, as text or as JSON."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

pytest.importorskip("msgspec", reason="the extra 'serve' is not installed")

from penstock.serve.observe.log_lines import JsonLines, text_lines


def record(level: int, **fields: object) -> logging.LogRecord:
    """Half a second after 2025-01-31 09:30:00 UTC, which is 1,738,315,800 s after 1970."""
    made = logging.LogRecord("penstock.serve", level, __file__, 1, "worker %d died", (3,), None)
    made.created, made.msecs = 1_738_315_800.5, 500.0
    made.fields = fields
    return made


def test_text():
    line = text_lines().format(record(logging.WARNING))
    assert line == "2025-01-31T09:30:00.500Z WARNING penstock.serve: worker 3 died"


def test_json_has_the_fields_and_the_trace_in_one_line():
    made = record(logging.ERROR, status=500)
    made.exc_info = (ValueError, ValueError("two\nlines"), None)
    line = JsonLines().format(made)
    assert "\n" not in line
    document = json.loads(line)
    trace = document.pop("trace")
    assert trace.endswith("ValueError: two\nlines")
    assert document == {
        "time_unix_ms": 1_738_315_800_500,
        "level": "error",
        "logger": "penstock.serve",
        "message": "worker 3 died",
        "status": 500,
    }


def test_a_failed_run_is_raised_and_not_printed_in_red(capfd: pytest.CaptureFixture[str]):
    """onnxruntime wrote its errors in red, also into files, beside raising them."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from penstock.runtime.onnx_session import session_options
    from penstock.runtime.settings import RuntimeSettings

    value, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "reshape",
        [value("x", kinds.FLOAT, ["n"]), value("shape", kinds.INT64, [1])],
        [value("y", kinds.FLOAT, ["m"])],
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    provider = "CPUExecutionProvider"
    options = session_options(runtime, RuntimeSettings())
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=[provider])
    with pytest.raises(Exception, match="cannot be reshaped to the requested shape"):
        session.run(None, {"x": np.zeros(4, np.float32), "shape": np.array([3])})
    assert capfd.readouterr().err == ""
