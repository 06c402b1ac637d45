"""What to write instead of an unknown name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(name: str, known: Iterable[str]) -> str:
    """``Did you mean X?``, or the list of all that is allowed."""
    names = list(known)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else f"Use one of: {', '.join(names)}."
