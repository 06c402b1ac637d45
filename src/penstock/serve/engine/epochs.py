"""The plans of one server: the one that is served, one that loads beside it, and those that are done with.

Each plan is an epoch. This knows its spec and its workers, tells every process what it must know of them, and says
when the server goes over to a plan and when the workers of a plan end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import final

from penstock.errors import BadInputError, PenstockError
from penstock.serve.control import (
    ControlMessage,
    Drained,
    GatewayUp,
    PlanAdded,
    Problem,
    Progress,
    Switch,
    WorkerUp,
)
from penstock.serve.engine.control_socket import ControlSocket
from penstock.serve.engine.process import KnownWorker, Process
from penstock.serve.engine.worker_keeper import Keeper
from penstock.serve.live_record import note_epoch
from penstock.serve.spec import ServerSpec, read_spec

_log = logging.getLogger("penstock.serve")


@final
class Epochs:
    """``spec`` is that of the first plan. ``on_switch`` is called with the spec of each later plan that is served.

    :attr:`current` is the epoch that is served, :attr:`loading` the one that loads. ``control``: who asked for plans.
    """

    def __init__(
        self,
        spec: ServerSpec,
        folder: Path,
        dispatcher: Process,
        gateways: Sequence[Process],
        keeper: Keeper,
        control: ControlSocket,
        on_switch: Callable[[ServerSpec], None],
    ) -> None:
        self.specs: dict[int, ServerSpec] = {}
        self.workers: dict[int, KnownWorker] = {}
        self.current = spec.epoch
        self.loading: int | None = None
        self._drained: set[int] = set()
        self._folder = folder
        self._dispatcher = dispatcher
        self._gateways = gateways
        self._keeper = keeper
        self._control = control
        self._on_switch = on_switch
        self.know(spec)

    @property
    def served(self) -> ServerSpec:
        """The spec of the plan that is served."""
        return self.specs[self.current]

    def know(self, spec: ServerSpec) -> None:
        """Take ``spec`` and its workers into the books."""
        self.specs[spec.epoch] = spec
        for worker in spec.workers:
            self.workers[worker] = KnownWorker(spec.epoch)

    def start_workers(self) -> None:
        """Start the workers of the first plan."""
        self._keeper.add_plan(self.served)

    def load(self, epoch: int) -> None:
        """Start the workers of a plan beside those that serve; every process hears of it.

        Raises :class:`PenstockError` if that cannot be.
        """
        if epoch <= max(self.specs):
            raise BadInputError(f"epoch (={epoch}) must be above {max(self.specs)}: switch once more.")
        spec = read_spec(self._folder, epoch)
        if spec.rows is not None:
            note_epoch(spec, Path(spec.rows))
        self.know(spec)
        self.loading = epoch
        # First the keeper: it brings the spec to the gateways of other hosts.
        try:
            self._keeper.add_plan(spec, is_gentle=True)
        except PenstockError:
            self.loading = None
            self._end(epoch)
            raise
        for process in (self._dispatcher, *self._gateways):
            process.send(PlanAdded(epoch))
        self._tell(f"loading {len(spec.workers)} workers")

    def switch_if_loaded(self) -> None:
        """Once all of the new plan is there, routes change at once."""
        epoch = self.loading
        if epoch is None or not self._dispatcher.is_up:
            return
        loaded = all(worker.is_up for worker in self.workers.values() if worker.epoch == epoch)
        if loaded and all(epoch in gateway.plans for gateway in self._gateways if gateway.child is not None):
            self.loading, self.current = None, epoch
            self._dispatcher.send(Switch(epoch))
            self._control.tell_all(Switch(epoch))
            self._on_switch(self.served)
            self._tell(f"switched to plan {self.served.plan or epoch}")

    def give_up_loading(self, why: str) -> None:
        """A worker of the new plan does not start: all of it is taken back, and the old plan serves on."""
        epoch = self.loading
        assert epoch is not None
        self.loading = None
        self._dispatcher.send(Drained(epoch))
        self._end(epoch)
        _log.error("the new plan was not loaded, the old one serves on: %s", why)
        self._control.tell_all(Problem(f"{why} The old plan serves on."))

    def note_drained(self, epoch: int) -> None:
        """The dispatcher is done with ``epoch``."""
        self._drained.add(epoch)

    def end_drained(self) -> None:
        """End the plans that the dispatcher is done with, once every gateway has heard of the switch.

        Until then a gateway may tell clients of the models of the plan before.
        """
        gateways = [gateway for gateway in self._gateways if gateway.child is not None]
        if self._drained and all(gateway.serves >= self.current for gateway in gateways):
            for epoch in sorted(self._drained):
                self._end(epoch)
            self._drained.clear()

    def first_words(self, process: Process) -> Iterator[ControlMessage]:
        """What a process must know that has just started."""
        epochs = sorted(self.specs)
        if process.role == "gateway":
            process.plans, process.serves = {self.current}, self.current
            yield from (PlanAdded(epoch) for epoch in epochs if epoch != self.current)
        else:
            yield from (PlanAdded(epoch) for epoch in epochs)
            yield from (Switch(epoch) for epoch in epochs if epoch <= self.current)
            for gateway in self._gateways:
                if gateway.is_up:
                    yield GatewayUp(gateway.number, gateway.endpoint)
            for index, worker in self.workers.items():
                if worker.is_up:
                    yield WorkerUp(index, worker.endpoint)

    def _end(self, epoch: int) -> None:
        """Nothing of a plan is on its way any more: its workers end."""
        if self.specs.pop(epoch, None) is None:
            return
        for gateway in self._gateways:
            gateway.send(Drained(epoch))
        self.workers = {index: one for index, one in self.workers.items() if one.epoch != epoch}
        self._keeper.end_plan(epoch)
        self._control.tell_all(Drained(epoch))

    def _tell(self, text: str) -> None:
        _log.info(text)
        self._control.tell_all(Progress(text))
