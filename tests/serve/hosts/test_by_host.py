"""Endpoints of a run on many hosts, and which way a link takes."""

# ruff: noqa: E402 - the serve extra is asked for first
from __future__ import annotations

import sys
import time

import pytest

msgspec = pytest.importorskip("msgspec")
pytest.importorskip("zmq")

from penstock.errors import BadInputError
from penstock.serve.messages import CancelBatch, ToWorker
from penstock.serve.transport import decoded, dispatcher_endpoint, gateway_endpoint, worker_endpoint
from penstock.serve.transport.by_host import HostTransport
from penstock.serve.transport.curve import new_keys
from penstock.serve.transport.endpoints import Place, write_place
from penstock.serve.transport.zeromq import ZeroMqTransport

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll")
DECODER = msgspec.msgpack.Decoder(ToWorker)
WAIT_S = 60.0


def test_one_host_has_files_only(tmp_path):
    assert dispatcher_endpoint(tmp_path) == f"ipc://{tmp_path}/dispatcher"
    assert worker_endpoint(tmp_path, 3, 2) == f"ipc://{tmp_path}/worker-3-2"


def test_the_head_of_many_hosts_has_addresses_beside_its_files(tmp_path):
    write_place(Place(here="10.0.0.1", head="10.0.0.1", port=7_000, is_head=True), tmp_path)
    assert dispatcher_endpoint(tmp_path) == f"tcp://10.0.0.1:7000 ipc://{tmp_path}/dispatcher"
    assert gateway_endpoint(tmp_path, 4) == f"tcp://10.0.0.1:0 ipc://{tmp_path}/gateway-4"


@pytest.mark.parametrize("here", ["10.0.0.2", "10.0.0.1"])
def test_an_agent_reaches_the_head_by_its_address_although_it_may_have_the_same(tmp_path, here):
    write_place(Place(here=here, head="10.0.0.1", port=7_000), tmp_path)
    assert dispatcher_endpoint(tmp_path) == "tcp://10.0.0.1:7000"
    assert gateway_endpoint(tmp_path, 4) == f"tcp://{here}:0 ipc://{tmp_path}/gateway-4"
    assert worker_endpoint(tmp_path, 3, 2) == f"tcp://{here}:0 ipc://{tmp_path}/worker-3-2"


class Host:
    """A host at an address of loopback."""

    def __init__(self, address, folder, keys):
        self.within = ZeroMqTransport()
        self.between = ZeroMqTransport(keys)
        self.transport = HostTransport(self.within, self.between, address, folder)
        folder.mkdir()
        self.inbox = self.transport.listen(f"tcp://{address}:0 ipc://{folder}/inbox")

    def one(self):
        """What comes next. A wait may end with nothing there: the sockets of ZeroMQ wake for news of their own."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            got = [decoded(DECODER, received.head) for received in self.inbox.waiting()]
            if got:
                return got
            self.inbox.wait(1.0)
        raise AssertionError("nothing came")


@pytest.fixture
def hosts(tmp_path):
    keys = new_keys()
    where = [("127.0.0.1", "a"), ("127.0.0.2", "b"), ("127.0.0.1", "c")]
    made = [Host(address, tmp_path / name, keys) for address, name in where]
    yield made
    for host in made:
        host.transport.close()


def test_a_peer_of_this_host_is_reached_by_its_file_and_another_by_its_address(hosts, monkeypatch):
    used = []
    here = hosts[0]
    for name, transport in (("within", here.within), ("between", here.between)):
        connect = transport.connect
        monkeypatch.setattr(
            transport,
            "connect",
            lambda at, name=name, connect=connect: used.append((name, at)) or connect(at),
        )
    for host in hosts:
        here.transport.connect(host.inbox.endpoint).send(CancelBatch(5))
        assert host.one() == [CancelBatch(5)]
    local, far, beside = (host.inbox.endpoint.split() for host in hosts)
    assert used == [("within", local[1]), ("between", far[0]), ("between", beside[0])]


def test_both_ways_end_in_one_inbox(hosts):
    here, there, _ = hosts
    here.transport.connect(here.inbox.endpoint).send(CancelBatch(1))
    there.transport.connect(here.inbox.endpoint).send(CancelBatch(2))
    got = here.one()
    if len(got) < 2:
        got += here.one()
    assert sorted(message.batch for message in got) == [1, 2]


def test_an_endpoint_of_another_kind_is_named(hosts):
    with pytest.raises(BadInputError, match=r"'ipc:///x' must be 'tcp://ADDRESS:PORT ipc://PATH'"):
        hosts[0].transport.connect("ipc:///x")
