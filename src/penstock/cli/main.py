"""The ``penstock`` command: loads only the verb that is asked for, and turns errors into exit statuses."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import NoReturn

import click

from penstock import __version__
from penstock.errors import PenstockError

# verb -> (module, attribute, one line for the overview): the overview must not import the verbs.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "The whole pipe on this machine, small, with a report."),
    "zoo": ("zoo", "Write a real architecture with seeded random weights as ONNX."),
    "profile": ("profile", "Measure a model block by block, or predict for another device."),
    "partition": ("partition", "Split a graph into stages, with a proven bound."),
    "plan": ("plan", "Choose pools of devices for the pieces of each model, with a proof."),
    "traffic": ("traffic", "Convert traces, and see what a load is like."),
    "explain": ("explain", "Say what binds a plan, and why not otherwise."),
    "diff": ("diff", "Say what changes from one plan to another."),
    "replan": ("replan", "Choose the best plan for a changed scenario within a number of moves."),
    "capacity": ("capacity", "Say what a rate costs, and what one more device is worth."),
    "simulate": ("simulate", "Run a plan against arrivals, without devices."),
    "sweep": ("sweep", "Find the largest load at which a plan holds a target attainment."),
    "compare": ("compare", "Compare planners and policies, each at its own best margin."),
    "serve": ("serve", "Serve a plan behind the Open Inference Protocol."),
    "load": ("load", "Send open-loop load to a server and measure from the intended send time."),
    "report": ("report", "Write one offline HTML page from records and plans."),
    "import": ("import_", "Bring in another project's profiles, scenarios and plans."),
    "export": ("export", "Write a plan in another project's format."),
}


class LazyVerbs(click.Group):
    """A group whose commands are imported on use; ``penstock --help`` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the pipe."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name`` and return its ``command``."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"penstock.cli.{VERBS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=LazyVerbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """Serve deep-learning models under a latency objective on a fleet of unlike GPUs.

    \b
    Example:
      penstock zoo resnet18 -o resnet18.onnx
      penstock profile resnet18.onnx --device-class cpu -o profiles/resnet18
      penstock plan scenario.yaml -o plan.json
      penstock simulate plan.json --load 0.9
      penstock serve plan.json

    Exit status: 0 done, 1 internal fault, 2 bad input, 3 no feasible answer.
    """


def main() -> None:
    """Entry point of the ``penstock`` command."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        _fail(error.format_message(), 2)
    except click.Abort:
        click.echo("Stopped.", err=True)
        _fail("stopped", 130)
    except PenstockError as error:
        click.echo(f"penstock: {error}", err=True)
        _fail(str(error), error.exit_status)
    except BrokenPipeError:
        # The reader (head, less) went away: not a fault. Point stdout elsewhere so that
        # the interpreter's flush at exit does not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as fault:
        traceback.print_exc()
        _fail(f"internal fault: {type(fault).__name__}: {fault}", 1)


def _fail(error: str, exit_status: int) -> NoReturn:
    """End with ``exit_status``; whoever asked for a JSON document gets one that says why."""
    # The arguments themselves, as those that cannot be parsed must be answered too.
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": error, "exit_status": exit_status}))
    sys.exit(exit_status)


if __name__ == "__main__":
    main()
