"""The ``penstock`` command. It loads only the requested verb, and turns errors into exit statuses."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback

import click

from penstock import __version__
from penstock.cli.common.ending import end_on_signal
from penstock.cli.common.output import print_json, standard_output_for_the_document
from penstock.cli.common.watching import add_verbosity, watched_by_the_bar
from penstock.errors import PenstockError, missing_extra

# verb -> (module, attribute, one line for the overview). The overview must not import the verbs.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Run all steps on this machine, on a small scale, with a report."),
    "doctor": ("doctor", "Show this machine's cores, GPUs and runtimes, and what each verb would use."),
    "zoo": ("model.zoo", "Write a real architecture with seeded random weights as ONNX."),
    "profile": ("model.profile", "Measure a model block by block, or predict for another device."),
    "partition": ("model.partition", "Split a graph into stages, with a proven bound."),
    "plan": ("planning.plan", "Choose pools of devices for the pieces of each model, with a proof."),
    "traffic": ("exchange.traffic", "Convert traces, and show what a load is like."),
    "explain": ("planning.explain", "Show what limits a plan, and why each idle device is idle."),
    "diff": ("planning.diff", "Show what changes from one plan to another."),
    "replan": ("planning.replan", "Choose the best plan for a changed scenario within a number of moves."),
    "capacity": ("planning.capacity", "Show what a rate costs, and the value of one more device."),
    "autoscale": ("planning.autoscale", "Simulate a fleet that follows the load, and write its plans."),
    "simulate": ("running.simulate", "Run a plan against arrivals, without devices."),
    "sweep": ("running.sweep", "Find the largest load at which a plan holds a target attainment."),
    "compare": ("planning.compare", "Compare planners and policies, each with its own best margin."),
    "serve": ("running.serve", "Serve a plan behind the Open Inference Protocol."),
    "switch": ("running.switch", "Let a running server serve another plan, without a restart."),
    "join-record": ("running.join_record", "Make a record of the rows of a server that was killed."),
    "load": ("running.load", "Send load to a server and measure from the intended send time."),
    "replay": ("running.replay", "Replay a record through the simulator, or a journal through the policy."),
    "top": ("running.top", "Show what a running server does, in the terminal."),
    "conformance": ("running.conformance", "Check what a server does of the Open Inference Protocol."),
    "device": ("device", "Share one device among many models: simulate, sweep and serve."),
    "report": ("running.report", "Write one offline HTML page from records and plans."),
    "import": ("exchange.import_", "Import another project's profiles, scenarios and plans."),
    "export": ("exchange.export", "Write a plan in another project's format."),
    "warm-up": ("warm_up", "Compile the kernels before the first run."),
    "completion": ("completion", "Let the shell complete verbs and options."),
}


class LazyVerbs(click.Group):
    """A group whose commands are imported when they are used. ``penstock --help`` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which they are used."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name`` and return its ``command``."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"penstock.cli.{VERBS[cmd_name][0]}")
        command: click.Command = module.command
        add_verbosity(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=LazyVerbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """Serve deep-learning models under a latency objective on a fleet of different GPUs.

    \b
    Example:
      penstock zoo resnet18 -o resnet18.onnx
      penstock profile resnet18.onnx --device-class cpu -o profiles/resnet18
      penstock plan scenario.yaml -o plan.json
      penstock simulate plan.json --load 0.9
      penstock serve plan.json

    Exit status: 0 done, 1 internal fault, 2 bad input, 3 no feasible answer, 4 a requirement missed.
    """


def main() -> None:
    """Entry point of the ``penstock`` command."""
    # As Ctrl-C: what is open is closed, temporary folders are removed. The server and its workers have handlers of
    # their own.
    signal.signal(signal.SIGTERM, end_on_signal)
    # These are the raw arguments, because arguments that cannot be parsed must also get an answer.
    if "--json" not in sys.argv:
        sys.exit(_run()[0])
    with standard_output_for_the_document():
        exit_status, error = _run()
        if error is not None:
            print_json({"error": error, "exit_status": exit_status})
    sys.exit(exit_status)


def _run() -> tuple[int, str | None]:
    """The exit status, and the error if there was one. The error is already on standard error."""
    try:
        with watched_by_the_bar():
            cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code, None
    except click.ClickException as usage:
        usage.show()
        return 2, usage.format_message()
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 130, "stopped"
    except BrokenPipeError:
        # The reader (head, less) has ended. That is not a fault. Point stdout elsewhere so that
        # the interpreter's flush at exit does not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0, None
    except Exception as caught:
        error = missing_extra(caught) or caught
        if not isinstance(error, PenstockError):
            traceback.print_exc()
            return 1, f"internal fault: {type(error).__name__}: {error}"
        click.echo(f"penstock: {error}", err=True)
        return error.exit_status, str(error)
    return 0, None


if __name__ == "__main__":
    main()
