"""A child process: the three modes of torch on one model, and what each costs to make ready."""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from gpu_parts.common import Json, torch_settings
from gpu_parts.executor import measure_each
from penstock.runtime.torch_runner import TorchRunner


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--modes", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--image-size", type=int, required=True)
    a = parser.parse_args()
    images = np.random.default_rng(0).standard_normal((8, 3, a.image_size, a.image_size)).astype(np.float32)
    rows: list[Json] = []
    for mode in a.modes.split(","):
        runner = TorchRunner(onnx.load(str(a.model)), torch_settings(a.device, a.precision, mode))
        feeds = {runner.inputs[0]: images}
        start = time.perf_counter()
        try:
            made = runner.run(feeds)[runner.outputs[0]]
        except Exception as error:
            rows.append({"mode": mode, "failed": f"{type(error).__name__}: {error}"[:500]})
            continue
        row: Json = {
            "mode": mode,
            "ready_s": round(time.perf_counter() - start, 2),
            "checksum": float(made.sum()),
        }
        row |= measure_each(partial(runner.run, feeds), a.seconds)
        rows.append(row)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
