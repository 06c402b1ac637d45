"""Counters of one process in memory that others can read: a file in the run folder, mapped by its only writer.

Any gateway answers ``/metrics`` for all processes of the server: it adds up the files. So nothing has to be sent or
asked for at a scrape, and what a dead process has counted is not lost. The process that takes its place maps the same
file and goes on, or begins one of its own. The file begins with its own description (JSON), so a reader needs no plan;
integers of 64 bits follow, the first of which is the number of the process, or 0. The gauges of a process that is dead
say nothing any more, and are left out. A copy of another host's file has the number of the process that made the copy,
or 0. A store of eight aligned bytes is one store on every machine that we run on, so there is no lock: a reader may
see a histogram's bucket without its sum, never half a number.

prometheus-client has a mode for several processes that works the same way. It is not used here because it holds floats
by text keys: an increment costs some ten times more (``benchmarks/metrics.py``), the store is chosen by an environment
variable at import, and the statistics extension needs the same sums without the page.
"""

from __future__ import annotations

import mmap
import os
import resource
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import final

import msgspec

from penstock.serve.observe.catalogue import CPU, FAMILIES, MEMORY, Family
from penstock.units import US_PER_S

Labels = tuple[str, ...]
Totals = Mapping[tuple[str, Labels], Sequence[int]]
"""The slots of every series, by family name and label values."""

FOLDER = "counters"
"""Where the files lie in the run folder."""
_WORD = 8


@final
class Cell:
    """One number of a file."""

    __slots__ = ("_at", "_words")

    def __init__(self, words: memoryview[int], at: int) -> None:
        self._words = words
        self._at = at

    def add(self, amount: int = 1) -> None:
        """Count ``amount`` more."""
        self._words[self._at] += amount

    def set(self, value: int) -> None:
        """Replace the value."""
        self._words[self._at] = value


@final
class HistogramCells:
    """One histogram of a file."""

    __slots__ = ("_at", "_bounds", "_words")

    def __init__(self, words: memoryview[int], at: int, bounds: tuple[int, ...]) -> None:
        self._words = words
        self._at = at
        self._bounds = bounds

    def observe(self, value: int) -> None:
        """Count ``value``, which is not negative, in its bucket."""
        self._words[self._at + bisect_left(self._bounds, value)] += 1
        self._words[self._at + len(self._bounds) + 1] += value


@final
class Counters:
    """The numbers of one process. ``series``: (family, label values) of each.

    ``path`` None keeps them in this process. If ``path`` has the same series already, counting goes on there, and
    gauges are 0 again.
    """

    def __init__(self, series: Iterable[tuple[Family, Labels]], path: Path | None = None) -> None:
        self._series = list(series)
        self._places: dict[tuple[str, Labels], int] = {}
        words = 1
        for family, labels in self._series:
            self._places[family.name, labels] = words
            words += family.slots
        self._words = _memory(words) if path is None else _mapped(path, self._series, words)
        self._words[0] = os.getpid()
        self.end()

    def cell(self, family: Family, labels: Labels = ()) -> Cell:
        """The counter or gauge with these label values."""
        return Cell(self._words, self._places[family.name, labels])

    def histogram(self, family: Family, labels: Labels = ()) -> HistogramCells:
        """The histogram with these label values."""
        return HistogramCells(self._words, self._places[family.name, labels], family.bounds)

    def totals(self) -> Totals:
        """What this process counted."""
        return _series_of(self._series, self._words.tolist())

    def end(self) -> None:
        """All gauges are 0: what they told of is over."""
        for family, labels in self._series:
            if family.kind == "gauge":
                self.cell(family, labels).set(0)


@final
class ProcessMeter:
    """Notes the processor time and the memory of this process, which is called ``name``."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        labels = (name,)
        series = ((CPU, labels), (MEMORY, labels))
        self.counters = Counters(series, None if folder is None else counters_path(folder, name))
        self._cpu_us = self.counters.cell(CPU, labels)
        self._memory = self.counters.cell(MEMORY, labels)
        self._measured_us = -US_PER_S

    def measure(self, now_us: int) -> None:
        """Look, at most once a second."""
        if now_us - self._measured_us < US_PER_S:
            return
        self._measured_us = now_us
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu_us.set(round((usage.ru_utime + usage.ru_stime) * US_PER_S))
        self._memory.set(usage.ru_maxrss * 1024)


def counters_path(folder: Path, name: str) -> Path:
    """Where the process or plan ``name`` counts, in the run folder ``folder``."""
    return folder / FOLDER / f"{name}.counters"


def read_counters(folder: Path) -> Totals:
    """The sums over all processes that count in the run folder ``folder``."""
    return merged(_read(path) for path in sorted((folder / FOLDER).glob("*.counters")))


def exported(path: Path) -> bytes:
    """The file at ``path`` for another host, where numbers of processes mean others: 1 stands for one that lives."""
    content = bytearray(path.read_bytes())
    at = _begin_of(content)
    is_alive = _is_alive(int.from_bytes(content[at : at + _WORD], sys.byteorder))
    content[at : at + _WORD] = int(is_alive).to_bytes(_WORD, sys.byteorder)
    return bytes(content)


def imported(path: Path, content: bytes) -> None:
    """Leave what another host has exported at ``path``. It is said by this process, as long as that lives."""
    copy = bytearray(content)
    at = _begin_of(copy)
    says = os.getpid() if any(copy[at : at + _WORD]) else 0
    copy[at : at + _WORD] = says.to_bytes(_WORD, sys.byteorder)
    path.parent.mkdir(exist_ok=True)
    made = path.with_suffix(".new")
    made.write_bytes(copy)
    made.replace(path)


def silence(path: Path) -> None:
    """The host whose file was copied to ``path`` is gone: its gauges say nothing any more."""
    content = bytearray(path.read_bytes())
    at = _begin_of(content)
    content[at : at + _WORD] = bytes(_WORD)
    imported(path, bytes(content))


def merged(parts: Iterable[Totals]) -> Totals:
    """Series of the same family and labels joined: added up, or their largest value."""
    sums: dict[tuple[str, Labels], list[int]] = {}
    for part in parts:
        for key, slots in part.items():
            known = sums.get(key)
            if known is None:
                sums[key] = list(slots)
            elif FAMILIES[key[0]].merge == "max":
                sums[key] = [max(pair) for pair in zip(known, slots, strict=True)]
            else:
                sums[key] = [a + b for a, b in zip(known, slots, strict=True)]
    return sums


def _memory(words: int) -> memoryview[int]:
    return memoryview(bytearray(words * _WORD)).cast("q")


def _mapped(path: Path, series: Sequence[tuple[Family, Labels]], words: int) -> memoryview[int]:
    head = _head(series)
    size = len(head) + words * _WORD
    if not (path.exists() and path.stat().st_size == size and path.read_bytes()[: len(head)] == head):
        path.parent.mkdir(exist_ok=True)
        made = path.with_suffix(".new")
        made.write_bytes(head + bytes(words * _WORD))
        made.replace(path)  # a reader sees a whole file, or none
    descriptor = os.open(path, os.O_RDWR)
    try:
        return memoryview(mmap.mmap(descriptor, size))[len(head) :].cast("q")
    finally:
        os.close(descriptor)


def _head(series: Sequence[tuple[Family, Labels]]) -> bytes:
    """The description, after its length, filled up to whole words."""
    text = msgspec.json.encode([(family.name, labels) for family, labels in series])
    text += b" " * (-len(text) % _WORD)
    return len(text).to_bytes(_WORD, "little") + text


def _read(path: Path) -> Totals:
    content = path.read_bytes()
    begin = _begin_of(content)
    names = msgspec.json.decode(content[_WORD:begin], type=list[tuple[str, Labels]])
    words = memoryview(content[begin:]).cast("q").tolist()
    found = _series_of([(FAMILIES[name], labels) for name, labels in names], words)
    if not _is_alive(words[0]):
        found = {key: slots for key, slots in found.items() if FAMILIES[key[0]].kind != "gauge"}
    return found


def _begin_of(content: bytes | bytearray) -> int:
    """Where the integers begin."""
    return _WORD + int.from_bytes(content[:_WORD], "little")


def _is_alive(process: int) -> bool:
    if process == 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _series_of(
    series: Sequence[tuple[Family, Labels]], words: Sequence[int]
) -> dict[tuple[str, Labels], Sequence[int]]:
    found = {}
    at = 1
    for family, labels in series:
        found[family.name, labels] = words[at : at + family.slots]
        at += family.slots
    return found
