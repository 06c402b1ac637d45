"""The agent of a host: ``python -m penstock.serve.hosts.agent``. It supervises the processes of its host for the head.

It connects to the head, gets specs and sub-models, starts workers with the code of the local engine
(``WorkerKeeper``), and tells what becomes of them. It has the gateways of its host too, if there are any
(:mod:`.gateways.at_agent`). If the line to the head is cut, the head has given up all that its workers held. So they
end, and the agent connects again and starts afresh. If the head is gone for :data:`ORPHAN_S`, the agent ends.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import BinaryIO, final

import msgspec

import penstock
from penstock.clock import MonotonicClock
from penstock.errors import BadInputError, DeviceMismatchError, PenstockError
from penstock.serve.control import WorkerHung
from penstock.serve.devices import WorkerDevice, chosen_devices
from penstock.serve.engine.worker_keeper import WorkerEnded, WorkerKeeper
from penstock.serve.hosts.agent_messages import (
    AddPlan,
    AgentNote,
    ClockAsked,
    ClockTold,
    CountersPart,
    DevicesLost,
    EndAgent,
    EndPlan,
    FilePart,
    FromHead,
    Hello,
    ListenForProbe,
    Refused,
    ReplaceWorker,
    SendProbe,
    StartGateway,
    TellGateway,
    WatchWorker,
    Welcome,
)
from penstock.serve.hosts.gateways.at_agent import ROWS, AgentGateways
from penstock.serve.hosts.host_clock import write_offset
from penstock.serve.hosts.host_line import HostLine, secret_of
from penstock.serve.hosts.link_probe import LinkProbe
from penstock.serve.hosts.offset import ClockOffset
from penstock.serve.listeners import Address
from penstock.serve.spec import ServerSpec, write_spec
from penstock.serve.transport.curve import CurveKeys, keep_keys
from penstock.serve.transport.endpoints import Place, write_place
from penstock.units import US_PER_S

ORPHAN_S = 20.0
CONNECT_S = 0.5
LEAVE_S = 1.0
"""How long the last messages to the head may take."""
ASK_CLOCK_US = 10 * US_PER_S
_FILE = re.compile(r"\d+/\w[\w.-]*", re.ASCII)


@final
class HostAgent:
    """The agent of ``host``, whose own address is ``here``. ``folder`` is its run folder, which it owns."""

    def __init__(self, host: str, here: str, head: Address, folder: Path, keys: CurveKeys) -> None:
        self._host = host
        self._here = here
        self._head = head
        self._folder = folder
        self._secret = secret_of(keys)
        self._clock = MonotonicClock()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, lambda: self._wake_reader.recv(64))
        self._keeper = WorkerKeeper(folder, self._selector, self._clock, self._tell, self._note)
        self._gateways = AgentGateways(folder, here, self._selector, self._clock, self._tell)
        self._orders: list[StartGateway | TellGateway] = []
        self._probe = LinkProbe(here, keys, self._tell)
        self._line: HostLine[FromHead] | None = None
        self._files: dict[str, int] = {}
        self._open: dict[str, BinaryIO] = {}
        self._offset = ClockOffset()
        self._ask_clock_us = 0
        self._told_lost: frozenset[str] = frozenset()
        self._is_ending = False
        self._unheard = 0
        keep_keys(keys, folder)
        write_offset(folder, 0)

    def run(self) -> None:
        """Until the head says so, or is gone. Raises :class:`PenstockError` if the head refuses this agent."""
        alone_since_us = self._clock.now_us()
        while not self._is_ending:
            if self._line is None:
                if self._clock.now_us() - alone_since_us > ORPHAN_S * US_PER_S:
                    raise self._no_head()
                self._connect()
            self._turn()
            if self._line is not None and self._line.is_proven:
                alone_since_us = self._clock.now_us()
                self._unheard = 0

    def _no_head(self) -> PenstockError:
        if self._unheard:
            return BadInputError(
                f"host {self._host}: {self._head.text} ended the line {self._unheard} times in {ORPHAN_S:.0f} s "
                f"without a word. It is not the head of the run whose keys this agent has: "
                f"start the agent with the keys of the run, and give it the head's address."
            )
        return PenstockError(f"host {self._host}: no head at {self._head.text} for {ORPHAN_S:.0f} s.")

    def end(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Leave :meth:`run` soon; a signal handler."""
        self._is_ending = True
        try:
            os.write(self._wake_writer.fileno(), b"x")
        except OSError:
            return

    def close(self) -> None:
        """End all gateways, then all workers, and remove the run folder."""
        self._gateways.stop()
        self._keeper.stop()
        if self._line is not None:
            self._line.close(LEAVE_S)
        for file in self._open.values():
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> None:
        try:
            end = socket.create_connection((self._head.host, self._head.port), CONNECT_S)
        except OSError:
            self._selector.select(CONNECT_S)  # a signal ends the wait
            return
        end.settimeout(None)
        self._line = HostLine(end, self._secret, msgspec.msgpack.Decoder(FromHead), is_head=False)
        self._selector.register(self._line, selectors.EVENT_READ, self._hear)
        self._line.send(Hello(self._host, penstock.__version__, dict(self._files)))
        self._ask_clock_us, self._told_lost = 0, frozenset()

    def _turn(self) -> None:
        now_us = self._clock.now_us()
        next_us = min(self._keeper.next_us, self._gateways.next_us, now_us + US_PER_S // 4)
        ready = self._selector.select(max(next_us - now_us, 0) / US_PER_S)
        looked_us = self._clock.now_us()
        for key, _ in ready:
            act: Callable[[], object] = key.data
            act()
        self._keeper.turn()
        self._gateways.turn()
        line = self._line
        if line is None:
            return
        if self._keeper.lost != self._told_lost:
            self._told_lost = self._keeper.lost
            line.send(DevicesLost(tuple(sorted(self._told_lost))))
        now_us = self._clock.now_us()
        if line.silent_us(looked_us) is not None:  # what came while others were served waits to be read
            self._lose()
        elif now_us >= self._ask_clock_us:
            self._ask_clock_us = now_us + ASK_CLOCK_US
            line.send(ClockAsked(now_us))

    def _lose(self) -> None:
        """The line to the head is cut: the head has given up what the workers of this host hold."""
        assert self._line is not None
        self._selector.unregister(self._line)
        self._line.close()
        is_unheard = not self._line.is_proven
        self._line = None
        self._orders = []
        self._gateways.lose_head()
        self._keeper.stop()
        if is_unheard:
            self._unheard += 1
            self._selector.select(CONNECT_S)  # who ends the line at once does so again

    def _hear(self) -> None:
        assert self._line is not None
        messages = self._line.receive()
        if messages is None:
            self._lose()
        for message in messages or ():
            self._obey(message)

    def _obey(self, message: FromHead) -> None:
        if isinstance(message, Refused):
            raise BadInputError(f"the head refused host {self._host}: {message.message}")
        if isinstance(message, Welcome):
            write_place(Place(self._here, message.head, message.port), self._folder)
            self._gateways.meet_head(message.rows)
        elif isinstance(message, FilePart):
            self._keep(message)
        elif isinstance(message, AddPlan):
            self._add_plan(message)
        elif isinstance(message, EndPlan):
            self._keeper.end_plan(message.epoch)
        elif isinstance(message, WatchWorker):
            self._keeper.watch(message.worker)
        elif isinstance(message, ReplaceWorker):
            self._keeper.replace(WorkerHung(message.worker, message.why))
        elif isinstance(message, ListenForProbe):
            self._probe.listen()
        elif isinstance(message, SendProbe):
            self._probe.send(message.endpoint, message.us)
        elif isinstance(message, EndAgent):
            self._is_ending = True
        elif isinstance(message, StartGateway | TellGateway):
            self._orders.append(message)
        elif isinstance(message, CountersPart):
            self._gateways.keep(message)
        elif isinstance(message, ClockTold):
            best = self._offset.add(message.agent_us, message.head_us, self._clock.now_us())
            write_offset(self._folder, best.offset_us)
            if not self._offset.is_settled:
                self._ask_clock_us = 0
        self._follow_orders()

    def _follow_orders(self) -> None:
        """Those about gateways wait for the head's time: deadlines of requests are in it."""
        if self._offset.is_settled:
            for order in self._orders:
                if isinstance(order, StartGateway):
                    self._gateways.start(order)
                else:
                    self._gateways.pass_on(order)
            self._orders = []

    def _keep(self, part: FilePart) -> None:
        path = self._local(part.name)
        if part.name not in self._open:
            self._open[part.name] = path.with_name(f"{path.name}.part").open("wb")
        self._open[part.name].write(part.data)
        if part.is_last:
            with self._open.pop(part.name) as file:
                self._files[part.name] = file.tell()
            path.with_name(f"{path.name}.part").rename(path)

    def _local(self, name: str) -> Path:
        if _FILE.fullmatch(name) is None:
            raise BadInputError(f"file {name!r} must be EPOCH/NAME: the head is not a penstock server.")
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        return path

    def _add_plan(self, message: AddPlan) -> None:
        spec = msgspec.msgpack.decode(message.spec, type=ServerSpec)
        here = tuple(
            stage
            if stage.model_file is None
            else msgspec.structs.replace(stage, model_file=str(self._local(stage.model_file)))
            for stage in spec.stages
        )
        listen = {field: str(self._local(name)) for field, name in spec.listen.files.items()}
        rows = None if spec.rows is None else str(self._folder / ROWS)
        if rows is not None:
            Path(rows).mkdir(exist_ok=True)
        spec = msgspec.structs.replace(spec, stages=here, rows=rows, listen=spec.listen.with_files(listen))
        if spec.device_needs:
            try:
                spec = msgspec.structs.replace(spec, worker_devices=_devices_here(spec, message.workers))
            except DeviceMismatchError as error:
                for worker in message.workers:
                    self._tell(
                        WorkerEnded(worker, f"host {self._host}: {error}", was_up=False, restart_us=-1)
                    )
                return
        write_spec(spec, self._folder)
        self._keeper.add_plan(spec, message.workers, is_gentle=message.is_gentle)

    def _tell(self, message: msgspec.Struct) -> None:
        if self._line is not None:
            self._line.send(message)

    def _note(self, text: str) -> None:
        self._tell(AgentNote(text))


def _devices_here(spec: ServerSpec, workers: Sequence[int]) -> tuple[WorkerDevice | None, ...]:
    """The devices of this host for ``workers``, in the place of each worker of ``spec``; None for those elsewhere.

    Raises :class:`DeviceMismatchError` if they do not suffice.
    """
    needs = [spec.device_needs[worker - spec.first_worker] for worker in workers]
    own = dict(zip(workers, chosen_devices(needs), strict=True))
    return tuple(own.get(worker) for worker in spec.workers)


def main() -> None:
    """The command line of an agent, which a launcher writes. The keys come by standard input."""
    parser = argparse.ArgumentParser(prog="penstock agent")
    for name in ("host", "here", "head", "folder"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    keys = msgspec.json.decode(sys.stdin.buffer.read(), type=CurveKeys)
    folder = Path(arguments.folder)
    folder.mkdir(mode=0o700)
    agent = HostAgent(arguments.host, arguments.here, Address.parse(arguments.head), folder, keys)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, agent.end)
    try:
        agent.run()
    except PenstockError as error:
        print(f"agent: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    finally:
        agent.close()


if __name__ == "__main__":
    main()
