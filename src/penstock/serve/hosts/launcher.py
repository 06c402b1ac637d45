"""What starts the agent of a host: namespaces of this machine (``rehearsal``), or Ray (``ray_launcher``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from penstock.serve.listeners import Address


@dataclass(frozen=True)
class AgentOrder:
    """What an agent is started with. ``number`` counts the starts of agents in the run."""

    host: str
    head: Address
    number: int


class Launched(Protocol):
    """An agent that was started."""

    def how_ended(self) -> str | None:
        """How it ended; None while it runs, as far as is known here."""
        ...

    def kill(self) -> None:
        """End it and its workers by force, if it can be reached."""
        ...


class Launcher(Protocol):
    """Starts agents. ``head_address`` is where they find the head. ``links_at_once``: how many links between hosts can
    be measured at the same time without disturbing each other."""

    @property
    def links_at_once(self) -> int:
        """1 if hosts share the cores of a machine."""
        ...

    @property
    def head_address(self) -> str:
        """The address of the head that the hosts of the plan can reach."""
        ...

    def launch(self, order: AgentOrder) -> Launched:
        """Start the agent of a host. Raises :class:`PenstockError` if the host cannot be had."""
        ...

    def close(self) -> None:
        """Let go of every host."""
        ...
