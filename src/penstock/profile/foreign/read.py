"""Reads the table of any known tool; its content shows which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.errors import BadInputError
from penstock.files import read_text
from penstock.profile.foreign.batch_times import BatchTime
from penstock.profile.foreign.model_analyzer import is_model_analyzer, read_model_analyzer
from penstock.profile.foreign.perf_analyzer import is_perf_analyzer, read_perf_analyzer
from penstock.profile.foreign.trtexec import is_trtexec, read_trtexec

Reader = Callable[[str, Path, int | None], list[BatchTime]]
FORMATS: dict[str, tuple[Callable[[str], bool], Reader]] = {
    "trtexec": (is_trtexec, read_trtexec),
    "perf-analyzer": (is_perf_analyzer, read_perf_analyzer),
    "model-analyzer": (is_model_analyzer, read_model_analyzer),
}


def read_times(files: Sequence[tuple[int | None, Path]]) -> tuple[str, list[BatchTime]]:
    """The tool's name and the times of all ``files``, each with its batch if the user gave one.

    Raises :class:`BadInputError` for a file of no known tool, and if the files are of different tools.
    """
    times: list[BatchTime] = []
    tools = set()
    for batch, path in files:
        text = read_text(path)
        tool = next((name for name, (fits, _) in FORMATS.items() if fits(text)), None)
        if tool is None:
            raise BadInputError(
                f"{path}: not the output of {', '.join(FORMATS)}. Numbers of your own go into latency.csv, see "
                f"docs/files.md."
            )
        tools.add(tool)
        times += FORMATS[tool][1](text, path, batch)
    if len(tools) > 1:
        raise BadInputError(
            f"the files are of {' and '.join(sorted(tools))}. Import the files of one tool at a time."
        )
    return tools.pop(), sorted(times, key=lambda one: one.batch)
