"""A clear error if the extra ``torch`` is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from penstock.errors import MissingExtraError


def need_torch(purpose: str) -> None:
    """Raise :class:`MissingExtraError` unless PyTorch is installed."""
    if find_spec("torch") is None:
        raise MissingExtraError(purpose, "torch")
