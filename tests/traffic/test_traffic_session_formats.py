"""Sessions in public traces: NGAPAD contexts, Mooncake's prefix chains."""

from __future__ import annotations

from pathlib import Path

import pytest
from trace_files import write

from penstock.errors import BadInputError
from penstock.traffic.formats.mooncake_sessions import load_sessions
from penstock.traffic.formats.ngapad import load_contexts
from penstock.traffic.machine import find_violations, known_machine
from penstock.traffic.streams.load_streams import load_streams

TRACES = Path(__file__).parents[3] / "shared/data/traces"
HEAD = "src_ip,ran_ngap_ue_id,timestamp_seq,ngap_type_seq"


def test_ngapad_traps(tmp_path):
    path = write(
        tmp_path / "n.csv",
        HEAD,
        'x,1,"[0.0, 0.5, 0]","[15, 4, -1]"',
        'x,2,"[0.0, 0.5, 0]","[15, 4, 46]"',  # the last message has no time: padded with 0
        'x,3,"[0.0, 0.5, 0]","[15, 4, -1]"',  # a repeat
        'y,4,"[0.0]","[87]"',
    )
    found = load_contexts(path)
    assert (len(found.streams), found.without_times, found.repeated) == (2, 1, 1)
    assert found.streams.events == ("15", "4", "87")
    assert found.streams.time_us.tolist() == [0, 500_000, 0]
    assert found.streams.classes == ("x", "y")
    assert len(load_streams(path)) == 2
    with pytest.raises(BadInputError, match=r"line 2: ngap_type_seq .='.15, 4.*must be a list"):
        load_contexts(write(tmp_path / "bad.csv", HEAD, 'x,1,"[0.0]","[15, 4, x]"'))


def test_mooncake_chains(tmp_path):
    rows = [
        (0, [0, 1, 2]),
        (0, [0, 3]),  # shares block 0 only: another session
        (3000, [0, 1, 2, 4]),  # goes on from the first
        (3000, [0, 1, 5]),  # shares block 1: the same session
        (6000, [0, 3, 6]),  # goes on from the second
        (6000, [0]),  # nothing beyond block 0: a session of its own
    ]
    path = write(tmp_path / "m.jsonl", *(f'{{"timestamp": {t}, "hash_ids": {blocks}}}' for t, blocks in rows))
    streams = load_sessions(path)
    assert streams.sizes.tolist() == [3, 2, 1]
    assert streams.time_us.tolist() == [0, 3_000_000, 3_000_000, 0, 6_000_000, 6_000_000]
    assert [streams.events[code] for code in streams.event] == [
        "infer",
        "follow-up",
        "follow-up",
        "infer",
        "follow-up",
        "infer",
    ]
    with pytest.raises(BadInputError, match="line 1: must be a JSON object"):
        load_sessions(write(tmp_path / "bad.jsonl", '{"timestamp": 0, "hash_ids": ["a"]}'))


@pytest.mark.data
@pytest.mark.skipif(not TRACES.exists(), reason="reference data absent")
def test_the_published_files():
    contexts = load_contexts(TRACES / "ngapad/slice_18_normal_full.csv")
    # 2,974 contexts, 800 of them with a message without a time.
    assert (len(contexts.streams) + contexts.repeated, contexts.without_times) == (2174, 800)
    assert find_violations(contexts.streams, known_machine("ngap")).stream_share < 0.06
    sessions = load_streams(TRACES / "mooncake/conversation_trace.jsonl")
    assert (len(sessions), sessions.n_events) == (7373, 12031)
