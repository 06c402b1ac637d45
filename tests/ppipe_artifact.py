"""A tiny PPipe artifact, made by hand: two models, two device classes, one scenario of each kind.

Class H is fast, L slow; the link of 1 Gbit/s moves net-a's inner boundary (125,000 bytes) in 1,000 us.
"""

import json
from pathlib import Path
from typing import Any

CLUSTER = {
    "gpu_name_arr": ["H", "L"],
    "num_mps_levels": [2, 1],
    "num_gpu_per_server_arr": [2, 1],
    "bw_gbps": 1,
}
SOLO = "net-a_v1_H-L_2-3_bw-gbps-1_sla-multiplier-5"
DUO = "net-a_v1-net-b_0.4-0.6_H-L_2-3_bw-gbps-1_sla-multiplier-5"


def write_artifact(folder: Path) -> Path:
    """The whole artifact under ``folder``."""
    _write_net_a(folder)
    _write_net_b(folder)
    whole_on_h = [stage([0, 2], "H", bs=2, num_gpu=1)]
    split = [stage([0, 1], "L", num_gpu=2.0000001), stage([1, 2], "H", mps=1, num_gpu=1.0)]
    other = [stage([0, 3], "L", num_gpu=1.0)]
    write_plan(
        folder, "solo", f"{SOLO}_v4", [entry("net-a_v1", [split], xput=333.0, mipgap=0.5, runtime=2.0)]
    )
    write_plan(folder, "solo", f"{SOLO}_bl", [entry("net-a_v1", [whole_on_h], xput=294.0)])
    write_plan(
        folder,
        "duo",
        f"{DUO}_v4",
        [
            entry("net-a_v1", [split], xput=333.0, mipgap=0.0, runtime=1.5),
            entry("net-b", [other], xput=160.0),
        ],
    )
    write_plan(
        folder,
        "duo",
        f"{DUO}_dart-r",
        [
            entry("net-a_v1", [whole_on_h], xput=294.0, mipgap=0.0, runtime=0.5),
            entry("net-b", [other], xput=166.0, mipgap=0.0, runtime=0.25),
        ],
    )
    return folder


def stage(layers: list[int], gpu: str, *, mps: int = 0, bs: int = 1, num_gpu: float = 1.0) -> dict[str, Any]:
    """One entry of ``partitions``."""
    return {"layers": layers, "gpu": gpu, "mps": mps, "bs": bs, "num_gpu": num_gpu, "lat_infer": 1.0}


def entry(
    model: str, pipelines: list[list[dict[str, Any]]], *, xput: float, **solver: float
) -> dict[str, Any]:
    """One model of a plan file; net-b has the tighter SLO."""
    sla = {"net-a_v1": 40_000.7, "net-b": 20_000.0}[model]
    config = {"dnn_name": model, "max_num_parts": 2, "est_xput": 300.5, "batch_build_factor": 1.3}
    config |= {"hist_adjustment": 4_000, **CLUSTER}
    parts = [{"xput": 1.0, "partitions": partitions} for partitions in pipelines]
    return {"xput": xput, "sla": sla, "config": config, "pipelines": parts, **solver}


def write_plan(folder: Path, subset: str, name: str, entries: list[dict[str, Any]]) -> None:
    """``plans/SET/NAME.json``."""
    _write(folder / "plans" / subset / f"{name}.json", json.dumps(entries))


def _write_net_a(folder: Path) -> None:
    tables = {"H-1": "1000,1800\n3000,5000\n", "H-2": "2000\n6000\n", "L-1": "4000,7000\n6000,9000\n"}
    shapes = {"x": ("<f4", 4), "t0": ("<f4", 8), "t1": ("<f4", 62_500), "t2": ("<i8", 3), "y": ("<f4", 2)}
    cuts = [["x"], ["t0"], ["t1"], ["t1", "t2"], ["y"], []]
    _write_model(folder, "net-a_v1", tables, shapes, cuts, blocks=[0, 0, 1, 1], sizes=[125_000])
    timing = folder / "models" / "model-profile-tf32" / "net-a_v1" / "H-1" / "1" / "net-a.timing.json"
    _write(timing, json.dumps([{"latencyMs": 3.0}, {"latencyMs": 5.0}]))


def _write_net_b(folder: Path) -> None:
    tables = {"H-1": "500\n0\n500\n", "L-1": "2000\n2000\n2000\n"}
    shapes = dict.fromkeys("abcd", ("<f4", 100))
    cuts = [["a"], ["b"], ["c"], ["d"], []]
    _write_model(folder, "net-b", tables, shapes, cuts, blocks=[0, 1, 2], sizes=[200, 200])


def _write_model(
    folder: Path,
    model: str,
    tables: dict[str, str],
    shapes: dict[str, tuple[str, int]],
    cuts: list[list[str]],
    *,
    blocks: list[int],
    sizes: list[int],
) -> None:
    for unit, text in tables.items():
        _write(folder / "models" / "block-timing-tf32" / f"{model}-{unit}.csv", text)
    operators = [f"op{index}" for index in range(len(blocks))]
    nodes = "\n".join(f"{name},{10 * (index + 1)}.5" for index, name in enumerate(operators))
    _write(folder / "models" / "node-profile-no-const" / f"{model}-H.csv", f"node,latency\n{nodes}\n")
    tensors = {name: {"dtype": dtype, "shape": [-1, size]} for name, (dtype, size) in shapes.items()}
    _write(folder / "models" / "shapes" / f"{model}.json", json.dumps(tensors))
    alive = [{"node": "?", "cut": cut} for cut in cuts]
    _write(folder / "models" / "cuts-no-const" / f"{model}.json", json.dumps(alive))
    mapping = folder / "prepartition_mappings" / model
    pairs = zip(operators, blocks, strict=True)
    _write(mapping / "contraction_mapping_x.csv", "\n".join(f"{name},{block}" for name, block in pairs))
    _write(mapping / "contraction_trans-size_x.csv", "\n".join(map(str, sizes)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
