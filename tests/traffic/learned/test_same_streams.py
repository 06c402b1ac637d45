"""The same seed gives the same streams, of every method, whatever the batch, the threads, and how many are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from penstock.traffic.generator.learned import LearnedGenerator  # noqa: E402
from penstock.traffic.generator.protocol import FitOptions, fit_generator, load_generator  # noqa: E402
from penstock.traffic.generator.torch import transformer_network  # noqa: E402
from penstock.traffic.generator.torch.decode import sampling_type  # noqa: E402
from penstock.traffic.machine import known_machine  # noqa: E402
from penstock.traffic.streams import Streams, select_streams  # noqa: E402
from penstock.traffic.truth import simulate_mix  # noqa: E402

TRAINING = simulate_mix("lte", {"phone": 200, "tablet": 100})
EXTRA = {
    "gru": {"hidden": 16, "bins": 16, "steps": 3},
    "transformer": {"width": 16, "bins": 16, "steps": 3},
    "published": {"steps": 3},
    "gan": {"steps": 3},
    "smm": {"groups": 1},
    "clustered smm": {"groups": 16},
    "replay": {},
    "plain": {},
}
STREAMS, MORE = 30, 45


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=EXTRA)
def generator(request):
    method = request.param.split()[-1]
    options = FitOptions(
        machine=known_machine("lte") if method == "smm" else None, extra=EXTRA[request.param]
    )
    return fit_generator(method, TRAINING, seed=0, options=options)


def columns(streams: Streams) -> list[list[int]]:
    return [column.tolist() for column in (streams.event, streams.time_us, streams.first, streams.klass)]


def test_a_seed_makes_the_streams(generator, tmp_path):
    drawn = generator.sample(STREAMS, seed=5)
    assert drawn.gap_us.min() >= 0 and drawn.sizes.min() >= 1 and drawn.time_us.max() < drawn.window_us
    assert columns(generator.sample(STREAMS, seed=5)) == columns(drawn)
    assert columns(generator.sample(STREAMS, seed=6)) != columns(drawn)
    generator.save(tmp_path)
    assert columns(load_generator(tmp_path).sample(STREAMS, seed=5)) == columns(drawn)


def test_more_streams_begin_with_the_same(generator):
    more = generator.sample(MORE, seed=5)
    assert columns(select_streams(more, np.arange(STREAMS))) == columns(generator.sample(STREAMS, seed=5))


@pytest.mark.parametrize(("batch", "threads"), [(7, 1), (1000, 2)])
def test_batch_and_threads_change_nothing(generator, batch, threads):
    if not isinstance(generator, LearnedGenerator):
        pytest.skip("it has neither batches nor threads")
    drawn = generator.sample(STREAMS, seed=5)
    assert columns(replace(generator, batch=batch, threads=threads).sample(STREAMS, seed=5)) == columns(drawn)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("generator", ["transformer"], indirect=True)
def test_a_draw_depends_on_what_no_batch_changes(generator):
    # The gap of a bin does not show the last bits of a network. Where a draw would fall does.
    model = generator.parts[0].model
    device = torch.device("cpu")
    network = transformer_network.network_of(model.classes, model.bins, model.state, device)
    network.to(sampling_type(device)).eval()
    width = network.backbone.enter.in_features
    tokens = np.random.default_rng(0).normal(size=(4, 200, width))

    def scores(streams: int):
        cache, state = [], None
        for step in tokens:
            state = network.backbone.step(torch.tensor(step[:streams], dtype=sampling_type(device)), cache)
        return network.heads.type_logits(state, torch.ones(streams, dtype=torch.int64))

    with torch.no_grad():
        assert (scores(3) - scores(200)[:3]).abs().max() < 1e-12
