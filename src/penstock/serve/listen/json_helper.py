"""Reads large JSON requests in a process of its own, so that nobody else waits for them.

A JSON decoder holds Python's lock from the first byte to the last: in a thread it would stop the loop as well, for
about 60 ms a megabyte in the worst case. So the body goes to a helper process, which sends back the same request in
binary form. The helper is started before the server is ready: it takes a quarter of a second, which is more than many
objectives. It has a limit of memory and of time, and is replaced if it passes them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from typing import final

import numpy as np

from penstock.serve.listen.json_process import REPLY, REQUEST
from penstock.serve.protocol.errors import ProtocolError

FIRST = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}]}'
"""A request that shows that the helper reads."""

LIMIT_S = 20.0
"""For one body, once its turn has come. At 64 MB a busy machine needs some seconds."""


@final
class JsonHelper:
    """One helper process; bodies are read one after the other."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the process, and return when it has read a request."""
        await self.as_binary(FIRST, None)

    async def as_binary(self, body: bytes | memoryview, header_length: int | None) -> tuple[memoryview, int]:
        """The request in ``body`` in binary form, and the length of its JSON part.

        Raises :class:`ProtocolError` if it is no request.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(LIMIT_S):
                    return await self._ask(memoryview(body).cast("B"), header_length)
            except ProtocolError:
                raise
            except (OSError, TimeoutError, EOFError):
                self.close()
                raise ProtocolError(
                    413,
                    f"{len(body)} bytes of JSON are more than this server can read. Send binary data instead.",
                ) from None
            except BaseException:
                # Cancelled in the middle: what comes next on the line belongs to nobody.
                self.close()
                raise

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._line.close()
            self._process = None

    async def _ask(self, body: memoryview, header_length: int | None) -> tuple[memoryview, int]:
        if self._process is None:
            self._start()
        loop = asyncio.get_running_loop()
        head = REQUEST.pack(-1 if header_length is None else header_length, len(body))
        await loop.sock_sendall(self._line, head)
        await loop.sock_sendall(self._line, body)
        status, length, size = REPLY.unpack(await self._receive(REPLY.size))
        answer = await self._receive(size)
        if status:
            raise ProtocolError(status, bytes(answer).decode())
        return answer, length

    async def _receive(self, size: int) -> memoryview:
        loop = asyncio.get_running_loop()
        view = np.empty(size, np.uint8).data
        at = 0
        while at < size:
            count = await loop.sock_recv_into(self._line, view[at:])
            if count == 0:
                raise EOFError
            at += count
        return view

    def _start(self) -> None:
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penstock.serve.listen.json_process"],
                stdin=theirs.fileno(),
                stdout=2,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )
