"""The bundle of a learned generator: ``bundle.json``, validated whole, and ``weights.safetensors``, with its SHA-256.

No pickle: reading a bundle runs no code of its writer. It holds weights, bins, the automaton, shares of
classes, and the held-out scores; no rows of the trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from penstock import __version__
from penstock.errors import BadInputError
from penstock.files import StrictModel, read_json, validate, write_json
from penstock.traffic.generator.protocol import HEADER_FILE

WEIGHTS_FILE = "weights.safetensors"

Share = Annotated[float, Field(ge=0, le=1)]
Arrays = Mapping[str, NDArray[np.generic]]


class DamagedBundleError(BadInputError):
    """A bundle cannot be used: ``file`` says which file, ``reason`` why."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason} Fetch or fit the bundle again.")
        self.file = file
        self.reason = reason


class CurvePoint(StrictModel):
    """Held-out nats an event after so much training."""

    seconds: Annotated[float, Field(ge=0)]
    steps: Annotated[int, Field(ge=0)]
    nats: float


class TrainingFacts(StrictModel):
    """How a part was trained. ``seconds`` are CPU seconds of the process, or wall seconds on a GPU.

    ``steps`` and ``seconds`` are of the whole training, and ``kept`` is the point of ``curve`` whose weights are in the
    bundle: the best on the held-out streams. None: the last weights, of a method without a likelihood.
    """

    device: str
    seed: int
    steps: int
    seconds: float
    streams: int
    held_out_streams: int
    fine_tuned: bool
    curve: list[CurvePoint]
    kept: CurvePoint | None = None


class PartFacts(StrictModel):
    """One model: an hour (or none) and the classes that it serves. ``events_per_stream`` is of the trace, by class."""

    hour: Annotated[int, Field(ge=0, le=23)] | None
    serves: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    shares: list[Share]
    events_per_stream: list[Annotated[float, Field(ge=0)]]
    most_events: Annotated[int, Field(ge=1, le=10_000_000)]
    grammar: Literal["learned", "machine", "none"]
    machine: str | None
    training: TrainingFacts


class BundleFile(StrictModel):
    """``bundle.json`` of a learned generator."""

    version: Literal[1]
    method: str
    written_by: str
    holds_trace: Literal[False]
    window_us: Annotated[int, Field(ge=1, le=366 * 86_400 * 1_000_000)]
    events: Annotated[list[str], Field(min_length=1)]
    classes: Annotated[list[str], Field(min_length=1)]
    parts: Annotated[list[PartFacts], Field(min_length=1, max_length=1000)]
    scores: dict[str, float]
    weights_sha256: str


def write_bundle(
    folder: Path,
    *,
    method: str,
    window_us: int,
    events: tuple[str, ...],
    classes: tuple[str, ...],
    parts: list[PartFacts],
    scores: Mapping[str, float],
    arrays: Arrays,
) -> None:
    """Write both files into ``folder``, which exists and is empty."""
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    (folder / WEIGHTS_FILE).write_bytes(data)
    header = BundleFile(
        version=1,
        method=method,
        written_by=f"penstock {__version__}",
        holds_trace=False,
        window_us=window_us,
        events=list(events),
        classes=list(classes),
        parts=parts,
        scores=dict(scores),
        weights_sha256=hashlib.sha256(data).hexdigest(),
    )
    write_json(folder / HEADER_FILE, header.model_dump(mode="json"))


def read_bundle(folder: Path) -> tuple[BundleFile, dict[str, NDArray[np.generic]]]:
    """The header and the arrays in ``folder``. Raises :class:`DamagedBundleError` with the file and the reason."""
    header_path, weights_path = folder / HEADER_FILE, folder / WEIGHTS_FILE
    try:
        header = validate(BundleFile, read_json(header_path), header_path)
        _check_names(header)
    except DamagedBundleError:
        raise
    except BadInputError as error:
        raise DamagedBundleError(header_path, str(error).removeprefix(f"{header_path}: ")) from None
    try:
        data = weights_path.read_bytes()
    except OSError as error:
        raise DamagedBundleError(weights_path, f"cannot be read ({error.strerror}).") from None
    if hashlib.sha256(data).hexdigest() != header.weights_sha256:
        raise DamagedBundleError(
            weights_path,
            f"its SHA-256 is not the one that {HEADER_FILE} states, so a part is lost or changed.",
        )
    return header, _arrays(weights_path, data)


def _arrays(path: Path, data: bytes) -> dict[str, NDArray[np.generic]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, NDArray[np.generic]] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedBundleError(path, f"is not a safetensors file ({error}).") from None
    return arrays


def _check_names(header: BundleFile) -> None:
    for name, names in (("events", header.events), ("classes", header.classes)):
        if len(set(names)) < len(names) or not all(names):
            raise BadInputError(f"{name}: the names must differ and not be empty.")
    for number, part in enumerate(header.parts):
        lengths = {len(part.shares), len(part.events_per_stream)}
        if lengths != {len(header.classes)} or max(part.serves) >= len(header.classes):
            raise BadInputError(
                f"parts.{number}: its classes are not those of the bundle, {len(header.classes)}."
            )
