"""Kernels: caches that cannot be stale, folders that cannot be written, compilation that does not count."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numba import njit, types

import penstock
from penstock.clock import SolvingClock
from penstock.kernels import announce, entry_point, folders, stamp

OUTER = """
from penstock.kernels import compiled
from penstock.trial_inner import inner
@compiled
def outer(x):
    return inner(x) + 1
"""
INNER = """
from penstock.kernels import compiled
@compiled
def inner(x):
    return x * {factor}
"""
RUN = """
import importlib.util, sys
for name in ("trial_inner", "trial_outer"):
    spec = importlib.util.spec_from_file_location(f"penstock.{name}", f"{sys.argv[1]}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
from penstock.clock import SOLVING
print(module.outer(10), SOLVING.excluded_seconds() > 0)
"""


def run_outer(folder: Path) -> tuple[str, str]:
    """What the outer kernel gives for 10, and whether anything was compiled; in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    value, compiled = run.stdout.split()
    assert ("compiling" in run.stderr) == (compiled == "True")
    return value, compiled


@pytest.mark.compiled
def test_a_change_of_a_kernel_that_another_file_calls_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "trial_outer.py").write_text(OUTER)
    (tmp_path / "trial_inner.py").write_text(INNER.format(factor=2))
    assert run_outer(tmp_path) == ("21", "True")
    assert run_outer(tmp_path) == ("21", "False")
    (tmp_path / "trial_inner.py").write_text(INNER.format(factor=3))
    assert run_outer(tmp_path) == ("31", "True")


def make_module(folder: Path, name: str, source: str) -> ModuleType:
    module = ModuleType(f"penstock.{name}")
    path = folder / f"{name}.py"
    path.write_text(source)
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(source, str(path), "exec"), vars(module))
    return module


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """``penstock.trial_a`` names a function of ``trial_b``, which names one of ``trial_c``; ``trial_d`` is apart."""
    make_module(tmp_path, "trial_c", "def c(): pass\nLIMIT = 3\n")
    make_module(tmp_path, "trial_b", "from penstock.trial_c import c\ndef b(): pass\n")
    make_module(
        tmp_path,
        "trial_a",
        "from penstock.trial_b import b\nfrom penstock.trial_c import LIMIT\ndef a(): pass\n",
    )
    make_module(tmp_path, "trial_d", "def d(): pass\n")
    yield tmp_path
    for name in "abcd":
        del sys.modules[f"penstock.trial_{name}"]
    forget()


def forget() -> None:
    stamp._named_by.cache_clear()
    stamp._content.cache_clear()


def test_a_stamp_covers_what_a_kernel_names_and_nothing_else(chain: Path) -> None:
    def stamps() -> list[str]:
        forget()
        return [stamp.stamp_of(f"penstock.trial_{name}") for name in "ab"]

    before = stamps()
    (chain / "trial_d.py").write_text("def d(): return 1\n")
    assert stamps() == before
    (chain / "trial_c.py").write_text("def c(): return 1\nLIMIT = 3\n")
    after = stamps()
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_a_stamp_covers_constants_that_are_imported(chain: Path) -> None:
    forget()
    before = stamp.stamp_of("penstock.trial_a")
    vars(sys.modules["penstock.trial_a"])["LIMIT"] = 4
    forget()
    assert stamp.stamp_of("penstock.trial_a") != before


def choose(monkeypatch: pytest.MonkeyPatch, package: Path, home: Path, temporary: Path) -> tuple[object, ...]:
    """The folders chosen. To make one unwritable even for root, put a file in its place."""
    monkeypatch.setattr(penstock, "__file__", str(package / "__init__.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: str(temporary))
    folders.folders.cache_clear()
    try:
        return folders.folders()
    finally:
        folders.folders.cache_clear()


@pytest.fixture
def places(tmp_path: Path) -> SimpleNamespace:
    made = SimpleNamespace(
        package=tmp_path / "package", home=tmp_path / "home", temporary=tmp_path / "temporary"
    )
    for folder in vars(made).values():
        folder.mkdir()
    return made


def test_kernels_lie_beside_the_package(monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace) -> None:
    beside = places.package / "__pycache__" / "kernels"
    assert choose(monkeypatch, **vars(places)) == ((beside,), beside)


def test_a_read_only_package_writes_to_the_user_and_then_to_a_private_folder(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace
) -> None:
    (places.package / "__pycache__").write_text("no folder")
    _, writable = choose(monkeypatch, **vars(places))
    assert isinstance(writable, Path)
    assert writable.parent == places.home
    places.home.rename(places.home.with_name("gone"))
    places.home.write_text("no folder")
    _, writable = choose(monkeypatch, **vars(places))
    assert isinstance(writable, Path)
    assert writable.parent == places.temporary
    assert writable.stat().st_mode & 0o077 == 0


def test_an_image_that_was_warmed_up_is_read_though_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    beside = places.package / "__pycache__" / "kernels"
    beside.mkdir(parents=True)
    monkeypatch.setattr(folders, "_can_write", lambda _: False)
    assert choose(monkeypatch, **vars(places)) == ((beside,), None)
    assert "NUMBA_CACHE_DIR" in caplog.text


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions are POSIX's")
def test_a_folder_that_others_can_write_is_not_used(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace
) -> None:
    beside = places.package / "__pycache__" / "kernels"
    beside.mkdir(parents=True)
    beside.chmod(0o777)
    _, writable = choose(monkeypatch, **vars(places))
    assert writable != beside


def test_the_clock_of_solving_stands_still_while_stopped() -> None:
    now = [100.0]
    clock = SolvingClock(lambda: now[0], lambda: 0.0)
    began = clock.seconds()
    now[0] += 2
    clock.stop()
    now[0] += 30
    assert clock.seconds() - began == 2
    clock.go_on()
    now[0] += 3
    assert clock.seconds() - began == 5
    assert clock.excluded_seconds() == 30


def test_compilation_stops_the_clock_and_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    clock = SolvingClock(lambda: now[0], lambda: 0.0)
    monkeypatch.setattr(announce, "SOLVING", clock)
    listener = announce._Compilation()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            # A kernel and, inside, one that it calls.
            listener.on_start(None)
            listener.on_start(None)
            now[0] += 5
            listener.on_end(None)
            now[0] += 1
            listener.on_end(None)
            now[0] += 100
    assert clock.seconds() == 200
    assert clock.excluded_seconds() == 12
    assert caplog.text.count("compiling its kernels") == 1


@pytest.mark.compiled
def test_an_entry_point_is_the_kernel_and_refuses_what_is_no_integer_of_64_bits() -> None:
    kernel = njit(lambda words, add: words[0] + add)
    entry = entry_point(kernel, types.int64[::1], types.int64)
    words = np.array([2**62], np.int64)
    assert entry(words, 5) == kernel(words, 5) == 2**62 + 5
    with pytest.raises(OverflowError):
        entry(words, 2**63)


@pytest.mark.compiled
def test_warm_up_leaves_nothing_to_compile() -> None:
    # Every kernel that Python calls has code afterwards; what only kernels call is part of theirs.
    code = (
        "from penstock.cli.warm_up.small_runs import run_every_kernel\n"
        "from penstock.kernels import KERNELS\n"
        "run_every_kernel()\n"
        "print(*(f'{k.__module__}.{k.__name__}={len(k.signatures)}' for k in KERNELS if k.signatures))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    codes = dict(pair.split("=") for pair in run.stdout.split())
    # One for each kind of fleet: with whole batches, and with split stages.
    calls = ("arrive", "decide", "complete", "abandon", "cancel", "worker_down", "worker_up")
    of_both = [*(f"schedule.routed_calls.{call}" for call in calls), "simulate.routed.event_loop.run"]
    assert {name: codes.get(f"penstock.{name}") for name in of_both} == dict.fromkeys(of_both, "2")
    assert {
        "penstock.partition.search.orders._freeing_order",
        "penstock.partition.prepartition._least_bytes",
        "penstock.partition.heterogeneous._reach",
        "penstock.partition.bounds.levels.level._close",
        "penstock.partition.bounds.levels.pair_arrays.build_pair",
        "penstock.plan.templates.path_kernels.paths",
        "penstock.plan.templates.path_kernels.cheapest_path",
        "penstock.plan.large.knapsack_covers._cheapest_last",
        "penstock.plan.large.whole_worker_kernels.cheapest_covers",
        "penstock.plan.large.whole_worker_kernels.cheapest_pipelines",
        "penstock.plan.large.whole_worker_kernels.draw_covers",
        "penstock.plan.large.whole_worker_kernels.exchange_pairs",
        "penstock.plan.large.whole_worker_kernels.list_pipelines",
        "penstock.plan.goodput_bound.token_bucket_kernels.serve_from_bucket",
        "penstock.plan.goodput_bound.token_bucket_kernels.serve_from_pipelines",
        "penstock.plan.goodput_bound.token_bucket_kernels.serve_volumes",
        "penstock.schedule.device.orders.edd_kernels.surplus",
        "penstock.simulate.stagewise.pool_loop.run",
        "penstock.ppipe.simulator.reservation_loop.run",
    } <= codes.keys()


@pytest.mark.parametrize(
    "module",
    [
        "penstock.simulate.routed.event_loop",
        "penstock.schedule.routed_calls",
        "penstock.schedule.rules.edf_kernels",
    ],
)
def test_a_stamp_covers_the_kernels_of_split_stages(module: str) -> None:
    __import__(module)
    reached = stamp._reached_from(module)
    assert {f"penstock.schedule.mechanism.split_{name}_kernels" for name in ("route", "in_flight")} <= reached
    assert "penstock.schedule.mechanism.route_kernels" in reached
    if "simulate" in module:
        assert {"penstock.simulate.world", "penstock.simulate.routed.split_world"} <= reached
