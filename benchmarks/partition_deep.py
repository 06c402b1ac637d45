"""A transformer of thousands of operators, exported from PyTorch with random weights, split with a proof.

    python benchmarks/partition_deep.py [--operators N] [-k K] [--seconds S] [--bandwidth-gbps G] [--device-class C]

The model is a decoder with rotary positions, normalisation by the root mean square and a gated network, all written out
in small operators. Reading, predicting and splitting are timed apart. Exit status 1 where the bound is under 0.97 of
the split.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from penstock.graph.reading.onnx_reader import read_onnx
from penstock.partition.formats.onnx_model import model_problem
from penstock.partition.partition import partition
from penstock.profile.prediction.device_catalogue import device_spec
from penstock.profile.prediction.predict import predict_operators

WIDTH, HEADS, TOKENS = 64, 4, 32
AIM = 0.97
PER_LAYER = 54
"""Operators that the exporter makes of one layer, about."""


class Norm(nn.Module):
    """By the root mean square."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain


class Layer(nn.Module):
    """Attention with rotary positions, then a gated network, each with a way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(Norm() for _ in range(2))
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up, self.down = (
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.Linear(4 * WIDTH, WIDTH),
        )

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        y = self.norms[0](x)
        query, key, value = (self._heads(part(y)) for part in (self.query, self.key, self.value))
        query, key = self._turned(query, cos, sin), self._turned(key, cos, sin)
        y = torch.softmax(query @ key.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5, -1) @ value
        x = x + self.out(y.transpose(1, 2).reshape(-1, TOKENS, WIDTH))
        y = self.norms[1](x)
        return x + self.down(torch.sigmoid(self.gate(y)) * self.gate(y) * self.up(y))

    @staticmethod
    def _heads(y: torch.Tensor) -> torch.Tensor:
        return y.reshape(-1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)

    @staticmethod
    def _turned(y: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        one, two = y.chunk(2, -1)
        return y * cos + torch.cat((-two, one), -1) * sin


class Decoder(nn.Module):
    """``layers`` of them."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        half = WIDTH // HEADS // 2
        angle = torch.arange(TOKENS)[:, None] / 10_000 ** (torch.arange(half) / half)
        self.register_buffer("cos", torch.cat((angle.cos(), angle.cos()), -1))
        self.register_buffer("sin", torch.cat((angle.sin(), angle.sin()), -1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return x


def export(path: Path, operators: int) -> None:
    """Write a decoder of about ``operators`` operators."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            Decoder(-(-operators // PER_LAYER)).eval(),
            (torch.randn(2, TOKENS, WIDTH),),
            str(path),
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
            dynamo=False,
            opset_version=17,
        )


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decoder.onnx"
        start = time.perf_counter()
        export(path, arguments.operators)
        exported = time.perf_counter()
        graph = read_onnx(path).graph
        read = time.perf_counter()
        operator_us = predict_operators(graph, device_spec(arguments.device_class))
        source = model_problem(graph, operator_us, arguments.bandwidth_gbps)
        predicted = time.perf_counter()
    print(
        f"{source.problem.n_operators} operators: exported in {exported - start:.1f} s, "
        f"read in {read - exported:.1f} s, predicted for {arguments.device_class} in {predicted - read:.1f} s",
        flush=True,
    )
    result = partition(
        source.problem,
        arguments.k,
        time_limit_s=arguments.seconds,
        progress=lambda line: print(line, flush=True),
    )
    share = result.bound / result.objective
    print(
        f"k {arguments.k}, {arguments.bandwidth_gbps} Gbit/s: bottleneck {result.objective:.6g} us, "
        f"bound {result.bound:.6g} us (by {result.stats['bound_by']}), bound / best {share:.4f} (aim {AIM}), "
        f"{result.stats['seconds']:.1f} s; {result.stats['reduced_operators']} operators after merging"
    )
    return int(share < AIM)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--operators", type=int, default=5_500, help="about so many")
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--bandwidth-gbps", type=float, default=10.0)
    parser.add_argument("--device-class", default="T4")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
