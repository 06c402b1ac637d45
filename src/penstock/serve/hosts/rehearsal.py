"""Hosts of a rehearsal: network namespaces of this machine, joined by a bridge, each link as fast as the scenario says.

A host is a namespace ``penstock-PID-K`` with one interface. The other end of it is at a bridge of this machine, which
is the head's. All addresses are of 198.18.0.0/15, which is kept for tests of networks (RFC 2544, appendix C.2.2), so
nothing outside is disturbed. The bandwidth is set by a token bucket (``tc``, tbf) for each direction. What a run that
was killed left behind, the next rehearsal removes: its names say whose they are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

import msgspec

from penstock.errors import BadInputError, PenstockError
from penstock.serve.hosts.launcher import AgentOrder
from penstock.serve.transport.curve import CurveKeys

MOST_HOSTS = 250
_COMMAND_S = 10.0
_NAME = re.compile(r"penstock-(\d+)-(\d+)")
_NETWORK = "198.18"


class NoRightsError(BadInputError):
    """This user or machine cannot make network namespaces."""


def _run(*command: str) -> str:
    """What ``command`` prints; :class:`NoRightsError` with what it says if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except FileNotFoundError:
        raise NoRightsError(
            f"--rehearse-hosts needs the program {command[0]!r}, which is not here. Install iproute2."
        ) from None
    except subprocess.TimeoutExpired:
        raise PenstockError(f"{' '.join(command)} did not end within {_COMMAND_S:.0f} s.") from None
    if done.returncode:
        raise NoRightsError(
            f"--rehearse-hosts cannot make network namespaces here: {' '.join(command)}: "
            f"{done.stderr.strip() or f'status {done.returncode}'}. It needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN."
        )
    return done.stdout


@final
class Namespace:
    """A host of the rehearsal: its namespace, its address, and its interface at the bridge."""

    def __init__(self, name: str, address: str, outer: str) -> None:
        self.name = name
        self.address = address
        self.outer = outer

    def cut(self) -> None:
        """Take its link down."""
        _run("ip", "link", "set", self.outer, "down")

    def mend(self) -> None:
        """Take its link up again."""
        _run("ip", "link", "set", self.outer, "up")

    def pids(self) -> list[int]:
        """The processes in it."""
        return [int(line) for line in _run("ip", "netns", "pids", self.name).split()]


@final
class Network:
    """A bridge and namespaces. ``delay_us`` is added to what is sent, for each direction."""

    def __init__(self, *, delay_us: int = 0) -> None:
        remove_leftovers()
        self._delay_us = delay_us
        self._pid = os.getpid()
        self._bridge = f"psb{self._pid}"
        self._hosts: list[Namespace] = []
        self._third = _free_third()
        self.head_address = f"{_NETWORK}.{self._third}.1"
        try:
            _run("ip", "link", "add", self._bridge, "type", "bridge", "forward_delay", "0", "stp_state", "0")
            _run("ip", "address", "add", f"{self.head_address}/24", "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
        except BaseException:
            self.close()
            raise

    def add(self, gbps: float) -> Namespace:
        """One more host, whose interface sends and receives ``gbps`` Gbit/s."""
        number = len(self._hosts)
        if number >= MOST_HOSTS:
            raise BadInputError(f"a rehearsal has at most {MOST_HOSTS} hosts.")
        host = Namespace(
            f"penstock-{self._pid}-{number}",
            f"{_NETWORK}.{self._third}.{number + 2}",
            f"ps{self._pid}-{number}",
        )
        inside = ("ip", "-netns", host.name)
        _run("ip", "netns", "add", host.name)
        self._hosts.append(host)
        _run("ip", "link", "add", host.outer, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        _run("ip", "link", "set", host.outer, "master", self._bridge, "up")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        self._shape(("tc",), host.outer, gbps)
        self._shape(("ip", "netns", "exec", host.name, "tc"), "eth0", gbps)
        return host

    def _shape(self, tc: tuple[str, ...], interface: str, gbps: float) -> None:
        bits = round(gbps * 1e9)
        # The bucket must hold what arrives between two ticks of the kernel (tc-tbf(8)), and a whole offloaded segment.
        burst_bytes = max(bits // 8 // 250, 2**17)
        parent = "root"
        if self._delay_us:
            try:
                _run(
                    *tc,
                    "qdisc",
                    "add",
                    "dev",
                    interface,
                    "root",
                    "handle",
                    "1:",
                    "netem",
                    "delay",
                    f"{self._delay_us}us",
                )
            except NoRightsError as error:
                raise BadInputError(
                    f"--rehearse-delay-us: this kernel cannot delay packets (tc netem): {error} Leave the option out."
                ) from None
            parent = "parent 1:1"
        _run(
            *tc, "qdisc", "add", "dev", interface, *parent.split(), "tbf",
            "rate", f"{bits}bit", "burst", f"{burst_bytes}b", "latency", "50ms",
        )  # fmt: skip

    def close(self) -> None:
        """Remove all of it."""
        for host in self._hosts:
            _quietly("ip", "netns", "delete", host.name)
            _quietly("ip", "link", "delete", host.outer)
        self._hosts = []
        _quietly("ip", "link", "delete", self._bridge)


def _quietly(*command: str) -> None:
    """For what may be gone already."""
    subprocess.run(command, capture_output=True, timeout=_COMMAND_S, check=False)


def _free_third() -> int:
    """A number such that the network 198.18.NUMBER.0/24 is not in use here."""
    used = set(re.findall(rf"{_NETWORK}\.(\d+)\.", _run("ip", "-4", "address")))
    for third in range(256):
        if str(third) not in used:
            return third
    raise BadInputError("all networks 198.18.N.0/24 of this machine are in use. Stop other rehearsals.")


def remove_leftovers() -> None:
    """Remove the namespaces and bridges of rehearsals whose process is gone."""
    for name in _run("ip", "netns", "list").split():
        found = _NAME.fullmatch(name)
        if found is not None and not Path(f"/proc/{found[1]}").exists():
            _quietly("ip", "netns", "delete", name)
    for pid in re.findall(r"\bpsb(\d+):", _run("ip", "link", "show", "type", "bridge")):
        if not Path(f"/proc/{pid}").exists():
            _quietly("ip", "link", "delete", f"psb{pid}")


@final
class LocalAgent:
    """An agent that is a child of this process."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder

    @property
    def pid(self) -> int:
        """Its process id."""
        pid: int = self._process.pid
        return pid

    def how_ended(self) -> str | None:
        """How it ended; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    def kill(self) -> None:
        """End it. Its workers see their line end, and end too."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        # Nobody else removes what it left, if it was killed.
        shutil.rmtree(self._folder, ignore_errors=True)


def start_agent(
    order: AgentOrder, here: str, folder: Path, keys: CurveKeys, before: tuple[str, ...] = ()
) -> LocalAgent:
    """Start the agent of a host on this machine; ``before`` are the words of a program that starts it in another place.

    The keys go by a pipe: command lines and environments can be read by others.
    """
    process = subprocess.Popen(
        [
            *before, sys.executable, "-m", "penstock.serve.hosts.agent", "--host", order.host, "--here", here,
            "--head", order.head.text, "--folder", str(folder),
        ],
        stdin=subprocess.PIPE,
        stdout=2,
        # Signals to the group of the command are for the supervisor only.
        process_group=0,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        with process.stdin:
            process.stdin.write(msgspec.json.encode(keys))
    except BrokenPipeError:
        pass  # it ended at once; how_ended says so
    return LocalAgent(process, folder)


@final
class NamespaceLauncher:
    """Starts each agent in a namespace of its own. ``gbps_of``: the bandwidth of a host's interface."""

    links_at_once = 1

    def __init__(
        self,
        folder: Path,
        keys: CurveKeys,
        gbps_of: Callable[[str], float],
        note: Callable[[str], None],
        *,
        delay_us: int = 0,
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._gbps_of = gbps_of
        self._note = note
        self._network = Network(delay_us=delay_us)
        self._spaces: dict[str, Namespace] = {}

    @property
    def head_address(self) -> str:
        """The bridge's."""
        return self._network.head_address

    @property
    def spaces(self) -> Mapping[str, Namespace]:
        """The namespaces, by host."""
        return self._spaces

    def launch(self, order: AgentOrder) -> LocalAgent:
        """Start the agent in the namespace of its host, which is made at the first start."""
        space = self._spaces.get(order.host)
        if space is None:
            space = self._spaces[order.host] = self._network.add(self._gbps_of(order.host))
            self._note(f"host {order.host} is network namespace {space.name} at {space.address}")
        folder = self._folder / f"host-{order.number}"
        return start_agent(
            order, space.address, folder, self._keys, before=("ip", "netns", "exec", space.name)
        )

    def close(self) -> None:
        """Remove all namespaces."""
        self._network.close()
