"""Checks of what callers hand to kernels: accepted, or :class:`penstock.errors.BadInputError`.

Kernels read their arrays by address and check no index, so an id out of range would read or write other memory, and
a time near the end of int64 would overflow. Each function returns the value as a plain int, or an array as the kernels
take it.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.schedule.table import DispatchTable
from penstock.units import LATEST_US, LONGEST_US

LEAST_ID, LARGEST_ID = -(2**63), 2**63 - 1
"""Ids that only their owner understands, such as those of requests, may be any integer of 64 bits."""


def checked_time(name: str, value: Any) -> int:
    """A moment in microseconds, from 0 to :data:`penstock.units.LATEST_US`."""
    return _within(name, value, 0, LATEST_US, "count microseconds from the start of the clock")


def checked_duration(name: str, value: Any) -> int:
    """A duration in microseconds, from 0 to :data:`penstock.units.LONGEST_US`."""
    return _within(name, value, 0, LONGEST_US, "give microseconds")


def checked_index(name: str, value: Any, count: int) -> int:
    """An index below ``count``."""
    return _within(name, value, 0, count - 1, "use a number of the dispatch table")


def checked_batch(value: Any) -> int:
    """The number of a batch. Whether there is such a batch is for the policy to say."""
    return _within("batch", value, 0, LARGEST_ID, "use the number of a dispatch")


def checked_id(name: str, value: Any) -> int:
    """An integer of 64 bits."""
    return _within(name, value, LEAST_ID, LARGEST_ID, "use an integer of 64 bits")


def _within(name: str, value: Any, least: int, most: int, advice: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise BadInputError(
            f"{name} (={shown(value)}) must be an integer, not a {type(value).__name__}: {advice}."
        ) from None
    if not least <= number <= most:
        raise BadInputError(f"{name} (={shown(number)}) must be from {least} to {most}: {advice}.")
    return number


def shown(value: Any) -> str:
    """The value for a message, cut to a line."""
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to print integers of thousands of digits.
        return f"a {type(value).__name__} of too many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


LARGEST_PLACE = 2**20 - 1
"""The largest number of a host or a pool."""

_GRIDS = ("latency_us", "p99_us", "transfer_us")


def checked_table(table: DispatchTable) -> DispatchTable:
    """``table`` with contiguous arrays, if its arrays describe one fleet.

    Raises :class:`BadInputError` for an array of another type or shape, offsets that do not rise from 0 to the length
    of what they divide, a pool without a worker, a batch size outside its row, and times or numbers out of range.
    """
    if not isinstance(table, DispatchTable):
        raise BadInputError(f"the dispatch table is a {type(table).__name__}: make it with dispatch_table().")
    table = DispatchTable(**{name: _int_array(name, array) for name, array in table._asdict().items()})
    _check_shapes(table)
    pipelines, stages, workers = len(table.pipeline_batch), len(table.latency_us), len(table.worker_host)
    _check_offsets("pipeline_offsets", table.pipeline_offsets, pipelines, least=1)
    _check_offsets("stage_offsets", table.stage_offsets, stages, least=1)
    # The workers of a shared pool may all belong to one of its stages.
    _check_offsets("worker_offsets", table.worker_offsets, workers, least=0)
    _check_range("slo_us", table.slo_us, 0, LONGEST_US)
    _check_range("pipeline_batch", table.pipeline_batch, 1, table.latency_us.shape[1] - 1)
    # Column 0 is not used.
    _check_range("latency_us", table.latency_us[:, 1:], 1, LONGEST_US)
    _check_range("p99_us", table.p99_us[:, 1:], 1, LONGEST_US)
    _check_range("transfer_us", table.transfer_us[:, 1:], 0, LONGEST_US)
    # There is an array entry for each number up to the largest.
    _check_range("worker_host", table.worker_host, 0, LARGEST_PLACE)
    _check_range("worker_device", table.worker_device, 0, LARGEST_ID)
    _check_range("stage_pool", table.stage_pool, 0, LARGEST_PLACE)
    _check_range("lend_group", table.lend_group, 0, LARGEST_PLACE)
    _check_pieces(table)
    empty = np.setdiff1d(table.pool_of_stage, table.pool_of_worker)
    if len(empty):
        raise BadInputError(
            f"dispatch table: pool (={int(empty[0])}) has no worker. Give each pool at least one worker, or leave "
            f"out the pipelines that need it."
        )
    return table


def checked_column(name: str, column: Any, most: int, advice: str) -> I64:
    """An int64 array of one dimension with values from 0 to ``most``."""
    if not isinstance(column, np.ndarray) or column.dtype != np.int64 or column.ndim != 1:
        found = f"{column.ndim}-d {column.dtype}" if isinstance(column, np.ndarray) else type(column).__name__
        raise BadInputError(f"{name} (={found}) must be an int64 array of one dimension: convert it.")
    wrong = _outside(column, 0, most)
    if wrong is not None:
        raise BadInputError(f"{name} (={wrong}) must be from 0 to {most}: {advice}.")
    return np.ascontiguousarray(column)


def checked_hosts(name: str, hosts: Any, workers: int) -> I64:
    """The host of each of ``workers`` workers: an int64 array of numbers from 0."""
    array = checked_column(name, hosts, LARGEST_PLACE, "number hosts from 0")
    if len(array) != workers:
        raise BadInputError(
            f"{name} has {len(array)} entries, but there are {workers} workers: give each its host."
        )
    return array


def _int_array(name: str, array: Any) -> I64:
    """The array, contiguous, if it is one of int64 with as many dimensions as the table says."""
    dimensions = 2 if name in _GRIDS else 1
    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.ndim != dimensions:
        found = f"{array.ndim}-d {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BadInputError(
            f"dispatch table: {name} (={found}) must be an int64 array of {dimensions} dimensions: convert it."
        )
    return np.ascontiguousarray(array)


def _check_shapes(table: DispatchTable) -> None:
    """Lengths that must agree."""
    models, pipelines, stages = len(table.slo_us), len(table.pipeline_batch), len(table.latency_us)
    workers = len(table.worker_host)
    wanted: dict[str, tuple[int, ...]] = {
        "pipeline_offsets": (models + 1,),
        "stage_offsets": (pipelines + 1,),
        "worker_offsets": (stages + 1,),
        "p99_us": table.latency_us.shape,
        "transfer_us": table.latency_us.shape,
        "worker_device": (workers,),
        "stage_pool": (stages if table.shares_pools else 0,),
        "lend_group": (stages if table.lends and not table.shares_pools else 0,),
        "stage_pieces": (stages if table.splits else 0,),
    }
    for name, shape in wanted.items():
        found = getattr(table, name).shape
        if found != shape:
            raise BadInputError(
                f"dispatch table: {name} has the shape {found}, but the other arrays need {shape}: correct it."
            )
    if models == 0:
        raise BadInputError("dispatch table: there is no model in it. Plan at least one.")


def _check_pieces(table: DispatchTable) -> None:
    """No stage has more pieces than hold the planned batch, if none is larger than the largest."""
    if not table.splits:
        return
    planned = np.repeat(table.pipeline_batch, np.diff(table.stage_offsets))
    _check_range("stage_pieces", table.stage_pieces, 1, int(planned.max()))
    wrong = np.flatnonzero(-(-planned // table.piece_batch) != table.stage_pieces)
    if len(wrong):
        raise BadInputError(
            f"dispatch table: stage_pieces (={int(table.stage_pieces[wrong[0]])}) of a batch of "
            f"{int(planned[wrong[0]])}: fewer pieces of the same largest size hold it. Give their number."
        )


def refuse_split(table: DispatchTable, who: str) -> None:
    """:class:`BadInputError` if a stage of ``table`` is split, because ``who`` gives whole batches to its workers."""
    if table.splits:
        raise BadInputError(
            f"{who} gives each batch to one worker of a stage, but the plan has split stages. Use another policy or "
            f"mode, or a plan made without planner.split_stages."
        )


def _check_offsets(name: str, offsets: I64, members: int, *, least: int) -> None:
    _check_range(name, offsets, 0, members)
    if offsets[0] != 0 or offsets[-1] != members or np.any(np.diff(offsets) < least):
        raise BadInputError(
            f"dispatch table: {name} (={offsets[:16].tolist()}) must rise from 0 to {members}, by at least {least} "
            f"each time: correct it."
        )


def _check_range(name: str, array: I64, least: int, most: int) -> None:
    wrong = _outside(array, least, most)
    if wrong is not None:
        raise BadInputError(
            f"dispatch table: {name} (={wrong}) must be from {least} to {most}: correct the table."
        )


def _outside(array: I64, least: int, most: int) -> int | None:
    """A value of ``array`` that is not from ``least`` to ``most``. Two passes that make no array: simulations ask this
    of every request."""
    if not array.size:
        return None
    lowest, highest = int(array.min()), int(array.max())
    if lowest < least:
        return lowest
    return highest if highest > most else None
