"""The one tree of errors that users see.

Every message states the offending value, the rule it breaks and the next action. The command line
turns the type into an exit status; nothing else in the project exits.
"""

from __future__ import annotations


class PenstockError(Exception):
    """Base of all errors raised on purpose. ``exit_status`` is what the command line returns."""

    exit_status = 1


class BadInputError(PenstockError):
    """A file, argument or request breaks a rule; nothing was changed."""

    exit_status = 2


class MissingExtraError(BadInputError):
    """An optional dependency is not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs the extra {extra!r}: pip install 'penstock[{extra}]'")
        self.extra = extra


class InfeasibleError(PenstockError):
    """The input is sound, but no answer exists; the message says why and what would help."""

    exit_status = 3
