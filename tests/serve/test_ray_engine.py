"""A real Ray cluster of two nodes on this machine: answers, the loss of a node, a new node, and what is refused."""

# ruff: noqa: E402 - Ray is asked for first
from __future__ import annotations

import json
import re
import sys
import time

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'penstock-serving[ray]'")
pytest.importorskip("zmq")

from click.testing import CliRunner
from ray.cluster_utils import Cluster
from serve_cases import bytes_profile, write_plan
from test_rehearsed_hosts import reference, squeezenet, two_stages  # noqa: F401 - fixtures
from test_serve_live import ask, infer, wait_until
from tritonclient.utils import InferenceServerException

from penstock.cli.main import cli
from penstock.errors import BadInputError, MissingExtraError
from penstock.serve.local_server import LocalServer

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NODE = {"num_cpus": 1, "resources": {"penstock-gpu": 1}, "include_dashboard": False}
OPTIONS = ["--executor", "emulated", "--overhead-us", "300000", "--drain-seconds", "1"]
BODY = json.dumps(
    {"inputs": [{"name": "input", "shape": [1, 24], "datatype": "UINT8", "data": [0] * 24}]}
).encode()
BACK_S = 90.0


@pytest.fixture(scope="module")
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(**NODE)
    yield made
    made.shutdown()


def plan_of(folder, workers):
    """A stage with a worker on each of ``workers`` hosts."""
    profile = bytes_profile("sizes", (24, 10), 20_000)
    return write_plan(folder, profile, (0, 1), workers=workers, batch=1, slo_us=8_000_000)


def status_of(url):
    """Of a request, asked again while it is 503: on a busy machine a worker may be given up for a moment."""
    end = time.monotonic() + BACK_S
    while (status := ask(url, BODY)[0]) == 503 and time.monotonic() < end:
        time.sleep(0.5)
    return status


def refused(*arguments, kind=BadInputError):
    done = CliRunner().invoke(cli, ["serve", *map(str, arguments), "--http", "127.0.0.1:0"])
    assert isinstance(done.exception, kind), done.exception
    return str(done.exception)


def test_a_cluster_that_lacks_nodes_is_told_what_is_missing(cluster, tmp_path):
    plan = plan_of(tmp_path, 2)
    said = refused(plan, *OPTIONS, "--engine", "ray", "--address", cluster.address)
    assert "lacks penstock-gpu (needs 2, has 1)" in said
    assert "ray start --resources" in said


def test_a_node_that_goes_is_replaced_by_a_new_one(cluster, tmp_path):
    second = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    plan = plan_of(tmp_path, 2)
    options = [*OPTIONS, "--engine", "ray", "--address", cluster.address]
    with LocalServer(plan, options, ready_s=240) as server:
        url = f"{server.url}/v2/models/sizes/infer"
        assert status_of(url) == 200
        cluster.remove_node(second, allow_graceful=False)
        wait_until(lambda: "is gone" in server.notes, BACK_S)
        assert status_of(url) == 200, server.notes  # the other worker
        cluster.add_node(**NODE)
        wait_until(lambda: "is back" in server.notes and "is up again" in server.notes, BACK_S)
        assert status_of(url) == 200


def test_outputs_across_nodes_are_those_of_one_machine(cluster, tmp_path, squeezenet, reference):  # noqa: F811
    """A real architecture in two stages, each on a node of its own."""
    cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    plan = two_stages(tmp_path, squeezenet, workers=1)
    options = ["--overhead-us", "300000", "--engine", "ray", "--address", cluster.address]
    with LocalServer(plan, options, ready_s=240) as server:
        name, output, image, wanted = reference
        answers = []

        def is_answered():
            try:
                answers.append(infer(server, "squeezenet", name, image).as_numpy(output))
            except InferenceServerException as error:
                assert error.status() == "503", error
            return answers

        wait_until(is_answered, BACK_S)
    np.testing.assert_allclose(answers[0], wanted, rtol=1e-3, atol=1e-4)


def test_a_node_of_ray_has_gateways_of_its_own(cluster, tmp_path):
    """And where Ray places it, there they are."""
    plan = plan_of(tmp_path, 1)
    options = [*OPTIONS, "--engine", "ray", "--address", cluster.address, "--gateways-on", "all"]
    with LocalServer(plan, options, ready_s=240) as server:
        (there,) = re.findall(r"host gpu:0: gateways at (\S+)", server.notes)
        assert status_of(f"http://{there}/v2/models/sizes/infer") == 200
        assert status_of(f"{server.url}/v2/models/sizes/infer") == 200


def test_an_address_without_a_cluster_is_bad_input(tmp_path):
    said = refused(plan_of(tmp_path, 1), *OPTIONS, "--engine", "ray", "--address", "127.0.0.1:1")
    assert "--address 127.0.0.1:1: no Ray cluster can be joined there" in said


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    said = refused(plan_of(tmp_path, 1), *OPTIONS, "--engine", "ray", kind=MissingExtraError)
    assert "penstock-serving[ray]" in said
