"""What counting costs: our counter files beside prometheus-client's own files for several processes.

A request's worth of counts: one outcome, three histograms, three sums. Processor time of this process, in turns.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = tempfile.TemporaryDirectory()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = FOLDER.name  # read when prometheus_client is imported

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

from penstock.serve.observe.catalogue import FAILED_TIME, LATENCY, QUEUE, REQUESTS, SAMPLES, SLACK  # noqa: E402
from penstock.serve.observe.counter_file import FOLDER as COUNTERS  # noqa: E402
from penstock.serve.observe.counter_file import Counters, read_counters  # noqa: E402
from penstock.serve.observe.exposition import metrics_page  # noqa: E402

REQUESTS_A_TURN = 20_000
TURNS = 5


def ours(folder: Path) -> Callable[[], None]:
    name = ("m",)
    series = [(REQUESTS, ("m", "met")), *((f, name) for f in (LATENCY, QUEUE, SLACK, SAMPLES, FAILED_TIME))]
    counters = Counters(series, folder / COUNTERS / "gateway-0.counters")
    outcome = counters.cell(REQUESTS, ("m", "met"))
    histograms = [counters.histogram(family, name) for family in (LATENCY, QUEUE, SLACK)]
    sums = [counters.cell(SAMPLES, name), counters.cell(FAILED_TIME, name)]

    def count() -> None:
        outcome.add()
        for histogram in histograms:
            histogram.observe(12_345)
        for cell in sums:
            cell.add(7)

    return count


def theirs() -> Callable[[], None]:
    bounds = [bound / 1e6 for bound in LATENCY.bounds]
    outcome = Counter("requests", "x", ["model", "outcome"]).labels("m", "met")
    histograms = [Histogram(name, "x", ["model"], buckets=bounds).labels("m") for name in ("a", "b", "c")]
    sums = [Counter(name, "x", ["model"]).labels("m") for name in ("d", "e")]

    def count() -> None:
        outcome.inc()
        for histogram in histograms:
            histogram.observe(0.012345)
        for counter in sums:
            counter.inc(7)

    return count


def cpu_us(act: Callable[[], object], times: int) -> float:
    begin = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - begin) * 1e6 / times


def main() -> None:
    folder = Path(FOLDER.name)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    count = {"counter files": ours(folder), "prometheus-client": theirs()}
    page = {
        "counter files": lambda: metrics_page(read_counters(folder)),
        "prometheus-client": lambda: generate_latest(registry),
    }
    print(f"{'':20} {'a request':>12} {'a page':>12}   (us of processor time, least of {TURNS} turns)")
    least: dict[str, list[float]] = {name: [float("inf")] * 2 for name in count}
    for _ in range(TURNS):
        for name, act in count.items():
            now = cpu_us(act, REQUESTS_A_TURN), cpu_us(page[name], 50)
            least[name] = [min(pair) for pair in zip(least[name], now, strict=True)]
    for name, (request_us, page_us) in least.items():
        print(f"{name:20} {request_us:12.2f} {page_us:12.0f}")
    assert least["counter files"][0] < least["prometheus-client"][0]


if __name__ == "__main__":
    main()
