"""Reserved spans of links, so that a transfer may go before one that was promised earlier but starts later.

A batch reserves its whole route at once, so links are promised far ahead. It is not enough to keep one time from
which a link is free, because each promise would then block the link until its start: on hosts that send the output of
first and of second stages, attainment at half load fell from 1.00 to 0.48. The spans of a link are sorted and
disjoint.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import ONE, ZERO, inner, kernel
from penstock.schedule.state.arrays import Links


@kernel
def first_fit(
    uplinks: Links, sender: int, downlinks: Links, receiver: int, ready_us: int, length_us: int
) -> int:
    """The earliest start at or after ``ready_us`` at which both links are free for ``length_us``."""
    if length_us == 0:
        return ready_us
    start_us = ready_us
    while True:
        sent_us = fit(uplinks, sender, start_us, length_us)
        start_us = fit(downlinks, receiver, sent_us, length_us)
        if start_us == sent_us:
            return start_us


@kernel
def fit(links: Links, host: int, start_us: int, length_us: int) -> int:
    """The earliest start at or after ``start_us`` at which one link is free for ``length_us`` > 0."""
    # Search from the back: few spans are in the future, and fewer begin after start_us.
    place = links.length[host]
    if place == 0 or links.end_us[host, place - 1] <= start_us:
        return start_us
    while place > 0 and links.end_us[host, place - 1] > start_us:
        place -= 1
    while place < links.length[host] and links.start_us[host, place] < start_us + length_us:
        start_us = links.end_us[host, place]
        place += 1
    return start_us


@kernel
def promised_until(links: Links, host: int) -> int:
    """The end of the last span that a link is promised for; 0 if it is promised for none."""
    place = links.length[host]
    return links.end_us[host, place - 1] if place > 0 else 0


@kernel
def hold(links: Links, host: int, now_us: int, start_us: int, end_us: int) -> None:
    """Reserve the free span ``[start_us, end_us)``; spans that ended by ``now_us`` are forgotten."""
    if start_us == end_us:
        return
    _forget(links, host, now_us)
    if links.length[host] == links.start_us.shape[1]:
        # There is no room. The earliest gap now counts as taken: a gap is lost, but nothing is promised twice.
        links.start_us[host, 1] = links.start_us[host, 0]
        _remove(links, host, ZERO, ONE)
    place = links.length[host]
    while place > 0 and links.start_us[host, place - 1] > start_us:
        place -= 1
    if place > 0 and links.end_us[host, place - 1] >= start_us:
        # It begins at the end of the span before it: they become one, so that there are few spans to search.
        links.end_us[host, place - 1] = max(links.end_us[host, place - 1], end_us)
        if place < links.length[host] and links.start_us[host, place] <= links.end_us[host, place - 1]:
            links.end_us[host, place - 1] = max(links.end_us[host, place - 1], links.end_us[host, place])
            _remove(links, host, place, ONE)
        return
    _insert(links, host, place, start_us, end_us)


@kernel
def release(links: Links, host: int, start_us: int, end_us: int) -> None:
    """Free ``[start_us, end_us)`` again, as far as it is still held."""
    for place in range(links.length[host]):
        held_start, held_end = links.start_us[host, place], links.end_us[host, place]
        if held_start <= start_us and end_us <= held_end and start_us < end_us:
            _cut(links, host, place, start_us, end_us)
            return


@inner
def _cut(links: Links, host: int, place: int, start_us: int, end_us: int) -> None:
    held_end = links.end_us[host, place]
    if links.start_us[host, place] == start_us:
        if held_end == end_us:
            _remove(links, host, place, ONE)
        else:
            links.start_us[host, place] = end_us
    elif held_end == end_us:
        links.end_us[host, place] = start_us
    elif links.length[host] < links.start_us.shape[1]:
        links.end_us[host, place] = start_us
        _insert(links, host, place + 1, end_us, held_end)


@inner
def _forget(links: Links, host: int, now_us: int) -> None:
    ended = ZERO
    while ended < links.length[host] and links.end_us[host, ended] <= now_us:
        ended += 1
    if ended > 0:
        _remove(links, host, ZERO, ended)


@inner
def _remove(links: Links, host: int, place: int, spans: int) -> None:
    for at in range(place + spans, links.length[host]):
        links.start_us[host, at - spans] = links.start_us[host, at]
        links.end_us[host, at - spans] = links.end_us[host, at]
    links.length[host] -= spans


@inner
def _insert(links: Links, host: int, place: int, start_us: int, end_us: int) -> None:
    for at in range(links.length[host], place, -1):
        links.start_us[host, at] = links.start_us[host, at - 1]
        links.end_us[host, at] = links.end_us[host, at - 1]
    links.start_us[host, place] = start_us
    links.end_us[host, place] = end_us
    links.length[host] += 1
