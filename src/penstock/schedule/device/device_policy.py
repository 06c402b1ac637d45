"""Which stage of which job goes to the device now. Events go in with their time, releases come out; no clock, no I/O.

A driver (the simulator, the CPU dispatcher, the GPU dispatcher) calls ``arrive``, ``finished``, ``failed``, ``cancel``
or ``unload`` for each event, then ``decide``, and does what it says. ``now_us`` never goes backwards. The same calls
give the same decisions on any machine, so a journal of a live run can be replayed (:mod:`.device_journal`).

Every job that ``arrive`` accepted is answered exactly once, by the driver, at one of these moments: ``finished`` says
``DONE``; it is in ``drops``; ``cancel`` says True; it is in what ``unload`` returns; ``failed`` says True.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from penstock.errors import BadInputError
from penstock.schedule.device.job_types import DeviceDecision, Job, JobType, Progress, Release
from penstock.schedule.device.late import Late, late_by_name
from penstock.schedule.device.orders import OrderOptions, make_order
from penstock.schedule.device.orders.keyed import KeyedOrder
from penstock.schedule.device.orders.order import Copies
from penstock.schedule.device.orders.srpt import srpt_key
from penstock.schedule.device.stage_times import StageTimes
from penstock.schedule.device.window import SegmentWindow, Window
from penstock.units import NEVER_US


@final
class DevicePolicy:
    """One device, many types of jobs.

    ``order``: a name of :data:`~penstock.schedule.device.orders.ORDERS`. ``late``: ``keep``, ``demote`` or ``drop``.
    ``window``: segments in flight, or a :class:`~penstock.schedule.device.window.ResourceWindow`. ``theta`` and
    ``miss_budget`` are read by the orders that have them. ``most_queued``: jobs in the policy beyond which ``arrive``
    says False. ``learn``: follow the stage times observed, also if the types state theirs.

    Raises :class:`BadInputError` for names and figures out of range.
    """

    def __init__(
        self,
        order: str,
        late: str,
        window: int | Window,
        types: Sequence[JobType],
        *,
        theta: float = OrderOptions.theta,
        miss_budget: float | None = None,
        most_queued: int | None = None,
        learn: bool = True,
    ) -> None:
        if not types:
            raise BadInputError("types is empty: a device policy needs at least one type of job.")
        if most_queued is not None and most_queued < 1:
            raise BadInputError(f"most_queued (={most_queued}) must be >= 1, or None for no limit.")
        self.types = tuple(types)
        self.late = late_by_name(late)
        if order == "moore-hodgson" and self.late is Late.KEEP:
            raise BadInputError(
                "late (='keep') does nothing under moore-hodgson: use demote or drop, or order edf."
            )
        self._window: Window = SegmentWindow(window) if isinstance(window, int) else window
        width = window if isinstance(window, int) else 1
        self._copies = Copies([job_type.copies for job_type in types])
        self._order = make_order(order, self._copies, OrderOptions(theta, miss_budget, width))
        self._demoted = KeyedOrder(self._copies, srpt_key)
        self._times = [StageTimes(kind.stages, kind.stage_us, learn=learn) for kind in types]
        self._most_queued = most_queued
        self._unloaded = [False] * len(types)
        self._jobs: dict[int, Job] = {}
        self._overshot: set[int] = set()
        self._sequence = 0

    def arrive(self, now_us: int, job: int, job_type: int, deadline_us: int | None = None) -> bool:
        """Queue ``job`` (a number of the driver's, unused at present). False if the queue is full: nothing is kept.

        ``deadline_us`` is absolute; None: the type's SLO from now, or no deadline if it has none. Raises
        :class:`BadInputError` for a type that does not exist or is unloaded, and a job that is here already.
        """
        kind = self._kind(job_type)
        if self._unloaded[job_type]:
            raise BadInputError(f"job {job} is of type {kind.name!r}, which is unloaded: load it first.")
        if job in self._jobs:
            raise BadInputError(f"job {job} arrived already and is not finished: use a number that is free.")
        if self._most_queued is not None and len(self._jobs) >= self._most_queued:
            return False
        if deadline_us is None:
            deadline_us = NEVER_US if kind.slo_us is None else now_us + kind.slo_us
        remaining_us = self._times[job_type].snapshot()
        if not -NEVER_US <= deadline_us <= NEVER_US:
            raise BadInputError(
                f"deadline_us (={deadline_us}) of job {job} must be a time in us, at most 2**62."
            )
        new = Job(job, job_type, self._sequence, now_us, deadline_us, remaining_us, kind.priority)
        self._sequence += 1
        self._jobs[job] = new
        self._order.arrived(new)
        self._order.add(new)
        return True

    def started(self, now_us: int, job: int, stage: int) -> None:
        """All blocks of a released stage are on the device: an overshoot ends. Only resource windows need it."""
        if self._running(job, stage).job in self._overshot:
            self._overshot.discard(job)
            self._window.started(overshot=True)

    def finished(self, now_us: int, job: int, stage: int) -> Progress:
        """A released stage ended. Raises :class:`BadInputError` if it is not in flight."""
        one = self._running(job, stage)
        self._times[one.job_type].observe(stage, float(now_us - one.released_us))
        self._land(one)
        if one.cancelled:
            self._leave(one, met=None)
            return Progress.CANCELLED
        one.stage += 1
        if one.stage == self.types[one.job_type].stages:
            one.stage -= 1
            self._leave(one, met=now_us <= one.deadline_us)
            return Progress.DONE
        (self._demoted if one.given_up else self._order).add(one)
        return Progress.CONTINUES

    def failed(self, now_us: int, job: int, stage: int) -> bool:
        """The executor could not run a released stage: the job is over. True if it is still to be answered."""
        one = self._running(job, stage)
        self._land(one)
        self._leave(one, met=None)
        return not one.cancelled

    def cancel(self, job: int) -> bool:
        """Forget ``job``. True if it was here: answer it now. A stage of it that runs is still to be reported."""
        one = self._jobs.get(job)
        if one is None or one.cancelled:
            return False
        one.cancelled = True
        if not one.in_flight:
            (self._demoted if one.given_up else self._order).remove(one)
            self._leave(one, met=None)
        return True

    def unload(self, job_type: int) -> tuple[int, ...]:
        """Take no more jobs of the type, and forget those that are here: answer the jobs returned, in this order."""
        self._kind(job_type)
        self._unloaded[job_type] = True
        mine = [job for job, one in self._jobs.items() if one.job_type == job_type]
        return tuple(job for job in mine if self.cancel(job))

    def load(self, job_type: int) -> None:
        """Take jobs of an unloaded type again; its stage times are kept."""
        self._kind(job_type)
        self._unloaded[job_type] = False

    def decide(self, now_us: int) -> DeviceDecision:
        """What to release and drop now. Cheap when nothing can go, so call it after every event."""
        window = self._window
        releases: list[Release] = []
        drops: list[int] = []
        while not window.is_full():
            if self.late is not Late.KEEP:
                self._give_up(now_us, drops)
            order = self._order
            one = order.best(now_us)
            if one is None:
                order = self._demoted
                one = order.best(now_us)
                if one is None:
                    break
            needs = self.types[one.job_type].needs
            need = None if needs is None else needs[one.stage]
            if not window.admits(need):
                break
            if window.take(need):
                self._overshot.add(one.job)
            if not one.started:
                self._copies.free[one.job_type] -= 1
            order.take(one)
            one.started = one.in_flight = True
            one.released_us = now_us
            releases.append(Release(one.job, one.job_type, one.stage))
        return DeviceDecision(tuple(releases), tuple(drops))

    def is_idle(self) -> bool:
        """Whether no job is here; then nothing is held either (a test holds that)."""
        return not self._jobs

    def holds_nothing(self) -> bool:
        """Whether no copy and no place in the window is taken."""
        return self._copies.all_free() and self._window.in_flight == 0 and not self._overshot

    @property
    def queued(self) -> int:
        """Jobs here that are not in flight."""
        return len(self._jobs) - self._window.in_flight

    def expected_us(self, job_type: int) -> float:
        """The expected time of a whole job of the type; -1 if it is not measured yet."""
        return self._times[job_type].snapshot()[0]

    def _kind(self, job_type: int) -> JobType:
        if not 0 <= job_type < len(self.types):
            raise BadInputError(f"job_type (={job_type}) must be one of 0 to {len(self.types) - 1}.")
        return self.types[job_type]

    def _running(self, job: int, stage: int) -> Job:
        one = self._jobs.get(job)
        if one is None or not one.in_flight or one.stage != stage:
            raise BadInputError(f"stage {stage} of job {job} is not in flight: report each release once.")
        return one

    def _give_up(self, now_us: int, drops: list[int]) -> None:
        while (one := self._order.surplus(now_us)) is not None:
            self._order.remove(one)
            one.given_up = True
            if self.late is Late.DROP:
                drops.append(one.job)
                self._leave(one, met=False)
            else:
                self._demoted.add(one)

    def _land(self, one: Job) -> None:
        """Give back the place in the window."""
        needs = self.types[one.job_type].needs
        if one.job in self._overshot:
            self._overshot.discard(one.job)
            self._window.started(overshot=True)
        self._window.give_back(None if needs is None else needs[one.stage])
        one.in_flight = False

    def _leave(self, one: Job, *, met: bool | None) -> None:
        """Forget a job that is in no queue and not in flight, and free its copy."""
        del self._jobs[one.job]
        self._order.ended(one, met=met)
        if one.started:
            self._copies.free[one.job_type] += 1
            self._order.copy_freed(one.job_type)
            self._demoted.copy_freed(one.job_type)
