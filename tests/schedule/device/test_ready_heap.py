"""The heaps behind the orders: stale entries do not pile up, and what can start is found whatever came before."""

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schedule.device.job_types import Job
from penstock.schedule.device.orders.order import Copies
from penstock.schedule.device.orders.ready_heap import LazyHeap, ReadyHeap


def job(sequence: int, job_type: int = 0) -> Job:
    return Job(sequence, job_type, sequence, 0, 0, (0.0,))


def test_a_heap_of_few_live_jobs_stays_small() -> None:
    heap = LazyHeap()
    stays = job(0)
    heap.push(10.0, stays)
    for sequence in range(1, 20_000):
        gone = job(sequence)
        heap.push(100.0, gone)  # behind the live one: it never reaches the top
        gone.ticket += 1
    assert heap.top() is stays
    assert len(heap) <= 1024


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 9)), max_size=60))
def test_the_best_that_can_start_is_the_one_a_plain_search_finds(steps: list[tuple[int, int, int]]) -> None:
    # Steps: 0 a job arrives, 1 the best is taken (and waits between stages at once), 2 a copy is freed, 3 a job leaves.
    copies = Copies([1, 1, 1])
    heap = ReadyHeap(copies, by_type=True)
    queued: dict[Job, int] = {}
    for sequence, (step, kind, key) in enumerate(steps):
        if step == 0:
            new = job(sequence, kind)
            queued[new] = key
            heap.add(new, key)
        elif step == 1 and (best := heap.best()) is not None:
            del queued[best]
            if not best.started:
                copies.free[best.job_type] -= 1
            heap.take_out(best)
            if key > 4:
                best.started = True
                queued[best] = key
                heap.add(best, key)
            elif copies.free[best.job_type] == 0:  # it ends
                copies.free[best.job_type] += 1
                heap.copy_freed(best.job_type)
        elif step == 3 and queued:
            gone = list(queued)[key % len(queued)]
            del queued[gone]
            heap.take_out(gone)
            if gone.started:
                copies.free[gone.job_type] += 1
                heap.copy_freed(gone.job_type)
        able = [one for one in queued if copies.can_start(one)]
        plain = min(able, key=lambda one: (queued[one], one.sequence), default=None)
        assert heap.best() is plain
        assert len(heap) == len(queued)
        for of_type in range(3):
            mine = [one for one in able if one.job_type == of_type]
            assert heap.best_of(of_type) is min(
                mine, key=lambda one: (queued[one], one.sequence), default=None
            )
