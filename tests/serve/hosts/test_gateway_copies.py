"""Rows and counters of gateways on other hosts: what the head has of them after every kind of interruption."""

from __future__ import annotations

import subprocess

import pytest

from penstock.errors import BadInputError
from penstock.serve.hosts.agent_messages import CountersPart, RowsPart
from penstock.serve.hosts.gateways import row_copies
from penstock.serve.hosts.gateways.counter_copies import CountersOut, gateway_of, keep_counters
from penstock.serve.hosts.gateways.row_copies import RowsIn, RowsOut
from penstock.serve.live_record import RowFiles
from penstock.serve.observe.catalogue import IN_FLIGHT, REQUESTS
from penstock.serve.observe.counter_file import Counters, counters_path, exported, read_counters, silence

HOST, GATEWAY = "gpu:1", 7
SERIES = [(IN_FLIGHT, ()), (REQUESTS, ("m", "met"))]


@pytest.fixture
def folders(tmp_path):
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    return tmp_path / "there", tmp_path / "here"


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.rows")}


def test_rows_come_once_whatever_was_lost_on_the_way(folders, monkeypatch):
    """A part that never came is sent again to whoever says how much it has; the files end up equal."""
    monkeypatch.setattr(row_copies, "PART_BYTES", 40)
    there, here = folders
    rows = RowFiles(there, "requests", GATEWAY, rows_of_a_file=3)
    out, into = RowsOut(there), RowsIn(here, {GATEWAY: HOST})
    for number in range(7):
        rows.add([number] * 9)
        rows.flush()
        parts = list(out.parts())
        kept = parts[: len(parts) // 2] if number % 2 else parts
        for part in kept:
            into.add(HOST, part)
        if len(kept) < len(parts):
            out.resume(into.there(HOST))
    for part in out.parts():
        into.add(HOST, part)
    assert len(files_of(there)) == 3
    assert files_of(here) == files_of(there)
    assert list(out.parts()) == []


def test_as_many_files_are_kept_as_the_gateway_keeps(folders, monkeypatch):
    monkeypatch.setattr(row_copies, "MOST_FILES", 2)
    there, here = folders
    rows = RowFiles(there, "requests", GATEWAY, rows_of_a_file=1, most_files=2)
    out, into = RowsOut(there), RowsIn(here, {GATEWAY: HOST})
    for number in range(5):
        rows.add([number] * 9)
        rows.flush()
        for part in out.parts():
            into.add(HOST, part)
    assert sorted(files_of(here)) == ["requests-7-000003.rows", "requests-7-000004.rows"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (RowsPart("requests-8-000000.rows", 0, b"x"), "which no gateway of it writes"),
        (RowsPart("../requests-7-000000.rows", 0, b"x"), "which no gateway of it writes"),
        (RowsPart("batches-7-000000.rows", 0, b"x"), "which no gateway of it writes"),
        (
            RowsPart("requests-7-000000.rows", 8, b"x"),
            "sent byte 8 of requests-7-000000.rows, and 0 are here",
        ),
    ],
)
def test_rows_of_others_or_with_a_gap_are_refused(folders, part, said):
    _, here = folders
    with pytest.raises(BadInputError, match=said):
        RowsIn(here, {GATEWAY: HOST, 8: "gpu:2"}).add(HOST, part)
    assert files_of(here) == {}


def counted(folder, requests, in_flight):
    counters = Counters(SERIES, counters_path(folder, f"gateway-{GATEWAY}"))
    counters.cell(REQUESTS, ("m", "met")).add(requests)
    counters.cell(IN_FLIGHT).set(in_flight)
    return counters


def totals(folder):
    found = read_counters(folder)
    return {name: list(slots) for (name, _), slots in found.items()}


def test_counters_come_when_they_change_and_gauges_as_long_as_their_process_lives(folders):
    there, here = folders
    counters = counted(there, 3, 2)
    out = CountersOut(there, lambda name: True)
    (part,) = out.parts()
    assert list(out.parts()) == []
    keep_counters(part, here)
    assert totals(here) == {REQUESTS.name: [3], IN_FLIGHT.name: [2]}
    counters.cell(REQUESTS, ("m", "met")).add(1)
    for part in out.parts():
        keep_counters(part, here)
    assert totals(here) == {REQUESTS.name: [4], IN_FLIGHT.name: [2]}
    silence(counters_path(here, part.name))  # the host is gone
    assert totals(here) == {REQUESTS.name: [4]}
    keep_counters(part, here)  # it is back
    assert totals(here) == {REQUESTS.name: [4], IN_FLIGHT.name: [2]}
    out.forget()
    assert list(out.parts()) == [part]


def test_the_number_of_a_dead_process_is_not_taken_for_one_of_another_host(folders):
    """It may be the number of a living one there."""
    there, here = folders
    counters = counted(there, 3, 2)
    ended = subprocess.Popen(["true"])
    ended.wait()
    counters._words[0] = ended.pid
    path = counters_path(there, f"gateway-{GATEWAY}")
    keep_counters(CountersPart(path.stem, exported(path)), here)
    assert totals(here) == {REQUESTS.name: [3]}


def test_names_of_counters(folders):
    assert [gateway_of(name) for name in ("gateway-7", "gateway-71-plan-0", "gateway-7-process")] == [
        7,
        71,
        7,
    ]
    assert [gateway_of(name) for name in ("dispatcher", "gateway-", "gateway-x", "links")] == [None] * 4
    with pytest.raises(BadInputError, match="no name of counters"):
        keep_counters(CountersPart("../x", b""), folders[1])
