"""Profiles out of a PPipe artifact: a tiny one by hand, and the real one if it is at hand."""

from pathlib import Path

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.ppipe.profiles import model_names, read_operator_costs, read_profiles
from penstock.profile.store import load_profile, save_profile
from ppipe_artifact import write_artifact

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "ppipe-artifact"


@pytest.fixture
def artifact(tmp_path):
    return write_artifact(tmp_path / "artifact")


def test_names_with_dashes_are_kept_whole(artifact):
    assert model_names(artifact) == ["net-a_v1", "net-b"]


def test_profile_of_net_a(artifact):
    profile = read_profiles(artifact)["net-a_v1"]
    assert [block.operators for block in profile.blocks] == [("op0", "op1"), ("op2", "op3")]
    # Input: 4 floats in half precision; inner boundary from the mapping; output: 2 floats.
    assert profile.boundary_bytes == (8, 125_000, 4)
    assert profile.tables.keys() == {("H", 1), ("H", 2), ("L", 1)}
    assert profile.table("L", 1).latency_us.tolist() == [[4_000, 7_000], [6_000, 9_000]]
    assert profile.table("H", 2).max_batch == 1
    assert profile.whole_us == {"H": 4_000}  # the mean of 3 and 5 ms; L was not timed whole
    assert profile.provenance.kind == "imported"


def test_peak_activation_is_the_largest_live_set_in_the_graphs_types(artifact):
    first, second = read_profiles(artifact)["net-a_v1"].blocks
    assert first.peak_activation_bytes == 4 * 62_500  # t1, float32
    assert second.peak_activation_bytes == 4 * 62_500 + 8 * 3  # t1 and t2 together
    assert first.parameter_bytes == second.parameter_bytes == 0


def test_operator_costs_count_what_is_sent(artifact):
    latency_us, boundary_bytes = read_operator_costs(artifact, "net-a_v1")
    assert latency_us.keys() == {"H"}
    assert latency_us["H"].tolist() == [10.5, 20.5, 30.5, 40.5]
    assert boundary_bytes.tolist() == [8, 16, 125_000, 125_000 + 3 * 4, 4]


def test_imported_profiles_survive_their_file(artifact, tmp_path):
    for name, profile in read_profiles(artifact).items():
        save_profile(profile, tmp_path / name)
        again = load_profile(tmp_path / name)
        assert again.blocks == profile.blocks
        assert again.boundary_bytes == profile.boundary_bytes
        for key, table in profile.tables.items():
            assert np.array_equal(again.tables[key].latency_us, table.latency_us)


TIMING = "models/block-timing-tf32/net-a_v1-H-1.csv"
MAPPING = "prepartition_mappings/net-a_v1/contraction_mapping_x.csv"
SIZES = "prepartition_mappings/net-a_v1/contraction_trans-size_x.csv"
CUTS = "models/cuts-no-const/net-a_v1.json"
SHAPES = "models/shapes/net-a_v1.json"
WHOLE = "models/model-profile-tf32/net-a_v1/H-1/1/net-a.timing.json"


@pytest.mark.parametrize(
    ("file", "text", "rule"),
    [
        (TIMING, "1000,1800\n", "2 blocks"),
        (TIMING, "1000,1800\n3000\n", "row 2 has 1 cells"),
        (TIMING, "1000,fast\n3000,1\n", "'fast' must be a number"),
        (TIMING, "1000,1.5\n3000,1\n", "'1.5' must be a whole number"),
        (TIMING, "1000,nan\n3000,1\n", "'nan' must be a number"),
        (TIMING, "", "is empty"),
        (MAPPING, "op0,0\nop1,2\n", "breaks the order"),
        (MAPPING, "op0,0\nop1,1\n", "maps 2 operators"),
        (SIZES, "1\n2\n", "2 boundaries"),
        (CUTS, "[1]", "the field 'cut'"),
        (CUTS, "[", "not JSON"),
        (SHAPES, "{}", "lacks the tensor"),
        (SHAPES, "[]", "must be an object"),
        (SHAPES, '{"x": {"dtype": 3, "shape": []}}', "valid string"),
        (SHAPES, '{"x": {"dtype": "<q9", "shape": [-1]}}', "'<q9'"),
        (WHOLE, "{}", "list of at least one run"),
        (WHOLE, "[{}]", "latencyMs"),
    ],
)
def test_an_odd_file_is_named(artifact, file, text, rule):
    (artifact / file).write_text(text)
    with pytest.raises(BadInputError, match=rule) as caught:
        read_profiles(artifact)
    assert Path(file).parts[-2] in str(caught.value)


@pytest.mark.parametrize("file", [MAPPING, SIZES, CUTS, SHAPES, WHOLE])
def test_a_missing_file_is_named(artifact, file):
    (artifact / file).unlink()
    with pytest.raises(BadInputError, match=r"no such file|must hold one") as caught:
        read_profiles(artifact)
    assert Path(file).parent.name in str(caught.value)


def test_timings_and_mappings_must_pair_up(artifact):
    (artifact / "prepartition_mappings" / "net-c").mkdir()
    with pytest.raises(BadInputError, match=r"no net-c-CLASS-SHARE\.csv"):
        model_names(artifact)


def test_a_timing_file_with_another_name_is_refused(artifact):
    (artifact / "models/block-timing-tf32/notes.csv").write_text("1\n")
    with pytest.raises(BadInputError, match=r"notes\.csv: must be named"):
        model_names(artifact)


def test_a_folder_that_is_no_artifact(tmp_path):
    with pytest.raises(BadInputError, match="Name the folder of a PPipe artifact"):
        read_profiles(tmp_path)


def test_operator_costs_of_an_unknown_model(artifact):
    with pytest.raises(BadInputError, match="no such file"):
        read_operator_costs(artifact, "net-z")


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="reference data ../shared/data/ppipe-artifact is absent")
class TestRealArtifact:
    def test_all_models_with_all_classes(self):
        profiles = read_profiles(DATA)
        assert len(profiles) == 28
        nine = [name for name, profile in profiles.items() if len(profile.blocks) == 9]
        assert sorted(name.split("_")[0] for name in nine) == [
            "atss",
            "centernet-update",
            "fsaf",
            "gfl",
            "gfl",
        ]
        for profile in profiles.values():
            assert profile.device_classes == ("L4", "P4", "T4", "V100")
            assert profile.shares_of("T4") == (1, 2, 3, 4)
            assert profile.shares_of("P4") == (1,)
            assert [profile.table("L4", share).max_batch for share in (1, 2, 3, 4)] == [8, 4, 2, 2]

    def test_inner_boundaries_of_the_mapping_are_those_of_the_graph(self):
        for name, profile in read_profiles(DATA).items():
            _, boundary_bytes = read_operator_costs(DATA, name)
            ends = np.cumsum([0, *(len(block.operators) for block in profile.blocks)])
            assert profile.boundary_bytes == tuple(boundary_bytes[ends])
