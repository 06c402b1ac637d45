"""How far the clock of a host is from the head's, by asking: the head reads it in the middle of that.

The error is at most half of the time that question and answer took (Cristian, "Probabilistic clock synchronization",
1989, section 3). So of the last answers the quickest counts. Old ones leave, because clocks drift, by up to 100 us in
a second.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, final

ANSWERS = 8


class Answer(NamedTuple):
    """``offset_us`` is to be added to the host's clock; it is wrong by ``error_us`` at most."""

    offset_us: int
    error_us: int


@final
class ClockOffset:
    """The last answers."""

    def __init__(self) -> None:
        self._answers: deque[Answer] = deque(maxlen=ANSWERS)

    @property
    def is_settled(self) -> bool:
        """Whether as many answers came as count: the first ones may have waited behind large files."""
        return len(self._answers) == ANSWERS

    def add(self, asked_us: int, head_us: int, answered_us: int) -> Answer:
        """The best estimate with one more answer: asked and answered by the host's clock, read by the head's
        between."""
        middle_us = (asked_us + answered_us) // 2
        self._answers.append(Answer(head_us - middle_us, (answered_us - asked_us + 1) // 2))
        return min(self._answers, key=lambda answer: answer.error_us)
