"""Checks, their results, and the running of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, final

from penstock.errors import PenstockError

Status = Literal["pass", "fail", "skip"]


class NotConformingError(PenstockError):
    """The server does not do what the check asks; the message says what it did."""


class NotApplicableError(PenstockError):
    """The model does not have what the check is about; the message says what."""


class Server(Protocol):
    """What a check may know of the server before it asks anything."""

    @property
    def extensions(self) -> frozenset[str]:
        """Those that it advertises."""
        ...


@final
@dataclass(frozen=True)
class Check:
    """``extension``: the check is skipped if the server does not advertise it."""

    protocol: str
    feature: str
    name: str
    run: Callable[[Any], None]
    extension: str | None = None


@final
@dataclass(frozen=True)
class Outcome:
    """The result of one check; ``seen`` says why it failed or was skipped."""

    check: Check
    status: Status
    seen: str = ""


F = TypeVar("F", bound=Callable[[Any], None])


@final
class Checks:
    """The checks of one protocol, in order."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.all: list[Check] = []

    def add(self, feature: str, extension: str | None = None) -> Callable[[F], F]:
        """Add a function as a check of ``feature``."""

        def added(function: F) -> F:
            name = (function.__doc__ or function.__name__).strip().rstrip(".")
            self.all.append(Check(self.protocol, feature, name, function, extension))
            return function

        return added


def run_checks(server: Server, checks: Iterable[Check]) -> list[Outcome]:
    """Run every check, whatever the others say."""
    return [_run(server, check) for check in checks]


def _run(server: Server, check: Check) -> Outcome:
    if check.extension is not None and check.extension not in server.extensions:
        return Outcome(check, "skip", f"{check.extension} is not advertised")
    try:
        check.run(server)
    except NotApplicableError as reason:
        return Outcome(check, "skip", str(reason))
    except NotConformingError as failure:
        return Outcome(check, "fail", str(failure))
    except (OSError, KeyError, TypeError, ValueError, LookupError, PenstockError) as error:
        # An answer that does not have the form of the protocol, or none at all.
        return Outcome(check, "fail", f"{type(error).__name__}: {error}")
    return Outcome(check, "pass")


def expect(is_so: bool, seen: object) -> None:
    """Fail with what was seen unless ``is_so``."""
    if not is_so:
        text = str(seen)
        raise NotConformingError(text if len(text) <= 200 else f"{text[:197]}...")


def summary(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many of each status."""
    return {status: sum(one.status == status for one in outcomes) for status in ("pass", "fail", "skip")}
