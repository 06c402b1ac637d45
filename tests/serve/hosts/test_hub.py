"""The head and its hosts without processes: who is let in, what others are told, and when workers start."""

from __future__ import annotations

import selectors
import socket
import sys
import time
import types
from collections import Counter

import msgspec
import pytest

pytest.importorskip("zmq")

import penstock
from penstock.clock import MonotonicClock
from penstock.errors import BadInputError, MissingExtraError, PenstockError
from penstock.serve.control import PlanAdded, Ready, Serving, WorkerDown
from penstock.serve.engine.elsewhere import GatewayEnded, GatewaySaid
from penstock.serve.hosts import ray_launcher
from penstock.serve.hosts.agent_messages import (
    AddPlan,
    AgentNote,
    ClockAsked,
    ClockTold,
    DevicesLost,
    EndAgent,
    FromHead,
    Hello,
    ListenForProbe,
    ProbeListening,
    ProbeMeasured,
    Refused,
    RowsPart,
    SendProbe,
    StartGateway,
    TellGateway,
    Welcome,
)
from penstock.serve.hosts.gateways.at_head import GatewaysOn
from penstock.serve.hosts.host_line import HostLine, secret_of
from penstock.serve.hosts.hub import HUNG_US, START_US, AgentHub
from penstock.serve.hosts.ray_launcher import RayLauncher
from penstock.serve.listen.options import ListenOptions
from penstock.serve.transport.curve import new_keys

WAIT_S = 30.0
HOSTS = ("gpu:0", "gpu:1")


class NoLauncher:
    """Hosts are started by nobody: the test connects as their agents."""

    head_address = "127.0.0.1"
    links_at_once = 1

    def launch(self, order):
        return types.SimpleNamespace(how_ended=lambda: None, kill=lambda: None)

    def close(self):
        pass


class Spec(msgspec.Struct):
    """What the hub asks of a spec, with a worker on each host."""

    epoch: int = 0
    worker_hosts: tuple[str, ...] = HOSTS
    workers: tuple[int, ...] = (0, 1)
    stages: tuple[int, ...] = ()
    journal: None = None
    rows: None = None
    traces: None = None
    listen: ListenOptions = ListenOptions()
    devices: tuple[str, ...] = ()

    def devices_on(self, host):
        """One for each host, in their order."""
        return {name for name, other in zip(self.devices, HOSTS, strict=False) if other == host}

    def workers_on(self, host):
        return [
            worker for worker, other in zip(self.workers, self.worker_hosts, strict=True) if other == host
        ]

    def stages_of(self, worker):
        return ()


class Head:
    """A hub that turns while a test waits."""

    def __init__(self, folder, gateways_on=None, rows=None):
        self.keys = new_keys()
        self.selector = selectors.DefaultSelector()
        self.notes, self.reports, self.measured = [], [], []
        self.hub = AgentHub(
            self.keys,
            20_000,
            NoLauncher(),
            MonotonicClock(),
            self.selector,
            self.reports.append,
            self.notes.append,
            lambda sender, receiver: 10.0,
            lambda gbps: self.measured.append(dict(gbps)),
            folder,
            gateways_on,
            rows,
        )

    def agent(self, keys=None, **hello):
        """A line to the hub, which has said who it is."""
        end = socket.create_connection((self.hub.address.host, self.hub.address.port))
        end.settimeout(0.05)
        line = HostLine(end, secret_of(keys or self.keys), msgspec.msgpack.Decoder(FromHead), is_head=False)
        line.send(Hello(**{"host": HOSTS[0], "version": penstock.__version__, "files": {}} | hello))
        while True:  # the random bytes of the head: only then does it speak
            self.turn()
            try:
                assert line.receive() == []
                return line
            except TimeoutError:
                continue

    def heard(self, line, kind):
        """The next message of ``kind`` that ``line`` gets."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            self.turn()
            try:
                messages = line.receive()
            except TimeoutError:
                continue
            for message in messages or ():
                if isinstance(message, kind):
                    return message
        raise AssertionError(f"no {kind.__name__}; {self.notes}")

    def turn(self):
        for key, _ in self.selector.select(0.02):
            key.data()
        self.hub.turn()

    def until(self, what):
        end_s = time.monotonic() + WAIT_S
        while not what():
            assert time.monotonic() < end_s, self.notes
            self.turn()


@pytest.fixture
def head(tmp_path):
    made = Head(tmp_path)
    made.hub.add_plan(Spec())
    yield made
    for host in made.hub.hosts.values():
        host.launched = None
    made.hub.stop()


def test_another_release_is_refused_on_both_sides(head):
    line = head.agent(version="0.0.1")
    said = head.heard(line, Refused).message
    assert (
        said
        == f"it runs penstock 0.0.1, and the head {penstock.__version__}. Run the same release on all hosts."
    )
    assert f"host gpu:0 was refused: {said}" in head.notes
    line.close()
    head.hub.hosts[HOSTS[0]].launched = types.SimpleNamespace(how_ended=lambda: "exit status 2")
    head.until(lambda: head.reports)
    (report,) = head.reports
    assert (report.worker, report.is_bad_input) == (0, True)
    assert report.reason == f"the agent of host gpu:0 could not start: {said}"


def test_a_host_that_no_plan_has_is_refused(head):
    line = head.agent(host="gpu:7")
    assert "no plan that is served has such a host" in head.heard(line, Refused).message
    line.close()


def test_an_agent_with_other_keys_is_not_heard(head):
    line = head.agent(keys=new_keys())
    head.until(lambda: head.notes)
    (note,) = head.notes
    assert "a connection of a host was refused: a peer does not have the keys of this run" in note
    assert "Start its agent with the key file of the run" in note
    assert head.hub.hosts[HOSTS[0]].line is None
    line.close()


def test_the_head_tells_its_own_time_so_that_clocks_may_differ(head):
    """A host whose clock is a day ahead learns by how much."""
    line = head.agent()
    head.heard(line, Welcome)
    line.send(ClockAsked(86_400 * 10**6))
    before_us = MonotonicClock().now_us()
    told = head.heard(line, ClockTold)
    assert told.agent_us == 86_400 * 10**6
    assert before_us <= told.head_us <= MonotonicClock().now_us()
    line.close()


def measured(head, first, second):
    """Both hosts are there, and say that each link carries 2 Gbit/s."""
    for receiver, sender in ((second, first), (first, second)):
        head.heard(receiver, ListenForProbe)
        receiver.send(ProbeListening("tcp://127.0.0.1:9"))
        assert head.heard(sender, SendProbe).endpoint == "tcp://127.0.0.1:9"
        assert not head.measured
        receiver.send(ProbeMeasured(250_000_000, 1_000_000))


def test_links_are_measured_before_workers_start(head):
    """Each host receives once and sends once; a slow link is named; then both get the plan."""
    first, second = head.agent(), head.agent(host=HOSTS[1])
    measured(head, first, second)
    assert [head.heard(line, AddPlan).workers for line in (first, second)] == [(0,), (1,)]
    assert head.measured == [{("gpu:0", "gpu:1"): 2.0, ("gpu:1", "gpu:0"): 2.0}]
    assert any("plan again with bandwidth_gbps: 2" in note for note in head.notes)
    first.close()
    second.close()


@pytest.fixture
def with_gateways(tmp_path):
    """A head whose second host has gateways, and the lines to both agents."""
    (tmp_path / "rows").mkdir()
    made = Head(tmp_path, GatewaysOn((HOSTS[1],), 8_000, 8_001), tmp_path / "rows")
    made.hub.add_plan(Spec())
    lines = made.agent(), made.agent(host=HOSTS[1])
    assert not made.hub.gateways.can_start(HOSTS[1])  # the links come first
    measured(made, *lines)
    made.heard(lines[1], AddPlan)
    yield made, *lines
    for host in made.hub.hosts.values():
        host.launched = None
    made.hub.stop()


def test_a_gateway_is_started_and_heard_by_its_agent(with_gateways):
    head, first, second = with_gateways
    gateways = head.hub.gateways
    assert gateways.can_start(HOSTS[1])
    gateways.start(HOSTS[1], 5, 0)
    assert head.heard(second, StartGateway) == StartGateway(5, 0, 8_000, 8_001)
    gateways.tell(5, PlanAdded(1))
    assert head.heard(second, TellGateway) == TellGateway(5, PlanAdded(1))
    first.send(GatewaySaid(5, Serving()), GatewayEnded(5, "no agent is believed about those of others"))
    first.send(AgentNote("that was all"))
    head.until(lambda: "host gpu:0: that was all" in head.notes)
    second.send(
        GatewaySaid(5, WorkerDown(0, "and none about workers of others")), GatewaySaid(5, Ready("at"))
    )
    second.send(RowsPart("requests-5-000000.rows", 0, b"12345678"))
    second.send(GatewayEnded(5, "killed"), GatewaySaid(5, Serving()), AgentNote("this too"))
    head.until(lambda: "host gpu:1: this too" in head.notes)
    assert head.reports == [GatewaySaid(5, Ready("at")), GatewayEnded(5, "killed")]


def test_a_host_that_is_gone_ends_its_gateways_and_goes_on_with_its_rows_when_it_is_back(
    with_gateways, tmp_path
):
    head, _, second = with_gateways
    head.hub.gateways.start(HOSTS[1], 5, 0)
    second.send(RowsPart("requests-5-000000.rows", 0, b"12345678"), AgentNote("sent"))
    head.until(lambda: "host gpu:1: sent" in head.notes)
    second.close()
    head.until(
        lambda: GatewayEnded(5, "host gpu:1 is gone: its agent ended", is_host_gone=True) in head.reports
    )
    assert not head.hub.gateways.can_start(HOSTS[1])
    again = head.agent(host=HOSTS[1])
    assert head.heard(again, Welcome).rows == {"requests-5-000000.rows": 8}
    again.send(RowsPart("requests-5-000000.rows", 8, b"abcdefgh"), AgentNote("sent again"))
    head.until(lambda: "host gpu:1: sent again" in head.notes)
    assert (tmp_path / "rows" / "requests-5-000000.rows").read_bytes() == b"12345678abcdefgh"
    again.send(RowsPart("requests-5-000000.rows", 0, b"12345678"))
    head.until(lambda: head.hub.hosts[HOSTS[1]].line is None)
    assert any("sent byte 0 of requests-5-000000.rows, and 16 are here" in note for note in head.notes)
    again.close()


def test_a_host_of_gateways_stays_although_no_plan_has_it(with_gateways):
    head, _, second = with_gateways
    head.hub.add_plan(Spec(epoch=1, worker_hosts=HOSTS[:1], workers=(2,)))
    assert head.heard(second, AddPlan).workers == ()  # the spec is for its gateways
    head.hub.end_plan(0)
    assert set(head.hub.hosts) == set(HOSTS)


def test_a_host_that_no_plan_needs_any_more_is_let_go(head):
    """After a switch to a plan with one host: its agent ends, and its end is no loss. One that is away stays known."""
    measured(head, first := head.agent(), second := head.agent(host=HOSTS[1]))
    head.hub.add_plan(Spec(epoch=1, worker_hosts=HOSTS[:1], workers=(2,)))
    head.hub.end_plan(0)
    head.heard(second, EndAgent)
    assert set(head.hub.hosts) == {HOSTS[0]}
    assert head.hub.lost == frozenset()
    first.close()
    head.until(lambda: head.hub.lost == {"gpu:host0"})
    head.hub.end_plan(1)
    assert set(head.hub.hosts) == {HOSTS[0]}


def test_a_plan_that_needs_a_host_that_is_gone_is_refused(head):
    """It would load until the host is back, and no other plan could be loaded."""
    measured(head, first := head.agent(), second := head.agent(host=HOSTS[1]))
    head.heard(first, AddPlan)
    second.close()
    head.until(lambda: head.hub.lost == {"gpu:host1"})
    with pytest.raises(PenstockError, match="the plan needs host gpu:1, which is gone"):
        head.hub.add_plan(Spec(epoch=1, workers=(2, 3)))
    head.hub.add_plan(Spec(epoch=2, worker_hosts=HOSTS[:1], workers=(4,)))
    assert head.heard(first, AddPlan).workers == (4,)
    first.close()


@pytest.fixture
def with_devices(head):
    """A head whose hosts have a device each, and the lines to both agents."""
    head.hub.end_plan(0)
    head.hub.add_plan(Spec(epoch=1, workers=(2, 3), devices=("gpu:0", "gpu:1")))
    measured(head, first := head.agent(), second := head.agent(host=HOSTS[1]))
    head.heard(second, AddPlan)
    return first, second


def test_a_host_loses_only_devices_that_a_plan_gave_it(head, with_devices):
    """No agent is believed about the devices of other hosts."""
    _, second = with_devices
    second.send(DevicesLost(("gpu:0", "gpu:1", "gpu:9")))
    head.until(lambda: head.hub.lost)
    assert head.hub.lost == {"gpu:1"}
    assert "host gpu:1 says that it lost gpu:0, gpu:9, which no plan has there: not counted" in head.notes
    second.send(DevicesLost(()))
    head.until(lambda: not head.hub.lost)


def test_a_host_whose_device_is_lost_stays_known_although_no_plan_needs_it(head, with_devices):
    """Else its device would count as back, and the plan that needs it would be switched to."""
    _, second = with_devices
    second.send(DevicesLost(("gpu:1",)))
    head.until(lambda: head.hub.lost == {"gpu:1"})
    head.hub.add_plan(Spec(epoch=2, worker_hosts=HOSTS[:1], workers=(4,)))
    head.hub.end_plan(1)
    second.send(AgentNote("still here"))
    head.until(lambda: "host gpu:1: still here" in head.notes)
    head.hub._next_us = 0
    head.hub.turn()
    assert head.hub.lost == {"gpu:1"}
    second.send(DevicesLost(()))
    head.heard(second, EndAgent)
    assert set(head.hub.hosts) == {HOSTS[0]}


def test_an_agent_that_does_not_connect_is_killed_and_a_first_start_may_take_longer(head):
    killed = []
    line = head.agent()
    head.heard(line, Welcome)
    line.close()
    head.until(lambda: head.hub.lost)
    now_us = MonotonicClock().now_us()
    for host in head.hub.hosts.values():
        host.launched = types.SimpleNamespace(
            how_ended=lambda: None, kill=lambda name=host.name: killed.append(name)
        )
        host.gone_since_us = now_us - HUNG_US - 10**6
    head.hub._next_us = 0
    head.hub.turn()
    assert killed == [HOSTS[0]]
    head.hub.hosts[HOSTS[1]].gone_since_us = now_us - START_US - 10**6
    head.hub._next_us = 0
    head.hub.turn()
    assert killed == [HOSTS[0], *HOSTS]


def test_time_in_which_the_head_did_not_look_is_not_silence(head):
    """It was busy for twelve seconds, and hosts spoke meanwhile; then one really is silent."""
    lines = head.agent(), head.agent(host=HOSTS[1])
    for line in lines:
        head.heard(line, Welcome)
    hosts = head.hub.hosts
    for late_s, lost in ((12, set()), (0, {HOSTS[0]})):
        now_us = MonotonicClock().now_us()
        for host in hosts.values():
            host.line.heard_us = now_us - 12 * 10**6
        head.hub._next_us = now_us - late_s * 10**6
        hosts[HOSTS[1]].line.heard_us = now_us
        head.hub.turn()
        assert {name for name, host in hosts.items() if host.line is None} == lost
    for line in lines:
        line.close()


def test_a_plan_may_be_given_up_while_a_silent_host_is_reported(head):
    """Host 0 falls silent while a plan for both is loaded: the engine gives that plan up, and nobody needs host 1."""
    measured(head, first := head.agent(), second := head.agent(host=HOSTS[1]))
    head.heard(first, AddPlan)
    head.hub.add_plan(Spec(epoch=1, worker_hosts=HOSTS[:1], workers=(2,)))
    head.hub.add_plan(Spec(epoch=2, workers=(3, 4)))
    head.hub.end_plan(0)
    head.hub._report = lambda report: head.hub.end_plan(2)
    head.hub.hosts[HOSTS[0]].line.heard_us = -(10**12)
    head.hub._next_us = 0
    head.hub.turn()
    head.heard(second, EndAgent)
    assert set(head.hub.hosts) == {HOSTS[0]}
    first.close()


class FakeRay(types.ModuleType):
    """What the launcher asks of Ray, without a cluster."""

    __version__ = "2.99"

    def __init__(self, resources=None, error=None):
        super().__init__("ray")
        self.util = types.SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")
        self._resources, self._error = resources or {}, error
        self.is_shut_down = False

    def init(self, **options):
        if self._error is not None:
            raise self._error

    def cluster_resources(self):
        return self._resources

    def shutdown(self):
        self.is_shut_down = True


def launched(monkeypatch, ray, address="auto"):
    monkeypatch.setitem(sys.modules, "ray", ray)
    return RayLauncher(address, Counter({"L4": 2, "T4": 1}), new_keys(), lambda text: None)


def test_without_ray_the_extra_is_named(monkeypatch):
    with pytest.raises(MissingExtraError, match=r"penstock-serving\[ray\]"):
        launched(monkeypatch, None)


def test_what_a_cluster_lacks_is_named_with_the_command(monkeypatch):
    ray = FakeRay({"penstock-L4": 1.0, "penstock-T4": 1.0})
    with pytest.raises(BadInputError, match=r"lacks penstock-L4 \(needs 2, has 1\).*ray start --resources"):
        launched(monkeypatch, ray)
    assert ray.is_shut_down


def test_a_cluster_of_another_ray_is_named(monkeypatch):
    ray = FakeRay(error=RuntimeError("Version mismatch: the cluster was started with Ray 2.40\nand more"))
    with pytest.raises(BadInputError, match=r"Ray 2.40\)\. Is it running .* is its Ray this one \(2.99\)"):
        launched(monkeypatch, ray)


def test_an_address_where_nobody_listens_is_named_at_once(monkeypatch):
    monkeypatch.setattr(ray_launcher, "CONNECT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        BadInputError, match=rf"--address 127.0.0.1:{port}: no Ray cluster can be joined there"
    ):
        launched(monkeypatch, FakeRay(), f"127.0.0.1:{port}")
