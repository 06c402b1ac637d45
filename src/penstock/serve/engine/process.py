"""A process of the server over all its restarts, as the engine knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from penstock.serve.control import ControlMessage
from penstock.serve.engine.child import Child
from penstock.serve.engine.elsewhere import ChildElsewhere

Role = Literal["dispatcher", "gateway"]


@dataclass(slots=True)
class KnownWorker:
    """A worker as its keeper reports it; no endpoint while it is not up."""

    epoch: int
    endpoint: str = ""

    @property
    def is_up(self) -> bool:
        """Whether it is ready, and lives."""
        return bool(self.endpoint)


@final
class Process:
    """A dispatcher or gateway. ``index`` counts the gateways from 0; ``host``: of the plan, None for the head's.

    ``number`` is new with each start. ``endpoint``: where it listens for messages, as it says itself. ``plans``: the
    epochs that a gateway knows; ``serves``: the one that its new requests belong to.
    """

    def __init__(self, role: Role, index: int, host: str | None = None) -> None:
        self.role: Role = role
        self.index = index
        self.host = host
        self.number = -1
        self.child: Child | ChildElsewhere | None = None
        self.endpoint = ""
        self.up_since_us = -1
        self.is_serving = False
        self.plans: set[int] = set()
        self.serves = -1
        self.is_wanted = True

    @property
    def is_up(self) -> bool:
        """Whether it has said that it is ready, and lives."""
        return self.up_since_us >= 0

    @property
    def name(self) -> str:
        """For people."""
        if self.role == "dispatcher":
            return "standby" if self.index else "dispatcher"
        return f"gateway {self.index}" if self.host is None else f"gateway {self.index} on host {self.host}"

    def send(self, message: ControlMessage) -> None:
        """Write to its control line if it lives."""
        if self.child is not None:
            self.child.send(message)
