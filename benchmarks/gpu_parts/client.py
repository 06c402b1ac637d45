"""A thin client of the inference protocol: one socket, one request at a time, so that little is its own cost."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Self
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np

from penstock.serve.load.sample_request import describe


class ThinClient:
    """Binary requests of one sample to one model of the server at ``url``."""

    def __init__(self, url: str, model: str) -> None:
        with urlopen(f"{url}/v2/models/{model}", timeout=10) as answer:
            metadata = json.loads(answer.read())
        self._bodies = describe(metadata, {}, 1_000_000, np.random.default_rng(0)).bodies
        self._path = f"/v2/models/{model}/infer"
        where = urlsplit(url)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)

    def __enter__(self) -> Self:
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def times_us(self, count: int, gap_s: float = 0.0) -> list[float]:
        """``count`` round trips, each begun ``gap_s`` after the answer before it."""
        times = []
        for number in range(count):
            if gap_s:
                time.sleep(gap_s)
            body = self._bodies[number % len(self._bodies)]
            start = time.perf_counter()
            self._connection.request("POST", self._path, body=body.data, headers=dict(body.headers))
            answer = self._connection.getresponse()
            answer.read()
            times.append((time.perf_counter() - start) * 1e6)
            if answer.status != 200:
                raise RuntimeError(f"the server answered {answer.status}")
        return times
