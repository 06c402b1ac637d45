"""Messages that are almost right: seeds of each parser, changed at random.

One rule: each gives a request, or a refusal of 400 or 413.
"""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np

from penstock.serve.protocol.datatypes import NUMPY
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.grpc_bounds import refuse_many_pieces
from penstock.serve.protocol.grpc_infer import decode_message, encode_request_message, parse_request
from penstock.serve.protocol.infer import (
    InferRequest,
    RequestedOutput,
    Tensor,
    decode_request,
    encode_request,
)

WORDS = (
    *(b'"inputs"', b'"shape"', b'"data"', b'"parameters"', b'"binary_data_size"', b'"timeout"', b'"outputs"'),
    *(
        b"null",
        b"true",
        b"-1",
        b"1e400",
        b"NaN",
        b'"\\ud800"',
        b"[[",
        b"{}",
        b"18446744073709551616",
        b"\xff\xfe",
    ),
    *(b"\x80\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x3a\x00", b"\x2a\xff"),
)


def _requests():
    arrays = {name: np.zeros((1, 2), dtype) for name, dtype in NUMPY.items() if name != "BYTES"}
    arrays["BYTES"] = np.array([[b"ab", b""]], dtype=object)
    one = tuple(Tensor(name.lower(), name, array) for name, array in arrays.items())
    yield InferRequest(one[:1], id="7", timeout_us=5_000, outputs=(RequestedOutput("y", True),))
    yield InferRequest(one, binary_default=True)
    yield InferRequest(tuple(t for t in one if t.datatype not in ("FP16", "BF16")))


def seeds():
    """(parser, bytes, length of the JSON part)."""
    found = []
    for request in _requests():
        raw = encode_request(request, binary=True)
        found.append(("http", raw.body(), raw.header_length))
        has_json = all(tensor.datatype not in ("FP16", "BF16") for tensor in request.inputs)
        if has_json:
            text = encode_request(request, binary=False)
            found.append(("http", text.body(), None))
            found.append(("grpc", encode_request_message("m", request, raw=False).SerializeToString(), None))
        found.append(("grpc", encode_request_message("m", request, raw=True).SerializeToString(), None))
    found.append(("http", json.dumps({"inputs": []}).encode(), None))
    return found


class Fuzz:
    """``run(count)`` parses that many messages and counts what became of them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.seeds = seeds()
        self.counts = Counter()

    def run(self, count):
        for _ in range(count):
            parser, data, header = self.random.choice(self.seeds)
            self.counts[parser, self.outcome(parser, self.changed(data), self.header(header))] += 1
        return self.counts

    def outcome(self, parser, data, header):
        """``request``, or the status of the refusal; any other exception is a fault, and is raised with the message."""
        try:
            if parser == "http":
                decode_request(data, header)
            else:
                refuse_many_pieces(data, 0)  # in the server it looks at large messages only
                decode_message(parse_request(data))
        except ProtocolError as error:
            if error.http_status not in (400, 413):
                raise AssertionError(f"{parser} {data!r} {header}: {error.http_status} {error}") from error
            return error.http_status
        except Exception as error:
            raise AssertionError(f"{parser} {data!r} {header}: {error!r}") from error
        return "request"

    def header(self, length):
        if length is None:
            return None if self.random.random() < 0.95 else self.random.randrange(-1, 300)
        return length if self.random.random() < 0.9 else length + self.random.randrange(-3, 4)

    def changed(self, data):
        body = bytearray(data)
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 6))):
            at = self.random.randrange(len(body) + 1)
            kind = self.random.randrange(6)
            if kind == 0 and body:
                body[min(at, len(body) - 1)] = self.random.randrange(256)
            elif kind == 1:
                del body[at : at + self.random.choice((1, 1, 2, 8, 64))]
            elif kind == 2:
                body[at:at] = self.random.randbytes(self.random.choice((1, 2, 4)))
            elif kind == 3:
                body[at:at] = self.random.choice(WORDS)
            elif kind == 4:
                body[at : at + 4] = self.random.choice(WORDS)
            else:
                _, other, _ = self.random.choice(self.seeds)
                start = self.random.randrange(len(other))
                body[at:at] = other[start : start + self.random.randrange(1, 40)]
        return bytes(body)
