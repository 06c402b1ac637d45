"""ONNX to torch: Penstock's own program, onnx2torch and onnx2pytorch, on the zoo, on given files, on own transformers.

    uv pip install --no-deps onnx2torch onnx2pytorch       # a converter that is not there is left out, and named
    python benchmarks/conversion.py --cases ../shared/cases/onnx

Each file is converted and run at batches 1 and 3 on the CPU, and compared with onnxruntime: ``equal`` (distance below
1e-4 of the largest value, 2e-3 with weights in 16 bits), ``wrong``, or the error. ``reads back`` marks a pass that
reads the value of a tensor (``item``, ``numpy``, a truth value): on a GPU it waits for the device, and cannot be
captured in a CUDA graph.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto

from penstock.runtime.program import TorchProgram
from penstock.zoo import build
from penstock.zoo.catalogue import CATALOGUE

TOLERANCE = 1e-4
TOLERANCE_FP16 = 2e-3
"""Of a model with weights in 16 bits, whose rounding is 1e-3: two runtimes round at different places."""
BATCHES = (1, 3)
FREE_LENGTH = 8
"""Of a free dimension that is not the first."""

Forward = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]
Convert = Callable[[onnx.ModelProto], Forward]


@dataclass(frozen=True)
class Case:
    """A model of a group, by name."""

    group: str
    name: str
    model: onnx.ModelProto


class _ReadsBack(torch.overrides.TorchFunctionMode):
    """Counts calls that need a tensor's value on the host."""

    NAMES = frozenset(
        {"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero", "cpu"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(function, "__name__", "") in self.NAMES
        return function(*args, **(kwargs or {}))


def converters() -> tuple[dict[str, Convert], dict[str, str]]:
    """Those that can be imported, and why the others cannot."""
    found: dict[str, Convert] = {"penstock": _own}
    missing = {}
    try:
        import torchvision  # noqa: F401 - both import it, for operators that few models have
    except (ImportError, RuntimeError):
        _declare_torchvision_operators()
    for name, make in (("onnx2torch", _onnx2torch), ("onnx2pytorch", _onnx2pytorch)):
        try:
            found[name] = make()
        except Exception as error:
            missing[name] = f"{type(error).__name__}: {error}"
    return found, missing


_declared: list[Any] = []


def _declare_torchvision_operators() -> None:
    """Let torchvision's Python part be imported where its compiled part is built for another torch."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def _own(model: onnx.ModelProto) -> Forward:
    program = TorchProgram(model)
    built: dict[tuple[Any, ...], Any] = {}

    def forward(tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        key = tuple(tuple(tensor.shape) for tensor in tensors)
        if key not in built:
            built[key] = program.build(*tensors)
        return built[key](*tensors)

    return forward


def _onnx2torch() -> Convert:
    import onnx2torch

    return lambda model: _forward(onnx2torch.convert(model))


def _onnx2pytorch() -> Convert:
    import onnx2pytorch

    # Without "experimental" it takes a batch of one only.
    return lambda model: _forward(onnx2pytorch.ConvertModel(model, experimental=True))


def _forward(module: torch.nn.Module) -> Forward:
    module = module.eval()

    def forward(tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        made = module(*tensors)
        if isinstance(made, dict):
            return list(made.values())
        return [made] if isinstance(made, torch.Tensor) else list(made)

    return forward


def judge(convert: Convert, case: Case) -> tuple[str, bool]:
    """What came of a case, and whether its forward pass reads values back."""
    is_half = any(one.data_type == TensorProto.FLOAT16 for one in case.model.graph.initializer)
    tolerance = TOLERANCE_FP16 if is_half else TOLERANCE
    sides = [_expected(case.model, batch) for batch in BATCHES if batch == 1 or _has_free_batch(case.model)]
    try:
        forward = convert(_copy(case.model))
        counter = _ReadsBack()
        for feeds, expected in sides:
            tensors = [torch.from_numpy(one.copy()) for one in feeds]
            with torch.no_grad():
                forward(tensors)  # the first pass may prepare
                with counter:
                    made = forward(tensors)
            far = max(_distance(np.asarray(m), e) for m, e in zip(made, expected, strict=True))
            if far > tolerance:
                return f"wrong ({far:.1g})", counter.count > 0
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return f"fails: {words[:70]}".replace("|", "/"), False
    return "equal", counter.count > 0


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _distance(made: np.ndarray, expected: np.ndarray) -> float:
    if made.shape != expected.shape:
        return float("inf")
    wide = made.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(wide[0] - wide[1]).max(initial=0.0) / max(np.abs(wide[1]).max(initial=0.0), 1e-30))


def _own_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {one.name for one in model.graph.initializer}
    return [one for one in model.graph.input if one.name not in weights]


def _has_free_batch(model: onnx.ModelProto) -> bool:
    dims = [one.type.tensor_type.shape.dim for one in _own_inputs(model)]
    return all(not shape or not shape[0].HasField("dim_value") for shape in dims)


def _expected(model: onnx.ModelProto, batch: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Random inputs and what onnxruntime makes of them."""
    generator = np.random.default_rng(batch)
    feeds = {}
    for one in _own_inputs(model):
        dims = one.type.tensor_type.shape.dim
        shape = [
            dim.dim_value if dim.HasField("dim_value") else (FREE_LENGTH if axis else batch)
            for axis, dim in enumerate(dims)
        ]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type)
        is_float = np.dtype(dtype).kind == "f"
        drawn = generator.standard_normal(shape) if is_float else generator.integers(0, 2, shape)
        feeds[one.name] = np.asarray(drawn, dtype)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(feeds.values()), session.run(None, feeds)


def cases(folder: Path | None) -> Iterator[Case]:
    """The zoo at the smallest images, the files of ``folder``, transformers exported by torch."""
    for name, architecture in CATALOGUE.items():
        yield Case("zoo", name, build(name, seed=0, image_size=architecture.smallest_image_size))
    for path in sorted(folder.glob("*.onnx")) if folder is not None else ():
        yield Case("files", path.stem, onnx.load(str(path)))
    for name, (module, example) in transformers().items():
        yield Case("transformers", name, export(module, example))


class _Patches(torch.nn.Module):
    """A small vision transformer: patches by a convolution, a class token, two encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = torch.nn.Conv2d(3, 32, 8, 8)
        self.token = torch.nn.Parameter(torch.randn(1, 1, 32))
        self.layers = torch.nn.TransformerEncoder(_encoder_layer(), 2)
        self.head = torch.nn.Linear(32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.head(self.layers(x)[:, 0])


class _Causal(torch.nn.Module):
    """A small language model: embedding, two layers that look back only, logits of the last position."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 32)
        self.layers = torch.nn.TransformerEncoder(_encoder_layer(), 2)
        self.head = torch.nn.Linear(32, 50)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.head(self.layers(self.embedding(ids), mask=mask)[:, -1])


class _Attention(torch.nn.Module):
    """Fused projections, heads by view and permute, scaled dot products, GELU: as most libraries write it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(32)
        self.qkv, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, length, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, 32))
        return x + self.mlp(x)


def _encoder_layer() -> torch.nn.TransformerEncoderLayer:
    return torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)


def transformers() -> dict[str, tuple[torch.nn.Module, torch.Tensor]]:
    """Small models with seeded weights, and an example input of each."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = torch.nn.TransformerEncoder(_encoder_layer(), 2)
        return {
            "encoder": (encoder, torch.randn(2, 8, 32)),
            "vision transformer": (_Patches(), torch.randn(2, 3, 32, 32)),
            "causal language model": (_Causal(), torch.randint(0, 50, (2, 8))),
            "scaled dot product attention": (_Attention(), torch.randn(2, 8, 32)),
        }


def export(module: torch.nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """By torch's exporter through TorchScript, which needs no other package; the batch is free."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        axes = {"x": {0: "n"}, "y": {0: "n"}}
        names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
        torch.onnx.export(module.eval(), (example,), str(path), dynamo=False, opset_version=17, **names)
        return onnx.load(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=Path, help="a folder of ONNX files")
    parser.add_argument("--json", type=Path, help="where to write the results")
    a = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    known, missing = converters()
    for name, why in missing.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    versions = [
        f"torch {torch.__version__}",
        *(f"{name} {_version(name)}" for name in known if name != "penstock"),
    ]
    print(", ".join(versions), end="\n\n")
    print("| group | model | " + " | ".join(known) + " |\n|" + "---|" * (len(known) + 2))
    results = []
    for case in cases(a.cases):
        try:
            row = {name: judge(convert, case) for name, convert in known.items()}
        except Exception as error:  # onnxruntime itself refuses the file
            print(f"| {case.group} | {case.name} | not comparable: {str(error)[:80]!r} |", flush=True)
            continue
        cells = [what + (", reads back" if reads else "") for what, reads in row.values()]
        print(f"| {case.group} | {case.name} | " + " | ".join(cells) + " |", flush=True)
        results.append({"group": case.group, "name": case.name, "results": row})
    print()
    for name in known:
        equal = [r["results"][name] for r in results if r["results"][name][0] == "equal"]
        reading = sum(reads for _, reads in equal)
        print(f"{name}: {len(equal)} of {len(results)} equal, {reading} of these read values back")
    if a.json is not None:
        a.json.write_text(
            json.dumps({"versions": versions, "missing": missing, "results": results}, indent=1)
        )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


if __name__ == "__main__":
    main()
