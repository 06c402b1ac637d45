"""The few messages of the gRPC protocol that the load generator needs, as bytes.

Requests are made once and sent many times, so the client needs no generated code and no protobuf at run time. The wire
format is public (protobuf.dev, "Encoding"): a message is a row of fields, each a tag (number and kind), then a varint
or a length with bytes. Fields that occur twice in a message are merged: the timeout of a request is appended to it. The
numbers of the fields are those of the Open Inference Protocol; a test reads everything with another implementation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from penstock.errors import BadInputError
from penstock.serve.protocol.infer import Tensor
from penstock.serve.protocol.raw import raw_from_array

_VARINT, _BYTES = 0, 2
_WIDTHS = {1: 8, 5: 4}
"""Kinds of fields of a fixed width, which none of ours are; they are passed over."""
_MASK = 2**64 - 1

Fields = Mapping[int, list[Any]]
"""The values of a message by field number: integers, or bytes."""


def infer_request(model: str, tensors: Iterable[Tensor]) -> bytes:
    """``ModelInferRequest`` with raw contents."""
    parts = [_field(1, model.encode())]
    contents = []
    for tensor in tensors:
        lengths = b"".join(_varint(length) for length in tensor.array.shape)
        named = _field(1, tensor.name.encode()) + _field(2, tensor.datatype.encode()) + _field(3, lengths)
        parts.append(_field(5, named))
        contents.append(_field(7, bytes(raw_from_array(tensor.datatype, tensor.array))))
    return b"".join(parts + contents)


def timeout_parameter(timeout_us: int) -> bytes:
    """What is appended to a ``ModelInferRequest`` to give it the parameter ``timeout``."""
    value = _varint(2 << 3 | _VARINT) + _varint(timeout_us)
    return _field(4, _field(1, b"timeout") + _field(2, value))


def name_request(name: str) -> bytes:
    """``ModelMetadataRequest`` or ``ModelConfigRequest``."""
    return _field(1, name.encode())


def server_metadata(message: bytes) -> dict[str, Any]:
    """A ``ServerMetadataResponse`` as HTTP gives it."""
    fields = read_fields(message)
    return {
        "name": _text(fields, 1),
        "version": _text(fields, 2),
        "extensions": [extension.decode("utf-8", "replace") for extension in _pieces(fields, 3)],
    }


def model_metadata(message: bytes) -> dict[str, Any]:
    """A ``ModelMetadataResponse`` as HTTP gives it."""
    fields = read_fields(message)
    inputs, outputs = ([_tensor(read_fields(one)) for one in _pieces(fields, number)] for number in (4, 5))
    return {"name": _text(fields, 1), "inputs": inputs, "outputs": outputs}


def model_config(message: bytes) -> dict[str, Any]:
    """The parameters of a ``ModelConfigResponse`` as HTTP gives them."""
    config = _last_piece(read_fields(message), 1)
    parameters = {}
    for entry in _pieces(read_fields(config), 14):
        fields = read_fields(entry)
        value = read_fields(_last_piece(fields, 2))
        parameters[_text(fields, 1)] = {"string_value": _text(value, 1)}
    return {"parameters": parameters}


def read_fields(message: bytes) -> Fields:
    """The fields of ``message``; :class:`BadInputError` if it is cut off or is none."""
    fields: dict[int, list[Any]] = defaultdict(list)
    at = 0
    try:
        while at < len(message):
            tag, at = _read_varint(message, at)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, at = _read_varint(message, at)
                fields[number].append(value)
            else:
                length, at = _read_varint(message, at) if kind == _BYTES else (_WIDTHS[kind], at)
                if kind == _BYTES:
                    fields[number].append(_cut(message, at, length))
                at += length
    except (IndexError, KeyError):
        raise _no_message() from None
    return fields


def _no_message() -> BadInputError:
    return BadInputError("the server's answer is not a message of protobuf. Is this a gRPC server?")


def _pieces(fields: Fields, number: int) -> list[bytes]:
    """The values of a field that holds messages or texts; :class:`BadInputError` if one is a number."""
    values = fields.get(number, [])
    if not all(isinstance(value, bytes) for value in values):
        raise _no_message()
    return values


def _last_piece(fields: Fields, number: int) -> bytes:
    """The last value of such a field, which is the one that counts; empty if there is none."""
    return [b"", *_pieces(fields, number)][-1]


def _tensor(fields: Fields) -> dict[str, Any]:
    shape: list[int] = []
    for value in fields.get(3, []):
        if isinstance(value, int):
            shape.append(_signed(value))
            continue
        at = 0
        while at < len(value):  # packed, as protobuf 3 writes repeated numbers
            length, at = _read_varint(value, at)
            shape.append(_signed(length))
    return {"name": _text(fields, 1), "datatype": _text(fields, 2), "shape": shape}


def _cut(message: bytes, at: int, length: int) -> bytes:
    if at + length > len(message):
        raise IndexError
    return message[at : at + length]


def _text(fields: Fields, number: int) -> str:
    value = fields.get(number, [b""])[-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    value &= _MASK
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at
        shift += 7
        if shift > 63:
            raise IndexError


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
