"""The GAN: its two networks, their training, and sampling."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.gan.gan_method import METHOD, GanModel
from penstock.traffic.generator.keyed_draws import stream_keys, uniforms
from penstock.traffic.generator.learned import LearnedGenerator, Request
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.sampling import Rows, check_seed, join_rows
from penstock.traffic.generator.torch.decode import sampling_type, threads_of
from penstock.traffic.generator.torch.fitting import Task, fit_learned
from penstock.traffic.generator.torch.selection import Clock
from penstock.traffic.generator.torch.training import Trained, torch_device
from penstock.traffic.generator.torch.transformer_network import load_state, state_of
from penstock.traffic.streams import Streams

HIDDEN, NOISE, AT_ONCE = 100, 16, 5
"""Units of the LSTM, noise a step, and events a step (the paper's S)."""

CRITIC = 200
MOST_STEPS = 500
STREAMS = 64
"""Of a training step."""

RATE, PENALTY = 1e-3, 10.0
MOST_ROUNDS = 10_000_000
BLOCK = 512


class Author(nn.Module):
    """Noise and class to streams."""

    def __init__(self, kinds: int, classes: int) -> None:
        super().__init__()
        self.kinds, self.classes = kinds, classes
        self.lstm = nn.LSTM(NOISE + classes, HIDDEN)
        self.leave = nn.Linear(HIDDEN, AT_ONCE * (kinds + 2))

    def forward(self, noise: Tensor, klass: Tensor) -> Tensor:
        """(rounds, streams, NOISE) and (streams,) to (streams, rounds * AT_ONCE, kinds + 2)."""
        attribute = functional.one_hot(klass, self.classes).to(noise.dtype).expand(len(noise), -1, -1)
        raw = self.leave(self.lstm(torch.cat([noise, attribute], -1))[0])
        raw = raw.transpose(0, 1).reshape(len(klass), -1, self.kinds + 2)
        kinds, gap, goes_on = raw.split([self.kinds, 1, 1], -1)
        made = torch.cat([kinds.softmax(-1), gap.sigmoid(), goes_on.sigmoid()], -1)
        # After its end a stream is all zeros, as a real one is.
        alive = torch.cat([torch.ones_like(made[:, :1, -1:]), made[:, :-1, -1:]], 1).cumprod(1)
        return made * alive


class Critic(nn.Module):
    """Whole streams to one number each."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(cells, CRITIC),
            nn.LeakyReLU(0.2),
            nn.Linear(CRITIC, CRITIC),
            nn.LeakyReLU(0.2),
            nn.Linear(CRITIC, CRITIC),
            nn.LeakyReLU(0.2),
            nn.Linear(CRITIC, 1),
        )

    def forward(self, streams: Tensor, klass: Tensor) -> Tensor:
        """(streams,) from (streams, steps, kinds + 2) and one-hot (streams, classes)."""
        scores: Tensor = self.layers(torch.cat([streams.flatten(1), klass], 1))[:, 0]
        return scores


def real_streams(streams: Streams, scale: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """As the author writes them: (streams, steps, kinds + 2), zeros after the end."""
    kinds = len(streams.events)
    place = np.arange(streams.n_events) - np.repeat(streams.first[:-1], streams.sizes)
    kept = place < steps
    owner, place = streams.stream_of_event[kept], place[kept]
    made = np.zeros((len(streams), steps, kinds + 2), np.float32)
    made[owner, place, streams.event[kept]] = 1.0
    logs = np.log1p(streams.gap_us[kept].astype(np.float64))
    made[owner, place, kinds] = (logs - scale[0]) / scale[1]
    made[owner, place, kinds + 1] = place + 1 < np.minimum(streams.sizes[owner], steps)
    return made


def fit_gan(streams: Streams, *, seed: int, options: FitOptions) -> LearnedGenerator:
    """See :func:`penstock.traffic.gan.gan_method.fit`."""
    return fit_learned(streams, method=METHOD, seed=seed, options=options, fit_part=_fit_part)


def _fit_part(task: Task) -> tuple[GanModel, Trained]:
    if task.options.machine is not None or task.start is not None:
        raise BadInputError("the GAN takes neither --machine nor --from. Leave them out.")
    own, recipe = task.streams, task.recipe
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, 0x6A11])
    device = torch_device(recipe.device)
    kinds, classes = len(own.events), len(own.classes)
    logs = np.log1p(own.gap_us.astype(np.float64))
    scale = np.array([logs.min(), max(float(np.ptp(logs)), 1e-3)], np.float32)
    # The longest streams, one in 200, would pad all others.
    rounds = -(-min(int(np.quantile(own.sizes, 0.995)), MOST_STEPS) // AT_ONCE)
    real = torch.from_numpy(real_streams(own, scale, rounds * AT_ONCE)).to(device)
    klass = torch.from_numpy(own.klass.astype(np.int64)).to(device)
    author = Author(kinds, classes).to(device)
    critic = Critic(rounds * AT_ONCE * (kinds + 2) + classes).to(device)
    writing = torch.optim.Adam(
        author.parameters(), lr=recipe.rate if "rate" in task.options.extra else RATE, betas=(0.5, 0.999)
    )
    judging = torch.optim.Adam(critic.parameters(), lr=RATE, betas=(0.5, 0.999))
    clock = Clock(device)
    done, steps = 0.0, 0
    while done < 1.0 and steps < MOST_ROUNDS:
        chosen = torch.from_numpy(rng.integers(0, len(own), STREAMS)).to(device)
        attribute = functional.one_hot(klass[chosen], classes).float()
        noise = torch.randn(rounds, STREAMS, NOISE, device=device)
        made = author(noise, klass[chosen])
        judging.zero_grad(set_to_none=True)
        loss = critic(made.detach(), attribute).mean() - critic(real[chosen], attribute).mean()
        (loss + PENALTY * _penalty(critic, real[chosen], made.detach(), attribute)).backward()
        judging.step()
        writing.zero_grad(set_to_none=True)
        (-critic(made, attribute).mean()).backward()
        writing.step()
        steps += 1
        done = (
            steps / recipe.steps
            if recipe.steps is not None
            else clock.seconds() / float(recipe.seconds or 1.0)
        )
        if task.options.progress is not None and steps % 50 == 0:
            left = clock.seconds() / done - clock.seconds()
            task.options.progress(
                min(done, 1.0),
                f"critic {float(-loss.detach()):.3f}, {steps:,} steps, {max(left, 0):.0f} s left",
            )
    state = {**state_of(author), "rounds": np.array([rounds], np.float32)}
    return GanModel(state, scale, kinds, classes), Trained(steps, clock.seconds())


def _penalty(critic: Critic, real: Tensor, made: Tensor, attribute: Tensor) -> Tensor:
    """How far the critic's gradient is from length 1 between real and made streams (Gulrajani et al., NeurIPS 2017)."""
    share = torch.rand(len(real), 1, 1, device=real.device)
    between = (share * real + (1 - share) * made).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between, attribute).sum(), between, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


@torch.no_grad()
def draw_gan(model: GanModel, request: Request) -> Rows:
    """The streams of ``request``."""
    check_seed(request.seed)
    device = torch_device(request.device)
    state = dict(model.state)
    counted = state.pop("rounds", None)
    if counted is None or counted.shape != (1,) or not 1 <= float(counted[0]) <= MOST_STEPS:
        raise BadInputError("weights: the number of rounds is missing or out of range.")
    author = Author(model.kinds, model.classes)
    load_state(author, state)
    author.to(device, sampling_type(device)).eval()
    parts, block = [], request.batch or BLOCK
    with threads_of(request):
        for start in range(0, len(request.streams), block):
            part = slice(start, start + block)
            noise = _noise(request.seed, request.streams[part], int(counted[0]))
            klass = torch.from_numpy(request.klass[part].astype(np.int64)).to(device)
            made = author(torch.from_numpy(noise).to(device, sampling_type(device)), klass)
            # Rounded: else the last microsecond would show in which order the network's sums were taken.
            parts.append(_rows(made.float().cpu().numpy(), model, request.window_us, start))
    return join_rows(parts)


def _noise(seed: int, streams: I64, rounds: int) -> NDArray[np.float32]:
    """Normal draws keyed by (seed, stream, round): (rounds, streams, NOISE)."""
    keys = stream_keys(seed, streams)
    made = np.empty((rounds, len(streams), NOISE), np.float32)
    for at in range(rounds * NOISE):
        radius = np.sqrt(-2 * np.log1p(-uniforms(keys, at, 0)))
        made[at // NOISE, :, at % NOISE] = radius * np.cos(2 * np.pi * uniforms(keys, at, 1))
    return made


def _rows(made: NDArray[np.float32], model: GanModel, window_us: int, start: int) -> Rows:
    kinds = model.kinds
    goes_on = made[:, :, kinds + 1] >= 0.5
    alive = np.concatenate(
        [np.ones((len(made), 1), bool), np.logical_and.accumulate(goes_on, axis=1)[:, :-1]], axis=1
    )
    logs = made[:, :, kinds].astype(np.float64) * model.scale[1] + model.scale[0]
    gap_us = np.expm1(np.clip(logs, 0.0, np.log(window_us))).astype(np.int64)
    gap_us[:, 0] = np.minimum(gap_us[:, 0], window_us - 1)
    time_us = gap_us.cumsum(axis=1)
    alive &= time_us < window_us
    owner, place = np.nonzero(alive)
    event = made[:, :, :kinds].argmax(axis=-1)[owner, place].astype(np.int16)
    return Rows(owner.astype(np.int64) + start, event, time_us[owner, place])
