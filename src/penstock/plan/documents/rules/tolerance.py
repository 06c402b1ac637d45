"""How far a number of a plan may be from the one that the checker computes."""

RELATIVE_TOLERANCE = 1e-6
"""Rates and gaps are floats that may have been rounded in text."""


def differs(stated: float, true: float) -> bool:
    """Whether a stated rate or objective is not the true one."""
    return abs(stated - true) > RELATIVE_TOLERANCE * max(abs(true), 1e-9)
