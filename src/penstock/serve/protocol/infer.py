"""Inference requests and responses, JSON or JSON followed by raw tensors (``binary_tensor_data``).

Decoding gives a request (or response) or raises :class:`ProtocolError`, and nothing else; a fuzz test checks this. A
message is one body. If raw tensors follow the JSON, the length of the JSON is in the HTTP header
``Inference-Header-Content-Length``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from penstock.serve.protocol.errors import ProtocolError, malformed
from penstock.serve.protocol.jsondata import array_from_json, json_problem, json_text, no_number
from penstock.serve.protocol.raw import Array, array_from_raw, raw_from_array
from penstock.serve.protocol.regions import Place, Regions, refuse_large, wanted_place

HEADER_LENGTH = "Inference-Header-Content-Length"

# These change what the answer means or when it comes, so a server that does not know them must refuse.
_UNSUPPORTED_OF_TENSORS = ("classification",)
_UNSUPPORTED_OF_REQUESTS = {
    "priority": "requests are served by deadline: send a shorter 'timeout' instead",
    "sequence_id": "requests do not depend on each other",
}

MOST_TENSORS = 1_024
MOST_PARAMETER_BYTES = 65_536
"""Of one JSON object of parameters. They are numbers and short texts; tensors are not sent in them."""


@dataclass(frozen=True)
class Tensor:
    """A named array; ``datatype`` tells what the array's elements stand for (BF16 is held as uint16)."""

    name: str
    datatype: str
    array: Array


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client asks for; ``binary`` None leaves the form to the request's default.

    ``place``: the part of a region of shared memory that is to get it, and not the answer.
    """

    name: str
    binary: bool | None = None
    place: Place | None = None


@dataclass(frozen=True)
class InferRequest:
    """A decoded request. ``outputs`` None asks for all; ``timeout_us`` is the request's own SLO."""

    inputs: tuple[Tensor, ...]
    id: str = ""
    outputs: tuple[RequestedOutput, ...] | None = None
    binary_default: bool = False
    timeout_us: int | None = None

    def within(self, left_us: int | None) -> InferRequest:
        """This request, with no more time than ``left_us``, for which its client waits."""
        if left_us is None or (self.timeout_us is not None and self.timeout_us <= left_us):
            return self
        return replace(self, timeout_us=left_us)

    def chosen(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs that the client asks for, in its order."""
        if self.outputs is None:
            return tuple(tensors)
        by_name = {tensor.name: tensor for tensor in tensors}
        return tuple(by_name[output.name] for output in self.outputs)

    def unanswerable(self, tensors: Sequence[Tensor]) -> ProtocolError | None:
        """Why ``tensors``, which the model made, cannot be sent in the form that the client asks for."""
        for tensor in self.chosen(tensors):
            place = self.place_of(tensor.name)
            if place is not None:
                if (size := len(raw_from_array(tensor.datatype, tensor.array))) > place.size:
                    return malformed(
                        f"output {tensor.name!r} has {size} bytes: they do not fit shared_memory_byte_size "
                        f"(={place.size})."
                    )
            elif not self.wants_binary(tensor.name):
                problem = json_problem(tensor.name, tensor.datatype, tensor.array)
                if problem is not None:
                    return malformed(problem)
        return None

    def place_of(self, name: str) -> Place | None:
        """Where output ``name`` is to be written, if not in the answer."""
        return next((output.place for output in self.outputs or () if output.name == name), None)

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


_ABSENT = msgspec.Raw()
"""One object, because a field is left out if it *is* its default."""


class _TensorHeader(msgspec.Struct, omit_defaults=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


class _OutputHeader(msgspec.Struct, omit_defaults=True):
    name: str
    parameters: msgspec.Raw = _ABSENT


class _RequestHeader(msgspec.Struct, omit_defaults=True):
    inputs: list[_TensorHeader]
    id: str | None = ""
    parameters: msgspec.Raw = _ABSENT
    outputs: list[_OutputHeader] | None = None


class _ResponseHeader(msgspec.Struct, omit_defaults=True):
    model_name: str
    outputs: list[_TensorHeader]
    model_version: str | None = ""
    id: str | None = ""
    parameters: msgspec.Raw = _ABSENT


_request_decoder = msgspec.json.Decoder(_RequestHeader)
_response_decoder = msgspec.json.Decoder(_ResponseHeader)
_parameters_decoder = msgspec.json.Decoder(dict[str, Any] | None)
_encoder = msgspec.json.Encoder()
H = TypeVar("H", _RequestHeader, _ResponseHeader)


def decode_request(
    body: bytes | memoryview, header_length: int | None = None, regions: Regions | None = None
) -> InferRequest:
    """The request in ``body``; :class:`ProtocolError` (400) for anything that is not one.

    Tensors may be in shared memory only if there are ``regions``.
    """
    header, raw = _decode_header(_request_decoder.decode, body, header_length)
    parameters = _parameters(header.parameters)
    refuse_unsupported_request(parameters)
    inputs = _read_tensors(header.inputs, raw, regions)
    outputs = None
    # By the protocol, an empty list asks for every output, as an absent one does.
    if header.outputs:
        outputs = tuple(_requested(output, regions) for output in header.outputs)
        names_differ([output.name for output in outputs], "outputs")
    return InferRequest(
        inputs=inputs,
        id=header.id or "",
        outputs=outputs,
        binary_default=_flag(parameters, "binary_data_output") or False,
        timeout_us=timeout_us(parameters),
    )


def encode_request(request: InferRequest, *, binary: bool = True) -> Message:
    """The message that decodes to ``request``; inputs are raw if ``binary``, else JSON."""
    parameters: dict[str, Any] = {}
    if request.binary_default:
        parameters["binary_data_output"] = True
    if request.timeout_us is not None:
        parameters["timeout"] = request.timeout_us
    headers, raw = _write_tensors(request.inputs, lambda name: binary)
    outputs = None if request.outputs is None else [_output_header(output) for output in request.outputs]
    return _message(_RequestHeader(headers, request.id, _raw_parameters(parameters), outputs), raw)


def decode_response(body: bytes | memoryview, header_length: int | None = None) -> InferResponse:
    """The response in ``body``; :class:`ProtocolError` for anything that is not one."""
    header, raw = _decode_header(_response_decoder.decode, body, header_length)
    return InferResponse(
        header.model_name, _read_tensors(header.outputs, raw), header.model_version or "", header.id or ""
    )


def encode_response(
    response: InferResponse,
    wants_binary: Callable[[str], bool],
    put: Callable[[Tensor], bool] = lambda tensor: False,
) -> Message:
    """The message for ``response``; each output raw or as JSON, as ``wants_binary(name)`` says.

    ``put`` may write an output to shared memory: then the message has its shape alone.
    """
    headers, raw = _write_tensors(response.outputs, wants_binary, put)
    return _message(_ResponseHeader(response.model, headers, response.version, response.id), raw)


def _decode_header(
    decode: Callable[[bytes | memoryview], H], body: bytes | memoryview, header_length: int | None
) -> tuple[H, memoryview | None]:
    """The JSON part, and the raw part if there is one."""
    view = memoryview(body)
    if header_length is not None and not 0 <= header_length <= len(view):
        raise malformed(f"{HEADER_LENGTH} (={header_length}) must be 0 to the body's {len(view)} bytes.")
    text = view if header_length is None else view[:header_length]
    try:
        header = decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(f"the JSON of the message is wrong: {error}.{no_number(bytes(text))}") from None
    return header, None if header_length is None else view[header_length:]


def put_in(regions: Regions | None, request: InferRequest) -> Callable[[Tensor], bool]:
    """What writes an output to shared memory if ``request`` wants it there; returns whether it did."""

    def put(tensor: Tensor) -> bool:
        place = request.place_of(tensor.name)
        if place is None or regions is None:
            return False
        regions.write(place, raw_from_array(tensor.datatype, tensor.array))
        return True

    return put


def _read_tensors(
    headers: Sequence[_TensorHeader], raw: memoryview | None, regions: Regions | None = None
) -> tuple[Tensor, ...]:
    """Every tensor, from its JSON data, from a region, or from its piece of ``raw``, which must be used up."""
    if len(headers) > MOST_TENSORS:
        raise ProtocolError(413, f"{len(headers)} tensors in one message; at most {MOST_TENSORS} may be.")
    names_differ([header.name for header in headers], "tensors")
    tensors = []
    at = placed_bytes = 0
    for header in headers:
        parameters = _parameters(header.parameters)
        refuse_unsupported(header.name, parameters)
        place = wanted_place(header.name, parameters, regions)
        if place is not None and regions is not None:
            placed_bytes += place.size
            refuse_large(placed_bytes, regions)
            if memoryview(header.data) or "binary_data_size" in parameters:
                raise malformed(f"tensor {header.name!r} has both data and shared_memory_region; give one.")
            array = array_from_raw(header.datatype, header.shape, regions.read(place))
            tensors.append(Tensor(header.name, header.datatype, array))
            continue
        size = _raw_size(header, parameters, raw, at)
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


def _raw_size(
    header: _TensorHeader, parameters: Mapping[str, Any], raw: memoryview | None, at: int
) -> int | None:
    """The length of the tensor's raw data from ``at``, or None if it is given as JSON."""
    name = header.name
    size = parameters.get("binary_data_size")
    has_data = len(memoryview(header.data)) > 0
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
    tensors: Sequence[Tensor],
    wants_binary: Callable[[str], bool],
    put: Callable[[Tensor], bool] = lambda tensor: False,
) -> tuple[list[_TensorHeader], list[bytes | memoryview]]:
    headers = []
    raw: list[bytes | memoryview] = []
    for tensor in tensors:
        header = _TensorHeader(tensor.name, list(tensor.array.shape), tensor.datatype)
        if put(tensor):
            pass  # parameters of an output are those of raw data: some clients take no others
        elif wants_binary(tensor.name):
            data = raw_from_array(tensor.datatype, tensor.array)
            header.parameters = _raw_parameters({"binary_data_size": len(data)})
            raw.append(data)
        else:
            header.data = msgspec.Raw(json_text(tensor.name, tensor.datatype, tensor.array))
        headers.append(header)
    return headers, raw


def _message(header: _RequestHeader | _ResponseHeader, raw: list[bytes | memoryview]) -> Message:
    text = _encoder.encode(header)
    return Message((text, *raw), len(text) if raw else None)


def _requested(output: _OutputHeader, regions: Regions | None) -> RequestedOutput:
    parameters = _parameters(output.parameters)
    refuse_unsupported(output.name, parameters)
    place = wanted_place(output.name, parameters, regions)
    return RequestedOutput(output.name, _flag(parameters, "binary_data"), place)


def _output_header(output: RequestedOutput) -> _OutputHeader:
    parameters = {} if output.binary is None else {"binary_data": output.binary}
    return _OutputHeader(output.name, _raw_parameters(parameters))


def refuse_unsupported_request(parameters: Mapping[str, Any]) -> None:
    """:class:`ProtocolError` if the ``parameters`` of a request ask for what the server does not do."""
    for name, instead in _UNSUPPORTED_OF_REQUESTS.items():
        if parameters.get(name):
            raise malformed(f"parameter {name!r} (={parameters[name]!r:.40}) is not supported: {instead}.")


def refuse_unsupported(tensor: str, parameters: Mapping[str, Any]) -> None:
    """:class:`ProtocolError` if ``parameters`` ask for what the server does not do."""
    for feature in _UNSUPPORTED_OF_TENSORS:
        if parameters.get(feature):
            raise malformed(f"tensor {tensor!r}: parameter {feature!r} is not supported.")


def _parameters(raw: msgspec.Raw) -> dict[str, Any]:
    """Parameters as values; they are decoded late, so that their size is known first."""
    size = len(memoryview(raw))
    if size == 0:
        return {}
    if size > MOST_PARAMETER_BYTES:
        raise ProtocolError(413, f"parameters of {size} bytes; at most {MOST_PARAMETER_BYTES} may be.")
    try:
        return _parameters_decoder.decode(raw) or {}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(f"parameters must be a JSON object: {error}.") from None


def _raw_parameters(parameters: Mapping[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(parameters)) if parameters else _ABSENT


def _flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise malformed(f"parameter {name!r} (={value!r}) must be true or false.")
    return value


def timeout_us(parameters: Mapping[str, Any]) -> int | None:
    """The request's own SLO; 0 means, as in the protocol's extension, that it has none of its own."""
    value = parameters.get("timeout", 0)
    if type(value) is not int or not 0 <= value < 2**53:
        raise malformed(f"parameter 'timeout' (={value!r}) must be whole microseconds, 0 or more.")
    return value or None


def names_differ(names: Sequence[str], what: str) -> None:
    """:class:`ProtocolError` if a name comes twice."""
    if len(set(names)) != len(names):
        raise malformed(f"{what} must have different names, got {list(names)[:16]}.")
