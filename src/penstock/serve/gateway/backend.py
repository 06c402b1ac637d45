"""What the HTTP side asks of whatever runs the models: a plan's gateway, or one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.serve.gateway.metrics import GatewayMetrics
from penstock.serve.gateway.waiting import Outputs
from penstock.serve.protocol.infer import InferRequest
from penstock.serve.spec import Limits, ModelSpec


class Backend(Protocol):
    """Models by index, one asyncio loop."""

    @property
    def models(self) -> Sequence[ModelSpec]:
        """What is served."""
        ...

    @property
    def limits(self) -> Limits:
        """The largest body, the most in flight."""
        ...

    @property
    def metrics(self) -> GatewayMetrics:
        """What is counted."""
        ...

    @property
    def is_traced(self) -> bool:
        """Whether spans of requests are made, so that the parent that a client names is of use."""
        ...

    def now_us(self) -> int:
        """The clock of arrivals and deadlines."""
        ...

    def is_ready(self, model: int) -> bool:
        """Whether requests for ``model`` are admitted."""
        ...

    async def infer(self, model: int, request: InferRequest, arrival_us: int) -> Outputs:
        """The outputs of ``request``, or :class:`~penstock.serve.protocol.errors.ProtocolError`.

        Cancelled if the client has gone.
        """
        ...

    async def set_loaded(self, model: int, *, loaded: bool) -> None:
        """Load or unload ``model``, or :class:`~penstock.serve.protocol.errors.ProtocolError` if it must stay."""
        ...


def model_index(models: Sequence[ModelSpec]) -> dict[str, dict[str, int]]:
    """Indices of the models by the names that clients use and by version, the highest version last."""
    found: dict[str, dict[str, int]] = {}
    for index in sorted(range(len(models)), key=lambda index: models[index].version):
        found.setdefault(models[index].public_name, {})[str(models[index].version)] = index
    return found


def index_in_other_plan(asked: ModelSpec, models: Sequence[ModelSpec]) -> int:
    """The index of the model of another plan that clients know by the same name and version."""
    names = [(model.public_name, model.version) for model in models]
    return names.index((asked.public_name, asked.version))
