"""``penstock warm-up``: compile the kernels before the first run."""

from __future__ import annotations

import click

from penstock.cli.common.output import json_option, note, print_json


@click.command("warm-up")
@json_option
def command(as_json: bool) -> None:
    """Compile the kernels of planning, partitioning, scheduling and simulating, and keep the code in files.

    Without it, the first run that needs a kernel compiles it. That takes about three minutes. Run this at the end
    of an installation, or when an image is built: a read-only image then uses the compiled code. Existing code
    is used again. If a kernel changes, that is noticed.

    \b
    Example:
      penstock warm-up
    """
    from penstock.cli.warm_up.small_runs import run_every_kernel
    from penstock.clock import SOLVING
    from penstock.kernels import KERNELS
    from penstock.kernels.folders import folders

    before_s = SOLVING.excluded_seconds()
    run_every_kernel()
    compiling_s = SOLVING.excluded_seconds() - before_s
    kept_in = folders()[1]
    document = {
        "kernels": len(KERNELS),
        "compiling_seconds": compiling_s,
        "kept_in": None if kept_in is None else str(kept_in),
    }
    if as_json:
        print_json(document)
    else:
        where = "nowhere: no folder can be written" if kept_in is None else str(kept_in)
        note(
            f"{document['kernels']} kernels are ready, after {compiling_s:.1f} s of compiling. Kept in {where}."
        )
