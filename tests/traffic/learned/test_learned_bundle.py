"""Bundles: what is saved is what is loaded; what is damaged is refused, with the file and the reason."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from random_gru import CLASSES, EVENTS, WINDOW_US, random_model
from safetensors.numpy import load_file, save

from penstock.errors import BadInputError
from penstock.traffic.generator.bundle import CurvePoint, DamagedBundleError, PartFacts, TrainingFacts
from penstock.traffic.generator.learned import LearnedGenerator, Part, with_part
from penstock.traffic.generator.protocol import load_generator


def facts(hour: int | None = 10, serves=(0, 1)) -> PartFacts:
    curve = [CurvePoint(seconds=1.0, steps=3, nats=2.5)]
    return PartFacts(
        hour=hour,
        serves=list(serves),
        shares=[0.75, 0.25],
        events_per_stream=[3.0, 5.0],
        most_events=50,
        grammar="learned",
        machine=None,
        training=TrainingFacts(
            device="cpu",
            seed=0,
            steps=3,
            seconds=1.0,
            streams=10,
            held_out_streams=2,
            fine_tuned=False,
            curve=curve,
        ),
    )


def generator(*parts: Part) -> LearnedGenerator:
    own = parts or (Part(facts(), random_model(seed=1)),)
    return LearnedGenerator("gru", EVENTS, CLASSES, WINDOW_US, own, {"classifier AUC": 0.55}, threads=1)


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    generator().save(folder)
    return folder


def equal(a, b) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("event", "time_us", "first", "klass")
    )


def test_what_is_loaded_draws_what_was_saved_and_carries_its_scores(bundle):
    loaded = load_generator(bundle)
    assert equal(loaded.sample(200, 4), generator().sample(200, 4))
    assert loaded.scores == {"classifier AUC": 0.55}
    assert loaded.parts[0].facts.training.curve[-1].nats == 2.5
    assert sorted(path.name for path in bundle.iterdir()) == ["bundle.json", "weights.safetensors"]


def test_a_file_is_no_bundle(tmp_path):
    trace = tmp_path / "streams.csv"
    trace.write_text("stream,event,time_s\n")
    with pytest.raises(BadInputError, match="is a file, and a bundle is a folder"):
        load_generator(trace)


def test_a_longer_sample_begins_like_a_shorter_one_of_any_mix():
    short, long = generator().sample(50, 4, mix={"x": 1.0}), generator().sample(90, 4, mix={"x": 1.0})
    assert np.array_equal(long.time_us[: short.n_events], short.time_us)
    assert set(long.klass.tolist()) == {0}


def test_hours_and_classes_have_their_own_models():
    models = [random_model(seed) for seed in range(3)]
    both = generator(
        Part(facts(9, [0]), models[0]), Part(facts(9, [1]), models[1]), Part(facts(10), models[2])
    )
    assert both.hours == (9, 10)
    assert equal(both.sample(100, 1), generator(Part(facts(10), models[2])).sample(100, 1))
    nine = both.sample(100, 1, hour=9, mix={"y": 1.0})
    assert equal(nine, generator(Part(facts(9), models[1])).sample(100, 1, mix={"y": 1.0}))
    assert both.events_per_stream({"x": 1.0, "y": 1.0}, 9) == pytest.approx(4.0)
    with pytest.raises(BadInputError, match="hour 11 is not in this bundle, which has: 9, 10"):
        both.sample(1, 1, hour=11)


def test_a_class_without_a_model_is_said():
    only = generator(Part(facts(None, [0]), random_model()))
    assert len(only.sample(10, 1, mix={"x": 1.0})) == 10
    with pytest.raises(BadInputError, match="class 'y'"):
        only.sample(10, 1, mix={"y": 1.0})


def test_a_new_part_replaces_those_of_its_hour():
    old = [Part(facts(hour), random_model()) for hour in (9, 10)]
    new = Part(facts(10), random_model(5))
    assert with_part(old, [new]) == (old[0], new)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_does_not_fit_is_refused(seed):
    with pytest.raises(BadInputError, match="seed"):
        generator().sample(1, seed)


def damaged(folder, said, file="weights.safetensors"):
    with pytest.raises(DamagedBundleError, match=said) as caught:
        load_generator(folder)
    assert caught.value.file.name in (file, folder.name)
    assert str(caught.value.file) in str(caught.value)


def test_a_weights_file_that_lost_its_end_or_a_bit(bundle):
    path = bundle / "weights.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    damaged(bundle, "SHA-256")
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    damaged(bundle, "SHA-256")
    path.unlink()
    damaged(bundle, "cannot be read")


def forge(folder, data: bytes) -> None:
    """Other weights, with a fitting SHA-256: a writer with a defect, not a broken copy."""
    header = json.loads((folder / "bundle.json").read_text())
    header["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(header))
    (folder / "weights.safetensors").write_bytes(data)


def test_a_file_that_is_no_safetensors(bundle):
    forge(bundle, b"\x80\x04pickle")
    damaged(bundle, "not a safetensors file")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("0.recur", lambda a: a * np.float32("inf"), "not finite"),
        ("0.gap_bias", lambda a: a[:, :-1], "gap_bias"),
        ("0.edges", lambda a: a[:, ::-1], "rise"),
        ("0.edges", lambda a: a[:-1], "slots must lie in 0 to 5"),
        ("0.slot_of", lambda a: a - 1, "slots must lie in 0 to 6; found -1"),
        ("0.slot_of", lambda a: a[:-1], "types \\+ 1"),
        ("0.slot_of", lambda a: a[:-1, :-1], "2 types"),
        ("0.slot_of", lambda a: None, "missing"),
        ("0.next_state", lambda a: a + 99, "states must lie"),
        ("0.next_state", lambda a: None, "missing"),
        ("0.scale", lambda a: None, "missing"),
    ],
)
def test_arrays_that_the_kernel_may_not_read(bundle, name, change, said):
    arrays = load_file(bundle / "weights.safetensors")
    changed = change(arrays.pop(name))
    if changed is not None:
        arrays[name] = np.ascontiguousarray(changed)
    forge(bundle, save(arrays))
    damaged(bundle, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"events": ["a", "a", "b"]}, "must differ"),
        ({"parts": []}, "parts"),
        ({"holds_trace": True}, "holds_trace"),
        ({"window_us": 0}, "window_us"),
        ({"classes": ["x"]}, "not those of the bundle"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_header_that_breaks_a_rule(bundle, change, said):
    path = bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    damaged(bundle, said, "bundle.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ("[]", "version"),
        ('{"version": 2}', "version"),
        ('{"version": 1, "method": "x"}', "method"),
    ],
)
def test_a_header_of_another_kind(bundle, text, said):
    (bundle / "bundle.json").write_text(text)
    with pytest.raises(BadInputError, match=said) as caught:
        load_generator(bundle)
    assert "bundle.json" in str(caught.value)


def test_a_bundle_of_another_method_is_not_built(bundle):
    path = bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"method": "published"}))
    damaged(bundle, "missing")


def test_threads_and_batch_do_not_change_the_streams():
    first = generator().sample(150, 8)
    assert equal(replace(generator(), threads=3, batch=11).sample(150, 8), first)
