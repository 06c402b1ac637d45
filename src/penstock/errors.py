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
        super().__init__(f"{purpose} needs the extra {extra!r}: pip install 'penstock-serving[{extra}]'")
        self.extra = extra


EXTRA_OF = {"onnx": "onnx", "pyarrow": "record"}
"""Packages that modules import at their top although they are not of the core, and the extra that adds each."""

_PURPOSES = {"onnx": "reading or writing a model", "record": "reading or writing a record"}


def missing_extra(error: Exception) -> MissingExtraError | None:
    """What to tell a user whose installation lacks the package that was imported; None for any other error."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    extra = EXTRA_OF.get((name or "").partition(".")[0])
    return None if extra is None else MissingExtraError(_PURPOSES[extra], extra)


class DeviceMismatchError(BadInputError):
    """A device is not the one that its class requires."""


class NoDriverError(BadInputError):
    """A vendor's driver cannot be asked: absent, not loaded, or not allowed."""


class DeviceLostError(PenstockError):
    """A device that was there no longer answers."""


class MissedRequirementError(PenstockError):
    """The work was done, and its result is not what the caller required."""

    exit_status = 4


class InfeasibleError(PenstockError):
    """The input is sound, but no answer exists; the message says why and what would help."""

    exit_status = 3
