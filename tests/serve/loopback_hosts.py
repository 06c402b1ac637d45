"""Hosts for tests without root: agents of this machine, each at a loopback address of its own, and no namespaces.

As a program it is ``penstock``, whose ``--rehearse-hosts`` and ``--engine ray`` make such hosts. ``VISIBLE`` in its
environment says, in JSON, which devices of this machine a host sees.
"""

from __future__ import annotations

import json
import os
from itertools import count

from penstock.serve.hosts import many_hosts
from penstock.serve.hosts.rehearsal import start_agent

_HERE = __file__.rpartition("/")[0]
VISIBLE = "PENSTOCK_LOOPBACK_DEVICES"
COMMAND = f"import sys; sys.path.insert(0, {_HERE!r}); import loopback_hosts; loopback_hosts.main()"


class LoopbackLauncher:
    """Starts each agent at 127.0.0.2 and so on; the head is at 127.0.0.1."""

    head_address = "127.0.0.1"
    links_at_once = 1

    def __init__(self, folder, keys, note):
        self._folder, self._keys, self._note = folder, keys, note
        self._addresses = {}
        self._free = count(2)

    def launch(self, order):
        here = self._addresses.setdefault(order.host, f"127.0.0.{next(self._free)}")
        seen = json.loads(os.environ.get(VISIBLE, "{}")).get(order.host)
        before = () if seen is None else ("/usr/bin/env", f"CUDA_VISIBLE_DEVICES={seen}")
        agent = start_agent(order, here, self._folder / f"host-{order.number}", self._keys, before)
        self._note(f"the agent of {order.host} is {agent.pid}")
        return agent

    def close(self):
        pass


def main():
    many_hosts.rehearsed = lambda cluster, delay_us=0: LoopbackLauncher
    many_hosts.on_ray = lambda address, hosts: LoopbackLauncher
    from penstock.cli.main import main as penstock

    penstock()
