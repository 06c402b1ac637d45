"""What a process has of its transport: links to its peers, opened on first use; and its inbox, read in turns."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import islice
from typing import final

from penstock.serve.transport.interface import Inbox, Link, Received, Transport


@final
class Links:
    """A peer that was started again has a new endpoint: the link to the old one is closed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._links: dict[Hashable, tuple[str, Link]] = {}

    def to(self, peer: Hashable, endpoint: str) -> Link:
        """The link to ``peer``, which listens at ``endpoint``."""
        found = self._links.get(peer)
        if found is not None and found[0] == endpoint:
            return found[1]
        self.close(peer)
        link = self._transport.connect(endpoint)
        self._links[peer] = (endpoint, link)
        return link

    def known(self, peer: Hashable) -> Link | None:
        """The link to ``peer`` if one was opened, at the endpoint last used."""
        found = self._links.get(peer)
        return None if found is None else found[1]

    def close(self, peer: Hashable) -> None:
        """Close the link to ``peer`` if there is one."""
        found = self._links.pop(peer, None)
        if found is not None:
            found[1].close()


@final
class Turns:
    """Reads ``inbox`` in turns of at most ``most`` messages: however many come, its process does its other work too.

    After each turn, :attr:`is_over` says whether all was read. If not, the descriptor of the inbox need not tell of
    the rest: take another turn without waiting.
    """

    def __init__(self, inbox: Inbox, most: int) -> None:
        self._inbox = inbox
        self._most = most
        self._unread: Iterator[Received] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left that this knows of."""
        return self._unread is None

    def messages(self) -> Iterator[Received]:
        """The messages of one turn."""
        if self._unread is None:
            self._unread = self._inbox.waiting()
        count = 0
        for received in islice(self._unread, self._most):
            count += 1
            yield received
        if count < self._most:
            self._unread = None
