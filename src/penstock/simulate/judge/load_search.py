"""The largest load factor that holds an attainment, searched as published: from the top down in equal steps."""

from __future__ import annotations

from collections.abc import Callable

from penstock.errors import BadInputError


def step_down(
    attainment_of: Callable[[float], float],
    *,
    start: float = 1.0,
    step: float = 0.05,
    target: float = 0.99,
) -> float:
    """The first of ``start``, ``start - step``, ... whose attainment is at least ``target``; 0 if none above 0 is.

    Attainment need not fall as load rises. The result is the first load from above that holds, and smaller loads may
    not hold. Raises :class:`BadInputError` for a start or step not above 0, or a target outside (0, 1].
    """
    if not (start > 0 and step > 0 and 0 < target <= 1):
        raise BadInputError(
            f"start (={start:g}) and step (={step:g}) must be > 0 and target (={target:g}) in (0, 1]."
        )
    steps = 0
    # Multiples, not a running difference: 1 - 20 x 0.05 must be 0.
    while (load := round(start - steps * step, 9)) > 0:
        if attainment_of(load) >= target:
            return load
        steps += 1
    return 0.0
