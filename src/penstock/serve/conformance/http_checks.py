"""All checks of HTTP, in the order of the table. Each module adds its own when it is imported."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from penstock.serve.conformance import (
    http_documents,
    http_encodings,
    http_errors,
    http_extensions,
    http_framing,
    http_inference,
)
from penstock.serve.conformance.framework import Check
from penstock.serve.conformance.http_requests import HTTP

MODULES: tuple[ModuleType, ...] = (
    http_documents, http_inference, http_encodings, http_errors, http_extensions, http_framing,
)  # fmt: skip


def http_checks() -> Sequence[Check]:
    """All checks, by the order of :data:`MODULES`, and in a module by their order in its text."""
    place = {module.__name__: number for number, module in enumerate(MODULES)}
    return sorted(HTTP.all, key=lambda check: place[check.run.__module__])
