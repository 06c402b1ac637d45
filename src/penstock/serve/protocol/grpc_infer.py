"""Inference requests and responses of gRPC, to and from the protocol's own types.

Tensors come as ``raw_input_contents``, one for each input, or as typed ``contents``; the answer is in the form of
the request. FP16 and BF16 have no typed field, so an answer with one of them is raw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from penstock.serve.protocol.datatypes import BYTES, RAW_ONLY, numpy_dtype
from penstock.serve.protocol.errors import ProtocolError, malformed
from penstock.serve.protocol.grpc_bounds import refuse_many_pieces
from penstock.serve.protocol.grpc_interface import message_class, parsed
from penstock.serve.protocol.infer import (
    MOST_TENSORS,
    InferRequest,
    RequestedOutput,
    Tensor,
    names_differ,
    refuse_unsupported,
    refuse_unsupported_request,
    timeout_us,
)
from penstock.serve.protocol.raw import Array, array_from_raw, element_count, raw_from_array
from penstock.serve.protocol.regions import Place, Regions, refuse_large, wanted_place

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""The field of ``InferTensorContents`` that each datatype has."""

PIECE = 16_384
"""Elements that are converted in one go, about a millisecond."""

_Request = message_class("ModelInferRequest")
_Response = message_class("ModelInferResponse")


def parse_request(data: bytes) -> Any:
    """The message in ``data``; :class:`ProtocolError` if it is none, or has too many pieces."""
    refuse_many_pieces(data)
    return parsed(_Request, data)


def decode_message(message: Any, regions: Regions | None = None) -> InferRequest:
    """The request of a ``ModelInferRequest``; :class:`ProtocolError` (400) for anything that is not one.

    Tensors may be in shared memory only if there are ``regions``; such a tensor has no raw contents.
    """
    parameters = parameter_values(message.parameters)
    refuse_unsupported_request(parameters)
    if len(message.inputs) > MOST_TENSORS:
        raise ProtocolError(
            413, f"{len(message.inputs)} tensors in one message; at most {MOST_TENSORS} may be."
        )
    names_differ([tensor.name for tensor in message.inputs], "tensors")
    raw = message.raw_input_contents
    places = [wanted_place(one.name, parameter_values(one.parameters), regions) for one in message.inputs]
    sent = places.count(None)
    if raw and len(raw) != sent:
        raise malformed(
            f"{len(raw)} raw_input_contents for {sent} inputs: give one for each that is not in shared memory, or none."
        )
    if regions is not None:
        refuse_large(sum(place.size for place in places if place is not None), regions)
    pieces = iter(raw)
    inputs = tuple(
        _tensor(tensor, memoryview(next(pieces)) if raw else None)
        if place is None or regions is None
        else _placed(tensor, place, regions)
        for tensor, place in zip(message.inputs, places, strict=True)
    )
    outputs = None
    if message.outputs:
        outputs = tuple(_requested(output, regions) for output in message.outputs)
        names_differ([output.name for output in outputs], "outputs")
    return InferRequest(inputs, message.id, outputs, binary_default=True, timeout_us=timeout_us(parameters))


def encode_message(
    model: str,
    request_id: str,
    outputs: Sequence[Tensor],
    *,
    raw: bool,
    version: str = "1",
    put: Callable[[Tensor], bool] = lambda tensor: False,
) -> Any:
    """The ``ModelInferResponse`` with ``outputs``, raw or typed. ``put`` may write one to shared memory instead.

    Such an output has empty raw contents, for clients count outputs by them.
    """
    response = _Response(model_name=model, model_version=version, id=request_id)
    are_placed = [put(tensor) for tensor in outputs]
    is_raw = raw or any(are_placed) or any(tensor.datatype in RAW_ONLY for tensor in outputs)
    for tensor, is_placed in zip(outputs, are_placed, strict=True):
        entry = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        if is_placed:
            response.raw_output_contents.append(b"")
        elif is_raw:
            response.raw_output_contents.append(bytes(raw_from_array(tensor.datatype, tensor.array)))
        else:
            items = tensor.array.ravel().tolist()
            getattr(entry.contents, CONTENTS[tensor.datatype]).extend(items)
    return response


def encode_request_message(model: str, request: InferRequest, *, raw: bool = True) -> Any:
    """The ``ModelInferRequest`` that decodes to ``request``."""
    message = _Request(model_name=model, id=request.id)
    if request.timeout_us is not None:
        message.parameters["timeout"].int64_param = request.timeout_us
    for output in request.outputs or ():
        message.outputs.add(name=output.name)
    for tensor in request.inputs:
        entry = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        if raw:
            message.raw_input_contents.append(bytes(raw_from_array(tensor.datatype, tensor.array)))
        else:
            getattr(entry.contents, CONTENTS[tensor.datatype]).extend(tensor.array.ravel().tolist())
    return message


def decode_response_message(message: Any) -> tuple[Tensor, ...]:
    """The tensors of a ``ModelInferResponse``; :class:`ProtocolError` for what is not one."""
    raw = message.raw_output_contents
    if raw and len(raw) != len(message.outputs):
        raise malformed(f"{len(raw)} raw_output_contents for {len(message.outputs)} outputs.")
    return tuple(
        _tensor(tensor, memoryview(raw[index]) if raw else None)
        for index, tensor in enumerate(message.outputs)
    )


def parameter_values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as plain values."""
    return {
        name: getattr(choice, choice.WhichOneof("parameter_choice") or "bool_param")
        for name, choice in parameters.items()
    }


def _tensor(tensor: Any, raw: memoryview | None) -> Tensor:
    refuse_unsupported(tensor.name, parameter_values(tensor.parameters))
    shape = list(tensor.shape)
    if raw is None:
        return Tensor(tensor.name, tensor.datatype, _typed(tensor, shape))
    if tensor.HasField("contents") and tensor.contents.ByteSize():
        raise malformed(f"tensor {tensor.name!r} has both contents and raw contents; give one.")
    return Tensor(tensor.name, tensor.datatype, array_from_raw(tensor.datatype, shape, raw))


def _placed(tensor: Any, place: Place, regions: Regions) -> Tensor:
    """An input in shared memory."""
    refuse_unsupported(tensor.name, parameter_values(tensor.parameters))
    if tensor.HasField("contents") and tensor.contents.ByteSize():
        raise malformed(f"tensor {tensor.name!r} has both contents and shared_memory_region; give one.")
    array = array_from_raw(tensor.datatype, list(tensor.shape), regions.read(place))
    return Tensor(tensor.name, tensor.datatype, array)


def _typed(tensor: Any, shape: list[int]) -> Array:
    """The array in the field that its datatype has; the other fields must be empty."""
    dtype = numpy_dtype(tensor.datatype)
    if tensor.datatype in RAW_ONLY:
        raise malformed(f"{tensor.datatype} has no typed contents: send raw_input_contents.")
    wanted = CONTENTS[tensor.datatype]
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if filled not in ([wanted], []):
        raise malformed(
            f"tensor {tensor.name!r} is {tensor.datatype}, so it takes {wanted}, not {', '.join(filled)}."
        )
    items = getattr(tensor.contents, wanted)
    count = element_count(shape)
    if len(items) != count:
        raise malformed(
            f"tensor {tensor.name!r}: {len(items)} elements for shape {shape}, which takes {count}."
        )
    array: Array = np.empty(count, dtype)
    for at in range(0, count, PIECE):
        piece = items[at : at + PIECE]
        try:
            array[at : at + PIECE] = np.array(piece, dtype)
        except OverflowError:
            problem = f"tensor {tensor.name!r}: an element is outside the range of {tensor.datatype}."
            raise malformed(problem) from None
    return array.reshape(shape)


def _requested(output: Any, regions: Regions | None) -> RequestedOutput:
    parameters = parameter_values(output.parameters)
    refuse_unsupported(output.name, parameters)
    return RequestedOutput(output.name, place=wanted_place(output.name, parameters, regions))
