"""A real server with TLS, tokens, gRPC, two gateways and a log: by tritonclient, curl and Python's own client."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from serve_cases import bytes_profile, write_plan

from penstock.serve.local_server import LocalServer
from penstock.serve.protocol.grpc_interface import message_class

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate"),
]
TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*made, *names, *files], check=True, capture_output=True)
    (folder / "tokens").write_text(f"# ours\n{TOKEN}\n")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, secrets):
    plan = write_plan(tmp_path_factory.mktemp("plan"), bytes_profile("sizes", (24, 10)), (0, 1), batch=1)
    files = [
        "--tls-cert",
        secrets / "cert.pem",
        "--tls-key",
        secrets / "key.pem",
        "--token-file",
        secrets / "tokens",
    ]
    options = ["--executor", "emulated", "--grpc", "127.0.0.1:0", "--gateways", "2", "--access-log"]
    with LocalServer(plan, [*options, "--log-format", "json", *map(str, files)]) as running:
        yield running


def grpc_address(server):
    messages = [json.loads(line)["message"] for line in server.notes.splitlines()]
    (found,) = [text for text in messages if text.startswith("grpc: ")]
    return found.removeprefix("grpc: ")


def ask(server, secrets, path, headers=()):
    context = ssl.create_default_context(cafile=str(secrets / "cert.pem"))
    request = urllib.request.Request(server.url + path, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_http(server, secrets):
    assert server.url.startswith("https://")
    assert ask(server, secrets, "/v2/health/live") == (200, {"live": True})
    status, document = ask(server, secrets, "/v2")
    assert (status, "token" in document["error"]) == (401, True)
    assert ask(server, secrets, "/v2", BEARER.items())[1]["name"] == "penstock"
    client = triton_http.InferenceServerClient(
        server.url.removeprefix("https://"), ssl=True, ssl_options={"ca_certs": str(secrets / "cert.pem")}
    )
    tensor = triton_http.InferInput("input", [1, 24], "UINT8")
    tensor.set_data_from_numpy(np.ones((1, 24), np.uint8))
    for coding in (None, "gzip", "deflate"):
        result = client.infer(
            "sizes",
            [tensor],
            headers=BEARER,
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        np.testing.assert_array_equal(result.as_numpy("output"), np.zeros((1, 10), np.uint8))
    client.close()


def test_grpc(server, secrets):
    address = grpc_address(server)
    root = str(secrets / "cert.pem")
    client = triton_grpc.InferenceServerClient(address, ssl=True, root_certificates=root)
    headers = {"authorization": BEARER["Authorization"]}
    tensor = triton_grpc.InferInput("input", [1, 24], "UINT8")
    tensor.set_data_from_numpy(np.ones((1, 24), np.uint8))
    with pytest.raises(Exception, match="UNAUTHENTICATED"):
        client.is_server_live()
    result = client.infer("sizes", [tensor], headers=headers, compression_algorithm="gzip")
    np.testing.assert_array_equal(result.as_numpy("output"), np.zeros((1, 10), np.uint8))
    client.close()
    with grpc.secure_channel(
        address, grpc.ssl_channel_credentials((secrets / "cert.pem").read_bytes())
    ) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            response_deserializer=message_class("grpc.health.v1.HealthCheckResponse").FromString,
        )
        assert check(b"", timeout=20).status == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl(server, secrets):
    body = {"inputs": [{"name": "input", "shape": [1, 24], "datatype": "UINT8", "data": [1] * 24}]}
    answer = subprocess.run(
        [
            *("curl", "-sS", "--compressed", "--cacert", str(secrets / "cert.pem")),
            *("-H", f"Authorization: Bearer {TOKEN}", "-d", json.dumps(body)),
            f"{server.url}/v2/models/sizes/infer",
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    assert json.loads(answer.stdout)["outputs"][0]["data"] == [0] * 10


def test_the_log_has_a_json_line_for_each_request(server, secrets):
    ask(server, secrets, "/v2/models/seen-in-the-log", BEARER.items())
    found = []
    end = time.monotonic() + 20
    while not found:
        assert time.monotonic() < end, "the line did not come"
        time.sleep(0.02)
        lines = [json.loads(line) for line in server.notes.splitlines() if line.startswith("{")]
        found = [one for one in lines if one.get("request") == "GET /v2/models/seen-in-the-log"]
    (line,) = found
    assert (line["protocol"], line["status"], line["logger"]) == ("http", 404, "penstock.access")
    assert TOKEN not in server.notes


def verb(*words):
    done = subprocess.run(
        [sys.executable, "-c", "from penstock.cli.main import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_load_sends_a_token_over_tls(server, secrets, scheme):
    url = server.url if scheme == "https" else f"grpcs://{grpc_address(server)}"
    load = (
        "load",
        url,
        "--model",
        "sizes",
        "--concurrency",
        2,
        "--seconds",
        0.3,
        "--slo-ms",
        60_000,
        "--json",
    )
    files = ("--certificate", secrets / "cert.pem")
    status, out, _ = verb(*load, *files, "--token-file", secrets / "tokens")
    assert status == 0
    statuses = json.loads(out)["statuses"]
    assert set(statuses) == {"200"}
    status, _, err = verb(*load, *files)
    assert (status, "401" in err or "UNAUTHENTICATED" in err) == (2, True), err


def test_top_sends_a_token_over_tls(server, secrets):
    top = ("top", server.url, "--once", "--json", "--interval", 0.1)
    files = ("--token-file", secrets / "tokens", "--certificate", secrets / "cert.pem")
    status, out, _ = verb(*top, *files)
    assert (status, json.loads(out)["models"][0]["name"]) == (0, "sizes")
    status, _, err = verb(*top, *files[2:])
    assert (status, "401" in err) == (2, True), err
    status, _, err = verb(*top, *files[:2])
    assert (status, "CERTIFICATE_VERIFY_FAILED" in err) == (2, True), err


@pytest.mark.parametrize("name", ["absent", "tokens"])
def test_a_certificate_that_is_none_is_named(secrets, name):
    status, _, err = verb("top", "https://127.0.0.1:1", "--once", "--certificate", secrets / name)
    assert (status, f"{secrets / name}: cannot be used as a certificate" in err) == (2, True), err


def test_a_token_file_without_a_token_is_named(secrets):
    (secrets / "none").write_text("# nothing\n")
    status, _, err = verb("top", "http://127.0.0.1:1", "--once", "--token-file", secrets / "none")
    assert (status, "holds no token" in err) == (2, True), err
