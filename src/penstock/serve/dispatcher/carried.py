"""Which models of a plan live on in the plan that replaces it."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.serve.spec import ModelSpec


def carried_models(before: Sequence[ModelSpec], after: Sequence[ModelSpec]) -> tuple[int | None, ...]:
    """For each model of ``before`` its index in ``after``: the same version of the same name, with the same tensors.

    None if there is none: then requests that were checked against the old model must be run by the old one.
    """

    def known_by(model: ModelSpec) -> tuple[object, ...]:
        return model.public_name, model.version, model.inputs, model.outputs

    index = {known_by(model): place for place, model in enumerate(after)}
    return tuple(index.get(known_by(model)) for model in before)
