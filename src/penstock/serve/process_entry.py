"""The entry of every process of a server: ``python -m penstock.serve.process_entry ROLE FOLDER LOG_FORMAT ...``.

Standard input is the control line. Each role imports only what it needs, so that workers start fast.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import cast

from penstock.errors import PenstockError
from penstock.serve.control import ControlLine, Problem, leave_signals_to_supervisor
from penstock.serve.listen.options import LogFormat
from penstock.serve.observe.log_lines import log_to_standard_error
from penstock.serve.transport.allocator import keep_large_blocks


def main(role: str, folder: Path, log_format: LogFormat, *numbers: int) -> None:
    """Run ``role``.

    ``gateway NUMBER EPOCH``, ``dispatcher NUMBER``, or ``worker`` or ``device`` with EPOCH, INDEX and GENERATION.
    """
    leave_signals_to_supervisor()
    log_to_standard_error(log_format)
    keep_large_blocks()
    line = ControlLine.of_child()
    try:
        _run(role, folder, line, numbers)
    except PenstockError as error:
        line.send(Problem(str(error)))
        sys.exit(error.exit_status)
    except Exception as error:
        # The process ends here. The supervisor must be able to say why, whatever the error is.
        line.send(Problem(f"{type(error).__name__}: {error}"))
        logging.getLogger("penstock.serve").exception("%s ended", role)
        sys.exit(1)


def _run(role: str, folder: Path, line: ControlLine, numbers: tuple[int, ...]) -> None:
    if role == "gateway":
        from penstock.serve.gateway.gateway_process import run_gateway

        run_gateway(folder, line, *numbers)
    elif role == "dispatcher":
        from penstock.serve.dispatcher.dispatcher_process import run_dispatcher

        run_dispatcher(folder, line, *numbers)
    elif role == "device":
        from penstock.serve.scheduled.scheduled_worker import run_scheduled_worker

        run_scheduled_worker(folder, line, *numbers)
    else:
        from penstock.serve.worker import run_worker

        run_worker(folder, line, *numbers)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), cast("LogFormat", sys.argv[3]), *map(int, sys.argv[4:]))
