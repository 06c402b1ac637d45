"""What a batch really does, for either kind of fleet: with whole batches, or with split stages."""

from __future__ import annotations

from penstock.schedule.state.split_choice import by_stages
from penstock.simulate.routed.split_world import split_execute
from penstock.simulate.world import execute as whole_execute

execute = by_stages(whole_execute, split_execute)
