"""The profile folder: exact round trips, and an error for every broken rule that says where and what."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadInputError
from penstock.profile.latency_csv import format_tables, parse_tables
from penstock.profile.links import Link
from penstock.profile.measured_machine import Machine, WorkerCosts, differences
from penstock.profile.store import load_profile, save_profile
from penstock.profile.table import Block, BlockMemory, LatencyTable, Profile, Provenance

MEASURED = Provenance("measured", "a CPU", "onnxruntime 1.2", "2025-01-31T09:30:00+00:00", 7, "scaled")
PREDICTED = Provenance("predicted", "T4", "roofline", "2025-01-31")


def make_profile() -> Profile:
    fast = LatencyTable(np.array([[10, 20], [30, 40]]), np.array([[11, 20], [35, 41]]), runs=12)
    slow = LatencyTable(np.array([[100], [0]]))
    return Profile(
        model="toy",
        blocks=(Block("stem", ("conv", "relu"), 400, 800), Block("head, last", (), 0, 16)),
        boundary_bytes=(12, 800, 4),
        tables={("cpu", 1): fast, ("cpu", 2): fast, ("T4", 1): slow},
        provenance=MEASURED,
        whole_us={"cpu": 39},
        model_sha256="0" * 64,
        class_provenance={"T4": PREDICTED},
    )


def assert_same(left: Profile, right: Profile) -> None:
    assert replace(left, tables={}) == replace(right, tables={})
    assert left.tables.keys() == right.tables.keys()
    for key, table in left.tables.items():
        np.testing.assert_array_equal(table.latency_us, right.tables[key].latency_us)
        assert table.runs == right.tables[key].runs
        if table.p99_us is None:
            assert right.tables[key].p99_us is None
        else:
            np.testing.assert_array_equal(table.p99_us, right.tables[key].p99_us)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    profile = replace(make_profile(), model_file=str(tmp_path / "models" / "toy.onnx"))
    save_profile(profile, tmp_path / "profiles" / "toy")
    assert_same(load_profile(tmp_path / "profiles" / "toy"), profile)


def test_machine_and_worker_costs_are_kept(tmp_path: Path) -> None:
    machine = Machine(
        "NVIDIA L4", "L4", "570.86", {"torch": "2.11"}, 1500, 6251, 72.0, ("power cap",), True, "torch"
    )
    profile = replace(
        make_profile(),
        provenance=replace(MEASURED, machine=machine),
        worker_costs={"cpu": WorkerCosts(400_000_000, 900_000, 150_000.0, 16.5, 71.0)},
    )
    save_profile(profile, tmp_path / "toy")
    assert_same(load_profile(tmp_path / "toy"), profile)
    assert profile.worker_costs_of("T4") == WorkerCosts()
    # 0.9 s, and 2 GB at 0.15 s each.
    assert profile.worker_costs_of("cpu").load_us(2_000_000_000) == 1_200_000


def test_memory_of_blocks_and_times_of_the_device_are_kept(tmp_path: Path) -> None:
    """Of a worker's 10 and 30 us at batch 1 the device computes 8 and 25; the slow class knows nothing of it."""
    plain = make_profile()
    gpu = replace(plain.table("cpu", 1), device_us=np.array([[8, 15], [25, 40]]))
    memory = (BlockMemory(400, 800, 64), BlockMemory(0, 16, 0))
    profile = replace(plain, tables={**plain.tables, ("cpu", 1): gpu}, block_memory={"cpu": memory})
    save_profile(profile, tmp_path / "toy")
    read = load_profile(tmp_path / "toy")
    assert_same(read, profile)
    assert read.block_memory == {"cpu": memory}
    np.testing.assert_array_equal(read.table("cpu", 1).computing_us, [[8, 15], [25, 40]])
    assert read.table("T4", 1).device_us is None
    assert read.table("T4", 1).computing_us is read.table("T4", 1).latency_us
    with pytest.raises(BadInputError, match="device_us has another shape"):
        save_profile(
            replace(profile, tables={("cpu", 1): replace(gpu, device_us=np.array([[8], [25]]))}),
            tmp_path / "bad",
        )


def test_worker_costs_name_known_classes(tmp_path: Path) -> None:
    profile = replace(make_profile(), worker_costs={"H100": WorkerCosts()})
    with pytest.raises(BadInputError, match="worker_costs: device class 'H100' has no latencies"):
        save_profile(profile, tmp_path / "toy")


def test_what_differs_is_said_and_what_is_unknown_is_not() -> None:
    then = Machine("NVIDIA L4", "L4", "570.86", {"torch": "2.11", "tensorrt": "10.1"}, power_limit_w=72.0)
    assert differences(then, then) == []
    now = Machine("NVIDIA H100", "H100", None, {"torch": "2.12"}, power_limit_w=72.0)
    assert differences(then, now) == [
        "device was L4, is H100",
        "library tensorrt was 10.1, is not installed",
        "library torch was 2.11, is 2.12",
    ]


def test_model_file_is_relative_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_profile(replace(make_profile(), model_file=str(tmp_path / "toy.onnx")), Path("p/toy"))
    assert json.loads((tmp_path / "p/toy/profile.json").read_text())["model"]["file"] == "../../toy.onnx"
    (tmp_path / "p").rename(tmp_path / "q")
    assert load_profile(Path("q/toy")).model_file == str(tmp_path / "toy.onnx")


def test_provenance_by_class() -> None:
    profile = make_profile()
    assert profile.provenance_of("T4") is PREDICTED
    assert profile.provenance_of("cpu") is MEASURED


def test_existing_folder_is_kept_unless_forced(tmp_path: Path) -> None:
    save_profile(make_profile(), tmp_path / "toy")
    with pytest.raises(BadInputError, match="exists already"):
        save_profile(make_profile(), tmp_path / "toy")
    other = replace(make_profile(), model="other")
    save_profile(other, tmp_path / "toy", force=True)
    assert_same(load_profile(tmp_path / "toy"), other)


def test_plain_table_has_the_short_header(tmp_path: Path) -> None:
    plain = replace(
        make_profile(),
        tables={("T4", 1): LatencyTable(np.array([[5], [6]]))},
        whole_us={},
        class_provenance={},
    )
    save_profile(plain, tmp_path / "toy")
    assert (tmp_path / "toy/latency.csv").read_text() == (
        'device_class,share,block,batch,latency_us\nT4,1,stem,1,5\nT4,1,"head, last",1,6\n'
    )


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    with_p99=st.booleans(),
    runs=st.integers(0, 10**6),
    data=st.data(),
)
def test_any_table_survives_text(
    shape: tuple[int, int], with_p99: bool, runs: int, data: st.DataObject
) -> None:
    cells = shape[0] * shape[1]
    numbers = st.lists(st.integers(0, 10**11), min_size=cells, max_size=cells)
    latency = np.array(data.draw(numbers)).reshape(shape)
    latency[0] += 1  # single blocks may take 0 us, whole models may not
    p99 = latency + np.array(data.draw(numbers)).reshape(shape) if with_p99 else None
    names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1)
    blocks = data.draw(st.lists(names, min_size=shape[0], max_size=shape[0], unique=True))
    tables = {("a class", 3): LatencyTable(latency, p99, runs)}
    lines = format_tables(tables, blocks).split("\n")
    read = parse_tables("\n".join(lines), blocks, Path("latency.csv"))["a class", 3]
    np.testing.assert_array_equal(read.latency_us, latency)
    assert (read.p99_us is None) == (p99 is None)
    assert read.runs == runs


HEADER = "device_class,share,block,batch,latency_us,p99_us,runs"
GOOD = ["T4,1,a,1,10,12,5", "T4,1,a,2,20,22,5", "T4,1,b,1,30,33,5", "T4,1,b,2,40,44,6"]


def parse(*rows: str, header: str = HEADER) -> LatencyTable:
    return parse_tables("\n".join([header, *rows]), ["a", "b"], Path("p/latency.csv"))["T4", 1]


def test_rows_in_any_order_columns_in_any_order_fewest_runs() -> None:
    np.testing.assert_array_equal(parse(*reversed(GOOD)).latency_us, [[10, 20], [30, 40]])
    assert parse(*GOOD).runs == 5
    swapped = [",".join(reversed(row.split(","))) for row in GOOD]
    read = parse(*swapped, header=",".join(reversed(HEADER.split(","))))
    np.testing.assert_array_equal(read.p99_us, [[12, 22], [33, 44]])


def test_batches_in_between_are_interpolated_marked_and_not_written() -> None:
    """Own numbers had to have every batch in whole microseconds."""
    rows = ["T4,1,a,2,10.4,12,5", "T4,1,a,4,20,22,5", "T4,1,b,2,30,33,5", "T4,1,b,4,41.6,44,6"]
    read = parse(*rows)
    # Batch 1 counts as 2, the least given one. Batch 3 is half way, rounded up.
    np.testing.assert_array_equal(read.latency_us, [[10, 10, 15, 20], [30, 30, 36, 42]])
    assert read.batches == (2, 4)
    assert parse(*GOOD).batches == (1, 2)
    written = format_tables({("T4", 1): read}, ["a", "b"]).splitlines()
    assert written[1:] == ["T4,1,a,2,10,12,5", "T4,1,a,4,20,22,5", "T4,1,b,2,30,33,5", "T4,1,b,4,42,44,5"]


def test_a_padded_table_says_so_and_is_filled_from_above() -> None:
    """A CUDA graph has one size: a batch between two sizes runs as the larger one."""
    times = np.array([[10, 20, 50, 50], [1, 2, 9, 9]])
    table = LatencyTable(times, times + 1, 5, times, given_batches=(1, 2, 4), is_padded=True)
    text = format_tables({("H100", 1): table}, ["a", "b"])
    assert text.splitlines()[0].endswith(",device_us,between")
    assert len(text.splitlines()) == 1 + 2 * 3
    (read,) = parse_tables(text, ["a", "b"], Path("latency.csv")).values()
    assert read.is_padded
    assert read.batches == (1, 2, 4)
    np.testing.assert_array_equal(read.latency_us, times)
    np.testing.assert_array_equal(read.p99_us, times + 1)
    np.testing.assert_array_equal(read.device_us, times)
    with pytest.raises(BadInputError, match="line 3 has no 'next' in between"):
        parse_tables(text.replace("20,21,5,20,next", "20,21,5,20,"), ["a", "b"], Path("latency.csv"))
    with pytest.raises(BadInputError, match=r"between \(=line\) must be 'next'"):
        parse_tables(text.replace("next", "line"), ["a", "b"], Path("latency.csv"))


def test_links_are_kept_and_name_known_classes(tmp_path: Path) -> None:
    links = (
        Link("host-to-device", 8.5, 24.0),
        Link("device-to-device", 5.0, 250.0, "GPU-2", is_direct=True),
    )
    profile = replace(make_profile(), links={"cpu": links})
    save_profile(profile, tmp_path / "p")
    assert load_profile(tmp_path / "p").links == {"cpu": links}
    with pytest.raises(BadInputError, match="links: device class 'L4' has no latencies"):
        save_profile(replace(profile, links={"L4": links}), tmp_path / "q")


def test_byte_order_mark_and_blank_lines_are_let_pass() -> None:
    np.testing.assert_array_equal(parse(*GOOD, "", header="\ufeff" + HEADER).latency_us, [[10, 20], [30, 40]])


@pytest.mark.parametrize(
    ("rows", "header", "parts"),
    [
        (GOOD, "device_class,share,block,batch", ["line 1", "latency_us", "Correct the header"]),
        (GOOD, HEADER + ",extra", ["line 1", "'device_class", "extra"]),
        (GOOD, HEADER + ",runs", ["line 1", "each column once"]),
        ([], HEADER, ["holds no latencies", "Add rows"]),
        ([*GOOD, "T4,1,c,1,1,1,1"], HEADER, ["line 6", "block 'c'", "a, b"]),
        ([*GOOD, "T4,1,a,1,9,9,9"], HEADER, ["line 6", "'T4', share 1, block 'a', batch 1", "line 2"]),
        (GOOD[:-1], HEADER, ["'T4', share 1", "no row for block 'b', batch 2", "all need the same"]),
        ([*GOOD, "T4,1,b,4096,1,1,1"], HEADER, ["no row for block 'a', batch 4096"]),
        ([*GOOD, "T4,1,b,1000000000,1,1,1"], HEADER, ["line 6", "batch (=1000000000)", "from 1 to 4096"]),
        (["T4,1,a,1,-5,,"], HEADER, ["line 2", "latency_us (=-5)", "whole number"]),
        (["T4,1,a,1,1.5.2,,"], HEADER, ["line 2", "latency_us (=1.5.2)", "number of microseconds"]),
        (["T4,1,a,1,-1.5,,"], HEADER, ["line 2", "latency_us (=-1.5)", "number of microseconds"]),
        (["T4,1,a,1,1e3,,"], HEADER, ["line 2", "latency_us (=1e3)", "whole number"]),
        (["T4,1,a,1,nan,,"], HEADER, ["line 2", "latency_us (=nan)"]),
        (["T4,1,a,1,1_0,,"], HEADER, ["line 2", "latency_us (=1_0)"]),
        (["T4,1,a,1," + "9" * 30 + ",,"], HEADER, ["line 2", "latency_us"]),
        (["T4,1,a,1,,,"], HEADER, ["line 2", "latency_us (=)"]),
        (["T4,0,a,1,1,,"], HEADER, ["line 2", "share (=0)", "from 1"]),
        (["T4,1,a,0,1,,"], HEADER, ["line 2", "batch (=0)", "from 1"]),
        (["T4,1,a,1,1,,0"], HEADER, ["line 2", "runs (=0)"]),
        ([",1,a,1,1,,"], HEADER, ["line 2", "device_class (='')"]),
        (["T4,1,a,1,10,9,"], HEADER, ["line 2", "p99_us 9 is below latency_us 10"]),
        ([*GOOD[:3], "T4,1,b,2,40,,6"], HEADER, ["'T4', share 1", "line 5 has no p99_us"]),
        (["T4,1,a,1,10,,,11"], HEADER + ",device_us", ["line 2", "device_us 11 is above latency_us 10"]),
        (["T4,1,a,1,10,,,9", "T4,1,b,1,10,,,"], HEADER + ",device_us", ["line 3 has no device_us"]),
        (["T4,1,a,1"], HEADER, ["line 2", "4 cells", "7 columns"]),
        (["T4,1,a,1,1,1,1,1"], HEADER, ["line 2", "8 cells", "7 columns"]),
    ],
)
def test_bad_csv_is_refused_by_line_value_and_rule(rows: list[str], header: str, parts: list[str]) -> None:
    with pytest.raises(BadInputError) as caught:
        parse(*rows, header=header)
    for part in ["p/latency.csv", *parts]:
        assert part in str(caught.value)


def test_a_model_that_takes_no_time_is_refused() -> None:
    tables = {("T4", 1): LatencyTable(np.array([[5, 0], [0, 0]]))}
    lines = format_tables(tables, ["a", "b"])
    with pytest.raises(BadInputError, match="every block takes 0 us at batch 2"):
        parse_tables(lines, ["a", "b"], Path("latency.csv"))


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        (("version",), 2, ["version", "1", "2"]),
        (("typo",), 1, ["typo", "unknown field"]),
        (("model",), None, ["model"]),
        (("model", "name"), "", ["model.name"]),
        (("model", "sha256"), "xyz", ["model.sha256", "xyz"]),
        (("blocks",), [], ["blocks"]),
        (("blocks", 0, "parameter_bytes"), -1, ["blocks.0 ('stem').parameter_bytes", "-1"]),
        (("blocks", 0, "name"), "a\nb", [r"blocks.0 ('a\nb').name"]),
        (("blocks", 0, "name"), "head, last", ["'head, last' appears twice"]),
        (("boundary_bytes",), [1, 2], ["boundary_bytes has 2 entries for 2 blocks", "needs 3"]),
        (("boundary_bytes",), [1, 2, -3], ["boundary_bytes.2", "-3"]),
        (("boundary_bytes",), [1, 2, "3"], ["boundary_bytes.2", "'3'"]),
        (("whole_us",), {"cpu": 0}, ["whole_us.cpu", "0"]),
        (("whole_us",), {"gpu": 5}, ["whole_us", "'gpu' has no latencies", "T4, cpu"]),
        (("class_provenance",), {"gpu": None}, ["class_provenance.gpu"]),
        (("provenance", "kind"), "guessed", ["provenance.kind", "guessed"]),
        (("provenance", "date"), "yesterday", ["provenance.date", "ISO 8601", "yesterday"]),
        (("provenance",), {}, ["provenance.kind", "missing"]),
    ],
)
def test_bad_header_is_refused_by_field_value_and_rule(
    tmp_path: Path, path: tuple[str | int, ...], value: object, parts: list[str]
) -> None:
    save_profile(make_profile(), tmp_path / "toy")
    header = tmp_path / "toy" / "profile.json"
    document = json.loads(header.read_text())
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    header.write_text(json.dumps(document))
    with pytest.raises(BadInputError) as caught:
        load_profile(tmp_path / "toy")
    for part in [str(header), *parts]:
        assert part in str(caught.value)


def test_missing_folder_or_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no such folder.*penstock profile"):
        load_profile(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="is not a folder"):
        load_profile(tmp_path / "file")
    save_profile(make_profile(), tmp_path / "toy")
    (tmp_path / "toy" / "latency.csv").unlink()
    with pytest.raises(BadInputError, match=r"latency\.csv: no such file"):
        load_profile(tmp_path / "toy")


def test_saving_a_broken_profile_writes_nothing(tmp_path: Path) -> None:
    wrong_rows = replace(make_profile(), tables={("cpu", 1): LatencyTable(np.array([[1]]))}, whole_us={})
    negative = replace(make_profile(), boundary_bytes=(1, -2, 3))
    for broken in (wrong_rows, negative):
        with pytest.raises(BadInputError):
            save_profile(broken, tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_the_profile_that_the_docs_write_by_hand_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    for name, fence in (("profile.json", "```json\n"), ("latency.csv", "```text\n")):
        (tmp_path / name).write_text(page.split(fence)[1].split("```")[0])
    profile = load_profile(tmp_path)
    assert profile.boundary_bytes == (600_000, 800_000, 1_000)
    assert profile.table("L4", 1).span_us(0, 2).tolist() == [3_900]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "two\nlines"}, "model.name: must be a text of one line"),
        ({"name": "m", "sha256": "abc"}, "model.sha256: must be 64 lower-case hexadecimal digits"),
    ],
)
def test_rules_of_texts_are_said(tmp_path: Path, model: dict[str, str], message: str) -> None:
    (tmp_path / "profile.json").write_text(json.dumps({"version": 1, "model": model}))
    (tmp_path / "latency.csv").touch()
    with pytest.raises(BadInputError, match=message):
        load_profile(tmp_path)
