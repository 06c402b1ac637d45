"""The entry of every process of a server: ``python -m penstock.serve.process ROLE FOLDER ...``.

Standard input is the control line. The roles import what they need and no more, so workers start fast.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from penstock.errors import PenstockError
from penstock.serve.control import ControlLine, Problem, leave_signals_to_supervisor


def main(role: str, folder: Path, *numbers: int) -> None:
    """Run ``role``: ``gateway LISTENER_FD``, ``dispatcher`` or ``worker INDEX LIFE``."""
    leave_signals_to_supervisor()
    line = ControlLine.of_child()
    try:
        _run(role, folder, line, numbers)
    except PenstockError as error:
        line.send(Problem(str(error)))
        sys.exit(error.exit_status)
    except Exception as error:
        # The end of the process: whatever it was, the supervisor must be able to name it.
        line.send(Problem(f"{type(error).__name__}: {error}"))
        raise


def _run(role: str, folder: Path, line: ControlLine, numbers: tuple[int, ...]) -> None:
    if role == "gateway":
        from penstock.serve.gateway.process import run_gateway

        run_gateway(folder, line, socket.socket(fileno=numbers[0]))
    elif role == "dispatcher":
        from penstock.serve.dispatcher.process import run_dispatcher

        run_dispatcher(folder, line)
    else:
        from penstock.serve.worker import run_worker

        run_worker(folder, line, *numbers)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
