"""The kernel against a plain sampler in float64, and against PyTorch; the same streams in any batch and thread."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from random_gru import CLASSES, EVENTS, WINDOW_US, gap_shares, plain_stream, random_model, step, type_shares

from penstock.errors import BadInputError
from penstock.traffic.generator.gru_kernel import (
    LANES,
    advance,
    put_class,
    put_event,
    score_gaps,
    score_types,
    scratch,
)
from penstock.traffic.generator.gru_weights import check_weights, event_features
from penstock.traffic.generator.learned import Request
from penstock.traffic.generator.sampling import MOST_IN_BLOCK, even_block, in_order


def drawn(model, streams, *, seed=5, klass=None, threads=1, batch=64, most=200):
    numbers = np.asarray(streams, np.int64)
    klass = numbers.astype(np.int16) % 2 if klass is None else np.full(len(numbers), klass, np.int16)
    request = Request(numbers, klass, seed, WINDOW_US, most, threads, batch)
    event, time_us, first = in_order(model.draw(request), len(numbers))
    return [list(zip(event[a:b].tolist(), time_us[a:b].tolist(), strict=True)) for a, b in pairwise(first)]


def test_the_kernels_shares_are_those_of_the_network_in_float64():
    model = random_model(seed=3)
    weights, s = model.weights, scratch(model.weights)
    history = [(0, 0), (1, 12), (1, 80_000), (2, 3)]
    for lane in range(LANES):
        put_class(weights, s, lane, lane % 2)
    states = [np.zeros(weights.hidden) for _ in CLASSES]
    reads, features = [0, 1], np.zeros(16)
    before, clock, last = 0, 0, np.zeros(len(EVENTS), np.int64)
    for kind, gap in history:
        advance(weights, s)
        score_types(weights, s)
        kinds = np.full(LANES, kind, np.int64)
        score_gaps(weights, s, kinds)
        for klass in range(2):
            states[klass] = step(weights, states[klass], reads[klass], features)
            types = np.exp(s.type_scores[:, klass] - s.type_scores[:, klass].max())
            assert types / types.sum() == pytest.approx(type_shares(weights, states[klass], before), abs=2e-6)
            gaps = s.gap_scores[:, klass] / s.total[klass]
            assert gaps == pytest.approx(gap_shares(weights, states[klass], kind), abs=2e-6)
        clock += gap
        last[kind] = clock
        for lane in range(LANES):
            put_event(weights, s, lane, kind, gap, clock)
        reads, before = [len(CLASSES) + kind] * 2, 1 + kind
        features = event_features(np.array([gap]), clock - last[None], weights.scale)[0].astype(float)


@pytest.mark.parametrize("seed", [0, 1])
def test_streams_are_those_of_the_plain_sampler(seed):
    model = random_model(seed=seed)
    found = drawn(model, range(60), seed=11)
    # A draw within a rounding of float32 of an edge may fall on its other side: rarely, if the kernel is right.
    same = [stream == plain_stream(model, 11, n, n % 2) for n, stream in enumerate(found)]
    assert sum(same) >= 59
    assert sum(map(len, found)) > 120


def test_a_stream_does_not_depend_on_batch_threads_or_neighbours():
    model = random_model(seed=2)
    whole = drawn(model, range(300))
    assert drawn(model, range(300), threads=3, batch=7) == whole
    assert drawn(model, range(300), threads=2, batch=1024) == whole
    assert drawn(model, [299, 5, 31]) == [whole[299], whole[5], whole[31]]


@pytest.mark.parametrize(
    ("streams", "threads", "block"),
    [(3500, 2, 1750), (1, 4, 1), (5, 4, 2), (8192, 2, 4096), (8194, 2, 2049), (100_000, 1, 4000)],
)
def test_threads_get_equally_many_blocks(streams, threads, block):
    assert even_block(streams, threads) == block <= MOST_IN_BLOCK
    assert -(-streams // block) <= threads * -(-streams // (threads * MOST_IN_BLOCK))


def test_another_seed_gives_other_streams_and_another_class_too():
    model = random_model(seed=2)
    assert drawn(model, range(20), seed=1) != drawn(model, range(20), seed=2)
    assert drawn(model, range(20), klass=0) != drawn(model, range(20), klass=1)


def test_streams_obey_the_automaton_and_the_window_and_have_an_event():
    model = random_model(seed=4)
    for stream in drawn(model, range(200)):
        place = 0
        assert len(stream) >= 1
        for kind, _ in stream:
            place = model.grammar.next_state[place, kind]
            assert place >= 0
        times = [time for _, time in stream]
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] < WINDOW_US


def test_a_stream_is_cut_at_the_most_events_and_that_is_counted():
    model = random_model(seed=2)
    numbers = np.arange(100)
    rows = model.draw(Request(numbers, np.zeros(100, np.int16), 5, WINDOW_US, 2, 1, 50))
    sizes = np.bincount(rows.owner, minlength=100)
    assert sizes.max() == 2
    longer = [len(stream) > 2 for stream in drawn(model, numbers, klass=0)]
    assert rows.cut == sum(longer) > 0


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("recur", lambda a: a[:, :-1], "multiple of 8"),
        ("token", lambda a: a[:-1], "token is float32"),
        ("type_bias", lambda a: a.astype(np.float64), "type_bias is float64"),
        ("gap_head", lambda a: a * np.float32("nan"), "not finite"),
        ("scale", lambda a: a * np.float32(0), "must be > 0"),
    ],
)
def test_weights_that_the_kernel_may_not_read_are_refused(name, change, said):
    model = random_model()
    arrays = model.weights._asdict()
    arrays[name] = change(arrays[name])
    with pytest.raises(BadInputError, match=said):
        check_weights(arrays, len(EVENTS), len(CLASSES), model.bins.slots, model.bins.columns)


def test_the_kernel_draws_what_pytorch_draws():
    torch = pytest.importorskip("torch")
    from penstock.traffic.generator.torch.gru_fit import draw_on_device

    torch.set_num_threads(1)
    model = random_model(seed=6)
    numbers, klass = np.arange(100), (np.arange(100) % 2).astype(np.int16)
    request = Request(numbers, klass, 9, WINDOW_US, 200, 1, 100, "cpu")
    event, time_us, first = in_order(draw_on_device(model, request), 100)
    theirs = [list(zip(event[a:b].tolist(), time_us[a:b].tolist(), strict=True)) for a, b in pairwise(first)]
    ours = drawn(model, numbers, seed=9)
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 98
