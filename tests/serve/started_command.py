"""A command that was started, and ends when the test says so."""

from __future__ import annotations


class Started:
    def __init__(self, words):
        self.words = list(words)
        self.result = None
        self.killed = False

    def ended(self):
        return self.result

    def kill(self):
        self.killed = True
