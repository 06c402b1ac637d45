"""What a user decides about a model before it is read, because the file leaves it open.

These decisions belong to the model: a profile records them, and whoever reads the model again for that profile uses
the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from penstock.errors import BadInputError


@dataclass(frozen=True)
class ReadOptions:
    """``lengths`` of free axes, ``values`` of inputs as JSON text, and whether a fixed batch is to be made free.

    A length is :data:`BATCH` if the axis is the batch. A key of ``lengths`` is the name of an axis (``tokens``), its
    number (``2``: that axis of every input), or both with the input's name (``image:2``).
    """

    lengths: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    free_batch: bool = False


BATCH = -1
"""In place of a length: the user says that this axis is the batch (``--dim state:1=batch``)."""

AS_IT_IS = ReadOptions()


def parse_read_options(
    dims: Iterable[str] = (), inputs: Iterable[str] = (), free_batch: bool = False
) -> ReadOptions:
    """From ``NAME=LENGTH`` and ``NAME=VALUE`` texts; :class:`BadInputError` for one that is not of this form."""
    lengths: dict[str, int] = {}
    for text in dims:
        name, _, length = text.rpartition("=")
        if not name or (length != "batch" and (not length.isdecimal() or int(length) < 1)):
            raise BadInputError(
                f"--dim {text!r} must be an axis and its length, such as tokens=128 (by name), 2=640 (by number), "
                f"image:2=640 (of one input), or state:1=batch if the axis is the batch."
            )
        found = BATCH if length == "batch" else int(length)
        if lengths.setdefault(name, found) != found:
            raise BadInputError(f"--dim {name} has two lengths: {lengths[name]} and {found}. Give one.")
    values: dict[str, str] = {}
    for text in inputs:
        name, _, value = text.partition("=")
        if not name or not value:
            raise BadInputError(
                f"--input {text!r} must be an input and its value, such as sr=16000 or mean=[0.5,0.5,0.5]."
            )
        if values.setdefault(name, value) != value:
            raise BadInputError(f"--input {name} has two values: {values[name]} and {value}. Give one.")
    return ReadOptions(lengths, values, free_batch)
