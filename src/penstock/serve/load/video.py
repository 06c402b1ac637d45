"""Frames of a video file as inputs of a model: decoded, resized, and normalised, before the run.

A model takes images if it has one input of three or four lengths of which one is 3 (channels first or last) and the
others are height and width. Frames are resized without regard to their aspect, as most exported models expect it. They
are taken at the camera's rate, at most :data:`MOST_FRAMES` of them, which cameras go through again and again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import BadInputError, MissingExtraError
from penstock.serve.load.sample_request import Input, Samples
from penstock.serve.protocol.datatypes import numpy_dtype
from penstock.serve.protocol.raw import Array

MOST_FRAMES = 64
"""38 MB of frames of 224 x 224 in 32 bits."""
MOST_LENGTH = 8192
ROUNDED_S = 0.002
"""Some containers keep times in whole milliseconds."""

NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "none": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
"""(mean, deviation) of each channel, of values from 0 to 1. ``imagenet`` is what torchvision's classifiers are trained
with; ``unit`` leaves 0 to 1; ``none`` leaves 0 to 255."""


@dataclass(frozen=True)
class ImageInput:
    """The image that a model takes: ``shape`` of one sample, channels ``first`` or last."""

    shape: tuple[int, ...]
    datatype: str
    channels_first: bool

    @property
    def height_width(self) -> tuple[int, int]:
        """In pixels."""
        height, width = self.shape[-2:] if self.channels_first else self.shape[-3:-1]
        return height, width


def video_samples(path: Path, fps: float, normalisation: str) -> Samples:
    """The frames of the video at ``path``, taken ``fps`` times a second of its own time, for any model of images.

    Raises :class:`MissingExtraError` without PyAV, and :class:`BadInputError` for a file that is no video.
    """
    if find_spec("av") is None:
        raise MissingExtraError("load --video", "video")
    if not path.is_file():
        raise BadInputError(f"--video {path}: no such file.")

    def samples(model: str, inputs: Sequence[Input]) -> Iterable[Sequence[Array]]:
        image = image_input(model, inputs)
        return [[as_input(frame, image, normalisation)] for frame in frames(path, fps, *image.height_width)]

    return samples


def image_input(model: str, inputs: Sequence[Input]) -> ImageInput:
    """The model's input as an image; :class:`BadInputError` if it is none."""
    if len(inputs) == 1:
        (one,) = inputs
        shape = one.shape
        is_image = len(shape) in (3, 4) and (len(shape) == 3 or shape[0] == 1)
        for channels_first, channels in ((True, -3), (False, -1)):
            rest = shape[-2:] if channels_first else shape[-3:-1]
            if (
                is_image
                and shape[channels] == 3
                and min(rest) > 1
                and one.datatype in ("UINT8", "FP16", "FP32")
            ):
                return ImageInput(shape, one.datatype, channels_first)
    shown = ", ".join(f"{one.name}: {one.datatype} {list(one.shape)}" for one in inputs)
    raise BadInputError(
        f"model {model!r} takes {shown}: --video needs one input [1, 3, height, width] or [1, height, width, 3] "
        f"of UINT8, FP16 or FP32, with fixed lengths. Leave out --video to send random numbers."
    )


def frames(path: Path, fps: float, height: int, width: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """RGB frames (``height``, ``width``, 3): the first one at or after each of 0, 1 / fps, ..., each once."""
    if max(height, width) > MOST_LENGTH:
        raise BadInputError(f"frames of {height} x {width}: at most {MOST_LENGTH} pixels a side are made.")
    found = list(_sampled(path, fps, height, width))
    if not found:
        raise BadInputError(f"--video {path}: has no frames. Is it a video file?")
    return found


def _sampled(
    path: Path, fps: float, height: int, width: int
) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadInputError(f"--video {path}: has no video stream.")
            count, begin_s = 0, None
            tolerance_s = min(ROUNDED_S, 0.25 / fps)
            for frame in container.decode(container.streams.video[0]):
                at_s = count / fps if frame.time is None else frame.time
                begin_s = at_s if begin_s is None else begin_s
                if at_s - begin_s + tolerance_s < count / fps:
                    continue
                shown = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
                yield shown.to_ndarray()
                count = max(count + 1, math.floor((at_s - begin_s + tolerance_s) * fps) + 1)
                if count >= MOST_FRAMES:
                    return
    except (av.FFmpegError, OSError) as error:
        raise BadInputError(f"--video {path}: cannot be read as a video ({error}).") from None


def as_input(frame: np.ndarray[Any, np.dtype[np.uint8]], image: ImageInput, normalisation: str) -> Array:
    """An RGB frame (height, width, 3) as the input ``image``; whole numbers are not normalised."""
    values: Array = frame
    if image.datatype != "UINT8":
        mean, deviation = (np.array(v, np.float32) for v in NORMALISATIONS[normalisation])
        values = (frame.astype(np.float32) / 255 - mean) / deviation
    if image.channels_first:
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values.reshape(image.shape), dtype=numpy_dtype(image.datatype))
