"""How processes of the server exchange messages and tensors: ``zeromq``, and ``shared`` within a host.

Read ``interface`` first: what every transport does. ``wire`` is the form of a message.
"""

from penstock.serve.transport.by_name import open_transport
from penstock.serve.transport.endpoints import dispatcher_endpoint, gateway_endpoint, worker_endpoint
from penstock.serve.transport.interface import Inbox, Link, Parts, Received, Transport, TransportCounts
from penstock.serve.transport.links import Links, Turns
from penstock.serve.transport.wire import (
    Buffer,
    Group,
    Place,
    decoded,
    read_groups,
    read_tensors,
    tensor_frames,
    tensor_headers,
)
from penstock.serve.transport.zeromq import connect, listen, received, send

__all__ = [
    "Buffer",
    "Group",
    "Inbox",
    "Link",
    "Links",
    "Parts",
    "Place",
    "Received",
    "Transport",
    "TransportCounts",
    "Turns",
    "connect",
    "decoded",
    "dispatcher_endpoint",
    "gateway_endpoint",
    "listen",
    "open_transport",
    "read_groups",
    "read_tensors",
    "received",
    "send",
    "tensor_frames",
    "tensor_headers",
    "worker_endpoint",
]
