"""How long `penstock report` takes for a run of 60 s at 3,000 requests/s, and how large its page is.

The goals are 2 s and 2 MB. The plan leaves devices idle, so the report also has to explain why.

    python benchmarks/report.py [--runs 5]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL_S, GOAL_MB = 2.0, 2.0
RATE_RPS, SECONDS = 3000, 60

SCENARIO = """\
version: 1
cluster:
  bandwidth_gbps: 25
  device_classes:
    L4: {count: 7, per_host: 2, hourly_cost: 0.7}
    T4: {count: 20, per_host: 2, hourly_cost: 0.35}
models:
  - {name: resnet50, profile: profile, slo_ms: 14}
"""


def penstock(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run a verb in ``folder``. Its wall and CPU seconds, those of its child processes included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "penstock", *arguments]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scenario.yaml").write_text(SCENARIO)
        penstock(folder, "zoo", "resnet50", "--image-size", "448", "-o", "model.onnx")
        penstock(folder, "profile", "model.onnx", "--predict", "L4", "--predict", "T4", "-o", "profile")
        penstock(folder, "plan", "scenario.yaml", "-o", "plan.json")
        rate = ("--rate", f"resnet50={RATE_RPS}", "--seconds", str(SECONDS))
        penstock(folder, "simulate", "plan.json", *rate, "-o", "run")
        found = sorted(
            penstock(folder, "report", "plan.json", "run", "-o", "page.html", "--force") for _ in range(runs)
        )
        size_mb = (folder / "page.html").stat().st_size / 1e6
    wall_s, cpu_s = found[len(found) // 2]
    print(f"{RATE_RPS} requests/s for {SECONDS} s, median of {runs} runs")
    print(f"wall  {wall_s:6.2f} s   least {found[0][0]:.2f}, most {found[-1][0]:.2f}   goal {GOAL_S} s")
    print(f"CPU   {cpu_s:6.2f} s")
    print(f"page  {size_mb:6.2f} MB  goal {GOAL_MB} MB")


if __name__ == "__main__":
    main()
