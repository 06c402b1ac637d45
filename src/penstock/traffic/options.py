"""The text of an arrival process, split into its parts: ``NAME``, ``NAME:key=value,...``, ``NAME:FILE,key=value,...``.

FILE ends at the first comma; in single or double quotes it may hold commas (and ``=``): ``trace:"a,b.csv",scale=fold``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from penstock.errors import BadInputError
from penstock.traffic.suggest import suggest

QUOTES = "\"'"


@dataclass
class Options:
    """The options of one process; each is taken once, then :meth:`finish` refuses what is left."""

    spec: str
    values: dict[str, str]
    file: str | None = None
    known: list[str] = field(default_factory=list)

    def error(self, problem: str) -> BadInputError:
        """An error that begins with the whole text."""
        return BadInputError(f"arrivals {self.spec!r}: {problem}")

    def text(self, key: str) -> str | None:
        """The value of ``key``, or None."""
        self.known.append(key)
        return self.values.pop(key, None)

    def number(self, key: str) -> float | None:
        """The value of ``key`` as a number, infinite ones included, or None."""
        text = self.text(key)
        if text is None:
            return None
        return self._number(key, text)

    def numbers(self, key: str) -> list[float] | None:
        """The value of ``key`` as numbers with a slash between them, or None."""
        text = self.text(key)
        if text is None:
            return None
        return [self._number(key, part) for part in text.split("/")]

    def choice(self, key: str, known: Sequence[str]) -> str | None:
        """The value of ``key``, one of ``known``, or None."""
        text = self.text(key)
        if text is not None and text not in known:
            raise self.error(f"{key} (={text!r}) is unknown. {suggest(text, known)}")
        return text

    def start_s(self) -> float | None:
        """The value of ``start``: seconds from the beginning, or None for anywhere (``random``, the default)."""
        if self.values.get("start") == "random":
            self.text("start")
            return None
        start_s = self.number("start")
        if start_s is not None and not 0 <= start_s < math.inf:
            raise self.error(f"start (={start_s:g}) must be a number of seconds >= 0, or 'random'.")
        return start_s

    def finish(self) -> None:
        """Raise :class:`BadInputError` for an option that nobody took."""
        for key in self.values:
            if not self.known:
                raise self.error(f"unknown option {key!r}; this process takes no options. Remove it.")
            raise self.error(
                f"unknown option {key!r}; this process takes {', '.join(self.known)}. {suggest(key, self.known)}"
            )

    def checked(self, check: Callable[..., None], *values: float) -> None:
        """Let ``check`` judge ``values``; its error gets the text in front."""
        try:
            check(*values)
        except BadInputError as error:
            raise self.error(str(error)) from None

    def _number(self, key: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise self.error(f"{key} (={text!r}) must be a number. Correct it.")
        return value


def split_spec(spec: str, takes_file: Iterable[str]) -> tuple[str, Options]:
    """The process's name, and its options; the names in ``takes_file`` are followed by a file."""
    name, _, rest = spec.strip().partition(":")
    name = name.strip()
    file = None
    if name in takes_file:
        file, rest = _split_file(spec, name, rest)
    return name, Options(spec, _values(spec, rest, with_file=file is not None), file)


def _split_file(spec: str, name: str, rest: str) -> tuple[str, str]:
    rest = rest.strip()
    if rest[:1] in tuple(QUOTES):
        file, closing, after = rest[1:].partition(rest[0])
        if not closing or after.strip()[:1] not in ("", ","):
            raise BadInputError(
                f"arrivals {spec!r}: the quoted file must end with {rest[0]} and then a comma or nothing. "
                f"Close the quotes."
            )
        rest = after.strip()[1:]
    else:
        file, _, rest = rest.partition(",")
    if not file.strip():
        raise BadInputError(f"arrivals {spec!r}: the file is missing. Write {name}:FILE.")
    return file, rest


def _values(spec: str, text: str, *, with_file: bool) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = (side.strip() for side in part.partition("="))
        if not equals or not key or key in values:
            hint = ' A file name that holds a comma stands in quotes: trace:"a,b.csv".' if with_file else ""
            raise BadInputError(f"arrivals {spec!r}: {part!r} must be key=value, each key once.{hint}")
        values[key] = value
    return values
