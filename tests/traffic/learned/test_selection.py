"""What training keeps: the network that was best on streams that it did not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from penstock.errors import PenstockError  # noqa: E402
from penstock.traffic.generator.protocol import FitOptions, fit_generator  # noqa: E402
from penstock.traffic.generator.torch.chunks import rows_of  # noqa: E402
from penstock.traffic.generator.torch.gru_network import Likelihood  # noqa: E402
from penstock.traffic.generator.torch.pace import COOLING, Pace, Recipe  # noqa: E402
from penstock.traffic.generator.torch.selection import Clock, Selection, held_out_nats  # noqa: E402
from penstock.traffic.generator.torch.training import train  # noqa: E402
from penstock.traffic.streams import select_streams, split_streams  # noqa: E402
from penstock.traffic.truth import simulate_truth  # noqa: E402

STREAMS = simulate_truth(streams=30, seed=1)
ROWS, CPU = rows_of(STREAMS), torch.device("cpu")


@dataclass
class Goal:
    """Streams that want the one weight of :class:`OneWeight` to be ``wanted``."""

    wanted: float
    rows: Any = ROWS
    device: Any = CPU


class OneWeight(torch.nn.Module):
    """A network of one weight, from 0: its loss is the squared distance from what the streams want."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def likelihood(self, targets: Goal, rows: torch.Tensor) -> Likelihood:
        count = torch.tensor(rows.numel())
        return Likelihood((self.weight - targets.wanted) ** 2 * count, count, torch.zeros(()))


def trained(seen: float, held_out: float, rate: float = 0.05):
    network, told = OneWeight(), []
    recipe = Recipe(seconds=None, steps=400, rate=rate, average=0.5, tokens=256)
    made = train(network, Goal(seen), Goal(held_out), recipe, progress=lambda _, text: told.append(text))
    return network, made, told


def test_training_that_gets_worse_returns_its_best_state():
    network, made, told = trained(seen=3.0, held_out=1.0, rate=0.15)
    lowest = min(point.nats for point in made.curve)
    assert made.kept in made.curve and made.kept.nats == lowest
    assert held_out_nats(network, Goal(1.0)) == pytest.approx(lowest, abs=1e-6)
    # The weight passes what the held-out streams want on its way to 3, also when it cools.
    assert float(network.weight.detach()) == pytest.approx(1.0, abs=0.3)
    assert made.curve[-1].nats > lowest + 0.01
    assert f"best {lowest:.4f} at step {made.kept.steps:,}" in told[-1]
    assert f"kept step {made.kept.steps:,}" in told[-1]


def test_training_goes_back_cools_and_ends_early():
    _, made, told = trained(seen=3.0, held_out=1.0)
    nats = [point.nats for point in made.curve]
    worst = nats.index(
        max(nats[2:])
    )  # the last point before it went back; the first two are far from anything
    assert nats[worst] > 0.5 > nats[worst + 1]
    assert made.steps == made.curve[-1].steps == made.curve[worst].steps * (1 + COOLING) // 1 < 100
    assert "s left" in told[0] and "s left" in told[worst + 1]


def test_the_rate_falls_to_0_within_the_budget():
    recipe = Recipe(seconds=None, steps=100, rate=0.5, warm_up=0.0)
    pace = Pace(recipe, Clock(CPU))
    assert [pace.rate(steps) for steps in (0, 50, 100)] == pytest.approx([0.5, 0.25, 0.0])
    pace.cool(40)
    rates = [pace.rate(steps) for steps in range(40, 51)]
    assert rates[0] == pytest.approx(Pace(recipe, Clock(CPU)).rate(40))
    assert rates == pytest.approx([rates[0] * (1 - step / 10) for step in range(11)])
    assert pace.done(49) < pace.done(50) == 1.0
    late = Pace(recipe, Clock(CPU))
    late.cool(95)
    assert late.done(99) < 1.0 == late.done(100)


def test_the_average_reaches_over_two_thirds_of_the_cooling():
    pace = Pace(Recipe(seconds=None, steps=10_000, average=0.99), Clock(CPU))
    assert [pace.newest(steps) for steps in (1, 9, 99, 5_000)] == pytest.approx([0.5, 0.1, 0.01, 0.01])
    pace.cool(6_000)
    assert pace.newest(6_001) == pace.newest(7_500) == pytest.approx(1 / 1_000)
    # A short cooling has a short average, or the network would not move.
    short = Pace(Recipe(seconds=None, steps=10_000), Clock(CPU))
    short.cool(60)
    assert short.newest(61) == pytest.approx(1 / 10)


def test_the_cooled_network_is_kept_unless_the_best_is_better_by_more_than_luck():
    network = OneWeight()
    selection = Selection(network, Goal(1.0), Clock(CPU))
    for weight, kept in ((0.5, 0.5), (1.0, 1.0), (1.04, 1.04), (1.2, 1.0)):
        with torch.no_grad():
            network.weight.fill_(weight)
        selection.take(len(selection.curve) + 1)
        other = OneWeight()
        assert selection.restore(other) is selection.kept
        assert float(other.weight.detach()) == pytest.approx(kept)


def test_training_that_gets_better_uses_all_its_steps_and_keeps_the_last():
    # At most 400 steps of 0.01, half of that with the cosine: it never gets there.
    network, made, told = trained(seen=3.0, held_out=3.0, rate=0.01)
    assert made.steps == made.kept.steps == 400
    assert made.kept == made.curve[-1] and made.kept.nats < made.curve[-2].nats
    assert held_out_nats(network, Goal(3.0)) == pytest.approx(made.kept.nats, abs=1e-6)
    assert told[-1].endswith("kept step 400") and "best" not in told[-1]


def test_a_likelihood_that_is_not_a_number_ends_training():
    with pytest.raises(PenstockError, match="is nan after"):
        trained(seen=1.0, held_out=float("nan"))


def test_the_bundle_says_which_step_it_holds(tmp_path):
    # Four streams are soon known by heart.
    few = select_streams(STREAMS, [0, 1, 2, 3])
    generator = fit_generator(
        "gru", few, seed=0, options=FitOptions(extra={"hidden": 32, "bins": 16, "steps": 200})
    )
    training = generator.parts[0].facts.training
    assert training.kept is not None and training.kept in training.curve
    assert training.kept.nats <= min(point.nats for point in training.curve) + 0.002
    assert training.steps < 200
    generator.save(tmp_path)
    assert f'"steps": {training.kept.steps}' in (tmp_path / "bundle.json").read_text()


def test_no_stream_is_both_trained_on_and_held_out():
    held_out, own = split_streams(STREAMS, 0.2, seed=3)
    begins = [
        {tuple(part.time_us[a:b].tolist()) for a, b in zip(part.first[:-1], part.first[1:], strict=True)}
        for part in (held_out, own)
    ]
    assert len(held_out) + len(own) == len(STREAMS)
    assert not begins[0] & begins[1]
