"""A gateway on another host, a network namespace, by curl: its certificate and its tokens are those of the head."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

pytest.importorskip("zmq")

from serve_cases import bytes_profile, write_plan
from test_rehearsed_hosts import OPTIONS, rights  # noqa: F401 - a fixture
from test_serve_live import wait_until

from penstock.serve.local_server import LocalServer

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="no curl"),
]
NAME = "gateway.penstock.test"
TOKEN = "0123456789abcdef0123456789abcdef"
BODY = json.dumps({"inputs": [{"name": "input", "shape": [1, 24], "datatype": "UINT8", "data": [1] * 24}]})
BACK_S = 60.0


def certificate(folder, name):
    """A key and a certificate of its own for the host :data:`NAME`."""
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}")
    key, cert = folder / f"{name}-key.pem", folder / f"{name}.pem"
    files = ("-keyout", str(key), "-out", str(cert), "-addext", f"subjectAltName=DNS:{NAME}")
    subprocess.run([*made, *files], check=True, capture_output=True)
    return key, cert


def curl(space, address, path, *options):
    """(exit status, HTTP status, body) as a client in a namespace sees it, which reaches the gateway by its name."""
    port = address.rpartition(":")[2]
    done = subprocess.run(
        [
            *("ip", "netns", "exec", space, "curl", "-sS", "-m", "60", "-w", "\n%{http_code}"),
            *("--resolve", f"{NAME}:{port}:{address.rpartition(':')[0]}"),
            *options,
            f"https://{NAME}:{port}{path}",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return done.returncode, int(status), body or done.stderr


def test_the_certificate_and_the_tokens_hold_on_another_host(rights, tmp_path):  # noqa: F811
    key, cert = certificate(tmp_path, "ours")
    _, other = certificate(tmp_path, "other")
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    (tmp_path / "tokens").chmod(0o600)
    plan = write_plan(
        tmp_path, bytes_profile("sizes", (24, 10), 20_000), (0, 1), workers=2, batch=1, slo_us=8_000_000
    )
    files = ["--tls-cert", str(cert), "--tls-key", str(key), "--token-file", str(tmp_path / "tokens")]
    arguments = [*OPTIONS, "--executor", "emulated", "--gateways-on", "gpu:1", *files]
    with LocalServer(plan, arguments, ready_s=240) as server:
        spaces = dict(re.findall(r"host (gpu:\d) is network namespace (\S+)", server.notes))
        (there,) = re.findall(r"host gpu:1: gateways at ([\d.]+:\d+)", server.notes)
        client = spaces["gpu:0"]  # a third machine, to the gateway
        trusted = ("--cacert", str(cert))
        bearer = ("-H", f"Authorization: Bearer {TOKEN}")

        def infer(*options):
            return curl(client, there, "/v2/models/sizes/infer", *trusted, *options, "-d", BODY)

        wait_until(lambda: infer(*bearer)[1] == 200, BACK_S)
        outputs = json.loads(infer(*bearer)[2])["outputs"]
        assert outputs[0]["data"] == [0] * 10
        status, code, body = infer("-H", f"Authorization: Bearer {TOKEN[:-1]}0")
        assert (status, code, "token" in body) == (0, 401, True)
        assert infer()[:2] == (0, 401)
        status, code, said = curl(client, there, "/v2/health/ready", "--cacert", str(other), *bearer)
        assert (status, code) == (60, 0), said  # 60: the certificate cannot be verified
        assert "certificate" in said
