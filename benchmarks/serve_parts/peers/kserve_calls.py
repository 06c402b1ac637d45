"""Every call of the kserve client: ``kserve_calls.py URL GRPC MODEL``. A line of JSON for each: its name, its error."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, RESTConfig

X = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
LISTED = {"name": "input", "shape": list(X.shape), "datatype": "FP32", "data": X.ravel().tolist()}


def request(model, *, binary):
    given = InferInput("input", list(X.shape), "FP32")
    given.set_data_from_numpy(X, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[given], request_id="one")


async def tried(name, call, expected):
    try:
        answer = await call
        if expected is not None:
            assert answer.id == "one", f"id {answer.id!r}"
            np.testing.assert_allclose(answer.outputs[0].as_numpy().ravel(), expected, rtol=1e-5)
        else:
            assert answer is True or isinstance(answer, dict) or answer.outputs, answer
        error = ""
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    print(json.dumps({"call": name, "error": error}), flush=True)


async def main(url, grpc, model):
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))
    first = await rest.infer(url, request(model, binary=True), model_name=model)
    expected = first.outputs[0].as_numpy().ravel()
    remote = InferenceGRPCClient(grpc)
    for name, call, wanted in (
        ("REST, server live", rest.is_server_live(url), None),
        ("REST, server ready", rest.is_server_ready(url), None),
        ("REST, model ready", rest.is_model_ready(url, model), None),
        ("REST, infer, JSON", rest.infer(url, request(model, binary=False), model_name=model), expected),
        ("REST, infer, raw", rest.infer(url, request(model, binary=True), model_name=model), expected),
        ("REST, infer, a plain dictionary", rest.infer(url, {"inputs": [LISTED]}, model_name=model), None),
        ("gRPC, server live", remote.is_server_live(), None),
        ("gRPC, server ready", remote.is_server_ready(), None),
        ("gRPC, model ready", remote.is_model_ready(model), None),
        ("gRPC, infer, typed", remote.infer(request(model, binary=False)), expected),
        ("gRPC, infer, raw", remote.infer(request(model, binary=True)), expected),
    ):
        await tried(name, call, wanted)
    await remote.close()
    await rest.close()


asyncio.run(main(*sys.argv[1:4]))
