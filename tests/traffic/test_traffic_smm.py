"""The semi-Markov model and the replay of whole streams, behind the protocol of generators."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stream_samples import streams_of

from penstock.errors import BadInputError
from penstock.traffic.fidelity.distances import largest_cdf_distance, mix
from penstock.traffic.fidelity.sojourns import stays_by_state
from penstock.traffic.generator.protocol import FitOptions, draw_classes, fit_generator, load_generator
from penstock.traffic.machine import find_violations, known_machine
from penstock.traffic.smm.delay_tables import product_limit
from penstock.traffic.smm.groups import group_streams
from penstock.traffic.smm.records import collect_delays
from penstock.traffic.truth import simulate_mix, simulate_truth

LTE = known_machine("lte")
TRUTH = simulate_truth(streams=1_000)


def smm(streams=TRUTH, groups=10, **options):
    return fit_generator(
        "smm", streams, seed=0, options=FitOptions(machine=LTE, extra={"groups": groups}, **options)
    )


def test_product_limit_by_hand():
    # Delays 1, 2+, 3, 4+ (+: cut short). 1 has mass 1/4; at 3 two of four are left, survival 3/4: mass 3/8. 3/8 remain.
    assert product_limit(np.array([1, 2, 3, 4]), np.array([0, -1, 0, -1])).tolist() == [0.25, 0, 0.375, 0]
    assert product_limit(np.array([5, 5]), np.array([-1, 0])).tolist() == [
        0,
        0.5,
    ]  # at one time, the end comes first


def test_delays_by_hand():
    rows = [("S1_CONN_REL", 1), ("SRV_REQ", 4), ("HO", 6), ("S1_CONN_REL", 9)]
    streams = streams_of(rows, window_s=20, events=("SRV_REQ", "S1_CONN_REL", "HO"))
    stays, inner = collect_delays(streams, LTE)
    connected, idle = LTE.groups.index("CONNECTED"), LTE.groups.index("IDLE")
    # The first release fixes the state; the stay in IDLE begins there without its begin being known.
    assert list(
        zip(stays.slot.tolist(), (stays.delay_us / 1e6).tolist(), stays.event.tolist(), strict=True)
    ) == [
        (connected, 5.0, 1),
        (idle, 11.0, -1),
    ]
    assert list(
        zip(inner.slot.tolist(), (inner.delay_us / 1e6).tolist(), inner.event.tolist(), strict=True)
    ) == [
        (idle * 4 + 1, 3.0, -1),  # after the first release until SRV_REQ ended it
        (connected * 4 + 3, 2.0, 2),  # from the entry to HO
        (connected * 4 + 2, 3.0, -1),  # from HO until the release cut it
        (idle * 4 + 3, 11.0, -1),
    ]


def test_groups_are_of_equal_size_and_alike():
    features = np.stack([np.arange(64.0), np.zeros(64)], axis=1)
    groups = group_streams(features, 8)
    assert np.bincount(groups).tolist() == [8] * 8
    assert all(np.ptp(features[groups == g, 0]) == 7 for g in range(8))
    assert group_streams(np.zeros((5, 2)), 8).tolist() == [0] * 5


def test_smm_obeys_the_machine_and_reaches_the_stays():
    streams = smm().sample(2_000, seed=3)
    assert find_violations(streams, LTE).events == 0
    own, truth = stays_by_state(streams, LTE), stays_by_state(TRUTH, LTE)
    for state in ("CONNECTED", "IDLE"):
        assert largest_cdf_distance(own[state].length_us, truth[state].length_us) < 0.02
    assert streams.sizes.mean() == pytest.approx(TRUTH.sizes.mean(), rel=0.04)
    assert own["IDLE"].lag_1() < truth["IDLE"].lag_1() - 0.15  # what the model cannot know
    assert (streams.gap_us >= 0).all()


@pytest.mark.parametrize("method", ["smm", "replay", "plain"])
def test_a_seed_gives_the_same_streams_however_many(method, tmp_path):
    generator = fit_generator(method, TRUTH, seed=0, options=FitOptions(machine=LTE))
    few, many = generator.sample(20, seed=7), generator.sample(60, seed=7)
    assert many.time_us[: few.n_events].tolist() == few.time_us.tolist()
    assert generator.sample(20, seed=8).time_us.tolist() != few.time_us.tolist()
    generator.save(tmp_path)
    again = load_generator(tmp_path)
    assert again.sample(20, seed=7).time_us.tolist() == few.time_us.tolist()
    assert json.loads((tmp_path / "bundle.json").read_text())["holds_trace"] is (method == "replay")


@pytest.mark.parametrize("method", ["smm", "plain"])
def test_a_bundle_carries_its_scores_on_streams_held_out(method, tmp_path):
    options = FitOptions(machine=LTE, with_scores=True)
    generator = fit_generator(method, TRUTH, seed=3, options=options)
    generator.save(tmp_path)
    scores = load_generator(tmp_path).scores
    assert scores == generator.scores
    assert scores["time in IDLE, real"] < 0.15 and "classifier AUC" in scores
    assert (scores["streams breaking the machine"] == 0) is (method == "smm")
    header = json.loads((tmp_path / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps(header | {"scores": {"classifier AUC": "good"}}))
    with pytest.raises(BadInputError, match="numbers by name"):
        load_generator(tmp_path)


@pytest.mark.parametrize("method", ["replay", "plain", "smm"])
def test_one_stream_is_no_trace_to_learn_from(method):
    with pytest.raises(BadInputError, match="the trace has one stream"):
        fit_generator(method, streams_of([("SRV_REQ", 0), ("S1_CONN_REL", 1)]), seed=0)


def test_hours_stand_side_by_side(tmp_path):
    quiet = simulate_truth(streams=300, hour=3)
    first = smm(hour=10)
    both = smm(quiet, hour=3, start_from=first)
    both.save(tmp_path)
    both = load_generator(tmp_path)
    assert both.hours == (10, 3)
    assert both.sample(300, 1, hour=10).sizes.mean() > 1.5 * both.sample(300, 1, hour=3).sizes.mean()
    assert both.sample(5, 1).time_us.tolist() == both.sample(5, 1, hour=3).time_us.tolist()
    with pytest.raises(BadInputError, match=r"hour .=4. is not in this bundle"):
        both.sample(5, 1, hour=4)


def test_class_mix():
    truth = simulate_mix("lte", {"phone": 200, "tablet": 100})
    generator = smm(truth)
    assert np.bincount(generator.sample(3_000, 1).klass, minlength=3) / 3_000 == pytest.approx(
        [2 / 3, 0, 1 / 3], abs=0.03
    )
    assert set(generator.sample(50, 1, mix={"tablet": 1.0}).klass.tolist()) == {2}
    with pytest.raises(BadInputError, match="class 'connected car' has no streams"):
        generator.sample(50, 1, mix={"connected car": 1.0})
    with pytest.raises(BadInputError, match="class 'car' is unknown"):
        generator.sample(50, 1, mix={"car": 1.0})


def test_draw_classes_follows_weights():
    drawn = draw_classes({"a": 0.5, "b": 0.5}, {"b": 3.0, "a": 1.0}, 20_000, seed=0)
    assert np.mean(drawn == 1) == pytest.approx(0.75, abs=0.01)
    with pytest.raises(BadInputError, match="every weight is 0"):
        draw_classes({"a": 1.0}, {"a": 0.0}, 3, seed=0)
    with pytest.raises(BadInputError, match=r"weight of a .=nan"):
        draw_classes({"a": 1.0}, {"a": float("nan")}, 3, seed=0)


@pytest.mark.parametrize("gaps", ["exponential", "empirical"])
def test_plain_streams_keep_rates_and_shares_and_nothing_else(gaps):
    generator = fit_generator("plain", TRUTH, seed=0, options=FitOptions(extra={"gaps": gaps}))
    streams = generator.sample(1_000, seed=2)
    assert mix(streams) == pytest.approx(mix(TRUTH), abs=0.01)
    assert find_violations(streams, LTE).stream_share > 0.99  # events do not know what came before
    if gaps == "exponential":
        assert streams.sizes.mean() == pytest.approx(TRUTH.sizes.mean(), rel=0.03)
        assert streams.sizes.var() == pytest.approx(streams.sizes.mean(), rel=0.15)  # Poisson
    with pytest.raises(BadInputError, match="gaps"):
        fit_generator("plain", TRUTH, seed=0, options=FitOptions(extra={"gaps": "none"}))


@pytest.mark.parametrize(
    "change",
    [
        {"window_us": 0},
        {"mix": [[1.0]]},
        {"gap_us": [[1.0]]},
        {"share": None},
        {"hours": []},
        {"gap_us": [None] * 2},
    ],
)
def test_a_damaged_plain_bundle(tmp_path, change):
    fit_generator("plain", TRUTH, seed=0).save(tmp_path)
    header = json.loads((tmp_path / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps({**header, **change}))
    with pytest.raises(BadInputError, match=r"bundle\.json"):
        load_generator(tmp_path)


def damaged(change):
    def damage(folder):
        with np.load(folder / "tables-0.npz") as file:
            arrays = dict(file)
        change(arrays)
        np.savez(folder / "tables-0.npz", **arrays)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "tables-0.npz").write_bytes(b"not a zip"), "damaged"),
        (lambda folder: (folder / "tables-0.npz").unlink(), "no such file"),
        (lambda folder: (folder / "bundle.json").write_text('{"version": 9}'), "version"),
        (lambda folder: (folder / "bundle.json").write_text('{"version": 1, "method": "magic"}'), "method"),
        (lambda folder: (folder / "bundle.json").write_text("{"), "not JSON"),
        (damaged(lambda a: a["stays.size"].__iadd__(10**9)), "points outside its tables"),
        (damaged(lambda a: a["stays.begin"].__isub__(10**9)), "points outside its tables"),
        (damaged(lambda a: a.pop("group_class")), "group_class is missing"),
        (damaged(lambda a: a.update({"begin_state": a["begin_state"] + 9})), "none of the states"),
        (damaged(lambda a: a["inner.points"].__imul__(np.nan)), "points outside its tables"),
    ],
)
def test_a_damaged_bundle(tmp_path, damage, message):
    smm(groups=2).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(BadInputError, match=message):
        load_generator(tmp_path)


def test_what_cannot_be_fitted():
    with pytest.raises(BadInputError, match="smm needs the state machine"):
        fit_generator("smm", TRUTH, seed=0)
    with pytest.raises(BadInputError, match="event 'PING' is unknown"):
        smm(streams_of([("PING", 0)], [("PING", 0)]))
    with pytest.raises(BadInputError, match="no stream shows a stay"):
        smm(streams_of([("HO", 0)], [("HO", 0)]))
    with pytest.raises(BadInputError, match="method 'smmm' is unknown"):
        fit_generator("smmm", TRUTH, seed=0)
