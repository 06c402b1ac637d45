"""Tensors in files of ``/dev/shm``: what may be registered, what is refused, and tritonclient over both protocols."""

from __future__ import annotations

import json
import os
import random
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import tritonclient.utils.shared_memory as client_memory
from serve_cases import WIDTH, skip_profile, write_plan, write_skip_model
from test_serve_live import ALLOWANCE, ask
from tritonclient.utils import InferenceServerException

from penstock.serve.local_server import LocalServer
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.grpc_infer import decode_message, encode_message
from penstock.serve.protocol.grpc_interface import message_class
from penstock.serve.protocol.infer import InferResponse, Tensor, decode_request, encode_response, put_in
from penstock.serve.protocol.regions import MOST_REGIONS, Place, Regions


@pytest.fixture
def shm(tmp_path):
    """In place of ``/dev/shm``: a file of 16 numbers, and what must not be opened."""
    folder = tmp_path / "shm"
    folder.mkdir()
    (folder / "numbers").write_bytes(np.arange(16, dtype=np.float32).tobytes())
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_bytes(b"x" * 64)
    (folder / "link").symlink_to(folder / "numbers")
    os.mkfifo(folder / "pipe")
    (tmp_path / "outside").write_bytes(b"x" * 64)
    return folder


@pytest.fixture
def regions(tmp_path, shm):
    return Regions(tmp_path / "regions", 40, shm)


def test_a_region_is_known_until_it_is_forgotten(regions, shm, tmp_path):
    regions.register("a", "/numbers", 8, 32)
    other = Regions(tmp_path / "regions", 1_000, shm)  # of another gateway
    assert [(one.name, one.key, one.offset, one.byte_size) for one in other.status()] == [
        ("a", "numbers", 8, 32)
    ]
    assert np.frombuffer(other.read(Place("a", 4, 8)), np.float32).tolist() == [3.0, 4.0]
    other.write(Place("a", 0, 8), b"12345678")
    assert (shm / "numbers").read_bytes()[8:16] == b"12345678"
    with pytest.raises(ProtocolError, match="'a' is registered already"):
        regions.register("a", "numbers", 0, 4)
    other.unregister("a")
    other.unregister("a")
    assert regions.status() == []
    with pytest.raises(ProtocolError, match="no region 'a'"):
        regions.read(Place("a", 0, 4))


@pytest.mark.parametrize(
    ("key", "offset", "size", "text"),
    [
        ("../outside", 0, 8, "must be the name of a file"),
        ("/deep/file", 0, 8, "must be the name of a file"),
        ("..", 0, 8, "must be the name of a file"),
        ("", 0, 8, "must be the name of a file"),
        ("a" * 256, 0, 8, "must be the name of a file"),
        ("numbers\0", 0, 8, "must be the name of a file"),
        (7, 0, 8, "must be the name of a file"),
        ("link", 0, 8, "cannot be opened"),
        ("absent", 0, 8, "cannot be opened"),
        ("deep", 0, 8, "cannot be opened"),
        ("pipe", 0, 8, "is no plain file"),
        ("numbers", 60, 8, "ends at byte 68 of 'numbers', which has 64 bytes"),
        ("numbers", -1, 8, "offset"),
        ("numbers", 2**60, 8, "offset"),
        ("numbers", 0, 0, "byte_size"),
        ("numbers", 0, True, "byte_size"),
        ("numbers", 0, None, "byte_size"),
        ("numbers", 0, 1.5, "byte_size"),
    ],
)
def test_a_registration_that_cannot_be_is_refused(regions, key, offset, size, text):
    with pytest.raises(ProtocolError, match=text) as refused:
        regions.register("a", key, offset, size)
    assert refused.value.http_status == 400
    assert regions.status() == []


def test_names_and_the_number_of_regions_have_limits(regions):
    for name in ("", "x" * 101):
        with pytest.raises(ProtocolError, match="1 to 100 bytes"):
            regions.register(name, "numbers", 0, 4)
    for number in range(MOST_REGIONS):
        regions.register(f"../{number}", "numbers", 0, 4)
    with pytest.raises(ProtocolError, match="unregister some"):
        regions.register("more", "numbers", 0, 4)
    regions.unregister()
    assert regions.status() == []


def test_a_file_that_has_become_shorter_ends_nothing(regions, shm):
    regions.register("a", "numbers", 0, 64)
    os.truncate(shm / "numbers", 10)
    for use in (lambda: regions.read(Place("a", 0, 64)), lambda: regions.write(Place("a", 32, 8), b"x" * 8)):
        with pytest.raises(ProtocolError, match="shorter"):
            use()
    assert (shm / "numbers").stat().st_size == 10


def test_any_registration_is_taken_or_refused(regions):
    """Random ones, made of parts that are nearly right."""
    draw = random.Random(7)
    parts = [
        "numbers",
        "/",
        "..",
        ".",
        "deep",
        "link",
        "pipe",
        "\0",
        "\udc80",
        "%2f",
        "a" * 300,
        7,
        None,
        [],
        {},
    ]
    numbers = [0, 1, 8, 16, 0, 1, 8, 16, -1, 64, 65, 2**31, 2**53, 2**64, 1.0, True, None, "8", []]
    taken = 0
    for _ in range(3_000):
        key = "numbers" if draw.random() < 0.3 else draw.choice(parts)
        if isinstance(key, str) and draw.random() < 0.3:
            key += draw.choice(["", "/", "/numbers", "\0"])
        name = draw.choice(["a", "", "x" * 101, "../a", "\0", "\udc80"])
        try:
            regions.register(name, key, draw.choice(numbers), draw.choice(numbers))
        except ProtocolError as error:
            assert error.http_status == 400
        else:
            taken += 1
            (one,) = regions.status(name)
            assert one.key == "numbers"
            regions.unregister(name)
    assert taken > 10


def http_body(inputs, outputs=()):
    return json.dumps({"inputs": inputs, "outputs": list(outputs)}).encode()


def placed(name, size, offset=0, **more):
    parameters = {
        "shared_memory_region": "a",
        "shared_memory_byte_size": size,
        "shared_memory_offset": offset,
    }
    return {"name": name, "parameters": parameters, **more}


def test_http_takes_inputs_from_a_region_and_puts_outputs_there(regions):
    regions.register("a", "numbers", 0, 64)
    inputs = [
        placed("x", 8, 4, shape=[2], datatype="FP32"),
        {"name": "y", "shape": [1], "datatype": "INT32", "data": [5]},
    ]
    request = decode_request(http_body(inputs, [placed("z", 16, 32), {"name": "w"}]), None, regions)
    assert [tensor.array.tolist() for tensor in request.inputs] == [[1.0, 2.0], [5]]
    z, w = Tensor("z", "FP32", np.full(3, 7, np.float32)), Tensor("w", "INT8", np.ones(1, np.int8))
    assert request.unanswerable((z, w)) is None
    message = encode_response(InferResponse("m", (z, w)), request.wants_binary, put_in(regions, request))
    one, two = json.loads(message.body())["outputs"]
    # Clients in C++ take parameters of an output for those of raw data.
    assert one == {"name": "z", "datatype": "FP32", "shape": [3]}
    assert two["data"] == [1]
    assert np.frombuffer(regions.read(Place("a", 32, 12)), np.float32).tolist() == [7.0] * 3
    problem = request.unanswerable((Tensor("z", "FP32", np.ones(5, np.float32)), w))
    assert "20 bytes: they do not fit" in str(problem)


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (placed("x", 8, shape=[3], datatype="FP32"), "8 bytes"),
        (placed("x", 8, 60, shape=[2], datatype="FP32"), "not within region"),
        (placed("x", 8, shape=[2], datatype="FP32", data=[1, 2]), "both data and"),
        (placed("x", -8, shape=[2], datatype="FP32"), "shared_memory_byte_size"),
        (placed("x", 48, shape=[12], datatype="FP32"), "at most 40"),
    ],
)
def test_http_refuses_inputs_that_do_not_fit(regions, tensor, text):
    regions.register("a", "numbers", 0, 64)
    with pytest.raises(ProtocolError, match=text):
        decode_request(http_body([tensor]), None, regions)
    with pytest.raises(ProtocolError, match="not supported"):
        decode_request(http_body([tensor]))


@pytest.mark.parametrize(
    ("size", "offset", "text"),
    [(8, 60, "not within region"), (8, 0, "no region 'a'"), (True, 0, "byte_size")],
)
def test_a_place_of_an_output_is_looked_at_before_the_model_runs(regions, size, offset, text):
    if offset:
        regions.register("a", "numbers", 0, 64)
    inputs = [{"name": "y", "shape": [1], "datatype": "INT32", "data": [5]}]
    with pytest.raises(ProtocolError, match=text):
        decode_request(http_body(inputs, [placed("z", size, offset)]), None, regions)


def test_grpc_has_raw_contents_for_the_other_inputs_only(regions):
    regions.register("a", "numbers", 0, 64)
    message = message_class("ModelInferRequest")(model_name="m")
    for name, datatype in (("x", "FP32"), ("y", "INT8")):
        message.inputs.add(name=name, datatype=datatype, shape=[2])
    message.inputs[0].parameters["shared_memory_region"].string_param = "a"
    message.inputs[0].parameters["shared_memory_byte_size"].int64_param = 8
    message.raw_input_contents.append(b"\1\2")
    output = message.outputs.add(name="z")
    output.parameters["shared_memory_region"].string_param = "a"
    output.parameters["shared_memory_byte_size"].int64_param = 64
    request = decode_message(message, regions)
    assert [tensor.array.tolist() for tensor in request.inputs] == [[0.0, 1.0], [1, 2]]
    z = Tensor("z", "FP32", np.full(2, 9, np.float32))
    w = Tensor("w", "INT8", np.ones(2, np.int8))
    for raw in (True, False):
        answer = encode_message("m", "", (z, w), raw=raw, put=put_in(regions, request))
        # As many as outputs: clients in C++ count.
        assert list(answer.raw_output_contents) == [b"", b"\1\1"]
        assert not answer.outputs[0].parameters
    assert np.frombuffer(regions.read(Place("a", 0, 8)), np.float32).tolist() == [9.0, 9.0]
    message.raw_input_contents.append(b"\1\2")
    with pytest.raises(ProtocolError, match="2 raw_input_contents for 1 inputs"):
        decode_message(message, regions)


def cuda_regions_are_refused(url: str, grpc_address: str) -> None:
    """Clients in C++ forget all regions of both kinds before they register one."""
    with (
        triton_http.InferenceServerClient(url.removeprefix("http://")) as over_http,
        triton_grpc.InferenceServerClient(grpc_address) as over_grpc,
    ):
        for client in (over_http, over_grpc):
            client.unregister_cuda_shared_memory()
            client.unregister_cuda_shared_memory("a")
            with pytest.raises(InferenceServerException, match="CUDA shared memory is not supported"):
                client.register_cuda_shared_memory("a", b"AAAA", 0, 8)
            with pytest.raises(InferenceServerException, match="no CUDA region 'a'"):
                client.get_cuda_shared_memory_status("a")
        assert over_http.get_cuda_shared_memory_status() == []
        assert not over_grpc.get_cuda_shared_memory_status().regions


@pytest.mark.slow
def test_tritonclient_over_both_protocols_and_two_gateways(tmp_path):
    """Registered at one gateway, used at whichever takes the next connection."""
    path = write_skip_model(tmp_path / "skip.onnx")
    plan = write_plan(tmp_path, skip_profile(path), (0, 4), batch=1, slo_us=30_000_000)
    x = np.linspace(-1, 1, WIDTH).astype(np.float32)[None]
    key = f"/penstock-test-{os.getpid()}"
    options = ["--gateways", "2", "--grpc", "127.0.0.1:0", "--system-shared-memory", *ALLOWANCE]
    with LocalServer(plan, options) as server, ExitStack() as at_end:
        memory = client_memory.create_shared_memory_region("all", key, 2 * x.nbytes)
        at_end.callback(client_memory.destroy_shared_memory_region, memory)
        client_memory.set_shared_memory_region(memory, [x])
        found = []
        grpc_address = next(
            line.split("grpc: ")[1].strip() for line in server.notes.splitlines() if "grpc: " in line
        )
        for module, address in (
            (triton_http, server.url.removeprefix("http://")),
            (triton_grpc, grpc_address),
        ):
            with module.InferenceServerClient(address) as client:
                client.register_system_shared_memory("all", key, 2 * x.nbytes)
                status = client.get_system_shared_memory_status()
                assert "all" in str(status)
                given = module.InferInput("x", [1, WIDTH], "FP32")
                given.set_shared_memory("all", x.nbytes)
                wanted = module.InferRequestedOutput("double")
                wanted.set_shared_memory("all", x.nbytes, offset=x.nbytes)
                for _ in range(4):
                    with module.InferenceServerClient(address) as another:
                        another.infer("skip", [given], outputs=[wanted])
                    found.append(
                        client_memory.get_contents_as_numpy(memory, np.float32, [2, WIDTH])[1].copy()
                    )
                client.unregister_system_shared_memory("all")
        for one in found:
            np.testing.assert_array_equal(one, 2 * x[0])
        assert "system_shared_memory" in json.loads(ask(f"{server.url}/v2")[2])["extensions"]
        status, _, text = ask(
            f"{server.url}/v2/systemsharedmemory/region/a/register", b'{"key": "../etc/passwd"}'
        )
        assert (status, "must be the name of a file" in json.loads(text)["error"]) == (400, True)
        paths = json.loads(ask(f"{server.url}/openapi.json")[2])["paths"]
        assert "/v2/systemsharedmemory/region/{region}/register" in paths
        cuda_regions_are_refused(server.url, grpc_address)
    assert not Path("/dev/shm" + key).exists()
