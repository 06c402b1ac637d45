"""Penstock: deep-learning inference under a latency objective on a fleet of unlike GPUs.

One pipe, its stations in the order that data passes them::

    graph -> profile -> partition -> plan -> schedule -> simulate | serve -> report

For Python programs: :class:`Study` (``Study.read("scenario.yaml").plan().simulate()``), :class:`PlanResult`,
:func:`compare`, :func:`profile_model`, :func:`partition_graph`. The names are imported when they are first used, so
``import penstock`` stays cheap. (``penstock.profile`` and ``penstock.partition`` are packages.)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.api.profiling import profile_model
    from penstock.api.results.plan_result import PlanResult
    from penstock.api.splitting import partition_graph, partition_over
    from penstock.api.study import Study, compare
    from penstock.errors import BadInputError, InfeasibleError, PenstockError
    from penstock.progress import CancelledError, CancelToken, Step

__version__ = "0.2.0"

_HOMES = {
    "Study": "penstock.api.study",
    "compare": "penstock.api.study",
    "partition_graph": "penstock.api.splitting",
    "partition_over": "penstock.api.splitting",
    "profile_model": "penstock.api.profiling",
    "PlanResult": "penstock.api.results.plan_result",
    "CancelToken": "penstock.progress",
    "CancelledError": "penstock.progress",
    "Step": "penstock.progress",
    "PenstockError": "penstock.errors",
    "BadInputError": "penstock.errors",
    "InfeasibleError": "penstock.errors",
}

__all__ = [
    "BadInputError",
    "CancelToken",
    "CancelledError",
    "InfeasibleError",
    "PenstockError",
    "PlanResult",
    "Step",
    "Study",
    "__version__",
    "compare",
    "partition_graph",
    "partition_over",
    "profile_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
