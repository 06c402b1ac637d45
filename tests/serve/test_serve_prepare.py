"""From plan to server spec: tensors, files, executors; and the small pure parts of the gateway."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import onnxruntime
import pytest
from serve_cases import WIDTH, bytes_profile, skip_profile, write_plan, write_skip_model

from penstock.clock import MonotonicClock
from penstock.errors import BadInputError
from penstock.plan.documents.store import load_plan
from penstock.serve.executor.make import make_executor, make_executors
from penstock.serve.executor.padded import PaddedExecutor
from penstock.serve.prepare import ServeOptions, parse_executors, prepare
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.routes import Ask, Route, match
from penstock.serve.server import Address
from penstock.serve.spec import StageSpec, TensorSpec, read_spec, write_spec


def prepared(folder, profile, cuts, executors, **plan):
    loaded = load_plan(write_plan(folder, profile, cuts, **plan))
    return prepare(loaded.plan, loaded.profiles, ServeOptions(executors=executors), folder)


def names(specs):
    return [spec.name for spec in specs]


def test_stages_of_an_onnx_model_chain_and_forward(tmp_path):
    """Skip connections by hand: x is needed to the end, h from the first operator to the last."""
    path = write_skip_model(tmp_path / "skip.onnx")
    spec = prepared(tmp_path, skip_profile(path), (0, 1, 2, 4), {}, workers=2)
    first, middle, last = spec.stages
    assert names(first.inputs) == ["x"]
    assert set(names(first.computed)) == {"h"}
    assert set(names(first.forwarded)) == {"x"}
    assert set(names(middle.inputs)) == {"x", "h"}
    assert set(names(middle.computed)) == {"r"}
    assert set(names(middle.forwarded)) == {"x", "h"}
    assert names(last.computed) == ["sum", "double"]
    assert last.forwarded == ()
    assert spec.worker_stages == ((0,), (0,), (1,), (1,), (2,), (2,))
    assert first.latency_us == (0, 1_000, 1_100, 1_200, 1_300)
    assert spec.models[0].executors == ("onnxruntime",)
    assert not spec.models[0].is_emulated
    write_spec(spec, tmp_path)
    assert read_spec(tmp_path) == spec


def test_executors_in_a_chain_compute_what_the_whole_computes(tmp_path):
    path = write_skip_model(tmp_path / "skip.onnx")
    spec = prepared(tmp_path, skip_profile(path), (0, 1, 2, 4), {})
    x = np.random.default_rng(3).normal(size=(3, WIDTH)).astype(np.float32)
    tensors = {"x": x}
    for stage in spec.stages:
        computed = make_executor(stage).run(tensors, 3)
        tensors = computed | {name: tensors[name] for name in names(stage.forwarded)}
    for name, wanted in zip(
        ("sum", "double"), onnxruntime.InferenceSession(path).run(None, {"x": x}), strict=True
    ):
        np.testing.assert_allclose(tensors[name], wanted, rtol=1e-6)


def test_workers_of_a_shared_pool_hold_each_piece_once(tmp_path):
    """Two models of two stages on a pool a place: the workers of both hold both models' blocks."""
    one, other = (bytes_profile(name, (24, 8, 10)) for name in ("one", "other"))
    spec = prepared(tmp_path, one, (0, 1, 2), {"": "emulated"}, beside=[other])
    assert spec.worker_stages == ((0, 2), (1, 3), (0, 2), (1, 3))
    assert spec.stage_at(1, 0) == spec.stages[2]
    executors = make_executors([spec.stages[stage] for stage in spec.worker_stages[0]])
    assert list(executors) == [(0, (0, 1)), (1, (0, 1))]
    # A second pipeline of the same blocks needs no second copy, but room for its larger batch.
    narrow = msgspec.structs.replace(spec.stages[0], pipeline=1, latency_us=(0, 1))
    (executor,) = make_executors([spec.stages[0], narrow]).values()
    assert executor.run({}, 4)["boundary_1"].shape == (4, 8)


def test_without_a_file_boundaries_are_bytes(tmp_path):
    spec = prepared(tmp_path, bytes_profile("sizes", (24, 0, 10)), (0, 1, 2), {"": "emulated"})
    assert spec.models[0].inputs == (TensorSpec("input", "UINT8", (-1, 24)),)
    assert spec.stages[1].inputs == (TensorSpec("boundary_1", "UINT8", (-1, 1)),)
    assert spec.models[0].outputs == (TensorSpec("output", "UINT8", (-1, 10)),)
    assert spec.models[0].is_emulated


def test_a_profile_of_other_operators_is_refused(tmp_path):
    profile = skip_profile(write_skip_model(tmp_path / "skip.onnx"))
    blocks = (*profile.blocks[:-1], replace(profile.blocks[-1], operators=("skip",)))
    with pytest.raises(BadInputError, match="covers 4"):
        prepared(tmp_path, replace(profile, blocks=blocks), (0, 4), {})


def test_executors_by_class():
    classes = frozenset({"L4", "P4"})
    assert parse_executors(("L4=padded", "emulated"), classes) == {"L4": "padded", "": "emulated"}
    for texts, words in [
        (("L4=fast",), "'fast' is not one of"),
        (("T4=padded",), "no device class 'T4'"),
        (("padded", "emulated"), "given twice for all classes"),
    ]:
        with pytest.raises(BadInputError, match=words):
            parse_executors(texts, classes)


def test_emulated_holds_for_the_tables_time(monkeypatch):
    """Sleeps that end early are continued: the deadline is absolute. No sleep is shorter than sleeps can be."""
    from penstock.serve.executor import hold

    slept, looks = [], []

    class Clock:
        def now_us(self):
            looks.append(1)
            return sum(slept) // 2 + len(looks)  # every sleep lasts half of what was asked

    monkeypatch.setattr(hold.time, "sleep", lambda seconds: slept.append(round(seconds * 1e6)))
    hold.hold_until(Clock(), 1_001)
    assert slept[:2] == [1_000, 499]
    assert min(slept) > hold.SHORTEST_SLEEP_US
    assert Clock().now_us() > 1_001
    hold.hold_until(Clock(), Clock().now_us() + hold.SHORTEST_SLEEP_US)
    assert min(slept) > hold.SHORTEST_SLEEP_US


def test_padded_gives_real_results_no_sooner_than_the_table_says():
    class Doubles:
        def run(self, tensors, size):
            return {"y": tensors["x"] * 2}

    x = np.arange(2)
    before_us = MonotonicClock().now_us()
    outputs = PaddedExecutor(Doubles(), (0, 0, 3_000)).run({"x": x}, 2)
    assert MonotonicClock().now_us() - before_us >= 3_000
    np.testing.assert_array_equal(outputs["y"], [0, 2])


def test_emulated_outputs_have_the_declared_shapes():
    declared = (
        TensorSpec("y", "FP32", (-1, 2)),
        TensorSpec("merged", "INT64", (3, -1)),
        TensorSpec("s", "BYTES", (-1, 1)),
    )
    stage = StageSpec(0, 0, (0, 1), "emulated", (), declared, (), (0, 1, 1, 1))
    outputs = make_executor(stage).run({}, 2)
    assert {name: (array.shape, array.dtype.str) for name, array in outputs.items()} == {
        "y": ((2, 2), "<f4"),
        "merged": ((3, 2), "<i8"),
        "s": ((2, 1), "|O"),
    }


@pytest.mark.parametrize(
    ("verb", "path", "route"),
    [
        ("GET", "/v2", Route(Ask.SERVER)),
        ("GET", "/v2/", Route(Ask.SERVER)),
        ("GET", "/metrics", Route(Ask.METRICS)),
        ("POST", "/v2/models/a/infer?x=1", Route(Ask.INFER, "a")),
        ("POST", "/v2/models/a%2Fb/versions/1/infer", Route(Ask.INFER, "a/b", "1")),
        ("GET", "/v2/models/versions", Route(Ask.MODEL, "versions")),
        ("GET", "/v2/models/a/versions/1/stats", Route(Ask.MODEL_STATS, "a", "1")),
    ],
)
def test_routes(verb, path, route):
    assert match(verb, path) == route


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/a/versions/1/what", 404),
        ("GET", "/v2/models/a/versions", 404),
        ("DELETE", "/v2/models/a", 405),
        ("GET", "/v2/repository/index", 405),
    ],
)
def test_no_routes(verb, path, status):
    with pytest.raises(ProtocolError) as caught:
        match(verb, path)
    assert caught.value.http_status == status


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        (":0", Address("127.0.0.1", 0)),
        ("[::1]:8000", Address("::1", 8000)),
    ],
)
def test_addresses(text, address):
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["8000", "host:", "host:65536", "host:-1"])
def test_bad_addresses(text):
    with pytest.raises(BadInputError, match="HOST:PORT"):
        Address.parse(text)
