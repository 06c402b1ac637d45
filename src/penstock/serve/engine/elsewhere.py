"""Gateways on other hosts, as the engine sees them: it decides when they start, and their agents do it.

The agent of a host starts a gateway, watches it, and passes on what it says and what it is told. So the books of what
runs are the engine's alone, for gateways here and elsewhere.
"""

from __future__ import annotations

from typing import Protocol, final

import msgspec

from penstock.serve.control import ControlMessage


class GatewaySaid(msgspec.Struct, frozen=True, tag=True):
    """A gateway on another host said this on its control line."""

    gateway: int
    message: ControlMessage


class GatewayEnded(msgspec.Struct, frozen=True, tag=True):
    """A gateway on another host ended, or could not be started; or its host was there and is gone."""

    gateway: int
    reason: str
    is_host_gone: bool = False


class GatewaysElsewhere(Protocol):
    """Who reaches the gateways on other hosts."""

    def can_start(self, host: str) -> bool:
        """Whether the agent of ``host`` is there."""
        ...

    def start(self, host: str, gateway: int, epoch: int) -> None:
        """Start a gateway of this number there; ``epoch`` is that of the plan that is served now."""
        ...

    def tell(self, gateway: int, message: ControlMessage) -> None:
        """Pass ``message`` to the control line of a gateway, if it lives."""
        ...


@final
class ChildElsewhere:
    """What :class:`penstock.serve.engine.child.Child` is for a process of this host. Its agent waits for its end."""

    def __init__(self, gateways: GatewaysElsewhere, number: int) -> None:
        self._gateways = gateways
        self._number = number

    def send(self, message: ControlMessage) -> None:
        """Write to its control line."""
        self._gateways.tell(self._number, message)
