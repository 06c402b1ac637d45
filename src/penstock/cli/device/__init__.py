"""``penstock device``: many models on one device, simulated, swept and served."""

from __future__ import annotations

import click

from penstock.cli.device.device_serve import command as serve
from penstock.cli.device.device_simulate import command as simulate
from penstock.cli.device.device_sweep import command as sweep


@click.group()
def command() -> None:
    """Many models on one device: which runs next, and how that affects latency, deadlines and fairness.

    \b
    Example:
      penstock device simulate --mix eight --load 0.5 --load 0.8 --setup moore-hodgson --setup direct-ms
      penstock device sweep --mix eight --attainment 99%
      penstock device serve profiles/resnet18 profiles/inception_v3
    """


command.add_command(simulate, "simulate")
command.add_command(sweep, "sweep")
command.add_command(serve, "serve")
