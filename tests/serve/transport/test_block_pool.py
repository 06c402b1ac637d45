"""The rules of shared blocks, tried by hypothesis against a plain model of who reads what."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

pytest.importorskip("msgspec")  # the serve extra is needed

from penstock.errors import BadInputError
from penstock.serve.transport.shared.block_pool import PAGE_BYTES, BlockPool, block_bytes


class TestSizes:
    """Whole pages, four sizes per doubling."""

    @pytest.mark.parametrize(
        ("n_bytes", "pages"),
        # 16 pages is a power of two; the sizes after it are 20, 24, 28, 32 pages.
        [(0, 1), (1, 1), (4_096, 1), (4_097, 2), (65_536, 16), (65_537, 20), (81_921, 24), (131_072, 32)],
    )
    def test_by_hand(self, n_bytes, pages):
        assert block_bytes(n_bytes) == pages * PAGE_BYTES

    def test_a_block_fits_and_a_fifth_at_most_is_unused(self):
        for n_bytes in range(16_384, 400_000, 997):
            size = block_bytes(n_bytes)
            assert n_bytes <= size <= n_bytes * 1.25 + PAGE_BYTES
            assert block_bytes(size) == size


class TestPool:
    """Cases that people would ask about, each by hand."""

    def pool(self, pages=4, addresses=16):
        return BlockPool(pages * PAGE_BYTES, addresses * PAGE_BYTES)

    def test_the_block_used_last_is_used_again(self):
        pool = self.pool()
        a, b = pool.grow(10, holder=1), pool.grow(10, holder=1)
        pool.returned(1, a.lease)
        pool.returned(1, b.lease)
        again = pool.reuse(10, holder=2)
        assert (again.offset, again.is_new) == (b.offset, False)
        assert again.lease not in (a.lease, b.lease)

    def test_a_batch_sent_again_gets_another_block_while_a_hung_receiver_holds_the_first(self):
        pool = self.pool()
        first = pool.grow(10, holder=1)
        assert pool.reuse(10, holder=2) is None
        second = pool.grow(10, holder=2)
        assert second.offset != first.offset
        pool.holder_died(2)
        assert pool.reuse(10, holder=3).offset == second.offset

    def test_a_dead_receiver_gives_back_its_own_blocks_only(self):
        pool = self.pool()
        kept, lost = pool.grow(10, holder=1), pool.grow(10, holder=2)
        pool.holder_died(2)
        assert pool.leased == 1
        assert pool.reuse(10, holder=3).offset == lost.offset
        assert pool.reuse(10, holder=3) is None
        pool.returned(1, kept.lease)

    @pytest.mark.parametrize("who", [1, 2])
    def test_a_return_counts_once_and_from_its_receiver_only(self, who):
        pool = self.pool()
        grant = pool.grow(10, holder=1)
        if who == 1:
            pool.returned(1, grant.lease)
        with pytest.raises(BadInputError, match=f"receiver {who} returned lease {grant.lease}"):
            pool.returned(who, grant.lease)
        assert pool.leased == (0 if who == 1 else 1)

    def test_when_memory_ends_blocks_unused_for_longest_give_theirs(self):
        pool = self.pool(pages=4)
        one, two = pool.grow(1, holder=1), pool.grow(1, holder=1)
        held = pool.grow(1, holder=1)
        pool.returned(1, two.lease)
        pool.returned(1, one.lease)
        # Two pages are wanted and one is left: block two was freed first.
        wide = pool.grow(PAGE_BYTES + 1, holder=1)
        assert wide.emptied == ((two.offset, PAGE_BYTES),)
        assert pool.memory_bytes == 4 * PAGE_BYTES
        # Four pages are more than what is free: none is emptied in vain.
        assert pool.grow(3 * PAGE_BYTES, holder=1) is None
        assert pool.reuse(1, holder=1).offset == one.offset
        pool.returned(1, held.lease)

    def test_a_block_that_the_system_gave_no_memory_is_empty_again(self):
        pool = self.pool()
        grant = pool.grow(1, holder=1)
        pool.no_memory(grant)
        assert (pool.memory_bytes, pool.leased) == (0, 0)
        assert pool.grow(1, holder=1).offset == grant.offset

    def test_addresses_end(self):
        pool = self.pool(pages=4, addresses=4)
        pool.returned(1, pool.grow(2 * PAGE_BYTES, holder=1).lease)
        # Three pages at an address of their own: two pages of addresses are left.
        assert pool.grow(3 * PAGE_BYTES, holder=1) is None

    def test_limits_are_checked(self):
        with pytest.raises(BadInputError, match="limit_bytes"):
            BlockPool(2, 1)


class Sharing(RuleBasedStateMachine):
    """One sender, restarted at times, and receivers that read, return late, hang, and die.

    Memory is a page's number -> the lease that wrote it last. A reader must see its own lease until it ends, whatever
    the sender did meanwhile; and a page may be touched only if it was given memory.
    """

    LIMIT_PAGES = 12

    def __init__(self):
        super().__init__()
        self.next_holder = 2
        self.alive = [0, 1]
        self.dead = []  # and the sender does not know yet
        self.reading = {}  # (holder, lease) -> (memory, pages)
        self.returns = []  # (holder, lease), on their way to the sender
        self.start_sender()

    def start_sender(self):
        self.pool = BlockPool(self.LIMIT_PAGES * PAGE_BYTES, 4 * self.LIMIT_PAGES * PAGE_BYTES)
        self.memory = {}
        self.free = {}  # offset -> size
        self.held = {}  # lease -> (holder, offset, size)

    @rule()
    def a_receiver_starts(self):
        self.alive.append(self.next_holder)
        self.next_holder += 1

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), n_bytes=st.integers(0, 10 * PAGE_BYTES))
    def send(self, data, n_bytes):
        """Also what a retry is: the same batch to another receiver, while the first one may still read."""
        holder = data.draw(st.sampled_from(self.alive + self.dead))
        size = block_bytes(n_bytes)
        fits = [at for at, free in self.free.items() if size <= free <= 2 * size]
        grant = self.pool.reuse(n_bytes, holder)
        assert (grant is not None) == bool(fits)
        if grant is None:
            grant = self.pool.grow(n_bytes, holder)
            if grant is None:
                held = sum(size for _, _, size in self.held.values())
                used = max((page for page in self.memory), default=-1) + 1
                no_address = used * PAGE_BYTES + size > 4 * self.LIMIT_PAGES * PAGE_BYTES
                assert held + size > self.LIMIT_PAGES * PAGE_BYTES or no_address
                return
            for offset, emptied in grant.emptied:
                assert self.free.pop(offset) == emptied
                for page in pages_of(offset, emptied):
                    self.memory[page] = None
        else:
            assert self.free.pop(grant.offset) == grant.size_bytes
        assert grant.size_bytes >= n_bytes
        pages = pages_of(grant.offset, grant.size_bytes)
        for page in pages:
            has_memory = self.memory.get(page) is not None
            assert has_memory != grant.is_new
            self.memory[page] = grant.lease
        self.held[grant.lease] = (holder, grant.offset, grant.size_bytes)
        if holder in self.alive:
            self.reading[holder, grant.lease] = (self.memory, pages)

    @precondition(lambda self: self.reading)
    @rule(data=st.data())
    def a_reader_ends(self, data):
        one = data.draw(st.sampled_from(sorted(self.reading)))
        memory, _ = self.reading.pop(one)
        if memory is self.memory:
            self.returns.append(one)

    @precondition(lambda self: self.returns)
    @rule()
    def the_sender_hears_a_return(self):
        holder, lease = self.returns.pop(0)
        self.pool.returned(holder, lease)
        self.released(lease)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def a_receiver_dies(self, data):
        holder = data.draw(st.sampled_from(self.alive))
        self.alive.remove(holder)
        self.dead.append(holder)
        self.reading = {one: what for one, what in self.reading.items() if one[0] != holder}

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def the_sender_learns_of_a_death(self, data):
        holder = data.draw(st.sampled_from(self.dead))
        self.dead.remove(holder)
        self.returns = [one for one in self.returns if one[0] != holder]
        self.pool.holder_died(holder)
        for lease in [lease for lease, (whose, _, _) in self.held.items() if whose == holder]:
            self.released(lease)

    @rule()
    def the_sender_dies(self):
        """Its memory stays mapped: readers go on, but nobody hears their returns."""
        self.returns.clear()
        self.start_sender()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def a_false_return_is_refused(self, data):
        lease = data.draw(st.sampled_from(sorted(self.held)))
        with pytest.raises(BadInputError):
            self.pool.returned(self.held[lease][0] + 1, lease)

    def released(self, lease):
        _, offset, size = self.held.pop(lease)
        self.free[offset] = size

    @invariant()
    def readers_see_what_was_sent(self):
        for (_, lease), (memory, pages) in self.reading.items():
            assert [memory[page] for page in pages] == [lease] * len(pages)

    @invariant()
    def memory_is_counted_and_bounded(self):
        assert self.pool.leased == len(self.held)
        mine = sum(page is not None for page in self.memory.values()) * PAGE_BYTES
        assert self.pool.memory_bytes == mine <= self.LIMIT_PAGES * PAGE_BYTES


def pages_of(offset, size):
    assert offset % PAGE_BYTES == size % PAGE_BYTES == 0
    return range(offset // PAGE_BYTES, (offset + size) // PAGE_BYTES)


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
