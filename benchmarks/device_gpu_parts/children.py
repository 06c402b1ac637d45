"""What needs a process of its own: a process a model, green contexts, and counts of hardware queues.

A child is started early, imports torch, and waits for its orders: one line of JSON on its standard input. It answers
with one line of JSON a step. It ends with its parent, because its input then does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

ENTRY = Path(__file__).parents[1] / "device_gpu.py"


class ChildError(RuntimeError):
    """The child ended or said nothing in time; the message is the end of what it wrote to standard error."""


class Child:
    """A process of this benchmark, started with ``environment`` on top of ours."""

    def __init__(self, kind: str, environment: Mapping[str, str] | None = None) -> None:
        self._kind = kind
        self._process = subprocess.Popen(
            [sys.executable, str(ENTRY), "--child", kind],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._errors: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            # The first lines say what failed, the last ones where.
            self._errors = [*self._errors[:20], *self._errors[20:][-20:], line]

    def tell(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ChildError(f"{self._kind}: ended before its orders: {self._last_words()}") from error

    def hear(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=max(timeout_s, 0.1))
        except Empty:
            raise ChildError(f"{self._kind}: no answer in {timeout_s:.0f} s: {self._last_words()}") from None
        if line is None:
            self._process.wait(5)
            raise ChildError(f"{self._kind}: status {self._process.returncode}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        self.tell(message)
        return self.hear(timeout_s)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)

    def _last_words(self) -> str:
        words = "".join(self._errors).strip()
        return words if len(words) <= 1000 else f"{words[:700]} ... {words[-300:]}"


def orders() -> dict[str, Any]:
    """In a child: the next line of orders. The process ends if there is none."""
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(0)
    message: dict[str, Any] = json.loads(line)
    return message


def answer(message: Mapping[str, Any]) -> None:
    """In a child: one step done."""
    print(json.dumps(message), flush=True)
