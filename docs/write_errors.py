"""Write ``docs/errors.md`` from the classes of errors and the server's statuses; a test holds it current."""

from __future__ import annotations

import inspect
from pathlib import Path

from penstock import errors
from penstock.serve.listen.grpc_server import CODES
from penstock.serve.protocol.errors import MEANING

PAGE = Path(__file__).parent / "errors.md"
HEAD = """# Errors

Written by `docs/write_errors.py` from `penstock/errors.py` and `serve/protocol/errors.py`.

A message says the value that was given, the rule that it breaks, and what to do next. If the input is refused,
nothing is written and nothing is changed.

## At the command line

The message goes to standard error after `penstock: `. With `--json`, standard output has one document with `error` and
`exit_status`.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | an internal fault, with a traceback; or a check that failed (`replay` of a journal, `conformance`) |
| 2 | bad input: a file, an option or the installation |
| 3 | the input is sound, but no answer exists; the message says why, and what would help |
| 4 | the work was done, and its result is not what was required (`load --require`) |
| 130 | stopped by SIGINT (Ctrl-C) |
| 143 | stopped by SIGTERM; a server that was stopped so and drained ends with 0 |

"""
PYTHON = """## In Python

All are `PenstockError`. `penstock` itself has that one, `BadInputError`, `InfeasibleError` and `CancelledError` (work
that was stopped, in `penstock.progress`); the others are in `penstock.errors`. Indented: a kind of the one above.

| error | exit status | meaning |
|---|---|---|
"""
HTTP = """
## From the server

Over HTTP the body is `{"error": "..."}`. Over gRPC the message is the details of the status.

| HTTP | gRPC | meaning |
|---|---|---|
"""
TAIL = """
A `-` under gRPC: that cannot happen there, or the library of gRPC answers by itself. Any other fault is `INTERNAL`.
With `UNAVAILABLE`, the trailing metadata has `retry-after`. What counts how in the metrics: [](metrics.md), under
*Outcomes*.
"""
OF_HTTP_ONLY = (405, 408, 415, 431)


def page() -> str:
    """The whole page as MyST text."""
    rows = "".join(_rows(errors.PenstockError, 0))
    statuses = "".join(f"| {status} | {_code(status)} | {text} |\n" for status, text in MEANING.items())
    return f"{HEAD}{PYTHON}{rows}{HTTP}{statuses}{TAIL}"


def _rows(kind: type[errors.PenstockError], depth: int) -> list[str]:
    """A row for ``kind`` and for each kind of it that ``penstock.errors`` has."""
    first_line = (inspect.getdoc(kind) or "").split("\n\n", maxsplit=1)[0].replace("\n", " ")
    row = f"| {'&emsp;' * depth}`{kind.__name__}` | {kind.exit_status} | {first_line.replace('``', '`')} |\n"
    kinds = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    return [row, *(line for one in kinds for line in _rows(one, depth + 1))]


def _code(status: int) -> str:
    if status in OF_HTTP_ONLY:
        return "-"
    return f"`{CODES[status].name}`" if status in CODES else "`INTERNAL`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
