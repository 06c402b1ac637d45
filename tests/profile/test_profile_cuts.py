"""Cuts in a profile: measured on the segments that serve, kept if cheap, and read back."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from test_profile_command import write_chain
from test_profile_store import make_profile

from penstock import zoo
from penstock.cli.model.profile import command
from penstock.errors import BadInputError, PenstockError
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.profile.cutting import Cut, balanced
from penstock.profile.measuring.measure import Measurement
from penstock.profile.segments.measure_cut import (
    CutMeter,
    check_same,
    compared,
    cut_beside,
    cut_note,
    run_all,
)
from penstock.profile.segments.segmented import SegmentedModel, split_model
from penstock.profile.store import load_profile, save_profile
from penstock.profile.table import LatencyTable
from penstock.runtime.settings import RuntimeSettings

pytest.importorskip("onnxruntime")

SMALL = {"inception_v3": 75, "retinanet_resnet50_fpn": 64}


def on_torch(model, boundaries, folder):
    pytest.importorskip("torch")
    from penstock.serve.scheduled.on_torch.load import split_on_torch

    return split_on_torch(model, boundaries, folder, RuntimeSettings(kind="torch"))


def segments_give_the_whole_models_output(name, image_size, folder, split=split_model):
    path = folder / f"{name}.onnx"
    path.write_bytes(zoo.build(name, image_size=image_size).SerializeToString())
    model = read_onnx(path)
    n_operators = len(model.graph.operators)
    inputs = {"input": np.random.default_rng(3).standard_normal((1, 3, image_size, image_size), np.float32)}
    whole = run_all(split_model(model, (0, n_operators), folder), inputs)
    # Eight is the most that the rule cuts into; equal counts of operators fall inside of residual blocks too.
    cut = split(model, balanced([1.0] * n_operators, 8), folder)
    assert cut.n_segments == 8
    check_same(run_all(cut, inputs), whole, name)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_segments_of_a_small_zoo_model_give_its_output(name, tmp_path):
    segments_give_the_whole_models_output(name, 32, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("split", [split_model, on_torch])
@pytest.mark.parametrize("name", zoo.NAMES)
def test_segments_of_a_zoo_model_give_its_output(name, split, tmp_path):
    """The whole on onnxruntime, its segments on each of the runtimes that take turns."""
    segments_give_the_whole_models_output(name, SMALL.get(name, 64), tmp_path, split)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "inception_v3"])
def test_segments_of_a_whole_size_zoo_model_give_its_output(name, tmp_path):
    segments_give_the_whole_models_output(name, zoo.find(name).image_size, tmp_path)


class TestSegmentedModel:
    def test_passes_on_what_is_needed_later_and_nothing_else(self):
        seen = []

        def first(tensors):
            seen.append(sorted(tensors))
            return {"h": tensors["x"] + 1}

        def second(tensors):
            seen.append(sorted(tensors))
            return {"y": tensors["h"] * tensors["skip"]}

        model = SegmentedModel([first, second], [frozenset({"skip"}), frozenset()])
        out = run_all(model, {"x": np.float32(2), "skip": np.float32(5), "unused": np.float32(0)})
        assert out == {"y": 15}
        assert seen == [["skip", "unused", "x"], ["h", "skip"]]

    def test_no_segments_are_refused(self):
        with pytest.raises(BadInputError, match="0 segments"):
            SegmentedModel([], [])


class TestMeasuredCost:
    def test_whole_and_cut_take_cpu_time_and_give_the_same(self, tmp_path):
        model = read_onnx(write_chain(tmp_path / "chain.onnx"))
        with CutMeter(model, (0, 4, 8, 12), seconds=0.01) as meter:
            whole_us, cut_us = meter((0, 1, 3))
        assert whole_us > 0
        assert cut_us > 0

    def test_what_slows_both_runs_of_a_pair_cancels(self):
        # The cut costs 2%; from the third pair on the machine is half as fast, in the middle of it for the cut only.
        pairs = [(100.0, 102.0), (100.0, 102.0), (100.0, 204.0), (200.0, 204.0), (200.0, 204.0)]
        assert compared(pairs) == (100.0, pytest.approx(102.0))

    def test_another_output_is_a_defect_and_named(self):
        wanted = {"y": np.ones(3, np.float32), "n": np.arange(3)}
        check_same({"y": wanted["y"] * 1.0005, "n": wanted["n"]}, wanted, "here")
        for wrong in ({"y": wanted["y"] * 1.01}, {"n": np.arange(3) + 1}, {"y": np.ones(4, np.float32)}):
            with pytest.raises(PenstockError, match="here: output"):
                check_same({**wanted, **wrong}, wanted, "here")
        with pytest.raises(PenstockError, match="here: gives"):
            check_same({"y": wanted["y"]}, wanted, "here")


class TestCutBeside:
    """Four blocks of 30, 30, 10 and 30 us: 100 us whole."""

    def cut(self, shortest_us, meter):
        table = LatencyTable(np.array([[30], [30], [10], [30]]))
        measured = Measurement({1: table}, 100, make_profile().provenance)
        return cut_beside(measured, shortest_us, meter)

    def test_cut_as_fine_as_the_shortest_and_kept_if_cheap(self):
        kept, tried = self.cut(50.0, lambda boundaries: (100.0, 103.0))
        assert kept == Cut((0, 2, 4), 100.0, 103.0)  # 60 | 40 is the most even split in two
        assert tried == (kept,)
        assert cut_note(kept, tried) == "Cut at blocks [0, 2, 4]: 2 segments cost +3.0% of its time."

    def test_halved_until_it_is_cheap(self):
        kept, tried = self.cut(25.0, lambda boundaries: (100.0, 100.0 + len(boundaries)))
        assert [len(cut.boundaries) for cut in tried] == [5, 3]
        assert kept is tried[-1]

    def test_not_cut(self):
        kept, tried = self.cut(50.0, lambda boundaries: (100.0, 103.1))
        assert kept is None
        assert cut_note(kept, tried) == "Not cut: 2 segments cost +3.1% of its time; at most 3% is allowed."
        for shortest_us in (100.0, 140.0, 80.0):  # the shortest itself, and one that is about as long
            assert self.cut(shortest_us, None) == (None, ())


class TestStored:
    def test_cuts_are_read_back(self, tmp_path):
        profile = replace(make_profile(), cuts={"cpu": Cut((0, 1, 2), 39.0, 39.5)})
        save_profile(profile, tmp_path / "p")
        loaded = load_profile(tmp_path / "p")
        assert loaded.cuts == profile.cuts
        assert loaded.segments_on("cpu") == (0, 1, 2)
        assert loaded.segments_on("T4") == (0, 2)

    def test_a_profile_without_cuts_has_no_such_field(self, tmp_path):
        save_profile(make_profile(), tmp_path / "p")
        assert "cuts" not in json.loads((tmp_path / "p" / "profile.json").read_text())
        assert load_profile(tmp_path / "p").cuts == {}

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"version": 2}, "version"),
            ({"by_class": {"cpu": {"boundaries": [0, 2, 1], "whole_us": 1, "cut_us": 1}}}, "must ascend"),
            ({"by_class": {"cpu": {"boundaries": [0, 1, 3], "whole_us": 1, "cut_us": 1}}}, "must end at 2"),
            ({"by_class": {"cpu": {"boundaries": [0, 2], "whole_us": 1, "cut_us": 1}}}, "at least 3"),
            ({"by_class": {"cpu": {"boundaries": [0, 1, 2], "whole_us": 0, "cut_us": 1}}}, "whole_us"),
            (
                {"by_class": {"gpu": {"boundaries": [0, 1, 2], "whole_us": 1, "cut_us": 1}}},
                "cuts: device class 'gpu'",
            ),
        ],
    )
    def test_a_bad_field_is_named(self, tmp_path, change, said):
        save_profile(replace(make_profile(), cuts={"cpu": Cut((0, 1, 2), 39.0, 39.5)}), tmp_path / "p")
        header = tmp_path / "p" / "profile.json"
        document = json.loads(header.read_text())
        document["cuts"] |= change
        header.write_text(json.dumps(document))
        with pytest.raises(BadInputError, match=said):
            load_profile(tmp_path / "p")


def profile(model, out, *more):
    fixed = ["--device-class", "cpu", "--blocks", 4, "--max-batch", 1, "--seconds", 0.05, "-o", out]
    return CliRunner().invoke(command, [str(one) for one in (model, *fixed, *more)])


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    result = profile(write_chain(folder / "short.onnx", depth=4, width=64), folder / "short")
    assert result.exit_code == 0, result.output
    return folder / "short"


class TestVerb:
    """``penstock profile --beside``: a short chain and one four times as long."""

    @pytest.mark.parametrize("runtime", [(), ("--executor", "torch")])
    def test_a_cheap_cut_is_kept_and_survives_a_merge(self, tmp_path, short, monkeypatch, runtime):
        if runtime:
            pytest.importorskip("torch")
        monkeypatch.setattr(CutMeter, "__call__", lambda meter, boundaries: (100.0, 101.0))
        model, out = write_chain(tmp_path / "long.onnx", depth=16, width=256), tmp_path / "long"
        result = profile(model, out, "--beside", short, "--json", *runtime)
        assert result.exit_code == 0, result.output
        cut = load_profile(out).cuts["cpu"]
        # Which blocks are joined follows from the times that were measured just now.
        assert cut.boundaries[0] == 0 and cut.boundaries[-1] == 4 and len(cut.boundaries) >= 3
        assert json.loads(result.stdout)["cuts"]["cpu"]["cost"] == pytest.approx(0.01)
        assert f"{len(cut.boundaries) - 1} segments cost +1.0%" in result.stderr
        merged = CliRunner().invoke(
            command, [str(model), "--predict", "L4", "--merge", "--max-batch", "1", "-o", str(out)]
        )
        assert merged.exit_code == 0, merged.output
        assert load_profile(out).cuts == {"cpu": cut}

    def test_refused(self, tmp_path, short):
        model, out = write_chain(tmp_path / "long.onnx"), tmp_path / "long"
        result = profile(model, out, "--beside", short, "--shares", "2")
        assert isinstance(result.exception, BadInputError)
        assert "1 among --shares" in str(result.exception)
        result = CliRunner().invoke(
            command, [str(model), "--predict", "L4", "--beside", str(short), "-o", str(out)]
        )
        assert "give --device-class NAME" in str(result.exception)
        other = CliRunner().invoke(
            command, [str(model), "--device-class", "gpu", "--beside", str(short), "-o", str(out)]
        )
        assert "was not measured whole on 'gpu'" in str(other.exception)
        other = profile(model, out, "--beside", short, "--provider", "cpu")
        assert "onnxruntime on the CPU, or --executor torch" in str(other.exception)
        assert not out.exists()
