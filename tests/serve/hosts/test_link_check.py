"""Links between hosts: who is measured when, what is said about it, and a real probe between two ends."""

from __future__ import annotations

import queue

import pytest

pytest.importorskip("zmq")

from penstock.cluster import Cluster, DeviceClass
from penstock.serve.hosts.agent_messages import ListenForProbe, ProbeListening, ProbeMeasured, SendProbe
from penstock.serve.hosts.link_check import MOST_IN_TURN, PATIENCE_US, PROBE_US, LinkCheck, ring
from penstock.serve.hosts.link_probe import PROBE_BYTES, LinkProbe
from penstock.serve.hosts.many_hosts import HostsChoice
from penstock.serve.transport.curve import new_keys

HOSTS = ["a", "b", "c", "d"]


def check_of(hosts=HOSTS, at_once=1, planned=10.0):
    told, notes = [], []
    check = LinkCheck(
        hosts,
        lambda *link: planned,
        lambda host, message: told.append((host, message)),
        notes.append,
        at_once,
    )
    return check, told, notes


def measure(check, receiver, gbps):
    check.hear(receiver, ProbeListening(f"tcp://{receiver}:1"), 0)
    check.hear(receiver, ProbeMeasured(round(gbps * 1e9 / 8), 1_000_000), 0)


def test_every_host_sends_once_and_receives_once():
    for count in range(2, 8):
        links = ring([str(host) for host in range(count)])
        assert sorted(link.sender for link in links) == sorted(link.receiver for link in links)
        assert len({link.sender for link in links}) == len(links) == count
    assert ring(["alone"]) == []


def test_a_receiver_listens_before_the_sender_is_told_where():
    check, told, _ = check_of()
    check.turn(0)
    assert told == [("b", ListenForProbe())]
    check.hear("b", ProbeListening("tcp://b:1"), 0)
    assert told[1:] == [("a", SendProbe("tcp://b:1", PROBE_US))]
    check.hear("b", ProbeListening("tcp://b:1"), 0)  # told twice: nothing happens
    assert len(told) == 2


def test_hosts_that_share_a_machine_are_measured_one_by_one_and_others_side_by_side():
    for at_once, first in ((1, {"b"}), (4, {"b", "d"})):
        check, told, _ = check_of(at_once=at_once)
        check.turn(0)
        assert {host for host, _ in told} == first  # never a host that sends and receives


@pytest.mark.parametrize(("at_once", "measured"), [(1, MOST_IN_TURN), (100, 20)])
def test_on_one_machine_some_links_are_enough(at_once, measured):
    check, _, _ = check_of([str(host) for host in range(20)], at_once)
    while not check.is_done:
        check.turn(0)
        for link in list(check._running):
            measure(check, link, 9.0)
    assert len(check.gbps) == measured


def test_a_slow_link_is_named_with_what_to_plan_for():
    check, _, notes = check_of()
    check.turn(0)
    for receiver, gbps in (("b", 9.0), ("d", 2.0), ("c", 8.0), ("a", 7.0)):
        assert not check.is_done
        measure(check, receiver, gbps)
    assert check.is_done
    assert notes[0] == "4 links between hosts carry 2 to 9 Gbit/s of encrypted tensors"
    assert (
        "1 of them carry less than half of what the plan was made for: from host c to d 2 of 10" in notes[1]
    )
    assert "plan again with bandwidth_gbps: 2," in notes[1]
    assert check.gbps[("c", "d")] == pytest.approx(2.0)


def test_links_that_carry_enough_are_no_warning():
    check, _, notes = check_of(planned=3.0)
    check.turn(0)
    for receiver in "bdca":
        measure(check, receiver, 2.0)
    assert len(notes) == 1


def test_a_link_that_cannot_be_measured_is_left_out():
    check, _, notes = check_of(hosts=["a", "b"])
    check.turn(0)
    check.turn(PATIENCE_US)
    assert not check.is_done
    check.turn(PATIENCE_US + 1)
    measure(check, "a", 9.0)
    assert check.is_done
    assert notes[0] == "the link from host a to b could not be measured"
    check.hear("b", ProbeMeasured(1, 1), 0)  # too late


def test_one_host_has_no_links():
    check, told, notes = check_of(hosts=["a"])
    check.turn(0)
    assert (check.is_done, told, notes) == (True, [], [])


def test_a_link_is_planned_as_the_slower_of_its_interfaces():
    classes = {"L4": DeviceClass(count=2), "T4": DeviceClass(count=2, bandwidth_gbps=3.0)}
    choice = HostsChoice(lambda *of: None, Cluster(bandwidth_gbps=10, device_classes=classes))
    assert choice.planned_gbps("L4:0", "L4:1") == 10
    assert choice.planned_gbps("L4:0", "T4:1") == 3


def test_a_probe_counts_what_another_sends():
    keys, heard = new_keys(), queue.Queue()
    LinkProbe("127.0.0.1", keys, heard.put).listen()
    listening = heard.get(timeout=30)
    LinkProbe("127.0.0.1", keys, heard.put).send(listening.endpoint, 50_000)
    measured = heard.get(timeout=30)
    assert measured.size % PROBE_BYTES == 0
    assert measured.us > 0


def test_a_probe_without_the_keys_of_the_run_is_not_counted(monkeypatch):
    monkeypatch.setattr("penstock.serve.hosts.link_probe.PATIENCE_MS", 300)
    heard = queue.Queue()
    LinkProbe("127.0.0.1", new_keys(), heard.put).listen()
    listening = heard.get(timeout=30)
    LinkProbe("127.0.0.1", new_keys(), heard.put).send(listening.endpoint, 50_000)
    with pytest.raises(queue.Empty):
        heard.get(timeout=1)
