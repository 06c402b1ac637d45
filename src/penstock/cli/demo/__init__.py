"""``penstock demo``: all steps on this machine, on a small scale, with a report."""

from __future__ import annotations

import time
from pathlib import Path

import click

from penstock.cli.common.output import force_option, json_option, note, print_json

DEMO_FILES = ("*.onnx", "profile", "scenario.yaml", "plan-*.json", "measured-*", "simulated-*", "report.html")


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the model, profile, scenario, plans, records and report.",
)
@force_option
@json_option
def command(output: Path, force: bool, as_json: bool) -> None:
    """Profile a real model, plan it on two different device classes, simulate, serve under load, and report.

    It takes about two minutes on two cores. Class ``fast`` is this machine's CPU. Class ``slow`` is the same CPU,
    slowed down to longer times. Whole-model plans (NP) are compared with pool pipelines.

    \b
    Example:
      penstock demo -o demo-out
    """
    from penstock.serve import require_extra

    require_extra("penstock demo")
    from penstock.cli.demo.busy import slowdowns
    from penstock.cli.demo.prepare import prepare
    from penstock.cli.demo.show import print_rows, rows, write_report
    from penstock.cli.demo.trial import run_trial
    from penstock.files import write_whole

    began = time.monotonic()

    def fill(folder: Path) -> None:
        folder.mkdir()
        note("1. model and profile")
        scenario = prepare(folder)
        note("2. plan, serve under load, simulate the same arrivals")
        trials = [
            run_trial("whole models (NP)", "np", scenario),
            run_trial("pool pipelines", "penstock", scenario),
        ]
        write_report(trials, folder / "report.html")
        found, busy = rows(trials), list(slowdowns(trials))
        for text in busy:
            note(f"warning: {text}")
        if as_json:
            print_json({"rows": found, "busy": busy, "seconds": time.monotonic() - began})
        elif busy:
            note(
                "The table of measured against simulated figures is left out, because it would compare a busy machine "
                "with a quiet one. It is in the report. Run the demo again alone."
            )
        else:
            print_rows(found)

    write_whole(output, fill, force=force, folder_of=DEMO_FILES)
    note(f"Report: {output / 'report.html'}   ({time.monotonic() - began:.0f} s)")
