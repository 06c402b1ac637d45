"""What a model gives must be what the gateway takes apart: the declared shape at the batch's size.

A model may give another one, which no inference shows: an axis of length 1 that a runtime drops at batch 1, or a length
that depends on data.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.errors import BadInputError
from penstock.serve.protocol.raw import Array
from penstock.serve.spec import StageSpec


def check_shapes(stage: StageSpec, made: Mapping[str, Array], size: int) -> None:
    """:class:`BadInputError` if a computed tensor of ``stage`` has not the shape that its spec has at ``size``."""
    for spec in stage.computed:
        wanted, found = spec.shape_of(size), made[spec.name].shape
        if tuple(found) != wanted:
            raise BadInputError(
                f"tensor {spec.name!r} has shape {list(found)} for a batch of {size}, but must have {list(wanted)}: "
                f"the shape depends on data or on the batch. Export the model with a fixed shape for it."
            )
