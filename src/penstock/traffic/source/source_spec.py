"""``generator:BUNDLE,...`` and ``streams:FILE,...``: loads of streams by name."""

from __future__ import annotations

from pathlib import Path

from penstock.errors import BadInputError
from penstock.traffic.options import Options
from penstock.traffic.source.superposed import (
    SuperposedStreams,
    WhatIf,
    check_what_if,
    fixed_sampler,
    parse_mix,
)
from penstock.traffic.streams import Streams


def parse_generator(options: Options, base: Path) -> SuperposedStreams:
    """``generator:BUNDLE[,hour=,mix=,rate=,speed=,burst=,models=events]``."""
    from penstock.traffic.generator.protocol import load_generator

    hour, mix_text = options.number("hour"), options.text("mix")
    what_if = _what_if(options)
    assert options.file is not None
    if hour is not None and hour not in range(24):
        raise options.error(f"hour (={hour:g}) must be a whole number, 0 to 23.")
    try:
        generator = load_generator(base / options.file)
        mix = parse_mix(mix_text) if mix_text else None
        own_hour = None if hour is None else int(hour)
        # An hour or class that does not exist raises its error here.
        generator.sample(1, 0, mix=mix, hour=own_hour)
    except BadInputError as error:
        raise options.error(str(error)) from None

    def sample(count: int, seed: int) -> Streams:
        return generator.sample(count, seed, mix=mix, hour=own_hour)

    return SuperposedStreams(sample, generator.window_us, what_if)


def parse_streams(options: Options, base: Path) -> SuperposedStreams:
    """``streams:FILE[,rate=,speed=,burst=,models=events]``: the recorded streams themselves."""
    from penstock.traffic.source.requests import requests_of
    from penstock.traffic.streams.load_streams import load_streams

    what_if = _what_if(options)
    assert options.file is not None
    streams = load_streams(base / options.file)
    per_stream = len(requests_of(streams).time_us) / len(streams)
    if not per_stream:
        raise options.error("the streams hold no requests. Name some events infer, infer:MODEL or follow-up.")
    return SuperposedStreams(fixed_sampler(streams), streams.window_us, what_if, per_stream)


def _what_if(options: Options) -> WhatIf:
    rate_rps, speed, burst = (options.number(key) for key in ("rate", "speed", "burst"))
    by_name = options.choice("models", ("events", "streams")) == "events"
    options.finish()
    speed, burst = 1.0 if speed is None else speed, 1.0 if burst is None else burst
    try:
        check_what_if(speed, burst, rate_rps)
    except BadInputError as error:
        raise options.error(str(error)) from None
    return WhatIf(rate_rps, speed, int(burst), by_name)
