"""The codec: what goes in comes out, and no bytes at all make it do anything but answer or refuse."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.extra import numpy as hnp
from protocol_fuzz import Fuzz

from penstock.serve.protocol.datatypes import BYTES, NUMPY, RAW_ONLY
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import (
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
BOTH_WAYS = sorted(set(NUMPY) - RAW_ONLY)


@st.composite
def arrays(draw, datatype, *, text=False):
    shape = draw(SHAPES)
    if datatype != BYTES:
        dtype = NUMPY[datatype]
        elements = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None
        return draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **(elements or {}))))
    one = st.text(max_size=5).map(str.encode) if text else st.binary(max_size=5)
    items = draw(st.lists(one, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


@st.composite
def requests(draw, datatypes, **kind):
    names = draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3, unique=True))
    tensors = []
    for name in names:
        datatype = draw(st.sampled_from(datatypes))
        tensors.append(Tensor(name, datatype, draw(arrays(datatype, **kind))))
    outputs = draw(
        st.none()
        | st.lists(st.text(max_size=3), min_size=1, max_size=2, unique=True).map(
            lambda names: tuple(
                RequestedOutput(name, binary) for name, binary in zip(names, (None, True), strict=False)
            )
        )
    )
    return InferRequest(
        tuple(tensors),
        id=draw(st.text(max_size=5)),
        outputs=outputs,
        binary_default=draw(st.booleans()),
        timeout_us=draw(st.none() | st.integers(1, 10**9)),
    )


def assert_same_tensors(one, other):
    assert [(t.name, t.datatype, t.array.shape) for t in one] == [
        (t.name, t.datatype, t.array.shape) for t in other
    ]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.array, b.array)


def assert_same_request(one, other):
    assert (one.id, one.outputs, one.binary_default, one.timeout_us) == (
        other.id,
        other.outputs,
        other.binary_default,
        other.timeout_us,
    )
    assert_same_tensors(one.inputs, other.inputs)


@given(requests(sorted(NUMPY)))
def test_a_binary_request_comes_back(request):
    message = encode_request(request, binary=True)
    assert_same_request(decode_request(message.body(), message.header_length), request)


@given(requests(BOTH_WAYS, text=True))
def test_a_json_request_comes_back(request):
    message = encode_request(request, binary=False)
    assert message.header_length is None
    assert_same_request(decode_request(message.body()), request)


@given(requests(BOTH_WAYS, text=True), st.sets(st.integers(0, 2)))
def test_a_response_comes_back_with_each_output_in_its_own_form(request, binary):
    raw = {tensor.name for index, tensor in enumerate(request.inputs) if index in binary}
    response = InferResponse("model", request.inputs, id=request.id)
    message = encode_response(response, raw.__contains__)
    back = decode_response(message.body(), message.header_length)
    assert (back.model, back.id, back.version) == ("model", request.id, "1")
    assert_same_tensors(back.outputs, request.inputs)


HEAD = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'


@settings(max_examples=400)
@given(st.data())
def test_any_bytes_give_a_request_or_a_protocol_error(data):
    """Valid messages with bytes replaced, cut and added, and with a header length of any size."""
    seed = data.draw(st.sampled_from([HEAD + b"\0" * 8, b'{"inputs":[]}', b""]))
    body = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    length = data.draw(st.none() | st.integers(-1, len(body) + 2) | st.just(len(HEAD)))
    try:
        assert isinstance(decode_request(bytes(body), length), InferRequest)
    except ProtocolError as error:
        assert error.http_status == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=400)
@given(
    datatype=st.sampled_from([*NUMPY, "FP8"]),
    shape=st.lists(st.integers(-1, 3) | st.just(2**62), max_size=4),
    data=JSON_VALUES,
    parameters=st.dictionaries(
        st.sampled_from(["binary_data_size", "timeout", "binary_data_output", "classification"]), JSON_VALUES
    ),
)
@example(datatype="FP32", shape=[0, 2**62], data=[], parameters={})
@example(datatype="INT8", shape=[1], data=[300], parameters={})
@example(datatype="FP32", shape=[1], data=[1e300], parameters={})
def test_any_json_gives_a_request_or_a_protocol_error(datatype, shape, data, parameters):
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "data": data, "parameters": parameters}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    try:
        request = decode_request(body)
        assert request.inputs[0].array.shape == tuple(shape)
    except ProtocolError as error:
        assert error.http_status == 400


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"inputs":' + b"[" * 200_000])
def test_deep_nesting_is_refused(body):
    with pytest.raises(ProtocolError):
        decode_request(body)


def one_input(**changes):
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]} | changes
    return json.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not None}]}).encode()


def test_nested_and_flat_data_are_the_same():
    flat = decode_request(one_input()).inputs[0].array
    nested = decode_request(one_input(data=[[1, 2], [3, 4]])).inputs[0].array
    np.testing.assert_array_equal(flat, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(nested, flat)


@pytest.mark.parametrize(
    ("body", "length", "words"),
    [
        (one_input(data=[1, 2, 3]), None, "3 elements for shape"),
        (one_input(data=[[1, 2, 3], [4]]), None, "not nested as shape"),
        (one_input(data=["a", "b", "c", "d"]), None, "nor nested"),
        (one_input(data=None), None, "neither data nor"),
        (one_input(datatype="FP17"), None, "'FP17' is not one of"),
        (one_input(datatype="FP16"), None, "no JSON form"),
        (one_input(shape=[-2, 2]), None, "each 0 or more"),
        (one_input(parameters={"shared_memory_region": "r"}), None, "not supported"),
        (one_input(parameters={"binary_data_size": 16}), None, "both data and"),
        (HEAD + b"\0" * 8, None, "JSON of the message is wrong"),
        (one_input(data=[1, 2, 3, float("nan")]), None, "has no NaN and no Infinity: send the tensor as raw"),
        (HEAD + b"\0" * 7, len(HEAD), "not within the body"),
        (HEAD + b"\0" * 9, len(HEAD), "1 bytes follow"),
        (HEAD, len(HEAD) + 1, "must be 0 to"),
        (HEAD, None, "no Inference-Header-Content-Length"),
        (b'{"inputs":[],"parameters":{"timeout":"soon"}}', None, "whole microseconds"),
    ],
)
def test_errors_name_what_is_wrong(body, length, words):
    with pytest.raises(ProtocolError, match=words) as caught:
        decode_request(body, length)
    assert caught.value.http_status == 400


def test_bytes_are_length_prefixed():
    array = np.array([b"ab", b""], dtype=object)
    message = encode_request(InferRequest((Tensor("x", BYTES, array),)))
    assert message.parts[1] == b"\x02\0\0\0ab" + b"\0\0\0\0"


@pytest.mark.parametrize("raw", [b"\x02\0\0\0a", b"\x01\0\0\0ab", b"\x01\0", b"\xff\xff\xff\xffab"])
def test_broken_bytes_are_refused(raw):
    head = {"name": "x", "shape": [1], "datatype": BYTES, "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [head]}).encode()
    with pytest.raises(ProtocolError, match="BYTES"):
        decode_request(text + raw, len(text))


@pytest.mark.parametrize(
    ("datatype", "array"),
    [
        ("FP32", np.array([np.nan], np.float32)),
        ("FP64", np.array([np.inf])),
        ("FP16", np.array([1], np.float16)),
        (BYTES, np.array([b"\xff"], dtype=object)),
    ],
)
def test_outputs_that_json_cannot_carry_are_refused_as_json_and_sent_raw(datatype, array):
    response = InferResponse("model", (Tensor("y", datatype, array),))
    with pytest.raises(ProtocolError, match="binary_data"):
        encode_response(response, lambda name: False)
    message = encode_response(response, lambda name: True)
    assert_same_tensors(decode_response(message.body(), message.header_length).outputs, response.outputs)


def test_messages_that_are_almost_right_give_a_request_or_a_refusal():
    """The short form of benchmarks/fuzz_protocol.py."""
    counts = Fuzz(seed=11).run(3_000)
    assert counts["http", "request"] > 20
    assert counts["grpc", "request"] > 20
    assert counts["http", 400] > 500
    assert counts["grpc", 400] > 500
