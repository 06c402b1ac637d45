"""What other than this host's workers a server may use: the hosts of its plan, and the ladder that it follows."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.common.listening import Listening
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from penstock.plan.documents.plan import Plan
    from penstock.serve.engine.live_scaling import LadderToFollow
    from penstock.serve.hosts.gateways.at_head import GatewaysOn
    from penstock.serve.hosts.many_hosts import HostsChoice, MakeLauncher


def hosts_choice(
    plan: Plan, makes: MakeLauncher | None, gateways_on: str | None, listening: Listening
) -> HostsChoice | None:
    """Where the hosts of ``plan`` come from, and which have gateways; None if all is served on this one."""
    from penstock.serve.hosts.many_hosts import HostsChoice

    if makes is not None:
        elsewhere = None if gateways_on is None else _gateways_on(gateways_on, plan, listening)
        return HostsChoice(makes, plan.scenario.cluster, elsewhere)
    if gateways_on is not None:
        raise BadInputError(
            f"--gateways-on {gateways_on} names hosts of the plan, and all is served on this one. "
            "Give --engine ray or --rehearse-hosts too, or leave it out."
        )
    return None


def _gateways_on(text: str, plan: Plan, listening: Listening) -> GatewaysOn:
    """The hosts of ``--gateways-on``, and their ports. The log warns if whoever reaches them may ask."""
    from penstock.serve.hosts.gateways.at_head import GatewaysOn
    from penstock.serve.listeners import Address

    known = list(dict.fromkeys(f"{one.device_class}:{one.host}" for one in plan.placement))
    names = known if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise BadInputError(
                f"--gateways-on {name!r} must be a host of the plan: {', '.join(known)}; or all."
            )
    if listening.token_file is None:
        logging.getLogger("penstock.serve").warning(
            "whoever reaches the hosts %s may use this server. --token-file asks for a token.",
            ", ".join(names),
        )
    grpc = None if listening.grpc is None else Address.parse(listening.grpc).port
    return GatewaysOn(tuple(dict.fromkeys(names)), Address.parse(listening.http).port, grpc)


def launcher_of(plan: Plan, engine: str, address: str | None, delay_us: int | None) -> MakeLauncher | None:
    """What starts agents on the hosts of ``plan``; None if it is served on one. ``delay_us``: of a rehearsal."""
    from penstock.serve.hosts.many_hosts import on_ray, rehearsed

    if engine != "ray" and address is not None:
        raise BadInputError(
            f"--address {address} is that of a Ray cluster: give --engine ray too, or leave it out."
        )
    if engine == "local" and delay_us is None:
        return None
    if plan.scheduled is not None:
        raise BadInputError(
            "the plan is scheduled (models take turns on a device), and such plans are served on one host only. "
            "Leave out --rehearse-hosts and --engine ray."
        )
    if engine == "local":
        return rehearsed(plan.scenario.cluster, delay_us=delay_us or 0)
    if delay_us is not None:
        raise BadInputError(
            "--rehearse-hosts makes hosts of this machine, and Ray has its own: give one of them."
        )
    used = {(worker.device_class, worker.host) for worker in plan.placement}
    return on_ray(address or "auto", Counter(name for name, _ in used))


def followed_ladder(
    plan: Path, folder: Path | None, hook: str | None, hook_s: float
) -> LadderToFollow | None:
    """The ladder to follow; ``hook``: a command line, of which nothing is run by a shell."""
    from penstock.plan.autoscale.ladder_file import load_ladder
    from penstock.serve.engine.live_scaling import LadderToFollow
    from penstock.units import us_from_seconds

    if folder is None:
        if hook is not None:
            raise BadInputError(
                f"--autoscale-hook {hook!r} needs a ladder to follow: give --autoscale FOLDER."
            )
        return None
    try:
        words = tuple(shlex.split(hook or ""))
    except ValueError as error:
        raise BadInputError(f"--autoscale-hook {hook!r}: {error}. Quote it as for a shell.") from None
    if words and shutil.which(words[0]) is None:
        raise BadInputError(f"--autoscale-hook {hook!r}: there is no program {words[0]!r}. Give its path.")
    follow = LadderToFollow(folder, load_ladder(folder), words, us_from_seconds(hook_s))
    follow.rung_of(plan)
    return follow
