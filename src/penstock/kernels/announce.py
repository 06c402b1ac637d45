"""The first compilation says what it is doing, and compilation does not count as solving."""

from __future__ import annotations

import logging
from functools import cache

from numba.core import event

from penstock.clock import SOLVING

LOGGER = logging.getLogger("penstock.kernels")

MESSAGE = (
    "penstock: compiling its kernels for this machine, once; it takes about three minutes. "
    "'penstock warm-up' does it ahead."
)


class _Compilation(event.Listener):
    """Stops the clock of solving while numba compiles. Numba holds one lock meanwhile, so one thread comes here."""

    def __init__(self) -> None:
        self._depth = 0
        self._was_announced = False

    def on_start(self, event: event.Event) -> None:
        """A function begins to compile, perhaps as part of another."""
        self._depth += 1
        if self._depth > 1:
            return
        SOLVING.stop()
        if not self._was_announced:
            self._was_announced = True
            LOGGER.warning(MESSAGE)

    def on_end(self, event: event.Event) -> None:
        """It is compiled, or has failed to be."""
        self._depth -= 1
        if self._depth == 0:
            SOLVING.go_on()


@cache
def announce_compilation() -> None:
    """Listen to numba's compiler, once in a process."""
    event.register("numba:compile", _Compilation())
