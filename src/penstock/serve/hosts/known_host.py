"""What the head knows of one host of its plans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from penstock.serve.hosts.agent_listener import AgentLine
from penstock.serve.hosts.launcher import Launched


@final
class KnownHost:
    """A host over all starts of its agent. ``living``: its workers that were started and not reported down.

    ``devices``: those that plans gave it so far; ``lost_devices``: those of them that its agent says are lost, none if
    the agent is gone. ``refused``: why its agent was not let in.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.launched: Launched | None = None
        self.launch_at_us = 0
        self.line: AgentLine | None = None
        self.up_since_us = -1
        self.gone_since_us = 0
        self.living: set[int] = set()
        self.devices: frozenset[str] = frozenset()
        self.lost_devices: frozenset[str] = frozenset()
        self.refused: str | None = None

    def lose_devices(self, said: Iterable[str]) -> frozenset[str]:
        """Its agent says that these are lost now, and no others: those that no plan gave it, which do not count.

        A device of an earlier plan counts: when it is back, the plan that used it may be served again.
        """
        named = frozenset(said)
        self.lost_devices = named & self.devices
        return named - self.devices
