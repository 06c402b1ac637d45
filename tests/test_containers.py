"""The files in deploy/ agree with each other, with the server and with this version.

The compose file, the Kubernetes manifests and the Dockerfile are linted by check-jsonschema (schema of the compose
specification), kubernetes-validate and hadolint before a release (CONTRIBUTING.md). Here is what these do not know.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from penstock import __version__
from penstock.cli.main import cli
from penstock.serve.hosts.ray_launcher import RESOURCE

DEPLOY = Path(__file__).parents[1] / "deploy"
IMAGE = f"penstock-serving:{__version__}"


@pytest.fixture(scope="module")
def deployment():
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "penstock.yaml").read_text()))
    return next(one for one in documents if one["kind"] == "Deployment")["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_version_is_this_one(deployment, compose):
    assert deployment["containers"][0]["image"] == IMAGE
    assert compose["services"]["penstock"]["image"] == IMAGE


def test_probes_ask_what_the_server_answers(deployment):
    (container,) = deployment["containers"]
    paths = {
        kind: container[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": "/v2/health/live",
        "livenessProbe": "/v2/health/live",
        "readinessProbe": "/v2/health/ready",
    }
    assert container["ports"][0]["containerPort"] == 8000
    assert container["args"][-1].endswith(":8000")


def test_a_stop_leaves_time_to_drain(deployment, compose):
    """The server drains for up to 30 s."""
    assert deployment["terminationGracePeriodSeconds"] > 30
    assert int(compose["services"]["penstock"]["stop_grace_period"].removesuffix("s")) > 30


def test_the_container_has_no_rights_and_a_writable_place_only_where_it_needs_one(deployment):
    (container,) = deployment["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm"}


@pytest.fixture(scope="module")
def kuberay():
    """The job, its cluster, and the pod of every group."""
    path = DEPLOY / "kubernetes" / "kuberay" / "penstock.yaml"
    job, service = yaml.safe_load_all(path.read_text())
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return job, service, cluster, groups


def test_every_node_of_a_ray_cluster_has_the_same_release(kuberay):
    """Ray joins nodes of its own release only, and the head refuses agents of another penstock."""
    *_, cluster, groups = kuberay
    text = (DEPLOY / "Dockerfile.ray").read_text()
    assert f"FROM {IMAGE}\n" in text
    assert f"'ray[default]=={cluster['rayVersion']}'" in text
    images = {one["image"] for group in groups for one in group["template"]["spec"]["containers"]}
    assert images == {IMAGE.replace("penstock-serving:", "penstock-serving-ray:")}


def test_each_worker_group_offers_one_host_of_a_device_class(kuberay):
    """As a shell reads it, and then as JSON: that is what Ray gets."""
    *_, groups = kuberay
    offered = [
        json.loads(shlex.split(group["rayStartParams"]["resources"])[0])
        for group in groups
        if "groupName" in group
    ]
    assert offered == [{"penstock-L4": 1}, {"penstock-T4": 1}]
    assert all(name.startswith(RESOURCE) for one in offered for name in one)


def test_the_job_is_a_command_that_this_release_knows(kuberay):
    job, service, _, groups = kuberay
    name, verb, *words = shlex.split(job["spec"]["entrypoint"])
    assert name == "penstock"
    command = cli.get_command(None, verb)
    parsed = command.make_context(verb, list(words)).params
    assert (parsed["engine"], parsed["address"]) == ("ray", "auto")
    ports = {
        one["name"]: one["containerPort"] for one in groups[0]["template"]["spec"]["containers"][0]["ports"]
    }
    assert words[words.index("--http") + 1].endswith(f":{ports['http']}")
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    labels = groups[0]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= {**labels, "ray.io/node-type": "head"}.items()


def test_pods_of_a_ray_cluster_have_no_rights(kuberay):
    for group in kuberay[3]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert pod["terminationGracePeriodSeconds"] > 30
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"/tmp", "/dev/shm"}


def test_images_of_others_are_pinned(compose):
    for name, service in compose["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_ports_are_open_on_this_machine_only(compose):
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_image_is_built_from_files_that_exist():
    text = (DEPLOY / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (DEPLOY.parent / source).exists(), source
    assert "USER 10001" in text


def test_mounted_files_exist(compose):
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            host = volume.split(":")[0]
            if host != "../plans":  # the user's own
                assert (DEPLOY / host).exists(), host
