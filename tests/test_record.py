"""A record through files: the same back, and clear errors for what is wrong."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import BadInputError
from penstock.record import Batches, Outcome, Record, Requests, load_record, save_record


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def small_record() -> Record:
    return Record(
        models=("zebra", "ant"),
        requests=Requests(
            model=column(1, 0, 1),
            request=column(0, 1, 2),
            arrival_us=column(0, 5, 9),
            deadline_us=column(50, 55, 59),
            pipeline=column(0, -1, 0),
            batch=column(0, -1, 0),
            finish_us=column(40, -1, 60),
            outcome=column(Outcome.MET, Outcome.DROPPED_EARLY, Outcome.LATE),
        ),
        batches=Batches(
            batch=column(0, 0),
            model=column(1, 1),
            pipeline=column(0, 0),
            stage=column(0, 1),
            worker=column(3, 4),
            size=column(2, 2),
            queued_us=column(9, 22),
            start_us=column(10, 24),
            end_us=column(20, 40),
            transfer_us=column(0, 2),
        ),
        source="simulated",
    )


def same(one: Record, other: Record) -> bool:
    return (one.models, one.source) == (other.models, other.source) and all(
        np.array_equal(getattr(getattr(one, table), f.name), getattr(getattr(other, table), f.name))
        and getattr(getattr(other, table), f.name).dtype == np.int64
        for table in ("requests", "batches")
        for f in dataclasses.fields(getattr(one, table))
    )


def test_round_trip(tmp_path):
    save_record(small_record(), tmp_path / "run")
    assert same(small_record(), load_record(tmp_path / "run"))


def test_empty_record_round_trip(tmp_path):
    record = small_record()
    none = np.zeros(0, np.int64)
    empty = Record(record.models, Requests(*[none] * 8), Batches(*[none] * 10), "measured")
    save_record(empty, tmp_path / "run")
    assert same(empty, load_record(tmp_path / "run"))


def test_names_and_outcomes_are_text_in_the_file(tmp_path):
    save_record(small_record(), tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "requests.parquet")
    assert table["model"].to_pylist() == ["ant", "zebra", "ant"]
    assert table["outcome"].to_pylist() == ["met", "dropped:early", "late"]
    assert json.loads(table.schema.metadata[b"penstock"])["version"] == 1


def test_nothing_is_replaced_unasked(tmp_path):
    save_record(small_record(), tmp_path / "run")
    with pytest.raises(BadInputError, match="--force"):
        save_record(small_record(), tmp_path / "run")
    save_record(small_record(), tmp_path / "run", force=True)


def rewrite(folder, change, name="requests"):
    """Replace one table of a saved record by ``change(table)``."""
    path = folder / f"{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def put(name, values):
    return lambda t: t.set_column(t.column_names.index(name), name, pa.array(values))


def with_header(**changed):
    def change(table):
        header = json.loads(table.schema.metadata[b"penstock"]) | changed
        return table.replace_schema_metadata({"penstock": json.dumps(header)})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["finish_us"]), "finish_us"),
        (put("outcome", ["met", "lost", "late"]), "lost"),
        (put("model", ["ant", "bee", "ant"]), "bee"),
        (put("finish_us", [1.5, 2.0, 3.0]), "whole numbers"),
        (put("finish_us", [1, None, 3]), "empty"),
        (put("batch", [0, 8, 0]), "batch .=8"),
        (with_header(version=2), "version"),
        (with_header(source="dreamt"), "dreamt"),
        (with_header(models="ant"), "models"),
        (with_header(models=["ant", "zebra"]), "different records"),
        (lambda t: t.replace_schema_metadata({"penstock": "{"}), "damaged"),
        (lambda t: t.replace_schema_metadata(None), "no penstock metadata"),
    ],
)
def test_damaged_records_name_the_fault(tmp_path, change, message):
    save_record(small_record(), tmp_path / "run")
    rewrite(tmp_path / "run", change)
    with pytest.raises(BadInputError, match=message):
        load_record(tmp_path / "run")


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        load_record(tmp_path)
    (tmp_path / "requests.parquet").write_text("no parquet")
    with pytest.raises(BadInputError, match="not a readable Parquet"):
        load_record(tmp_path)
