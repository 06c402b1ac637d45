"""Plans whose devices take turns, served: the spec by hand, and a real server of two devices."""

import http.client
import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from serve_cases import WIDTH, bytes_profile, skip_profile, write_skip_model
from test_device_server import ask, body_of, figure, until

from one_l4 import one_l4
from penstock.cluster import Cluster, DeviceClass
from penstock.plan.documents.scenario import PlannerSettings, Scenario, ServedModel
from penstock.plan.documents.store import save_plan
from penstock.plan.scheduled.scheduled_plan import scheduled_plan
from penstock.profile.cutting import Cut
from penstock.profile.store import save_profile
from penstock.record import load_record
from penstock.schedule.device.least_work import LeastWorkPolicy
from penstock.schedule.journal import replay
from penstock.serve.dispatcher.journal import read_journal
from penstock.serve.local_server import LocalServer
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.scheduled.device_log import check_device_log
from penstock.serve.scheduled.scheduled_worker import device_spec


class TestSpec:
    """Two L4s, model a of 4 ms whole and b of 60 ms in eight segments."""

    def spec(self, tmp_path):
        scenario, profiles = one_l4(devices=2)
        plan = scheduled_plan(scenario, profiles, bound=1e9, miss_budget=0.01)
        return prepare(plan, profiles, ServeOptions({"": "emulated"}), tmp_path)

    def test_a_worker_is_a_device_with_every_model(self, tmp_path):
        spec = self.spec(tmp_path)
        assert spec.worker_stages == ((0, 1), (0, 1))
        assert spec.policy == "least-work"
        assert spec.device.order == "moore-hodgson"
        assert [[one.latency_us for one in stage.segments] for stage in spec.stages] == [[4_000], [7_500] * 8]
        assert [model.max_batch for model in spec.models] == [1, 1]

    def test_its_table_sends_each_request_to_the_device_with_the_least_work(self, tmp_path):
        policy = LeastWorkPolicy(self.spec(tmp_path).dispatch_table())
        for request, model in enumerate([1, 0, 0]):
            policy.arrive(0, model, request, 10**6)
        decision = policy.decide(0)
        assert [one.workers for one in decision.dispatches] == [(0,), (1,), (1,)]
        assert [one.end_us for one in decision.dispatches] == [(60_000,), (4_000,), (8_000,)]

    def test_its_device_has_a_type_for_each_stage(self, tmp_path):
        spec = self.spec(tmp_path)
        device = device_spec(spec, [spec.stages[stage] for stage in spec.worker_stages[0]])
        assert [(one.name, one.stages, one.slo_us) for one in device.types] == [
            ("a", 1, 20_000),
            ("b", 8, 300_000),
        ]
        assert device.miss_budget == 0.01
        device.policy()

    def test_a_segment_of_onnx_is_a_file_of_its_own(self, tmp_path):
        profiles = {"skip": skip_profile(write_skip_model(tmp_path / "skip.onnx"))}
        cut = replace(profiles["skip"], cuts={"gpu": Cut((0, 1, 2, 4), 100.0, 101.0)})
        scenario = scenario_of({"skip": 60_000_000})
        spec = prepare(
            scheduled_plan(scenario, {"skip": cut}, bound=1e9, miss_budget=0.01),
            {"skip": cut},
            ServeOptions({}),
            tmp_path,
        )
        first, middle, last = spec.stages[0].segments
        assert len({first.model_file, middle.model_file, last.model_file}) == 3
        assert (first.computed, first.forwarded) == (("h",), ("x",))
        assert (middle.computed, middle.forwarded) == (("r",), ("h", "x"))
        assert set(last.computed) == {"sum", "double"}


def scenario_of(slos_us, devices=1):
    return Scenario(
        version=1,
        cluster=Cluster(bandwidth_gbps=10.0, device_classes={"gpu": DeviceClass(count=devices, per_host=4)}),
        models=[ServedModel(name=name, profile=name, slo_us=us, weight=1.0) for name, us in slos_us.items()],
        planner=PlannerSettings(max_stages=1, scheduled=True),
    )


def write_scheduled(folder, profiles, slos_us):
    for profile in profiles.values():
        save_profile(profile, folder / profile.model)
    plan = scheduled_plan(scenario_of(slos_us), profiles, bound=1e9, miss_budget=0.01)
    save_plan(plan, folder / "plan.json")
    return folder / "plan.json"


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["onnxruntime", "torch"])
def test_results_are_those_of_a_direct_run(tmp_path, executor):
    if executor == "torch":
        pytest.importorskip("torch")
    path = write_skip_model(tmp_path / "skip.onnx")
    cut = replace(skip_profile(path), cuts={"gpu": Cut((0, 1, 2, 4), 100.0, 101.0)})
    plan = write_scheduled(tmp_path, {"skip": cut}, {"skip": 60_000_000})
    x = np.random.default_rng(1).normal(size=(3, WIDTH)).astype(np.float32)
    wanted = dict(
        zip(
            ["sum", "double"],
            onnxruntime.InferenceSession(path).run(["sum", "double"], {"x": x}),
            strict=True,
        )
    )
    with LocalServer(plan, ["--executor", executor, "--window", "2"]) as server:
        status, document = ask(server, "/v2/models/skip/infer", body_of(x))
        assert status == 200, document
        for output in document["outputs"]:
            np.testing.assert_allclose(output["data"], wanted[output["name"]].ravel(), rtol=1e-5)


def bytes_body(size):
    data = {"name": "input", "shape": [1, size], "datatype": "UINT8", "data": [0] * size}
    return json.dumps({"inputs": [data]}).encode()


@pytest.fixture(scope="module")
def turns(tmp_path_factory):
    """A server of one emulated device: ``short`` takes 10 ms, ``long`` eight segments of 300 ms."""
    folder = tmp_path_factory.mktemp("turns")
    short = bytes_profile("short", (4, 4), 10_000)
    long = bytes_profile("long", (4,) * 9, 300_000)
    plan = write_scheduled(folder, {"short": short, "long": long}, {"short": 30_000_000, "long": 90_000_000})
    files = ["--journal", str(folder / "j"), "--record", str(folder / "record")]
    with LocalServer(plan, ["--executor", "emulated", *files]) as server:
        yield server
    journal = read_journal(folder / "j")
    assert journal.policy == "least-work"
    assert replay(LeastWorkPolicy(journal.table), journal.events) == journal.decisions
    # The device's first life was killed; the second one heard of the client that went away, and ended well.
    assert '["cancel",' in (folder / "j.device-0-2").read_text()
    assert check_device_log(folder / "j.device-0-2") > 8
    assert len(load_record(folder / "record").requests.model) > 3


@pytest.mark.slow
class TestTurns:
    def start(self, server, model):
        """A request on a thread of its own; its (status, document) lands in the list."""
        got = []
        thread = threading.Thread(
            target=lambda: got.append(ask(server, f"/v2/models/{model}/infer", bytes_body(4)))
        )
        thread.start()
        return thread, got

    def test_a_device_that_dies_comes_back_and_runs_what_it_held_again(self, turns):
        thread, got = self.start(turns, "long")
        until(lambda: figure(turns, "penstock_samples_in_flight") == 1)
        os.kill(self.device(turns), signal.SIGKILL)
        thread.join(30)
        assert got[0][0] == 200
        until(lambda: ask(turns, "/v2/models/short/infer", bytes_body(4))[0] == 200)

    def test_a_short_request_overtakes_a_long_one_that_runs(self, turns):
        thread, got = self.start(turns, "long")
        until(lambda: figure(turns, "penstock_samples_in_flight") == 1)
        assert ask(turns, "/v2/models/short/infer", bytes_body(4))[0] == 200
        assert got == []
        thread.join(30)
        assert got[0][0] == 200

    def test_a_client_that_goes_away_takes_its_job_with_it(self, turns):
        client = http.client.HTTPConnection(turns.url.removeprefix("http://"), timeout=10)
        client.request("POST", "/v2/models/long/infer", bytes_body(4))
        until(lambda: figure(turns, "penstock_samples_in_flight") == 1)
        client.close()
        until(lambda: figure(turns, "penstock_samples_in_flight") == 0)
        assert ask(turns, "/v2/models/short/infer", bytes_body(4))[0] == 200

    def device(self, server):
        """The process id of the device's worker."""
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        named = {int(child): Path(f"/proc/{child}/cmdline").read_text().split("\0") for child in children}
        return next(child for child, words in named.items() if "device" in words)
