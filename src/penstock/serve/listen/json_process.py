"""The process behind :mod:`.json_helper`: JSON requests come in, binary ones go out. It ends when its line does."""

from __future__ import annotations

import resource
import signal
import socket
import struct

from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import decode_request, encode_request

REQUEST = struct.Struct("<qq")
"""The length of the JSON part (-1: all of it), and of the body, which follows."""

REPLY = struct.Struct("<qqq")
"""An HTTP status (0: it went well), the length of the JSON part, and of what follows: a body, or what is wrong."""

MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Answer one body after the other."""
    # Ctrl-C goes to the whole group; this one ends with the gateway.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    line = socket.socket(fileno=0)
    while True:
        head = _received(line, REQUEST.size)
        if head is None:
            return
        header_length, size = REQUEST.unpack(head)
        body = _received(line, size)
        if body is None:
            return
        status, length, answer = _answer(body, None if header_length < 0 else header_length)
        del body
        line.sendall(REPLY.pack(status, length, len(answer)))
        line.sendall(answer)


def _answer(body: memoryview, header_length: int | None) -> tuple[int, int, bytes]:
    try:
        message = encode_request(decode_request(body, header_length), binary=True)
    except ProtocolError as error:
        return error.http_status, 0, str(error).encode()
    except MemoryError:
        return 413, 0, b"the request takes more memory than this server gives it. Send binary data instead."
    data = message.body()
    return 0, len(data) if message.header_length is None else message.header_length, data


def _received(line: socket.socket, size: int) -> memoryview | None:
    data = bytearray(size)
    view = memoryview(data)
    at = 0
    while at < size:
        count = line.recv_into(view[at:])
        if count == 0:
            return None
        at += count
    return view


if __name__ == "__main__":
    main()
