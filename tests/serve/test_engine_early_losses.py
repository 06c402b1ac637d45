"""The engine without processes: what ends it before the server is ready, and what becomes of a plan without hosts."""

from __future__ import annotations

import msgspec
import pytest

pytest.importorskip("zmq")

from serve_cases import bytes_profile, write_plan

from penstock.errors import BadInputError, PenstockError
from penstock.plan.documents.store import load_plan
from penstock.serve.engine.elsewhere import GatewayEnded
from penstock.serve.engine.local_engine import EARLY_LOSSES, LocalEngine
from penstock.serve.engine.worker_keeper import WorkerEnded
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.spec import ServerSpec, write_spec
from penstock.units import NEVER_US


class NoKeeper:
    """Hosts that are always about to come, and cannot load a second plan."""

    next_us = NEVER_US
    lost = frozenset()

    def __init__(self):
        self.gateways = self
        self.ended = []

    def can_start(self, host):
        return True

    def start(self, host, gateway, epoch):
        pass

    def tell(self, gateway, message):
        pass

    def add_plan(self, spec, *, is_gentle=False):
        raise BadInputError("Ray has no such node any more.")

    def end_plan(self, epoch):
        self.ended.append(epoch)

    def stop(self):
        pass


@pytest.fixture
def spec(tmp_path) -> ServerSpec:
    loaded = load_plan(write_plan(tmp_path, bytes_profile("sizes", (24, 10)), (0, 1)))
    return prepare(loaded.plan, loaded.profiles, ServeOptions(executors={"": "emulated"}), tmp_path)


@pytest.fixture
def engine(spec, tmp_path):
    keeper = NoKeeper()
    made = LocalEngine(spec, tmp_path, gateways_on=["gpu:0"], keeper=lambda selector, report, note: keeper)
    made.test_keeper = keeper
    yield made
    made.stop()


def test_a_host_that_is_lost_for_a_moment_during_the_start_is_waited_for(engine):
    """Its workers and its gateways; but not for ever."""
    gateway = engine._gateways[1]
    for _ in range(EARLY_LOSSES):
        engine._hear_keeper(WorkerEnded(0, "host gpu:0 is gone: silent", was_up=True, restart_us=-1))
        engine._start(gateway)
        engine._hear_keeper(GatewayEnded(gateway.number, "host gpu:0 is gone: silent", is_host_gone=True))
    with pytest.raises(PenstockError, match="worker 0 could not start: host gpu:0 is gone"):
        engine._hear_keeper(WorkerEnded(0, "host gpu:0 is gone: silent", was_up=True, restart_us=-1))


@pytest.mark.parametrize(
    ("was_up", "restart_us"),
    [(False, -1), (True, 100_000)],  # its agent never came; its host is there, and it died
)
def test_what_cannot_start_ends_the_start(engine, was_up, restart_us):
    with pytest.raises(PenstockError, match="worker 0 could not start: no such thing"):
        engine._hear_keeper(WorkerEnded(0, "no such thing", was_up=was_up, restart_us=restart_us))
    engine._start(engine._gateways[1])
    with pytest.raises(PenstockError, match="gateway 1 on host gpu:0 could not start: its port is taken"):
        engine._hear_keeper(GatewayEnded(engine._gateways[1].number, "its port is taken"))


def test_a_host_of_another_release_is_bad_input(engine):
    with pytest.raises(BadInputError, match=r"could not start: it runs penstock 0\.0\.1"):
        engine._hear_keeper(
            WorkerEnded(0, "it runs penstock 0.0.1", was_up=False, restart_us=-1, is_bad_input=True)
        )


def test_a_plan_whose_hosts_cannot_be_had_is_taken_back(engine, spec, tmp_path):
    """And another one can be loaded after it."""
    engine._is_started = True
    for epoch in (1, 2):
        write_spec(msgspec.structs.replace(spec, epoch=epoch, first_worker=epoch), tmp_path)
        with pytest.raises(BadInputError, match="Ray has no such node"):
            engine._load(epoch)
    assert engine.test_keeper.ended == [1, 2]
    engine._is_started = False
