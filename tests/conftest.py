"""Properties are tested without a clock: an example that takes long on a busy machine is no failure.

``--plain-kernels SECONDS`` is for ``make coverage``, where kernels run as plain Python (``NUMBA_DISABLE_JIT=1``) and
are a hundred times slower. Only the tests of rooms that have kernels then run, and each is stopped after so many
seconds of processor time. The lines that it ran until then count; the summary names it as skipped, with this reason.
"""

import re
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

SOURCE = Path(__file__).resolve().parents[1] / "src" / "penstock"
KERNEL = re.compile(r"^@(?:kernel|inner|compiled|entry_point)\b", re.MULTILINE)


def rooms_with_kernels() -> set[str]:
    """The folders of the package that hold a kernel; their tests are in the folder of ``tests`` with the same name."""
    return {
        path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py") if KERNEL.search(path.read_text())
    }


def pytest_addoption(parser):
    parser.addoption("--plain-kernels", type=float, metavar="SECONDS", help=__doc__.partition("\n\n")[2])


def pytest_collection_modifyitems(config, items):
    if config.getoption("plain_kernels") is None:
        return
    rooms, tests = rooms_with_kernels(), Path(__file__).parent
    kept, others = [], []
    for item in items:
        (kept if item.path.relative_to(tests).parts[0] in rooms else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = kept


@contextmanager
def at_most(seconds):
    """Skip the test that runs here once this process has computed for ``seconds``."""

    def stop(number, frame):
        # Not an ordinary exception: neither the test nor hypothesis may take it for a failure.
        pytest.skip(f"stopped after {seconds:g} s of plain Python in kernels")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _capped(item):
    seconds = item.config.getoption("plain_kernels")
    if seconds is None:
        return (yield)
    with at_most(seconds):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from _capped(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _capped(item))
