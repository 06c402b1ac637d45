"""Autoscaling: what a fleet that follows the load costs, beside the cheapest static plan that holds as much.

    python benchmarks/autoscale.py [--traces FOLDER] [--rate 100] [--hours 24] [--node-seconds 180]

No public trace of requests to models lasts a day. So the days are: a synthetic one (a cosine), and the hours of the
Azure LLM traces (code and conversation, November 2023) stretched to a day, each six minutes of the recording's shape to
2.4 hours: counts of 15 s of the recording become 6 minutes of the day. Within these, arrivals are Poisson. The fleet,
prices and profiles are predictions (a roofline); only their proportions matter. Static plans are chosen afterwards,
by the same day, which favours them. Requests are simulated with the policy of the server, noise included; devices
come late, plans load, and old plans drain.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

import penstock
from penstock.traffic.load import load_trace

CLASSES = {
    "L4": {"count": 40, "per_host": 1, "hourly_cost": 0.71},
    "T4": {"count": 40, "per_host": 1, "hourly_cost": 0.35},
}
"""Prices an hour of single-GPU machines of these classes at large clouds, on demand, rounded; yours differ."""
TRACES = ("AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv")
SHAPE_S = 15.0
HEAVIER = 20


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--traces", type=Path, default=Path("../shared/data/traces/azure_llm_2023"))
    asked.add_argument("--rate", type=float, default=100.0, help="mean requests/s of the day")
    asked.add_argument("--hours", type=float, default=24.0, help="length that a day is pressed into")
    asked.add_argument("--node-seconds", type=float, default=180.0)
    asked.add_argument("--days", nargs="*", default=["cosine", *TRACES])
    asked.add_argument("--forecasts", nargs="*", default=["live", "known"])
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = penstock.Study.read(scenario(Path(folder)))
        seconds = options.hours * 3600
        print(
            f"{options.rate:g} requests/s in the mean, {options.hours:g} h, nodes come after {options.node_seconds:g} s"
        )
        print(
            f"{'day':32} {'forecast':9} {'cost':>8} {'static':>8} {'saved':>7} {'attained':>9} {'static':>9} switches"
        )
        for day in options.days:
            spec = f"diurnal:amplitude=0.6,period={seconds:g},start=0"
            if day != "cosine":
                if not (options.traces / day).exists():
                    print(f"{day:32} skipped: not in {options.traces}")
                    continue
                spec = stretched(options.traces / day, Path(folder), seconds)
            for forecast in options.forecasts:
                found = study.autoscale(
                    arrivals=spec,
                    rates_rps={"resnet50": options.rate},
                    seconds=seconds,
                    forecast=forecast,
                    node_s=options.node_seconds,
                )
                followed, same = found.followed, found.same
                print(
                    f"{day:32} {forecast:9} {followed.cost:8.2f} {same.cost:8.2f} {found.saved:7.1%} "
                    f"{followed.attainment:9.3%} {same.attainment:9.3%} {followed.switches:4}"
                )
                for warning in found.warnings:
                    print(f"  {warning}")


def scenario(folder: Path) -> Path:
    """A model like ResNet-50 at 448 pixels, :data:`HEAVIER` times as heavy: some ten devices at the peak of the day."""

    def penstock_verb(*words: str) -> None:
        with contextlib.chdir(folder):
            subprocess.run([sys.executable, "-m", "penstock", *words], check=True, capture_output=True)

    penstock_verb("zoo", "resnet50", "--image-size", "448", "-o", "resnet50.onnx")
    predict = [word for name in CLASSES for word in ("--predict", name)]
    penstock_verb("profile", "resnet50.onnx", *predict, "-o", "profiles/resnet50")
    table = folder / "profiles" / "resnet50" / "latency.csv"
    head, *rows = table.read_text().splitlines()
    place = head.split(",").index("latency_us")
    cells = [row.split(",") for row in rows]
    for row in cells:
        row[place] = str(int(row[place]) * HEAVIER)
    table.write_text("\n".join([head, *(",".join(row) for row in cells)]) + "\n")
    document = {
        "version": 1,
        "cluster": {"bandwidth_gbps": 25, "device_classes": CLASSES},
        "models": [{"name": "resnet50", "profile": "profiles/resnet50", "slo_ms": 1200}],
    }
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def stretched(path: Path, folder: Path, seconds: float) -> str:
    """The recording's counts of each :data:`SHAPE_S`, as a day of ``seconds``."""
    times_s = load_trace(path).time_us / 1e6
    edges = np.arange(0.0, times_s[-1] + SHAPE_S, SHAPE_S)
    counts = np.histogram(times_s, edges)[0]
    step = max(1, round(seconds / len(counts)))
    out = folder / f"{path.stem}.csv"
    out.write_text("count\n" + "\n".join(map(str, counts.tolist())) + "\n")
    return f"counts:{out},interval={step},start=0"


if __name__ == "__main__":
    main()
