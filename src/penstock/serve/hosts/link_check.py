"""The head's part in measuring links: each host sends to the next one in a ring, before any worker starts.

So every interface is measured once each way, in a time that does not grow with the number of hosts: hosts at even
places send first, then those at odd ones. Hosts of a rehearsal share the cores of one machine, and send one by one,
:data:`MOST_IN_TURN` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import msgspec

from penstock.serve.hosts.agent_messages import ListenForProbe, ProbeListening, ProbeMeasured, SendProbe
from penstock.units import US_PER_S

PROBE_US = US_PER_S // 4
"""How long a host sends."""
PATIENCE_US = 8 * US_PER_S
"""A link that was not measured after so long is left out."""
MOST_IN_TURN = 8
"""Hosts of one machine have links alike: more would only make the start longer."""
FAR_BELOW = 0.5
"""A link that carries less than this part of what the plan was made for is named."""


class HostLink(NamedTuple):
    """From one host to another."""

    sender: str
    receiver: str


@dataclass
class _Probe:
    link: HostLink
    since_us: int
    is_sending: bool = False


@final
@dataclass
class LinkCheck:
    """Measures the ring of ``hosts``. ``planned_gbps``: what the plan was made for, of a sender and a receiver.

    ``tell`` sends a message to the agent of a host, if it is there. ``at_once``: how many links at the same time.
    :attr:`gbps` has what was found.
    """

    hosts: Sequence[str]
    planned_gbps: Callable[[str, str], float]
    tell: Callable[[str, msgspec.Struct], None]
    note: Callable[[str], None]
    at_once: int
    gbps: dict[HostLink, float] = field(default_factory=dict)
    is_done: bool = False
    _waiting: list[HostLink] = field(init=False)
    _running: dict[str, _Probe] = field(default_factory=dict)
    _missed: list[HostLink] = field(default_factory=list)

    def __post_init__(self) -> None:
        links = ring(self.hosts)
        self._waiting = links[:MOST_IN_TURN] if self.at_once == 1 else links

    def turn(self, now_us: int) -> None:
        """Go on: begin what can begin, and give up what takes too long."""
        for probe in [one for one in self._running.values() if now_us - one.since_us > PATIENCE_US]:
            self._missed.append(self._running.pop(probe.link.receiver).link)
        self._begin(now_us)
        if not self._running and not self._waiting and not self.is_done:
            self.is_done = True
            self._report()

    def hear(self, host: str, message: ProbeListening | ProbeMeasured, now_us: int) -> None:
        """What the agent of ``host``, which receives, has to say."""
        probe = self._running.get(host)
        if probe is None:
            return
        if isinstance(message, ProbeListening):
            if not probe.is_sending:
                probe.is_sending = True
                self.tell(probe.link.sender, SendProbe(message.endpoint, PROBE_US))
            return
        del self._running[host]
        self.gbps[probe.link] = message.size * 8e-3 / max(message.us, 1)
        self.turn(now_us)

    def _begin(self, now_us: int) -> None:
        """A host sends or receives, not both at once: each way is measured alone."""
        for link in list(self._waiting):
            busy = {host for probe in self._running.values() for host in probe.link}
            if len(self._running) < self.at_once and not busy & set(link):
                self._waiting.remove(link)
                self._running[link.receiver] = _Probe(link, now_us)
                self.tell(link.receiver, ListenForProbe())

    def _report(self) -> None:
        for sender, receiver in self._missed:
            self.note(f"the link from host {sender} to {receiver} could not be measured")
        if not self.gbps:
            return
        low, high = min(self.gbps.values()), max(self.gbps.values())
        self.note(
            f"{len(self.gbps)} links between hosts carry {low:.2g} to {high:.2g} Gbit/s of encrypted tensors"
        )
        slow = [link for link, found in self.gbps.items() if found < FAR_BELOW * self.planned_gbps(*link)]
        if slow:
            worst = min(slow, key=lambda link: self.gbps[link] / self.planned_gbps(*link))
            self.note(
                f"{len(slow)} of them carry less than half of what the plan was made for: from host {worst.sender} to "
                f"{worst.receiver} {self.gbps[worst]:.2g} of {self.planned_gbps(*worst):g} Gbit/s. Batches may come "
                f"late: plan again with bandwidth_gbps: {self.gbps[worst]:.2g}, or look at the network"
            )


def ring(hosts: Sequence[str]) -> list[HostLink]:
    """Each host to the next, first those at even places. None if there is one host only."""
    links = [HostLink(host, hosts[(place + 1) % len(hosts)]) for place, host in enumerate(hosts)]
    return [*links[::2], *links[1::2]] if len(hosts) > 1 else []
