"""Agents as Ray actors: Ray starts them on nodes that have the custom resource of their device class.

A node for a host of class L4 has the resource ``penstock-L4``, one for each host of that class that it may be:
``ray start --resources='{"penstock-L4": 1}'``. Only orders and keys pass through Ray; no tensor does, and the agents
report to the head over lines of their own. If a node goes, the hub asks for the agent again, and Ray places it when a
node has the resource.
"""

from __future__ import annotations

import logging
import socket
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import msgspec

from penstock.errors import BadInputError, MissingExtraError, PenstockError
from penstock.serve.hosts.launcher import AgentOrder
from penstock.serve.listeners import Address
from penstock.serve.transport.curve import CurveKeys

RESOURCE = "penstock-"
"""Before the name of a device class, a custom resource of Ray."""

CONNECT_S = 5.0


def _ray() -> Any:
    """The module; :class:`MissingExtraError` if it is not installed."""
    try:
        import ray
    except ImportError:
        raise MissingExtraError("--engine ray", "ray") from None
    return ray


class AgentActor:
    """The agent of a host, in a process of Ray. Its workers are children of this process, and end with it."""

    def run(self, host: str, head: str, keys: bytes) -> str:
        """Be the agent until the head ends it; returns '' then, else why it ended."""
        import ray

        from penstock.serve.hosts.agent import HostAgent

        folder = Path(tempfile.mkdtemp(prefix="penstock-agent-"))
        agent = HostAgent(
            host,
            ray.util.get_node_ip_address(),
            Address.parse(head),
            folder,
            msgspec.json.decode(keys, type=CurveKeys),
        )
        try:
            agent.run()
        except PenstockError as error:
            return str(error)
        finally:
            agent.close()
        return ""


@final
class RayAgent:
    """An agent that Ray was asked for; it may still wait for a node."""

    def __init__(self, ray: Any, actor: Any, answer: Any) -> None:
        self._ray = ray
        self._actor = actor
        self._answer = answer

    def how_ended(self) -> str | None:
        """What Ray says of the actor."""
        done, _ = self._ray.wait([self._answer], timeout=0)
        if not done:
            return None
        try:
            return self._ray.get(self._answer) or "it ended"
        except self._ray.exceptions.RayError as error:
            return f"Ray lost it: {str(error).splitlines()[0]}"

    def kill(self) -> None:
        """Let Ray end the process."""
        self._ray.kill(self._actor)


@final
class RayLauncher:
    """Starts agents in the cluster at ``address``: ``auto`` for the one of this machine, ``local`` to start one here.

    ``hosts``: how many hosts of each device class the plan has; a cluster that ``local`` starts has resources for them.
    Raises :class:`BadInputError` if there is no Ray, no cluster at the address, or it lacks resources.
    """

    def __init__(
        self, address: str, hosts: Counter[str], keys: CurveKeys, note: Callable[[str], None]
    ) -> None:
        ray = self._ray = _ray()
        self._keys = keys
        if address not in ("auto", "local"):
            _check_reachable(Address.parse(address))
        wanted = {f"{RESOURCE}{name}": float(count) for name, count in hosts.items()}
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address == "local":
            options |= {"resources": wanted, "include_dashboard": False}
        try:
            ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise BadInputError(
                f"--address {address}: no Ray cluster can be joined there ({said[0]}). "
                f"Is it running (ray status), and is its Ray this one ({ray.__version__})?"
            ) from None
        try:
            self._check(wanted, address)
        except BaseException:
            ray.shutdown()
            raise
        self.head_address: str = ray.util.get_node_ip_address()
        # A cluster that was started here has all of its hosts on this machine.
        self.links_at_once = 1 if address == "local" else sum(hosts.values())
        self._actor = ray.remote(AgentActor)
        note(f"joined the Ray cluster at {address}; the head is {self.head_address}")

    def launch(self, order: AgentOrder) -> RayAgent:
        """Ask Ray for the agent; it starts when a node has the resource."""
        name = order.host.rpartition(":")[0]
        # The agent sees all devices of its node and pins its workers itself. Some releases of Ray hide them from an
        # actor that asks for none.
        seen = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}
        options = {"num_cpus": 0, "resources": {f"{RESOURCE}{name}": 1.0}, "runtime_env": seen}
        actor = self._actor.options(**options).remote()
        answer = actor.run.remote(order.host, order.head.text, msgspec.json.encode(self._keys))
        return RayAgent(self._ray, actor, answer)

    def close(self) -> None:
        """Leave the cluster; actors of this run end with it."""
        self._ray.shutdown()

    def _check(self, wanted: dict[str, float], address: str) -> None:
        there = self._ray.cluster_resources()
        missing = [
            f"{name} (needs {count:g}, has {there.get(name, 0):g})"
            for name, count in sorted(wanted.items())
            if there.get(name, 0) < count
        ]
        if missing:
            raise BadInputError(
                f"the Ray cluster at {address} lacks {', '.join(missing)}: one for each host of a device class. "
                f"Start its nodes with, for example, ray start --resources='{{\"{missing[0].split()[0]}\": 1}}'."
            )


def _check_reachable(address: Address) -> None:
    """Ray itself tries for minutes."""
    try:
        socket.create_connection((address.host, address.port), CONNECT_S).close()
    except OSError as error:
        raise BadInputError(
            f"--address {address.text}: no Ray cluster can be joined there ({error.strerror or error}). "
            f"Is it running (ray status)? Give the address that ray start printed."
        ) from None
