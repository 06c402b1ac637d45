"""Why devices of plans are idle, worked out in a process of its own while pages are drawn."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Self, final

from penstock.plan.documents.plan import Plan


@final
class IdleDevices:
    """Answers in the background. The reasons need compiled kernels, which take as long to load as a page to draw.

    The process starts with the first plan that has idle devices, and ends with the context.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, path: Path, plan: Plan) -> Callable[[], list[str]]:
        """Begin work on ``plan``, which is in the file ``path``. The result waits for the sentences.

        The result raises what :func:`penstock.plan.questions.explain.explain` raises.
        """
        from penstock.report.findings.fleet_use import class_uses

        if not plan.placement or all(use.idle == 0 for use in class_uses(plan)):
            return list
        if self._pool is None:
            # Spawned: a fork would copy the threads' locks of the libraries that are loaded here.
            pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            self._pool = self._stack.enter_context(pool)
        return self._pool.submit(reasons, path).result


def reasons(path: Path) -> list[str]:
    """Why devices are idle in the plan of the file ``path``, in sentences."""
    from penstock.api.results.explanation_result import why_idle
    from penstock.plan.documents.store import load_plan
    from penstock.plan.questions.explain import explain

    loaded = load_plan(path)
    is_cost = loaded.plan.scenario.planner.pays_for_devices
    return [why_idle(reason, is_cost) for reason in explain(loaded.plan, loaded.profiles).why_not]
