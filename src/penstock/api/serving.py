"""A plan served in processes of its own, for Python programs: ``with plan.serve() as server: ...``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

if TYPE_CHECKING:
    from penstock.api.results.plan_result import PlanResult
    from penstock.serve.local_server import LocalServer


@final
class PlanServer:
    """A server of the Open Inference Protocol on a free port of loopback. It serves between entry and exit.

    On exit it is drained and ended. Entry raises :class:`penstock.errors.PenstockError` with what the server wrote if
    it does not start, and :class:`penstock.errors.MissingExtraError` without the extra ``serve``.
    """

    def __init__(self, planned: PlanResult, arguments: Sequence[str] = ()) -> None:
        self._planned, self._arguments = planned, tuple(arguments)
        self._server: LocalServer | None = None

    @property
    def url(self) -> str:
        """The address, such as ``http://127.0.0.1:40123``; empty while it does not serve."""
        return "" if self._server is None else self._server.url

    @property
    def notes(self) -> str:
        """What the server wrote for people so far."""
        return "" if self._server is None else self._server.notes

    def __enter__(self) -> Self:
        """Start, and wait until requests are admitted."""
        from penstock.serve import require_extra

        require_extra("serving a plan")
        from penstock.serve.local_server import LocalServer

        self._folder = Path(tempfile.mkdtemp(prefix="penstock-plan-"))
        try:
            self._planned.save(self._folder / "plan.json")
            server = LocalServer(self._folder / "plan.json", self._arguments)
            server.__enter__()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._server = server
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait for the end."""
        server, self._server = self._server, None
        try:
            if server is not None:
                server.__exit__(kind, error, trace)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
