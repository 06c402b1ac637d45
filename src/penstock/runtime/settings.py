"""What a user may choose about the runtime of a sub-model. Plain values: they are recorded and sent to workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

from penstock.device.cuda_order import check_numbers_agree
from penstock.errors import BadInputError

RuntimeKind = Literal["onnxruntime", "torch"]
Precision = Literal["fp32", "tf32", "fp16"]
"""``fp32``: IEEE single precision throughout, TF32 switched off. ``tf32``: products of 10-bit mantissas,
float32 elsewhere. ``fp16``: weights and activations in 16 bits; inputs and outputs keep the model's types."""
Mode = Literal["eager", "compiled", "graph"]
"""How torch runs: operator by operator, through ``torch.compile``, or as one CUDA graph a batch size."""

NOT_YET_KNOWN = "first provider that starts"
"""In place of a provider of onnxruntime, while none was asked for and none has started."""

KINDS: tuple[RuntimeKind, ...] = get_args(RuntimeKind)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class RuntimeSettings:
    """Which runtime computes on which device, and how.

    ``device``: ``cpu``, ``cuda`` or ``cuda:N``. ``mode`` is torch's; None takes ``graph`` on a GPU and ``eager``
    on the CPU. ``provider``: an execution provider of onnxruntime, by name; None takes the first that fits the
    device. ``threads`` counts the CPU threads of a worker. ``cache`` is a folder for compiled engines.
    ``autotune`` lets cuDNN time its algorithms for every shape when a batch size is made ready: a slower start.
    """

    kind: RuntimeKind = "onnxruntime"
    device: str = "cpu"
    precision: Precision = "fp32"
    mode: Mode | None = None
    provider: str | None = None
    threads: int = 1
    cache: str | None = None
    autotune: bool = False

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.kind, KINDS, "executor"),
            (self.precision, PRECISIONS, "precision"),
            (self.mode, (None, *MODES), "mode"),
        ):
            if value not in known:
                names = ", ".join(str(name) for name in known if name is not None)
                raise BadInputError(f"{what} {value!r} is not one of {names}. Choose one of those.")
        if self.device != "cpu" and self.device_kind != "cuda":
            raise BadInputError(f"device {self.device!r} must be 'cpu', 'cuda' or 'cuda:N', such as cuda:0.")
        if self.mode == "graph" and self.device == "cpu":
            raise BadInputError("mode 'graph' needs a GPU: a CPU has no CUDA graphs. Use --mode eager.")
        if self.device == "cpu" and self.precision != "fp32":
            raise BadInputError(
                f"precision {self.precision!r} is for a GPU; on the CPU the model runs as it is. "
                f"Leave out --precision, or convert the model."
            )

    @property
    def device_kind(self) -> str:
        """``cpu`` or ``cuda``."""
        name, colon, number = self.device.partition(":")
        return name if not colon or number.isdecimal() else "?"

    @property
    def torch_mode(self) -> Mode:
        """The mode that torch will run in."""
        return self.mode or ("eager" if self.device == "cpu" else "graph")

    @property
    def in_words(self) -> str:
        """The runtime and how it runs, for a profile's provenance. The usual way on a CPU is not said."""
        if self.kind == "torch":
            is_usual, how = self.torch_mode == "eager", str(self.torch_mode)
        else:
            is_usual, how = self.provider is None, self.provider or NOT_YET_KNOWN
        return self.kind if self.device == "cpu" and is_usual else f"{self.kind} ({how})"

    @property
    def driver_name(self) -> int | str:
        """The GPU as the driver calls it: CUDA counts only the devices that CUDA_VISIBLE_DEVICES leaves.

        Raises :class:`BadInputError` if CUDA's numbers are not the driver's.
        """
        _, _, number = self.device.partition(":")
        index = int(number or 0)
        listed = [
            name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()
        ]
        name = listed[index] if index < len(listed) else str(index)
        if not name.isdecimal():
            return name
        check_numbers_agree(name)
        return int(name)


MEASURED_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def captured_batches(largest: int) -> tuple[int, ...]:
    """The batch sizes that get a CUDA graph of their own: all small ones, then two in each doubling.

    A batch in between runs as the next larger one, so its latency is that one's: the profile says the same.
    Capturing every size up to 64 would take minutes and tell little: 33 costs at most what 48 does.
    """
    if largest < 1:
        raise BadInputError(f"largest batch (={largest}) must be >= 1. Raise it.")
    sizes = [size for size in MEASURED_BATCHES if size < largest]
    while sizes and sizes[-1] >= 64 and sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return (*sizes, largest)
