"""The likelihood is one: of everything that may come next in the window, and of silence."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from penstock.traffic.generator.bins import GapBins, fit_stream_bins, plain_slots  # noqa: E402
from penstock.traffic.generator.torch.chunks import grid, length_sorted, rows_of, since_of  # noqa: E402
from penstock.traffic.generator.torch.fused_gru import fused_gru  # noqa: E402
from penstock.traffic.generator.torch.gru_network import BinHeads, BinTargets, GruNetwork  # noqa: E402
from penstock.traffic.streams import Streams  # noqa: E402

WINDOW_US = 400
EDGES = np.array(
    [[0, 3, 10, 80, 200, WINDOW_US], [0, 50, 50, 51, 300, WINDOW_US]] * 2 + [[0, 9, 90, 91, 92, WINDOW_US]],
    np.int64,
)
BINS = GapBins(EDGES, np.concatenate([plain_slots(2)[:2], [[4, 1]]]))
CPU = torch.device("cpu")


def streams() -> Streams:
    return Streams(
        np.array([0, 1, 1, 0, 1, 0], np.int16),
        np.array([5, 60, 110, 0, 399, 7], np.int64),
        np.array([0, 3, 5, 6], np.int64),
        np.array([0, 1, 0], np.int16),
        ("a", "b"),
        ("x", "y"),
        WINDOW_US,
    )


@pytest.mark.parametrize(("left_us", "before"), [(1, 1), (2, 2), (51, 2), (137, 1), (400, 2)])
def test_what_may_come_and_silence_have_probability_one(left_us, before):
    torch.manual_seed(1)
    bins = BINS
    heads = BinHeads(8, bins)
    torch.nn.init.normal_(heads.type_bias)
    state = torch.randn(1, 8)
    gaps, came = np.arange(left_us), torch.tensor([before])
    total = 0.0
    with torch.no_grad():
        for kind in range(2):
            slots = np.full(left_us, bins.slot_of[before, kind], np.int64)
            columns = torch.from_numpy(bins.column_of(slots, gaps))
            for gap, column in zip(gaps, columns, strict=True):
                loss = heads.event_loss(
                    state, came, torch.tensor([kind]), torch.from_numpy(slots[:1]), column[None]
                )
                # A density on log(gap + 1), over one microsecond.
                inside = bins.log_inside(slots[:1], np.array([gap]))[0] + np.log(
                    np.log((gap + 2) / (gap + 1))
                )
                total += float(np.exp(-float(loss) + inside))
        silence = float(
            torch.exp(
                -heads.silence_loss(state, came, torch.tensor([np.log1p(left_us)], dtype=torch.float32))
            )
        )
    assert total + silence == pytest.approx(1.0, abs=2e-5)
    assert silence > 0


def test_a_chunk_has_the_likelihood_of_its_streams_one_by_one():
    torch.manual_seed(2)
    own = streams()
    network = GruNetwork(2, 8, BINS)
    targets = BinTargets(rows_of(own), BINS, np.array([3.0, 1.0], np.float32), 2, CPU)
    with torch.no_grad():
        whole = network.likelihood(targets, grid(targets.rows, np.arange(3), CPU))
        alone = [network.likelihood(targets, grid(targets.rows, np.array([n]), CPU)) for n in range(3)]
    assert float(whole.loss) == pytest.approx(sum(float(one.loss) for one in alone), rel=1e-5)
    assert int(whole.events) == 6


def test_a_stream_cut_in_training_has_no_silence():
    own = streams()
    rows = rows_of(own, most_steps=2)
    assert rows.sizes.tolist() == [3, 3, 2]
    # Row 0 of each stream reads its class; the first stream lost its third event, so its end says nothing.
    assert rows.event.tolist() == [-1, 0, 1, -1, 0, 1, -1, 0, -1]
    assert rows.next_event.tolist() == [0, 1, -2, 0, 1, -1, 0, -1, -2]
    assert rows.next_gap_us[:5].tolist() == [5, 55, 0, 0, 399]
    assert rows.left_us[:6].tolist() == [400, 395, 340, 400, 400, 1]


def test_since_is_the_time_from_the_last_event_of_each_type_or_the_begin():
    # Events a at 5, b at 60, b at 110; then a at 0, b at 399; then a at 7. Row 0 of each stream is its begin.
    found = since_of(rows_of(streams()), 2)
    assert found[:4].tolist() == [[0, 0], [0, 5], [55, 0], [105, 0]]
    assert found[4:7].tolist() == [[0, 0], [0, 0], [399, 0]]
    assert found[7:9].tolist() == [[0, 0], [0, 7]]


def test_chunks_hold_every_stream_once_and_little_padding():
    own = np.random.default_rng(0).integers(1, 60, 500)
    rows = rows_of(
        Streams(
            np.zeros(own.sum(), np.int16),
            np.concatenate([np.arange(n) for n in own]).astype(np.int64),
            np.concatenate([[0], np.cumsum(own)]).astype(np.int64),
            np.zeros(500, np.int16),
            ("a",),
            ("x",),
        )
    )
    chunks = length_sorted(rows, 400, np.random.default_rng(1))
    assert sorted(np.concatenate(chunks).tolist()) == list(range(500))
    cells = sum(len(chunk) * rows.sizes[chunk].max() for chunk in chunks)
    assert all(len(chunk) * rows.sizes[chunk].max() <= 400 for chunk in chunks)
    assert cells <= 1.2 * rows.sizes.sum()


def test_the_fused_gru_is_pytorchs_forward_and_back():
    torch.manual_seed(0)
    gru = torch.nn.GRU(11, 16)
    inputs, weight = torch.randn(9, 5, 11, requires_grad=True), torch.randn(9, 5, 16)
    results = []
    for run in (lambda: gru(inputs)[0], lambda: fused_gru(gru, inputs)):
        states = run()
        slopes = torch.autograd.grad((states * weight).sum(), [inputs, *gru.parameters()])
        results.append([states, *slopes])
    for theirs, ours in zip(*results, strict=True):
        assert torch.allclose(theirs, ours, atol=1e-5, rtol=1e-5)


def test_weights_go_to_the_sampler_and_back():
    torch.manual_seed(3)
    own = streams()
    bins = fit_stream_bins(own, 8)
    network, other = GruNetwork(2, 8, bins), GruNetwork(2, 8, bins)
    scale = np.array([3.0, 1.0], np.float32)
    other.take(network.export(scale))
    for a, b in zip(network.export(scale), other.export(scale), strict=True):
        assert np.allclose(a, b, atol=1e-6)
