"""Which children of the supervisor hang: each is asked whether it is alive, and answers from its main loop.

A worker is not watched here: its main loop may be inside an executor for a good reason. The dispatcher knows how long
its batches should take, and judges it by that (:mod:`penstock.serve.dispatcher.liveness`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from penstock.serve.control import Alive
from penstock.serve.engine.child import Child
from penstock.units import US_PER_S

ASK_EVERY_US = US_PER_S // 2
"""From an answer to the next question."""
ANSWER_US = 2 * US_PER_S
"""How long an answer may take. On a busy machine a process may have to wait for a core for some 0.5 s, and the death
of a gateway costs its connections."""


@dataclass(slots=True)
class _Asked:
    """``asked_us``: when the question that is open was sent; -1 if none is. ``next_us``: when to send the next one."""

    asked_us: int
    next_us: int = 0
    has_answered: bool = False


@final
class HangWatch:
    """Asks children in turn. A start may take as long as it takes: the first answer has no limit."""

    def __init__(self, now_us: int) -> None:
        self._asked: dict[Child, _Asked] = {}
        self._looked_us = now_us

    @property
    def next_us(self) -> int:
        """When :meth:`look` has something to do at the latest."""
        return self._looked_us + ASK_EVERY_US

    def answered(self, now_us: int, child: Child) -> None:
        """``child`` is alive."""
        self._asked[child] = _Asked(-1, now_us + ASK_EVERY_US, has_answered=True)

    def look(self, now_us: int, children: Iterable[Child]) -> list[tuple[Child, int]]:
        """Ask those of ``children`` whose turn it is; those that hang, and since when (us) they do not answer.

        Call it when every message that came is handled: an answer that waits to be read is an answer. If this call
        comes late, this process could not run, and its children perhaps neither: that time does not count.
        """
        late_us = max(now_us - self.next_us, 0)
        self._looked_us = now_us
        known, self._asked = self._asked, {}
        hung = []
        for child in children:
            asked = known.get(child) or _Asked(-1)
            self._asked[child] = asked
            if asked.asked_us >= 0:
                asked.asked_us += late_us
                if asked.has_answered and now_us - asked.asked_us > ANSWER_US:
                    hung.append((child, now_us - asked.asked_us))
            elif now_us >= asked.next_us:
                asked.asked_us = now_us
                child.line.send(Alive())
        return hung
