"""``penstock device serve`` over HTTP: real results, and a clean end of everything that can go wrong."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from serve_cases import WIDTH, bytes_profile, skip_profile, write_skip_model

from penstock.cli.device import device_serve
from penstock.errors import BadInputError
from penstock.profile.cutting import Cut
from penstock.profile.store import save_profile
from penstock.schedule.device import ORDERS, Late
from penstock.schedule.device.orders import OrderOptions
from penstock.serve.local_server import LocalServer
from penstock.serve.scheduled.device_log import check_device_log
from penstock.serve.scheduled.device_models import device_class_of, load_device_model


def measured(profile):
    return replace(profile, provenance=replace(profile.provenance, kind="measured"))


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    """``skip``, whole, and ``cut``: the same network in three segments, the middle one passing on a tensor."""
    folder = tmp_path_factory.mktemp("device")
    whole = measured(skip_profile(write_skip_model(folder / "skip.onnx")))
    cut = replace(
        measured(skip_profile(write_skip_model(folder / "cut.onnx"))),
        model="cut",
        cuts={"gpu": Cut((0, 1, 2, 4), 100.0, 101.0)},
    )
    for profile in (whole, cut):
        save_profile(profile, folder / profile.model)
    return folder


class TestModels:
    def test_a_cut_model_has_its_segments_and_their_times(self, profiles, tmp_path):
        from penstock.profile.segments.measure_cut import run_all
        from penstock.profile.store import load_profile

        model = load_device_model(load_profile(profiles / "cut"), "gpu", tmp_path)
        assert model.kind.stage_us == (1000.0, 1000.0, 2000.0)
        assert model.kind.slo_us == model.spec.slo_us == 20_000
        x = np.random.default_rng(5).normal(size=(2, WIDTH)).astype(np.float32)
        made = run_all(model.runner, {"x": x})
        wanted = onnxruntime.InferenceSession(profiles / "cut.onnx").run(["sum", "double"], {"x": x})
        np.testing.assert_allclose(made["sum"], wanted[0], rtol=1e-6)
        np.testing.assert_allclose(made["double"], wanted[1], rtol=1e-6)

    def test_the_class_is_the_one_measured_in_all(self):
        one = measured(bytes_profile("one", (1, 1)))
        other = replace(one, tables={("gpu", 1): one.tables["gpu", 1], ("cpu", 1): one.tables["gpu", 1]})
        assert device_class_of({"one": one, "other": other}, None) == "gpu"
        with pytest.raises(BadInputError, match="2 device classes were measured in all profiles"):
            device_class_of({"other": other}, None)
        assert device_class_of({"other": other}, "cpu") == "cpu"
        with pytest.raises(BadInputError, match="--device-class 'tpu'"):
            device_class_of({"one": one}, "tpu")


class TestVerb:
    def test_its_lists_are_the_policys(self):
        assert tuple(ORDERS) == device_serve.ORDERS
        assert tuple(rule.value for rule in Late) == device_serve.LATE
        assert OrderOptions.theta == device_serve.THETA

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["skip", "skip"], "the same name"),
            (["skip", "--slo-ms", "cut=5"], "no model 'cut' is served"),
            (["skip", "--slo-ms", "skip=fast"], "'fast' must be a number"),
            (["skip", "--slo-ms", "skip=nan"], "'nan' must be a number"),
            (["skip", "--device-class", "tpu"], "was not measured"),
            (["nowhere"], "no such folder"),
            (["skip", "--device", "cuda:0"], "by torch only, not by onnxruntime on cuda:0"),
            (["skip", "--mode", "eager"], "--mode eager is torch's"),
        ],
    )
    def test_refused(self, profiles, arguments, said):
        paths = [
            str(profiles / one) if number == 0 or one == "skip" else one
            for number, one in enumerate(arguments)
        ]
        result = CliRunner().invoke(device_serve.command, [*paths, "--http", "127.0.0.1:0"])
        assert isinstance(result.exception, BadInputError)
        assert said in str(result.exception)


def body_of(array, **parameters):
    inputs = [{"name": "x", "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}]
    return json.dumps({"inputs": inputs, "parameters": parameters}).encode()


def ask(server, path, data=None):
    """(status, document or text) of one request."""
    request = urllib.request.Request(
        f"{server.url}{path}", data=data, method="POST" if data is not None else "GET"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status, text = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def until(is_so):
    """Wait, bounded, for a fact about another process."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "did not happen in time"
        threading.Event().wait(0.02)


def figure(server, name):
    lines = ask(server, "/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.mark.slow
class TestServer:
    def test_serves_cancels_unloads_and_ends(self, profiles, tmp_path):
        x = np.random.default_rng(1).normal(size=(2, WIDTH)).astype(np.float32)
        session = onnxruntime.InferenceSession(profiles / "skip.onnx")
        wanted = dict(zip(["sum", "double"], session.run(["sum", "double"], {"x": x}), strict=True))
        journal = tmp_path / "run.jsonl"
        arguments = [
            str(profiles / "cut"),
            "--journal",
            str(journal),
            "--slo-ms",
            "skip=30000",
            "--slo-ms",
            "cut=30000",
        ]
        with LocalServer(profiles / "skip", arguments, verb=("device", "serve")) as server:
            for model in ("skip", "cut"):
                status, document = ask(server, f"/v2/models/{model}/infer", body_of(x))
                assert status == 200, document
                for output in document["outputs"]:
                    np.testing.assert_allclose(output["data"], wanted[output["name"]].ravel(), rtol=1e-5)
            assert ask(server, "/v2/models/skip/infer", body_of(np.zeros((5, WIDTH), np.float32)))[0] == 400
            assert ask(server, "/v2/models/none/infer", body_of(x))[0] == 404
            assert ask(server, "/v2/repository/models/cut/unload", b"")[0] == 200
            status, document = ask(server, "/v2/models/cut/infer", body_of(x))
            assert (status, "it is unloaded" in document["error"]) == (503, True)
            assert ask(server, "/v2/models/skip/infer", body_of(x))[0] == 200
            assert ask(server, "/v2/repository/models/cut/load", b"")[0] == 200
            assert ask(server, "/v2/models/cut/infer", body_of(x))[0] == 200
            self.leave_before_the_answer(server, x)
            until(lambda: figure(server, "penstock_samples_in_flight") == 0)
            assert ask(server, "/v2/models/cut/infer", body_of(x))[0] == 200
            # One process, and its reader of large JSON.
            (helper,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert not Path(f"/proc/{helper}").exists()
        assert check_device_log(journal) >= 5

    def leave_before_the_answer(self, server, x):
        """Clients that close their connection: answered or cancelled, they must leave nothing behind."""
        host = server.url.removeprefix("http://")
        for _ in range(20):
            client = http.client.HTTPConnection(host, timeout=10)
            client.request("POST", "/v2/models/cut/infer", body_of(x))
            client.close()
