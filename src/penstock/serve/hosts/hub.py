"""The head's side of many hosts: supervises all workers of a server through the agents of their hosts.

Who lets agents in is :mod:`penstock.serve.hosts.agent_listener`. Gateways on hosts are a part of their own,
:mod:`penstock.serve.hosts.gateways.at_head`.

A host is *gone* when its line ends or is silent. All of its workers are down at that moment. Its agent is started
again if it ended; if it still runs, the way to it was cut, and it connects again by itself. In both cases it starts
afresh.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import final

import msgspec

from penstock.clock import Clock
from penstock.errors import BadInputError, PenstockError
from penstock.serve.control import WorkerCouldRun, WorkerHung, WorkerUp
from penstock.serve.engine.backoff import RestartDelays
from penstock.serve.engine.elsewhere import GatewayEnded, GatewaySaid
from penstock.serve.engine.replan_on_loss import lost_option
from penstock.serve.engine.worker_keeper import END_S, KeeperReport, WorkerEnded
from penstock.serve.hosts.agent_listener import LEAVE_S, AgentLine, AgentListener
from penstock.serve.hosts.agent_messages import (
    AgentNote,
    ClockAsked,
    ClockTold,
    CountersPart,
    DevicesLost,
    EndAgent,
    EndPlan,
    FromAgent,
    Hello,
    ProbeListening,
    ProbeMeasured,
    ReplaceWorker,
    RowsPart,
    WatchWorker,
    Welcome,
)
from penstock.serve.hosts.gateways.at_head import GatewaysOn, HeadGateways
from penstock.serve.hosts.host_line import secret_of
from penstock.serve.hosts.known_host import KnownHost
from penstock.serve.hosts.launcher import AgentOrder, Launched, Launcher
from penstock.serve.hosts.link_check import HostLink, LinkCheck
from penstock.serve.hosts.plan_transfer import plan_messages
from penstock.serve.spec import ServerSpec
from penstock.serve.transport.curve import CurveKeys
from penstock.units import NEVER_US, US_PER_S

WATCH_US = US_PER_S // 4
"""How often silence is looked for, and whether agents have ended."""
HUNG_US = 30 * US_PER_S
"""An agent that runs, and has not connected again for so long, is killed and started anew."""
START_US = 120 * US_PER_S
"""...and one that was never there, after this time. If cores are scarce a start takes long, and an agent that finds no
head ends by itself."""


@final
class AgentHub:
    """A keeper of workers (:class:`penstock.serve.engine.worker_keeper.Keeper`) by agents that ``launcher`` starts.

    ``port``: the dispatcher's at the head. ``planned_gbps``: what the plan was made for between two hosts;
    ``measured`` hears what the links carry. ``folder``: the head's run folder. ``gateways_on``: hosts with gateways;
    their rows go to ``rows``.
    """

    def __init__(
        self,
        keys: CurveKeys,
        port: int,
        launcher: Launcher,
        clock: Clock,
        selector: selectors.BaseSelector,
        report: Callable[[KeeperReport], None],
        note: Callable[[str], None],
        planned_gbps: Callable[[str, str], float],
        measured: Callable[[Mapping[HostLink, float]], None],
        folder: Path,
        gateways_on: GatewaysOn | None = None,
        rows: Path | None = None,
    ) -> None:
        self._port = port
        self._launcher = launcher
        self._clock = clock
        self._selector = selector
        self._report = report
        self._note = note
        self._specs: dict[int, ServerSpec] = {}
        self._hosts: dict[str, KnownHost] = {}
        self._let_go: dict[str, Launched] = {}  # agents that were told to end because no plan needs them
        self._numbers = count(1)
        self._delays = RestartDelays()
        self._next_us = 0
        self._planned_gbps = planned_gbps
        self._measured = measured
        self._links: LinkCheck | None = None
        self._may_start = False  # not before the links are measured
        self.gateways = HeadGateways(
            gateways_on or GatewaysOn(), folder, rows, self._may_work, self._tell, report
        )
        secret = secret_of(keys)
        self._listener = AgentListener(
            launcher.head_address, secret, selector, self._hosts.keys(), self._take_in, self._refused, note
        )
        self.address = self._listener.address

    @property
    def next_us(self) -> int:
        """When to look for silence again."""
        return self._next_us if self._hosts else NEVER_US

    @property
    def hosts(self) -> dict[str, KnownHost]:
        """Every host that a plan had so far."""
        return self._hosts

    def add_plan(self, spec: ServerSpec, *, is_gentle: bool = False) -> None:
        """Start its workers on the hosts that are there; launch the agents of those that no plan had.

        Raises :class:`PenstockError` if a host is gone: until it is back, no other plan could be loaded either.
        """
        if gone := self._gone & set(spec.worker_hosts):
            raise PenstockError(f"the plan needs host {', '.join(sorted(gone))}, which is gone.")
        self._specs[spec.epoch] = spec
        for name in dict.fromkeys((*spec.worker_hosts, *self.gateways.hosts)):
            host = self._hosts.setdefault(name, KnownHost(name))
            if host.line is not None and self._may_start:
                self._start_workers(host, host.line, spec, {}, is_gentle=is_gentle)
            elif host.line is None and host.launched is None:
                self._launch(host)
            # Otherwise its agent is about to connect. Until then, this plan's workers there are not up.

    def end_plan(self, epoch: int) -> None:
        """Its workers end on every host."""
        spec = self._specs.pop(epoch, None)
        for host in self._hosts.values():
            if spec is not None:
                host.living -= set(spec.workers)
            if host.line is not None:
                host.line.send(EndPlan(epoch))

    def _let_go_spare(self) -> None:
        """End the agents that are here and whom no plan needs.

        One that is away stays known: it may come back. So does one that lost devices: it says when they are back.
        """
        needed = {name for spec in self._specs.values() for name in spec.worker_hosts} | {
            *self.gateways.hosts
        }
        for name, host in list(self._hosts.items()):
            if name not in needed and host.line is not None and not host.lost_devices:
                host.line.send(EndAgent())
                self._selector.unregister(host.line)
                host.line.close(LEAVE_S)
                if host.launched is not None:
                    self._let_go[name] = host.launched
                del self._hosts[name]

    def watch(self, worker: int) -> None:
        """Ask the agent of its host."""
        self._tell_of(worker, WatchWorker(worker))

    def replace(self, message: WorkerHung) -> None:
        """Ask the agent of its host."""
        self._tell_of(message.worker, ReplaceWorker(message.worker, message.why))

    def _tell_of(self, worker: int, message: msgspec.Struct) -> None:
        """Tell the agent of the host on which ``worker`` lives."""
        for host in self._hosts.values():
            if worker in host.living and host.line is not None:
                host.line.send(message)

    def turn(self) -> None:
        """Look for silent hosts, start agents that ended, and end those that are not needed.

        A plan may be given up because a host is lost. So hosts are forgotten only here, when no other loop is at them.
        """
        now_us = self._clock.now_us()
        if now_us < self._next_us:
            return
        if self._next_us:
            self._excuse(now_us - self._next_us)
        self._next_us = now_us + WATCH_US
        self._listener.turn(now_us)
        for host in self._hosts.values():
            silent_us = None if host.line is None else host.line.silent_us(now_us)
            if silent_us is not None:
                self._lose(host, f"silent for {silent_us / US_PER_S:.1f} s")
            if host.line is None:
                self._bring_back(host, now_us)
        self._let_go_spare()
        self._check_links(now_us)
        self.gateways.turn(now_us)

    def _excuse(self, late_us: int) -> None:
        """This process was busy or could not run for ``late_us``: what came meanwhile waits to be read."""
        lines = [host.line for host in self._hosts.values() if host.line is not None]
        for line in (*lines, *self._listener.strangers):
            line.heard_us += late_us

    def stop(self) -> None:
        """End all agents; those that do not end in time are killed."""
        for host in self._hosts.values():
            if host.line is not None:
                host.line.send(EndAgent())
        for host in self._hosts.values():
            if host.line is not None:
                self._selector.unregister(host.line)
                host.line.close(LEAVE_S)
                host.line = None
        until_us = self._clock.now_us() + round(END_S * US_PER_S)
        for launched in (*(host.launched for host in self._hosts.values()), *self._let_go.values()):
            if launched is not None:
                self._end_launched(launched, until_us)
        self._listener.close()
        self._launcher.close()

    def _end_launched(self, launched: Launched, until_us: int) -> None:
        with selectors.DefaultSelector() as pause:
            while launched.how_ended() is None and self._clock.now_us() < until_us:
                pause.select(0.02)
        launched.kill()

    # Agents that come

    def _refused(self, name: str, why: str) -> None:
        if name in self._hosts:
            self._hosts[name].refused = why

    def _take_in(self, line: AgentLine, hello: Hello, later: list[FromAgent]) -> None:
        host = self._hosts[hello.host]
        self._selector.modify(line, selectors.EVENT_READ, partial(self._hear, host))
        if host.line is not None:
            self._lose(host, "its agent connected anew")
        was_there = host.up_since_us >= 0
        host.line, host.up_since_us, host.refused = line, self._clock.now_us(), None
        if was_there:
            self._note(f"host {host.name} is back")
        line.send(Welcome(self.address.host, self._port, self.gateways.rows_of(host.name)))
        self.gateways.came_back(host.name)
        if self._may_start:
            self._start_all(host, hello.files)
        else:
            self._check_links(host.up_since_us)
        for message in later:
            self._obey(host, line, message)

    def _check_links(self, now_us: int) -> None:
        """Once all hosts are there, measure the links, and then start the workers."""
        if self._may_start:
            return
        if self._links is None and all(host.line is not None for host in self._hosts.values()):
            at_once = self._launcher.links_at_once
            self._links = LinkCheck(list(self._hosts), self._planned_gbps, self._tell, self._note, at_once)
        if self._links is not None:
            self._links.turn(now_us)
            if self._links.is_done:
                self._may_start = True
                self._measured(self._links.gbps)
                for host in self._hosts.values():
                    self._start_all(host, {})

    def _may_work(self, name: str) -> bool:
        """Whether the agent of a host is there, and may start processes."""
        host = self._hosts.get(name)
        return host is not None and host.line is not None and self._may_start

    def _tell(self, name: str, message: msgspec.Struct) -> None:
        line = self._hosts[name].line
        if line is not None:
            line.send(message)

    def _start_all(self, host: KnownHost, known: dict[str, int]) -> None:
        if host.line is not None:
            for epoch in sorted(self._specs):
                self._start_workers(host, host.line, self._specs[epoch], known)

    def _start_workers(
        self,
        host: KnownHost,
        line: AgentLine,
        spec: ServerSpec,
        known: dict[str, int],
        *,
        is_gentle: bool = False,
    ) -> None:
        has_gateways = host.name in self.gateways.hosts
        line.send(*plan_messages(spec, host.name, known, has_gateways=has_gateways, is_gentle=is_gentle))
        host.living.update(spec.workers_on(host.name))
        host.devices |= spec.devices_on(host.name)

    # Agents that are here

    def _hear(self, host: KnownHost) -> None:
        line = host.line
        if line is None:
            return
        try:
            messages = line.receive()
        except BadInputError as error:
            self._lose(host, str(error))
            return
        if messages is None:
            self._lose(host, "its agent ended")
        for message in messages or ():
            try:
                self._obey(host, line, message)
            except BadInputError as error:
                self._lose(host, str(error))
                return

    def _obey(self, host: KnownHost, line: AgentLine, message: FromAgent) -> None:
        if isinstance(message, ClockAsked):
            line.send(ClockTold(message.agent_us, self._clock.now_us()))
        elif isinstance(message, AgentNote):
            self._note(f"host {host.name}: {message.text}")
        elif isinstance(message, ProbeListening | ProbeMeasured):
            if self._links is not None:
                self._links.hear(host.name, message, self._clock.now_us())
                self._check_links(self._clock.now_us())
        elif isinstance(message, GatewaySaid | GatewayEnded | RowsPart | CountersPart):
            self.gateways.hear(host.name, message)
        elif isinstance(message, WorkerUp):
            if message.worker in self._of(host):
                host.living.add(message.worker)
                self._report(message)
        elif isinstance(message, WorkerCouldRun) and message.worker in self._of(host):
            self._report(message)
        elif isinstance(message, WorkerEnded) and message.worker in self._of(host):
            host.living.discard(message.worker)
            self._report(message)
        elif isinstance(message, DevicesLost) and (unknown := host.lose_devices(message.devices)):
            named = ", ".join(sorted(unknown))
            self._note(f"host {host.name} says that it lost {named}, which no plan has there: not counted")

    def _of(self, host: KnownHost) -> set[int]:
        """The workers of ``host`` in all plans. Nobody is believed about those of others."""
        return {worker for spec in self._specs.values() for worker in spec.workers_on(host.name)}

    def _lose(self, host: KnownHost, why: str) -> None:
        """``host`` is gone, and with it its workers."""
        assert host.line is not None
        self._selector.unregister(host.line)
        host.line.close()
        now_us = self._clock.now_us()
        was_up_us = now_us - host.up_since_us
        host.line, host.gone_since_us = None, now_us
        host.launch_at_us = now_us + self._delays.next_us(host.name, was_up_us)
        workers, host.living, host.lost_devices = sorted(host.living), set(), frozenset()
        self._note(f"host {host.name} is gone ({why}); workers {', '.join(map(str, workers))} are down")
        for worker in workers:
            self._report(WorkerEnded(worker, f"host {host.name} is gone: {why}", was_up=True, restart_us=-1))
        self.gateways.lost(host.name, why)

    @property
    def lost(self) -> frozenset[str]:
        """The hosts that were there and are gone, and the devices that others lost."""
        devices = (host.lost_devices for host in self._hosts.values())
        return frozenset(map(lost_option, self._gone)).union(*devices)

    @property
    def _gone(self) -> set[str]:
        """The hosts that were there and are not."""
        return {name for name, host in self._hosts.items() if host.line is None and host.up_since_us >= 0}

    def _bring_back(self, host: KnownHost, now_us: int) -> None:
        ended = None if host.launched is None else host.launched.how_ended()
        if host.launched is not None and ended is None:
            if now_us - host.gone_since_us > (HUNG_US if host.up_since_us >= 0 else START_US):
                host.launched.kill()
            return
        if host.up_since_us < 0 and ended is not None:
            for worker in self._of(host):
                why = f"the agent of host {host.name} could not start: {host.refused or ended}"
                is_bad_input = host.refused is not None
                self._report(WorkerEnded(worker, why, was_up=False, restart_us=-1, is_bad_input=is_bad_input))
        if now_us >= host.launch_at_us:
            host.launch_at_us = now_us + self._delays.next_us(host.name)
            self._launch(host)

    def _launch(self, host: KnownHost) -> None:
        host.gone_since_us = self._clock.now_us()
        before = self._let_go.pop(host.name, None)
        if before is not None:
            before.kill()  # two agents of one host would push each other out
        try:
            host.launched = self._launcher.launch(AgentOrder(host.name, self.address, next(self._numbers)))
        except PenstockError as error:
            if host.up_since_us < 0:
                raise
            self._note(f"host {host.name} cannot be started again: {error}")
