"""Small models with random weights, exported from torch as users do it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

WIDTH, TOKENS = 16, 6


class Encoder(nn.Module):
    """Two transformer layers on [N, T, C]; with ``time_first`` the output is [T, N, C], as in encoders of speech."""

    def __init__(self, time_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True)
        self.embed = nn.Linear(8, WIDTH)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.time_first = time_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(self.embed(x))
        return y.transpose(0, 1) if self.time_first else y


class Windows(nn.Module):
    """Attention in windows of 2 x 2 on a map of 4 x 4, shifted in the second layer (Liu et al., Swin, section 3.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 2, 2)
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.patch(x).permute(0, 2, 3, 1)
        n, height, width, channels = y.shape
        for shift in (0, 1):
            z = torch.roll(self.norm[shift](y), (-shift, -shift), (1, 2))
            z = z.reshape(n, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
            z = z.reshape(-1, 4, channels)
            query, key, value = self.qkv[shift](z).reshape(-1, 4, 3, 2, channels // 2).permute(2, 0, 3, 1, 4)
            z = torch.softmax(query @ key.transpose(-2, -1), -1) @ value
            z = self.out[shift](z.transpose(1, 2).reshape(-1, 4, channels))
            z = z.reshape(-1, height // 2, width // 2, 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
            y = y + torch.roll(z.reshape(-1, height, width, channels), (shift, shift), (1, 2))
        return y.mean((1, 2))


class Scaled(nn.Module):
    """A network whose input is normalised by a mean and a deviation that come with the request, and a scalar gain."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 8)

    def forward(
        self, x: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor, gain: torch.Tensor
    ) -> torch.Tensor:
        y = torch.tanh(self.first((x - mean) / deviation))
        return self.last(y) * gain + y.mean(1, keepdim=True)


def export(
    module: nn.Module, inputs: dict[str, Any], path: Path, batched: dict[str, int], axis_out: int = 0
) -> Path:
    """``module`` in ``path``, by the exporter that is based on tracing. ``batched``: the batch axis of inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["y"],
            dynamic_axes={
                **{name: {axis: "batch"} for name, axis in batched.items()},
                "y": {axis_out: "batch"},
            },
            dynamo=False,
            opset_version=17,
        )
    return path


def build(name: str, folder: Path) -> Path:
    """One of ``encoder``, ``time first``, ``windows``, ``scaled``, written to ``folder``."""
    torch.manual_seed(0)
    path = folder / f"{name.replace(' ', '_')}.onnx"
    if name in ("encoder", "time first"):
        late = name == "time first"
        return export(Encoder(late), {"x": torch.randn(2, TOKENS, 8)}, path, {"x": 0}, 1 if late else 0)
    if name == "windows":
        return export(Windows(), {"x": torch.randn(2, 3, 8, 8)}, path, {"x": 0})
    inputs = {
        "x": torch.randn(2, 8),
        "mean": torch.randn(8),
        "deviation": torch.rand(8) + 0.5,
        "gain": torch.tensor(2.0),
    }
    return export(Scaled(), inputs, path, {"x": 0})
