"""ResNet-18 and InceptionV3 of the zoo on two cores: measured stage times, simulated arrivals."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from device_parts.rows import Table
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.graph.split import split
from penstock.profile.cutting import choose_cut, wanted_segments
from penstock.profile.measuring.session import open_session
from penstock.profile.prediction.device_catalogue import CPU_CORE
from penstock.profile.prediction.predict import predict_operators
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import JobArrivals, SharedModel, draw_jobs, equal_work
from penstock.simulate.device.setups import SETUPS, Setup
from penstock.zoo import build

CORES = 2
LOAD = 0.8
RUNS = 15


def run_on_cpu(jobs: int, seeds: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        models = measure_models(Path(folder))
    names = ", ".join(f"{m.name} {m.own_us / 1e3:.1f} ms in {len(m.segment_us)}" for m in models)
    table = Table(f"Two cores: {names}; load {LOAD}, median of {seeds} seeds x {jobs} jobs")
    for mix, chosen, wanted in (
        ("equal work", equal_work(models), {"direct-ms": 4.0, "job-by-job": 4.0}),
        (
            ".952/.048",
            [replace(m, share=s) for m, s in zip(models, (0.952, 0.048), strict=True)],
            {"direct-ms": 2.5, "job-by-job": 1.8},
        ),
    ):
        for sigma in (1.5, 2.0):
            _mix(table, mix, chosen, sigma, wanted, jobs, seeds)
    return table.failed


def _mix(
    table: Table,
    mix: str,
    models: list[SharedModel],
    sigma: float,
    wanted: dict[str, float],
    jobs: int,
    seeds: int,
) -> None:
    device = Interference(0.0, lanes=CORES)
    ours = Setup("srpt", window=CORES)
    rivals = {"direct-ms": SETUPS["direct-ms"], "job-by-job": replace(SETUPS["job-by-job"], window=CORES)}
    # Saturation is the rate with all jobs there at once; cutting is what may cost some of it.
    saturation = {
        name: _saturation(setup, models, device) for name, setup in {"ours": ours, **rivals}.items()
    }
    rate_rps = LOAD * saturation["job-by-job"]
    gains: dict[str, list[float]] = {name: [] for name in rivals}
    prices: dict[str, list[float]] = {name: [] for name in rivals}
    for seed in range(seeds):
        arrivals = draw_jobs(models, rate_rps, jobs, np.random.default_rng(seed), sigma=sigma)
        mine = ours.run(models, arrivals, device)
        for name, setup in rivals.items():
            other = setup.run(_whole(setup, models), arrivals, device)
            gains[name].append(other.mean_us(0) / mine.mean_us(0))
            prices[name].append(mine.mean_us(1) / other.mean_us(1))
    for name in rivals:
        least = wanted[name]
        gain, price = statistics.median(gains[name]), statistics.median(prices[name])
        table.claim(
            f"{mix}, sigma {sigma}: short model's mean, {name} / ours", gain, f">= {least}", gain >= least
        )
        table.show(f"price: the long model's mean is {price:.2f} x {name}'s")
    share = saturation["ours"] / saturation["job-by-job"]
    table.claim(f"{mix}, sigma {sigma}: saturation / job-by-job's", share, ">= 0.97", share >= 0.97)


def _whole(setup: Setup, models: list[SharedModel]) -> list[SharedModel]:
    return models if setup.cut else [replace(m, segment_us=(WHOLE_US[m.name],)) for m in models]


def _saturation(setup: Setup, models: list[SharedModel], device: Interference) -> float:
    draws = draw_jobs(models, 1.0, 2000, np.random.default_rng(99))
    backlog = JobArrivals(np.zeros(len(draws.model)), draws.model)
    return setup.run(_whole(setup, models), backlog, device).rate_rps()


WHOLE_US: dict[str, float] = {}
"""The time of each model without cuts, as measured."""


def measure_models(folder: Path) -> list[SharedModel]:
    """Both models with the cut that the rule keeps; thread CPU time, medians of runs in turn."""
    names = ("resnet18", "inception_v3")
    paths = [folder / f"{name}.onnx" for name in names]
    for name, path in zip(names, paths, strict=True):
        path.write_bytes(build(name).SerializeToString())
    onnx = [read_onnx(path) for path in paths]
    whole = [_runner(path, model) for path, model in zip(paths, onnx, strict=True)]
    WHOLE_US.update(zip(names, _medians(whole), strict=True))
    short = SharedModel(names[0], (WHOLE_US[names[0]],))
    segments: dict[tuple[int, ...], tuple[float, ...]] = {}

    def measure(boundaries: tuple[int, ...]) -> tuple[float, float]:
        pieces = _piece_runners(folder, onnx[1], boundaries)
        whole_us, *piece_us = _medians([whole[1], *pieces])
        segments[boundaries] = tuple(piece_us)
        return whole_us, sum(piece_us)

    wanted = wanted_segments(WHOLE_US[names[1]], WHOLE_US[names[0]])
    kept, tried = choose_cut(predict_operators(onnx[1].graph, CPU_CORE).tolist(), wanted, measure)
    for cut in tried:
        print(
            f"     {names[1]} in {len(cut.boundaries) - 1}: costs {cut.cost:+.1%}, "
            f"{'kept' if cut.is_kept else 'not kept'}"
        )
    long_us = (WHOLE_US[names[1]],) if kept is None else segments[kept.boundaries]
    if kept is not None:
        WHOLE_US[names[1]] = kept.whole_us  # the one of the same turn
    return [short, SharedModel(names[1], long_us)]


def _runner(path: Path, model: OnnxModel, feeds: dict[str, np.ndarray] | None = None) -> Callable[[], object]:
    session = open_session(path)
    given = feeds or {
        one.name: np.zeros([size if isinstance(size, int) else 1 for size in one.shape], np.float32)
        for one in session.get_inputs()
    }
    return lambda: session.run(None, given)


def _piece_runners(folder: Path, model: OnnxModel, boundaries: tuple[int, ...]) -> list[Callable[[], object]]:
    feeds: dict[str, np.ndarray] = {}
    runners = []
    for index, piece in enumerate(split(model, boundaries)):
        path = folder / f"piece-{len(boundaries)}-{index}.onnx"
        path.write_bytes(piece.proto.SerializeToString())
        session = open_session(path)
        for one in session.get_inputs():
            if one.name not in feeds:
                feeds[one.name] = np.zeros([s if isinstance(s, int) else 1 for s in one.shape], np.float32)
        given = {one.name: feeds[one.name] for one in session.get_inputs()}
        feeds |= zip([one.name for one in session.get_outputs()], session.run(None, given), strict=True)
        runners.append(lambda session=session, given=given: session.run(None, given))
    return runners


def _medians(runs: list[Callable[[], object]]) -> list[float]:
    """CPU time of this process in us for each, in turn; sessions have one thread."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(RUNS + 2):
        for index, run in enumerate(runs):
            begin = time.process_time_ns()
            run()
            if turn >= 2:
                times[index].append((time.process_time_ns() - begin) / 1e3)
    return [statistics.median(of_run) for of_run in times]
