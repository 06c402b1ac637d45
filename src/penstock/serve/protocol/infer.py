"""Inference requests and responses, JSON or JSON followed by raw tensors (``binary_tensor_data``).

Decoding gives a request (or response) or raises :class:`ProtocolError`, and nothing else: a fuzz test
holds that. A message is one body and, where raw tensors follow the JSON, the JSON's length, which travels
in the HTTP header ``Inference-Header-Content-Length``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from penstock.serve.protocol.errors import malformed
from penstock.serve.protocol.jsondata import array_from_json, json_from_array
from penstock.serve.protocol.raw import Array, array_from_raw, raw_from_array

HEADER_LENGTH = "Inference-Header-Content-Length"

# Features that change what the answer means: to ignore them would answer another question.
_UNSUPPORTED = ("shared_memory_region", "classification")


@dataclass(frozen=True)
class Tensor:
    """A named array; ``datatype`` tells what the array's elements stand for (BF16 is held as uint16)."""

    name: str
    datatype: str
    array: Array


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client asks for; ``binary`` None leaves the form to the request's default."""

    name: str
    binary: bool | None = None


@dataclass(frozen=True)
class InferRequest:
    """A decoded request. ``outputs`` None asks for all; ``timeout_us`` is the request's own SLO."""

    inputs: tuple[Tensor, ...]
    id: str = ""
    outputs: tuple[RequestedOutput, ...] | None = None
    binary_default: bool = False
    timeout_us: int | None = None

    def wants_binary(self, name: str) -> bool:
        """Whether output ``name`` is to be sent raw."""
        for output in self.outputs or ():
            if output.name == name and output.binary is not None:
                return output.binary
        return self.binary_default


@dataclass(frozen=True)
class InferResponse:
    """A result; the request's ``id`` is echoed."""

    model: str
    outputs: tuple[Tensor, ...]
    version: str = "1"
    id: str = ""


@dataclass(frozen=True)
class Message:
    """A body in parts, to be sent one after the other; ``header_length`` None means all of it is JSON."""

    parts: tuple[bytes | memoryview, ...]
    header_length: int | None

    def body(self) -> bytes:
        """All parts in one."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)  # type: ignore[return-value]


class _TensorHeader(msgspec.Struct, omit_defaults=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class _OutputHeader(msgspec.Struct, omit_defaults=True):
    name: str
    parameters: dict[str, Any] = {}


class _RequestHeader(msgspec.Struct, omit_defaults=True):
    inputs: list[_TensorHeader]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_OutputHeader] | None = None


class _ResponseHeader(msgspec.Struct, omit_defaults=True):
    model_name: str
    outputs: list[_TensorHeader]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Any] = {}


_request_decoder = msgspec.json.Decoder(_RequestHeader)
_response_decoder = msgspec.json.Decoder(_ResponseHeader)
_encoder = msgspec.json.Encoder()
H = TypeVar("H", _RequestHeader, _ResponseHeader)


def decode_request(body: bytes, header_length: int | None = None) -> InferRequest:
    """The request in ``body``; :class:`ProtocolError` (400) for anything that is not one."""
    header, raw = _decode_header(_request_decoder.decode, body, header_length)
    inputs = _read_tensors(header.inputs, raw)
    outputs = None
    # An empty list asks, by the protocol, for what an absent one does: every output.
    if header.outputs:
        outputs = tuple(_requested(output) for output in header.outputs)
        _names_differ([output.name for output in outputs], "outputs")
    return InferRequest(
        inputs=inputs,
        id=header.id,
        outputs=outputs,
        binary_default=_flag(header.parameters, "binary_data_output") or False,
        timeout_us=_timeout_us(header.parameters),
    )


def encode_request(request: InferRequest, *, binary: bool = True) -> Message:
    """The message that decodes to ``request``; inputs go raw where ``binary``, else as JSON."""
    parameters: dict[str, Any] = {}
    if request.binary_default:
        parameters["binary_data_output"] = True
    if request.timeout_us is not None:
        parameters["timeout"] = request.timeout_us
    headers, raw = _write_tensors(request.inputs, lambda name: binary)
    outputs = None if request.outputs is None else [_output_header(output) for output in request.outputs]
    return _message(_RequestHeader(headers, request.id, parameters, outputs), raw)


def decode_response(body: bytes, header_length: int | None = None) -> InferResponse:
    """The response in ``body``; :class:`ProtocolError` for anything that is not one."""
    header, raw = _decode_header(_response_decoder.decode, body, header_length)
    return InferResponse(
        header.model_name, _read_tensors(header.outputs, raw), header.model_version, header.id
    )


def encode_response(response: InferResponse, wants_binary: Callable[[str], bool]) -> Message:
    """The message for ``response``; each output raw or as JSON, as ``wants_binary(name)`` says."""
    headers, raw = _write_tensors(response.outputs, wants_binary)
    return _message(_ResponseHeader(response.model, headers, response.version, response.id), raw)


def _decode_header(
    decode: Callable[[bytes | memoryview], H], body: bytes, header_length: int | None
) -> tuple[H, memoryview | None]:
    """The JSON part, and the raw part where there is one."""
    view = memoryview(body)
    if header_length is not None and not 0 <= header_length <= len(view):
        raise malformed(f"{HEADER_LENGTH} (={header_length}) must be 0 to the body's {len(view)} bytes.")
    try:
        header = decode(body if header_length is None else view[:header_length])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(f"the JSON of the message is wrong: {error}.") from None
    return header, None if header_length is None else view[header_length:]


def _read_tensors(headers: Sequence[_TensorHeader], raw: memoryview | None) -> tuple[Tensor, ...]:
    """Every tensor, from its JSON data or from its piece of ``raw``, which must be used up."""
    _names_differ([header.name for header in headers], "tensors")
    tensors = []
    at = 0
    for header in headers:
        size = _raw_size(header, raw, at)
        if size is None or raw is None:
            array = array_from_json(header.datatype, header.shape, header.data)
        else:
            array = array_from_raw(header.datatype, header.shape, raw[at : at + size])
            at += size
        tensors.append(Tensor(header.name, header.datatype, array))
    if raw is not None and at != len(raw):
        raise malformed(
            f"{len(raw) - at} bytes follow the last tensor: binary_data_size must account for all."
        )
    return tuple(tensors)


def _raw_size(header: _TensorHeader, raw: memoryview | None, at: int) -> int | None:
    """The length of the tensor's raw data from ``at``, or None where it is given as JSON."""
    name = header.name
    for feature in _UNSUPPORTED:
        if feature in header.parameters:
            raise malformed(f"tensor {name!r}: parameter {feature!r} is not supported.")
    size = header.parameters.get("binary_data_size")
    has_data = bool(bytes(header.data))
    if size is None:
        if not has_data:
            raise malformed(f"tensor {name!r} has neither data nor binary_data_size.")
        return None
    if has_data:
        raise malformed(f"tensor {name!r} has both data and binary_data_size; give one.")
    if raw is None:
        raise malformed(
            f"tensor {name!r} has binary_data_size, but the message has no {HEADER_LENGTH} header."
        )
    if type(size) is not int or not 0 <= size <= len(raw) - at:
        raise malformed(f"tensor {name!r}: binary_data_size (={size!r}) is not within the body.")
    return size


def _write_tensors(
    tensors: Sequence[Tensor], wants_binary: Callable[[str], bool]
) -> tuple[list[_TensorHeader], list[bytes | memoryview]]:
    headers = []
    raw: list[bytes | memoryview] = []
    for tensor in tensors:
        header = _TensorHeader(tensor.name, list(tensor.array.shape), tensor.datatype)
        if wants_binary(tensor.name):
            data = raw_from_array(tensor.datatype, tensor.array)
            header.parameters = {"binary_data_size": len(data)}
            raw.append(data)
        else:
            items = json_from_array(tensor.name, tensor.datatype, tensor.array)
            header.data = msgspec.Raw(_encoder.encode(items))
        headers.append(header)
    return headers, raw


def _message(header: _RequestHeader | _ResponseHeader, raw: list[bytes | memoryview]) -> Message:
    text = _encoder.encode(header)
    return Message((text, *raw), len(text) if raw else None)


def _requested(output: _OutputHeader) -> RequestedOutput:
    for feature in _UNSUPPORTED:
        if output.parameters.get(feature):
            raise malformed(f"output {output.name!r}: parameter {feature!r} is not supported.")
    return RequestedOutput(output.name, _flag(output.parameters, "binary_data"))


def _output_header(output: RequestedOutput) -> _OutputHeader:
    return _OutputHeader(output.name, {} if output.binary is None else {"binary_data": output.binary})


def _flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise malformed(f"parameter {name!r} (={value!r}) must be true or false.")
    return value


def _timeout_us(parameters: Mapping[str, Any]) -> int | None:
    """The request's own SLO; 0 means, as in the protocol's extension, that it has none of its own."""
    value = parameters.get("timeout", 0)
    if type(value) is not int or not 0 <= value < 2**53:
        raise malformed(f"parameter 'timeout' (={value!r}) must be whole microseconds, 0 or more.")
    return value or None


def _names_differ(names: Sequence[str], what: str) -> None:
    if len(set(names)) != len(names):
        raise malformed(f"{what} must have different names, got {list(names)[:16]}.")
