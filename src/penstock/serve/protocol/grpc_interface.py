"""The messages of the gRPC interface, made from its compiled descriptors.

They are in a pool of their own: a program may use ours and another implementation's side by side.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from penstock.serve.protocol.compile_proto import COMPILED
from penstock.serve.protocol.errors import malformed

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"

_pool = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
    _pool.Add(_file)


def message_class(name: str) -> Any:
    """The class of message ``name`` of the package ``inference``, or of the package that it names."""
    full = name if "." in name else f"inference.{name}"
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(full))


def methods(service: str) -> dict[str, tuple[Any, Any]]:
    """The classes of request and response of every method of ``service``."""
    return {
        method.name: (
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
        )
        for method in _pool.FindServiceByName(service).methods
    }


def parsed(kind: Any, data: bytes) -> Any:
    """``data`` as a message; :class:`ProtocolError` (400) if it is none."""
    try:
        return kind.FromString(data)
    except message.DecodeError as error:
        raise malformed(f"this is not a {kind.DESCRIPTOR.name}: {error}.") from None
