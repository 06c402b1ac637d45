"""How far long work is, and how to stop it: one watcher for all the work inside a ``with`` block.

Code that takes long calls :func:`task` around its loop and :func:`checkpoint` inside. It knows neither bars nor
notebooks. The caller says who watches, with :func:`watched`. Only the outermost task reports; the tasks inside it are
checkpoints, at which the work can be stopped. The watcher is kept in a context variable, so other threads and other
asyncio tasks have their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, final

from penstock.errors import PenstockError


class CancelledError(PenstockError):
    """The caller stopped the work. Nothing was written."""

    exit_status = 130


@final
class CancelToken:
    """A switch that stops work from another thread: hand it to the work, then call :meth:`cancel`."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop. It raises :class:`CancelledError` at its next checkpoint."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._event.is_set()


@dataclass(frozen=True)
class Step:
    """How far the work is: ``done`` of ``total`` parts (None if that is not known). ``what`` is for people."""

    what: str
    done: float
    total: float | None


Watcher = Callable[[Step], None]
"""Called from the thread that works. If it raises, the work stops with that error."""


class Report(Protocol):
    """What :func:`task` yields: say how many parts are done, what comes next, and the total if it is known only now."""

    def __call__(self, done: float, now: str = "", total: float | None = None) -> None:
        """Raise :class:`CancelledError` if the caller asked to stop."""


@dataclass
class _Watch:
    watcher: Watcher | None
    cancel: CancelToken | None
    reporting: bool = False


_WATCH: ContextVar[_Watch | None] = ContextVar("penstock_watch", default=None)


@contextmanager
def watched(watcher: Watcher | None = None, cancel: CancelToken | None = None) -> Iterator[None]:
    """All work inside reports to ``watcher`` and can be stopped by ``cancel``. With neither, the outer watch stays."""
    if watcher is None and cancel is None:
        yield
        return
    token = _WATCH.set(_Watch(watcher, cancel))
    try:
        checkpoint()
        yield
    finally:
        _WATCH.reset(token)


def checkpoint() -> None:
    """Raise :class:`CancelledError` if the caller asked to stop."""
    if is_cancelled():
        raise CancelledError("stopped: the caller cancelled it. Nothing was written.")


def is_cancelled() -> bool:
    """Whether the caller asked to stop. For code that cannot raise, such as a callback of a solver."""
    watch = _WATCH.get()
    return watch is not None and watch.cancel is not None and watch.cancel.is_cancelled


_TELLER: ContextVar[Callable[[str], None] | None] = ContextVar("penstock_teller", default=None)


def tell(text: str) -> None:
    """Say something about the work to the caller, if it listens: see :func:`told`."""
    teller = _TELLER.get()
    if teller is not None:
        teller(text)


@contextmanager
def told(teller: Callable[[str], None]) -> Iterator[None]:
    """What :func:`tell` says inside goes to ``teller``."""
    token = _TELLER.set(teller)
    try:
        yield
    finally:
        _TELLER.reset(token)


@contextmanager
def collected() -> Iterator[list[str]]:
    """What :func:`tell` says inside, as a list, unless the caller listens already: then the list stays empty."""
    texts: list[str] = []
    if _TELLER.get() is not None:
        yield texts
        return
    with told(texts.append):
        yield texts


@contextmanager
def task(what: str, total: float | None = None) -> Iterator[Report]:
    """A piece of work of ``total`` parts. Call what it yields with the parts done and what comes next.

    Inside another task the calls are checkpoints only.
    """
    watch = _WATCH.get()
    if watch is None or watch.watcher is None or watch.reporting:

        def only_check(done: float, now: str = "", total: float | None = None) -> None:
            checkpoint()

        checkpoint()
        yield only_check
        return
    watcher = watch.watcher

    known = total

    def report(done: float, now: str = "", total: float | None = None) -> None:
        checkpoint()
        watcher(Step(now or what, done, known if total is None else total))

    watch.reporting = True
    try:
        report(0)
        yield report
    finally:
        watch.reporting = False
