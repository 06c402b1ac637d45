"""Rows on disk while a server runs, and the record that is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.serve.live_record import LiveBatches, RowFiles, joined_record, note_epoch, rows_beside
from penstock.serve.messages import StageDone
from penstock.serve.spec import ModelSpec, ServerSpec, StageSpec, plain_table


def spec_of(names, epoch=0):
    """A model each with one pipeline of one stage; worker 0 serves all."""
    stages = [StageSpec(model, 0, (0, 1), "emulated", (), (), (), (0, 1)) for model in range(len(names))]
    table = plain_table(make_table([(9, [Pipeline(1, [Stage([1], [0])])])] * len(names)))
    models = tuple(ModelSpec(name, 9, 1.0, 1, (), (), ()) for name in names)
    served = tuple(tuple(range(len(names))) for _ in names)
    return ServerSpec(models, tuple(stages), served, table, epoch=epoch)


def request_row(model, unit, arrival_us, batch, *, epoch=0, outcome=Outcome.MET):
    """A row of a request that takes 5 us, if it has a result."""
    finish_us = arrival_us + 5 if outcome is Outcome.MET else -1
    return (model, unit, arrival_us, arrival_us + 9, 0, batch, finish_us, int(outcome), epoch)


def done(batch, pipeline, start_us, *, epoch=0, worker=0):
    return StageDone(epoch, batch, pipeline, 0, worker, 1, start_us, start_us, start_us + 2, 0)


def test_rows_say_what_ran_whoever_ran_it(tmp_path):
    """Worker 0 is planned for the first model, and runs a batch of the other's pipeline, which is its first."""
    spec = spec_of(("a", "b"))
    note_epoch(spec, tmp_path)
    rows = LiveBatches(tmp_path, 0)
    rows.add(StageDone(0, 5, 1, 0, 0, 1, 10, 20, 30, 4), spec)
    rows.flush()
    batches = joined_record(tmp_path).batches
    columns = [batches.batch, batches.model, batches.pipeline, batches.stage, batches.worker]
    assert [column.tolist() for column in columns] == [[5], [1], [0], [0], [0]]


def test_a_batch_without_a_row_is_not_named_by_the_record(tmp_path):
    note_epoch(spec_of(("a",)), tmp_path)
    rows = RowFiles(tmp_path, "requests", 0)
    rows.add(request_row(0, 0, 3, 4, outcome=Outcome.ERROR))
    rows.flush()
    assert joined_record(tmp_path).requests.batch.tolist() == [-1]


def test_rows_of_several_processes_and_plans_are_one_record(tmp_path):
    """Model b is the first of the second plan, and its pipeline there comes after that of the first plan."""
    for epoch, names in enumerate((("a", "b"), ("b", "c"))):
        note_epoch(spec_of(names, epoch), tmp_path)
    for gateway, row in ((0, request_row(1, 7, 100, 0)), (1, request_row(0, 8, 50, 1, epoch=1))):
        rows = RowFiles(tmp_path, "requests", gateway)
        rows.add(row)
        rows.flush()
    batches = LiveBatches(tmp_path, 0)
    batches.add(done(0, 1, 100), spec_of(("a", "b")))
    batches.add(done(1, 0, 60, epoch=1), spec_of(("b", "c"), 1))
    batches.flush()
    record = joined_record(tmp_path)
    assert record.models == ("a", "b", "c")
    assert record.requests.request.tolist() == [8, 7]
    assert record.requests.model.tolist() == [1, 1]
    assert record.requests.pipeline.tolist() == [1, 0]
    assert record.requests.arrival_us.tolist() == [0, 50]
    assert record.batches.pipeline.tolist() == [1, 0]
    assert record.batches.start_us.tolist() == [10, 50]


def test_a_row_that_was_cut_off_is_left_out(tmp_path):
    note_epoch(spec_of(("a",)), tmp_path)
    rows = RowFiles(tmp_path, "requests", 0)
    for unit in range(3):
        rows.add(request_row(0, unit, unit, -1))
    rows.flush()
    (path,) = tmp_path.glob("requests-0-*.rows")
    path.write_bytes(path.read_bytes()[:-5])
    assert joined_record(tmp_path).requests.request.tolist() == [0, 1]


def test_the_last_files_are_kept(tmp_path):
    """Files of 2 rows, 3 files: of 9 rows the last 5 are left, since the last file holds one."""
    note_epoch(spec_of(("a",)), tmp_path)
    rows = RowFiles(tmp_path, "requests", 0, rows_of_a_file=2, most_files=3)
    for unit in range(9):
        rows.add(request_row(0, unit, unit, -1))
        if unit == 3:
            rows.flush()
    rows.flush()
    np.testing.assert_array_equal(joined_record(tmp_path).requests.request, [4, 5, 6, 7, 8])


def test_the_place_of_the_rows_is_taken_once(tmp_path):
    record = tmp_path / "run"
    folder = rows_beside(record)
    note_epoch(spec_of(("a",)), folder)
    with pytest.raises(BadInputError, match="join-record"):
        rows_beside(record)
    assert rows_beside(record, force=True) == folder
    assert list(folder.iterdir()) == []


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="holds no rows"):
        joined_record(tmp_path)
