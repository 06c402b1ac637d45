"""Batches in flight for either kind of fleet: with whole batches, or with split stages.

Each name is one kernel of :mod:`penstock.schedule.mechanism.in_flight_kernels` or its counterpart in
:mod:`penstock.schedule.mechanism.split_in_flight_kernels`.
"""

from __future__ import annotations

from penstock.schedule.mechanism import in_flight_kernels as whole
from penstock.schedule.mechanism import split_in_flight_kernels as split
from penstock.schedule.state.split_choice import by_stages

track = by_stages(whole.track, split.split_track)
complete = by_stages(whole.complete, split.split_complete)
abandon = by_stages(whole.abandon, split.split_abandon)
