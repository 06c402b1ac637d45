"""Devices or hosts went or came back: a plan is made for what is there, and switched to while requests are served.

It runs the verbs that a person would run, ``penstock replan`` and ``penstock switch``, one after the other, in
processes of their own: planning may take long and must not hold up the supervisor. It waits first, because most hosts
that go come back. A plan that is being made is not waited for if more is lost meanwhile, or something is back. It
always plans from the plan that was served before anything was lost: so if all is there again, that plan is served
again. If it is not asked to replan, it only names the commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

from penstock.serve.engine.command import Running, verb
from penstock.serve.spec import ServerSpec
from penstock.units import US_PER_S

AGAIN_US = 10 * US_PER_S
"""After a failure, wait so long: another switch may be going on, or too few devices are left."""


@final
class ReplanOnLoss:
    """Keeps the plan that is served fit for the devices and hosts that are there.

    ``plan``: the file of the plan that is served first, and ``uses`` the devices and hosts that it uses, as ``penstock
    replan --lost`` names them; what else is lost does not matter. ``folder``: the run folder. ``after_us``: what is
    lost must stay so for this time before anything is done; None: only name the commands. ``start`` is for tests.
    """

    def __init__(
        self,
        plan: str,
        uses: frozenset[str],
        folder: Path,
        after_us: int | None,
        note: Callable[[str], None],
        start: Callable[[Sequence[str]], Running] = verb,
    ) -> None:
        self._plan = plan
        self._uses = uses
        self._folder = folder
        self._after_us = after_us
        self._note = note
        self._start = start
        self._planned: frozenset[str] = frozenset()
        self._seen: frozenset[str] = frozenset()
        self._due_us = 0
        self._aim: frozenset[str] = frozenset()
        self._running: Running | None = None
        self._next_plan: str | None = None
        self._switching_to: str | None = None
        self._failure = ""
        self._made = 0

    def turn(self, now_us: int, lost: frozenset[str]) -> None:
        """Go on. ``lost``: the devices and hosts that are lost now, of this and earlier plans."""
        lost &= self._uses
        if self._running is not None and self._next_plan is not None and lost != self._aim:
            self.close()  # the plan that is being made is for what is not so any more
        if self._running is not None:
            self._look(now_us)
            return
        if lost != self._seen:
            if self._after_us is None and lost - self._seen:
                self._note(f"to plan without: {self._command(lost)}, then penstock switch NEW")
            self._seen, self._due_us = lost, now_us + (self._after_us or 0)
        if self._after_us is not None and lost != self._planned and now_us >= self._due_us:
            self._begin(lost)

    def served(self, plan: str, uses: frozenset[str]) -> None:
        """The server has switched to ``plan``. If somebody else asked for that, later plans are made from it."""
        if plan == self._switching_to:
            return
        self.close()
        self._plan, self._uses, self._planned = plan, uses, frozenset()

    def close(self) -> None:
        """End what runs."""
        if self._running is not None:
            self._running.kill()
        self._running = self._next_plan = self._switching_to = None

    def _command(self, lost: frozenset[str]) -> str:
        return f"penstock replan {self._plan} {' '.join(_options(lost))} -o NEW"

    def _begin(self, lost: frozenset[str]) -> None:
        self._aim = lost
        if not lost:
            self._note(f"all that was lost is back: switching to {self._plan}")
            self._switch(self._plan)
            return
        self._made += 1
        self._next_plan = str(self._folder / f"replanned-{self._made}.json")
        self._note(f"planning without {', '.join(sorted(lost))}")
        self._running = self._start(["replan", self._plan, *_options(lost), "-o", self._next_plan])

    def _switch(self, plan: str) -> None:
        self._next_plan, self._switching_to = None, plan
        self._running = self._start(["switch", plan, "--run", str(self._folder)])

    def _look(self, now_us: int) -> None:
        assert self._running is not None
        said = self._running.ended()
        if said is None:
            return
        self._running = self._switching_to = None
        if said:
            self._next_plan, self._due_us = None, now_us + AGAIN_US
            if said != self._failure:
                self._note(f"the plan stays as it is for now: {said}")
        elif self._next_plan is not None:
            self._switch(self._next_plan)
        else:
            self._planned = self._aim
            self._note("the plan fits what is there")
        self._failure = said


def used_by(spec: ServerSpec) -> frozenset[str]:
    """The real devices and the hosts of a plan, as ``penstock replan --lost`` names them."""
    devices = {one.in_plan for one in (*spec.worker_devices, *spec.device_needs) if one is not None}
    return frozenset(devices | {lost_option(host) for host in spec.worker_hosts})


def lost_option(host: str) -> str:
    """``host`` as ``penstock replan --lost`` names it: ``L4:1`` is ``L4:host1``."""
    name, _, number = host.rpartition(":")
    return f"{name}:host{number}"


def _options(lost: frozenset[str]) -> list[str]:
    return [word for name in sorted(lost) for word in ("--lost", name)]
